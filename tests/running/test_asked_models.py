"""`avebench run` with a system that asks: an endpoint, budgets, failures and kills, and a model of this machine."""

import json
import random
import re
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")

from chat_server import ChatServer, Reply, last_text, serving
from commandline import COMMAND, avebench, environment
from inprocess import avebench_here
from made_up import gold_line, write_gold
from tiny_llm import write_tiny_llm

KEY = "sk-never-written"
COLOURS = ("red", "blue", "green", "pink", "grey")
TABLE = """
title = "Asked"
dataset = "jsonl"
metrics = ["tag_f1", "string_f1"]
[[rows]]
label = "list"
model = "extractgpt"
protocol = "all"
options = { prompt = "list", shots = 1, max_tokens = 20 }
[[rows]]
label = "schema"
model = "extractgpt"
protocol = "all"
options = { shots = 2, ensemble = 3, max_tokens = 20 }
"""


def lines(split: str) -> list[dict[str, Any]]:
    numbers = range(20 if split == "test" else 10)
    values = [{"color": COLOURS[n % 5], "kind": ("dress", "hat")[n % 2]} for n in numbers]
    return [gold_line(f"{split}{n}", f"a {v['color']} {v['kind']} no {n} {split}", v) for n, v in enumerate(values)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_gold(tmp_path / "data", lines)
    (tmp_path / "mine.toml").write_text(TABLE)
    return tmp_path


def knows(body: dict[str, Any]) -> Reply:
    """Answer what the title says, as somebody who knows the task would."""
    _, colour, kind, *_ = last_text(body).split()
    return Reply(json.dumps({"color": colour, "kind": kind, "size": "n/a"}))


def command(server: ChatServer, *more: str) -> list[str]:
    run = ["run", "mine.toml", "--data", "data", "--no-mlflow", "--format", "json", "--llm", "echo-1"]
    return [*run, "--endpoint", server.address, *more]


def variables(folder: Path) -> dict[str, str]:
    return {"OPENAI_API_KEY": KEY, "AVEBENCH_CACHE": str(folder / "cache")}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return avebench(folder, *arguments, variables=variables(folder))


def test_an_endpoint_is_asked_once_and_what_it_cost_is_said(folder: Path) -> None:
    with serving(knows) as server:
        planned = run(folder, *command(server, "--dry-run", "--rows", "list"))
        assert planned.returncode == 0 and not server.asked, planned.stderr
        said = re.search(
            r"list #0: 20 questions to echo-1, of which 0 are answered already; the others have about ([\d,]+) tokens, "
            r"and their answers at most 400",
            json.dumps(json.loads(planned.stdout)["notes"]),
        )
        assert said is not None and 2_000 < int(said[1].replace(",", "")) < 20_000
        done = run(folder, *command(server))
        assert done.returncode == 0, done.stderr
        # Both rows; of the ensemble, questions whose shuffled attributes stand in the same order are one.
        asked = len(server.asked)
        assert 20 + 40 <= asked <= 20 + 60 and server.keys == {KEY}
        table = json.loads(done.stdout)
        assert [row["measured"]["tag_f1"]["value"] for row in table["rows"]] == [100.0, 100.0]
        notes = " ".join(table["notes"])
        assert (
            "list asks echo-1 at an endpoint: 20 questions (0 of them answered before), 140 tokens in, 60 out" in notes
        )
        assert "list: 0 of 40 written values (0.0 %) stand nowhere in the text; of 20 answers 0 could not be" in notes
        # With everything answered, nobody is asked, and no key is needed.
        again = avebench(folder, *command(server, "--fresh"), variables={**variables(folder), "OPENAI_API_KEY": ""})
        assert again.returncode == 0 and len(server.asked) == asked, again.stderr
        assert "20 questions (20 of them answered before), 140 tokens in" in again.stdout
        predicted = run(
            folder, "predict", "--experiment", "mine.toml", "--row", "list", "--text", "a red hat", "--format", "json"
        )
        assert predicted.returncode == 2 and "No endpoint is given" in predicted.stderr
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert kept and not [path for path in kept if KEY.encode() in path.read_bytes()]
    assert not [path for path in kept if path.suffix == ".json" and server.address.encode() in path.read_bytes()]


def test_what_fails_is_said_and_asked_again_by_the_same_command(folder: Path) -> None:
    only = ("--rows", "list", "--side-by-side", "2", "--request-timeout", "20")

    def sometimes(body: dict[str, Any]) -> Reply:
        return Reply(status=400) if last_text(body).split()[4] in {"3", "7"} else knows(body)

    with serving(lambda body: Reply(status=401)) as server:
        refused = run(folder, *command(server, *only))
        assert refused.returncode == 1 and "the endpoint says 401" in refused.stderr, refused.stderr
        assert len(server.asked) <= 3
        server.rule = sometimes
        failed = run(folder, *command(server, *only))
        assert failed.returncode == 1
        assert "18 of 20 questions are answered; the others are not: 2 x the endpoint says 400" in failed.stderr
        server.rule = knows
        for budget in (("--max-requests", "1"), ("--max-tokens", "1")):
            stopped = run(folder, *command(server, "--rows", "list", "--side-by-side", "1", *budget))
            assert stopped.returncode == (1 if budget[0] == "--max-requests" else 0), stopped.stderr
        before = len(server.asked)
        assert run(folder, *command(server, *only)).returncode == 0
        assert len(server.asked) == before
        assert [last_text(body).split()[4] for body in server.asked[-2:]] == ["3", "7"]


def committed(folder: Path) -> int:
    path = folder / "cache" / "completions" / "answers.sqlite"
    if not path.is_file():
        return 0
    with closing(sqlite3.connect(path)) as database:
        try:
            return int(database.execute("SELECT COUNT(*) FROM answers").fetchone()[0])
        except sqlite3.OperationalError:  # The table is not there yet.
            return 0


def results(folder: Path) -> dict[str, bytes]:
    found = {path.parent.name: path.read_bytes() for path in folder.glob("runs/cells/*/predictions.jsonl.gz")}
    assert len(found) == 2
    return found


def test_a_killed_run_asks_nothing_twice_and_ends_with_the_same_bits(folder: Path) -> None:
    """What was under way at a kill has no answer and is asked again; nothing that was answered is."""
    whole = folder / "whole"
    write_gold(whole / "data", lines)
    for place in (whole, folder):
        (place / "mine.toml").write_text(re.sub(r"shots = \d", "shots = 0", TABLE))
    at_once, cells = 2, 2
    moments = random.Random(4)
    with serving(lambda body: Reply(knows(body).text, seconds=0.08)) as server:
        assert run(whole, *command(server)).returncode == 0
        distinct = len(server.asked)
        server.asked.clear()
        goal, kills = 0, 0
        while kills < 3:
            process = subprocess.Popen(
                [COMMAND, *command(server, "--side-by-side", str(at_once))],
                cwd=folder,
                env=environment() | variables(folder),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            goal = min(committed(folder) + moments.randrange(1, 10), distinct - 5)
            while committed(folder) < goal and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None
            time.sleep(moments.random() * 0.1)
            process.kill()
            process.wait()
            kills += 1
            while server.under_way:  # The workers end with their parent.
                time.sleep(0.01)
        answered = committed(folder)
        before = len(server.asked)
        assert run(folder, *command(server, "--side-by-side", str(at_once))).returncode == 0
        assert len(server.asked) == before + distinct - answered
        assert committed(folder) == distinct
        assert len(server.asked) - distinct <= kills * at_once * cells
    assert results(folder) == results(whole)


def test_a_model_of_this_machine_is_asked_in_process(folder: Path) -> None:
    llm = write_tiny_llm(folder / "tiny")
    local = ["run", "mine.toml", "--data", "data", "--no-mlflow", "--format", "json", "--rows", "list"]
    nameless = avebench_here(folder, *local)
    assert nameless.returncode == 2 and "Name one on this machine with --llm" in nameless.stderr
    done = avebench_here(folder, *local, "--llm", str(llm))
    assert done.returncode == 0, done.stderr
    notes = " ".join(json.loads(done.stdout)["notes"])
    assert "list asks tiny: 20 questions (0 of them answered before)" in notes
    assert "list: The model has no chat template" in notes
    predict = ("predict", "--experiment", "mine.toml", "--row", "list", "--text", "a red hat", "--ask", "fabric")
    assert avebench_here(folder, *predict).returncode == 0
    llm.rename(folder / "moved")
    moved = avebench_here(folder, *local, "--llm", "moved")
    assert moved.returncode == 0 and "started" not in moved.stderr  # Weights count by their content.
