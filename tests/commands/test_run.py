"""`avebench run` as a user runs it: tables, cells that are skipped, failures, bad requests, kills."""

import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import mae_shaped
import pytest
from commandline import COMMAND, avebench, environment
from inprocess import avebench_here
from made_up import EMPTY, system

from avebench import __version__
from avebench.store.examplecounts import columns_of
from avebench.store.recorded import recorded_cells

EXPERIMENT = """
title = "A small table"
source = { paper = "journal", table = "6" }
dataset = "jsonl"
metrics = ["tag_precision", "tag_recall", "tag_f1", "cls_f1"]

[[rows]]
label = "DRAM"
model = "dram"
published = "journal-6/+A+T"
planned = true

[[rows]]
label = "dictionary"
model = "dictionary"
reference = true

[[rows]]
label = "virc-text"
model = "dram"
options = { dropout = 0.1 }
reference = true

[defaults.options.training]
learning_rates = { default = 1e-2 }
batch_size = 8
steps = 60
validate_every = 10
"""
RUN = ("run", "mine.toml", "--data", "data", "--text-encoder", "bert", "--no-mlflow")
COLOURS = ("blue", "red")


def _line(number: int) -> str:
    colour, other = COLOURS[number % 2], COLOURS[(number // 2) % 2]
    text = f"a {colour} long dress - {other} {number % 3}"
    start = text.index(colour)
    spans = [{"attribute": "Color", "start": start, "end": start + len(colour)}]
    return json.dumps({"id": f"p{number}", "text": text, "spans": spans}) + "\n"


def _fill(folder: Path, encoder: Path) -> Path:
    """Put a data set `data/`, an experiment `mine.toml` and an encoder `bert` into a folder."""
    (folder / "data").mkdir()
    for split, numbers in (("train", range(40)), ("valid", range(40, 56)), ("test", range(60, 80))):
        (folder / "data" / f"{split}.jsonl").write_text("".join(map(_line, numbers)))
    (folder / "mine.toml").write_text(EXPERIMENT)
    (folder / "bert").symlink_to(encoder)
    return folder


@pytest.fixture
def place(tmp_path: Path, tiny_bert: Path) -> Path:
    """Return a folder in which nothing was run yet."""
    return _fill(tmp_path, tiny_bert)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> tuple[Path, str]:
    """Return a folder in which the table was run with two repetitions, and the CSV that was printed."""
    folder = _fill(tmp_path_factory.mktemp("first"), tiny_bert)
    done = avebench_here(folder, *RUN, "--seeds", "2", "--jobs", "1", "--format", "csv")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.fixture
def finished(first_run: tuple[Path, str], tmp_path: Path) -> Path:
    """Return a copy of the folder in which the table was run."""
    return shutil.copytree(first_run[0], tmp_path / "finished", symlinks=True)


def _metrics(folder: Path) -> dict[str, object]:
    """Return what every finished cell says but for times and memory."""
    found = {}
    for path in folder.glob("runs/cells/*/result.json"):
        result = json.loads(path.read_text())
        history = [{k: v for k, v in entry.items() if k != "seconds"} for entry in result["history"]]
        found[path.parent.name] = {
            "scores": result["scores"],
            "history": history,
            "weights": (path.parent / "weights.safetensors").read_bytes() if history else b"",
            "predictions": (path.parent / "predictions.jsonl.gz").read_bytes(),
        }
    return found


def test_table_and_second_run(first_run: tuple[Path, str], finished: Path) -> None:
    rows = {row["label"]: row for row in csv.DictReader(io.StringIO(first_run[1]))}
    assert float(rows["DRAM"]["published_tag_f1"]) == 96.86
    assert rows["DRAM"]["measured_status"] == "not built yet" and rows["DRAM"]["measured_tag_f1"] == ""
    assert rows["virc-text"]["measured_tag_f1_n"] == "2"
    assert 0 < float(rows["virc-text"]["measured_tag_f1"]) <= 100
    results = sorted(finished.glob("runs/cells/*/result.json"))
    assert len(results) == 4
    written = {path: path.stat().st_mtime_ns for path in results}
    second = avebench_here(finished, *RUN, "--seeds", "2", "--format", "csv")
    assert second.stdout == first_run[1]
    assert written == {path: path.stat().st_mtime_ns for path in finished.glob("runs/cells/*/result.json")}


def test_scores_depend_neither_on_jobs_nor_on_paths(finished: Path, place: Path) -> None:
    (place / "data").rename(place / "moved")
    arguments = [argument if argument != "data" else "moved" for argument in RUN]
    done = avebench_here(place, *arguments, "--seeds", "2", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    assert _metrics(place) == _metrics(finished)


COUNTING = """
@classmethod
def learn_vocabulary(cls, config, schema, train):
    with Path("calls").open("a") as stream:
        stream.write("called\\n")
    time.sleep(0.5)
    return {}
"""


def test_two_processes_on_one_table_run_every_cell_once(place: Path) -> None:
    (place / "counting.py").write_text(
        system("counting", COUNTING + EMPTY, imports="import time\nfrom pathlib import Path")
    )
    (place / "mine.toml").write_text(EXPERIMENT.replace('model = "dictionary"', 'model = "counting"'))
    table = ("run", "mine.toml", "--data", "data", "--no-mlflow", "--rows", "dictionary")
    arguments = [COMMAND, *table, "--plugin", "counting.py", "--seeds", "6", "--jobs", "2"]
    both = [
        subprocess.Popen(
            arguments, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert (place / "calls").read_text() == "called\n" * 6
    assert len(list(place.glob("runs/cells/*/result.json"))) == 6


def test_finished_table_imports_nothing_heavy(finished: Path) -> None:
    code = (
        "import sys; sys.argv = ['avebench', *sys.argv[1:]]; from avebench.commands.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'transformers', 'pandas', 'mlflow', 'torchvision', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *RUN], cwd=finished, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "virc-text" in done.stdout


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['avebench', '--help']; from avebench.commands.app import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'mlflow', 'numpy', 'pydantic', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_version_and_shell_completion(tmp_path: Path) -> None:
    assert avebench(tmp_path, "--version").stdout == f"avebench {__version__}\n"
    asked = {"_AVEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "avebench co", "COMP_CWORD": "1"}
    assert avebench(tmp_path, variables=asked).stdout.split() == ["compare"]
    asked |= {"COMP_WORDS": "avebench run --te", "COMP_CWORD": "2"}
    assert avebench(tmp_path, variables=asked).stdout.split() == ["--text-encoder"]


def test_dry_run_writes_nothing(place: Path) -> None:
    plan = avebench_here(place, *RUN, "--dry-run", "--format", "json")
    assert plan.returncode == 0, plan.stderr
    cells = json.loads(plan.stdout)["rows"]
    assert [(cell["label"], cell["columns"]["status"]) for cell in cells] == [
        ("DRAM", "not built yet"),
        ("dictionary", "new"),
        ("virc-text", "new"),
    ]
    assert cells[2]["columns"]["minutes"] == "unknown"
    assert not (place / "runs").exists()


def test_plan_of_a_finished_table(finished: Path) -> None:
    plan = avebench_here(finished, *RUN, "--dry-run", "--seeds", "3", "--format", "json")
    cells = [(row["label"], *row["columns"].values()) for row in json.loads(plan.stdout)["rows"]]
    assert [cell[:3] for cell in cells[4:6]] == [("virc-text", "0", "finished"), ("virc-text", "1", "finished")]
    assert cells[6][:3] == ("virc-text", "2", "new") and float(cells[6][3]) >= 0


def test_a_failing_row_leaves_the_others(place: Path) -> None:
    broken = (
        (place / "mine.toml")
        .read_text()
        .replace("learning_rates = { default = 1e-2 }", "learning_rates = { default = 1e30 }")
    )
    (place / "mine.toml").write_text(broken)
    done = avebench_here(place, *RUN)
    assert done.returncode == 1
    assert "virc-text #0 failed" in done.stderr and "Traceback" not in done.stderr
    assert len(list(place.glob("runs/cells/*/result.json"))) == 1
    assert "failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "tabel6"), "There is no experiment called 'tabel6'. Did you mean 'table6'"),
        (("run", "mine.toml", "--rows", "virc-txt"), "no row 'virc-txt'. Did you mean 'virc-text'"),
        (
            ("run", "mine.toml", "--data", "data", "--dataset", "jsonll"),
            "no dataset called 'jsonll'. Did you mean 'jsonl'",
        ),
        (("run", "mine.toml", "--data", "nowhere"), "nowhere"),
        (("run", "mine.toml", "--data", "data", "--text-encoder", "no/such"), "'no/such' is neither a folder here nor"),
        (("run", "mine.toml", "--data", "data", "--text-encoder", "data"), "data has no config.json"),
        ((*RUN, "--set", "training.stepz=3"), "--set training.stepz"),
        ((*RUN, "--set", "training.steps=none"), "training.steps"),
        ((*RUN, "--train-fraction", "0"), "--train-fraction 0"),
        ((*RUN, "--profile", "quik"), "no profile called 'quik'"),
        ((*RUN, "--out", "mine.toml/runs"), "output folder mine.toml/runs cannot be written"),
        ((*RUN, "--plugin", "none.py"), "none.py"),
    ],
)
def test_bad_requests(place: Path, arguments: tuple[str, ...], message: str) -> None:
    before = sorted(place.rglob("*"))
    done = avebench_here(place, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3
    left = [path for path in sorted(place.rglob("*")) if path not in before and "cache" not in path.parts]
    assert not left


def test_data_fault_stops_before_anything_is_stored(place: Path) -> None:
    with (place / "data" / "train.jsonl").open("a") as stream:
        stream.write('{"id": "cut", "text": "a re')
    done = avebench_here(place, *RUN)
    assert done.returncode == 2
    assert "train.jsonl" in done.stderr and "41" in done.stderr and "Traceback" not in done.stderr
    assert not list(place.glob("runs/cells/*/result.json"))


def test_killed_runs_end_with_the_same_bits(place: Path) -> None:
    arguments = (*RUN, "--rows", "virc-text", "--set", "training.steps=250")
    assert avebench_here(place, *arguments).returncode == 0
    whole = _metrics(place)
    (place / "runs").rename(place / "uninterrupted")
    generator = random.Random(7)
    kills = 0
    for _ in range(2):
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=place,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        # Wait until the cell trains, so that the kill meets it in the middle.
        while (
            process.poll() is None and time.monotonic() < deadline and not list(place.glob("runs/cells/*/checkpoint/*"))
        ):
            time.sleep(0.02)
        time.sleep(generator.uniform(0.0, 1.0))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 0
    assert avebench_here(place, *arguments).returncode == 0
    assert _metrics(place) == whole


def test_record_holds_no_text_and_no_path(place: Path) -> None:
    run = [str(place / "bert") if argument == "bert" else argument for argument in RUN]
    done = avebench_here(place, *run, "--record", "--train-fraction", "0.5")
    assert done.returncode == 0, done.stderr
    folder = place / "results" / "mine" / "jsonl-0.5"
    assert sorted(path.name for path in folder.iterdir()) == [
        "counts.parquet",
        "predictions.parquet",
        "results.jsonl",
        "slices.md",
        "table.json",
        "table.md",
    ]
    import pyarrow.parquet

    for path in folder.glob("*.parquet"):
        table = pyarrow.parquet.read_table(path)
        text = json.dumps(table.to_pylist())
        assert "dress" not in text and "blue" not in text
        assert [table["row"].to_pylist().count(row) for row in set(table["row"].to_pylist())] == [20] * len(
            set(table["row"].to_pylist())
        )
    (cell,) = [one for one in recorded_cells(folder) if one.row == "virc-text"]
    stored = cell.result()
    assert stored.scores_extended is not None
    assert stored.train_examples == 20 and stored.scores_extended.examples == 20
    gold = columns_of(cell.counts()).counts["tag"][:, 2].sum()
    assert gold == stored.scores.metrics["tag_f1"].gold == 20
    assert stored.weights["text_encoder"].name == stored.config["text_encoder"] == "bert"
    shown = (folder / "table.md").read_text()
    assert shown.startswith("**A small table**") and "Pretrained encoders: bert." in shown
    assert not [path for path in folder.rglob("*.*") if str(place).encode() in path.read_bytes()]


def test_slices(finished: Path) -> None:
    done = avebench_here(finished, *RUN, "--seeds", "2", "--slices", "--format", "json")
    assert done.returncode == 0, done.stderr
    decoder = json.JSONDecoder()
    _, end = decoder.raw_decode(done.stdout)
    table = decoder.raw_decode(done.stdout[end:].lstrip())[0]
    rows = {row["label"]: row for row in table["rows"]}
    # Each of the twenty test sentences names a colour once more, outside of the gold span.
    assert rows["distractor"]["columns"] == {"n": "20", "remark": "too few"}
    assert rows["distractor"]["measured"]["dictionary"]["n"] == 2
    assert "no-image" not in rows and any("No example has a picture" in note for note in table["notes"])


def _mae_product(number: int) -> dict[str, object]:
    colour = COLOURS[number % 2]
    product: dict[str, object] = {
        "diffbotUri": f"product|4|{number}",
        "title": f"a {colour} dress",
        "text": "long -lrb- 12 -rrb- dress",
        "images": [f"{number}.jpg"],
        "specs": {"color": colour.title(), "sold_by": "Report abuse"},
    }
    # The oddities of the release: no specs, no text, no picture, a value that is not a string.
    if number % 7 == 0:
        product["specs"] = {}
    if number % 11 == 0:
        del product["text"], product["images"]
    if number % 13 == 0:
        product["specs"] = {"color": ["Red"], "material": "steel"}
    return product


def test_a_folder_of_the_shape_of_mae(place: Path) -> None:
    for source, numbers in (("train", range(300)), ("val", range(300, 340))):
        (place / "mae" / source).mkdir(parents=True)
        records = [_mae_product(number) for number in numbers]
        for name, part in (("a", records[::2]), ("b", records[1::2])):
            (place / "mae" / source / f"{name}.json").write_text(json.dumps(part))
    (place / "mae" / "mumie-img").mkdir()
    (place / "mae" / "mumie-img" / "300.jpg").write_bytes(b"no picture")
    table = EXPERIMENT.replace('"cls_f1"]', '"cls_f1", "mae_accuracy"]')
    (place / "mine.toml").write_text(table)
    done = avebench_here(place, "run", "mine.toml", "--dataset", "mae", "--data", "mae", *RUN[4:], "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["label"]: row["measured"] for row in json.loads(done.stdout)["rows"]}
    assert rows["virc-text"]["mae_accuracy"]["value"] > 50
    assert rows["dictionary"]["mae_accuracy"]["value"] == 100
    result = json.loads(next(place.glob("runs/cells/*/result.json")).read_text())
    assert result["scores"]["examples"] == 40
    assert result["reader_notes"]


MARKED = "<\u989c\u8272>{colour}</\u989c\u8272>"


def test_a_folder_of_the_shape_of_mepave(place: Path) -> None:
    (place / "mepave").mkdir()
    for split, numbers in (("train", range(40)), ("valid", range(10)), ("test", range(10))):
        lines = []
        for number in numbers:
            colour = "\u9ed1\u7ea2"[number % 2]
            lines.append(f"c_{number}\ts_{split}{number}\t{colour}\u88d9a12\t{MARKED.format(colour=colour)}\u88d9A12")
        (place / "mepave" / f"jdair.jave.{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = avebench_here(
        place, "run", "mine.toml", "--dataset", "mepave", "--data", "mepave", *RUN[4:], "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["label"]: row["measured"] for row in json.loads(done.stdout)["rows"]}
    assert rows["dictionary"]["tag_f1"]["value"] == 100
    assert rows["virc-text"]["tag_f1"]["value"] > 50


def test_the_public_sample_of_mepave(place: Path) -> None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root or not (Path(root) / "mepave-sample").is_dir():
        pytest.skip("the public MEPAVE sample is not at hand: $AVEBENCH_DATA/mepave-sample")
    data = ("--dataset", "mepave", "--data", str(Path(root) / "mepave-sample"))
    checked = avebench_here(place, "data", "check", "mepave", *data[2:])
    assert checked.returncode == 2
    for line in (
        "train sentences: 50",
        "valid sentences: 20",
        "test sentences: 20",
        "mentions: 109",
        "pictures missing: 90",
    ):
        assert line in checked.stdout.splitlines()
    done = avebench_here(place, "run", "mine.toml", *data, *RUN[4:], "--format", "json")
    assert done.returncode == 0, done.stderr
    result = [json.loads(path.read_text()) for path in place.glob("runs/cells/*/result.json")]
    assert {one["scores"]["examples"] for one in result} == {20}


def test_table9_on_products_in_the_shape_of_mae(tmp_path: Path) -> None:
    mae_shaped.write(tmp_path / "mae", products=100)
    run = ("run", "table9", "--data", "mae", "--profile", "quick", "--set", "training.steps=4", "--no-mlflow")
    done = avebench_here(tmp_path, *run, "--rows", "dictionary,M-JAVE,DRAM", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["label"]: row for row in json.loads(done.stdout)["rows"]}
    # The attribute of a generated value is nearly always told by the value: a dictionary finds most of them.
    assert 50 < rows["dictionary"]["measured"]["mae_accuracy"]["value"] < 100
    published = {label: row["published"]["mae_accuracy"] for label, row in rows.items()}
    assert published == {"dictionary": None, "M-JAVE": 75.01, "DRAM": 79.2}
    for row in rows.values():
        assert 0 <= row["measured"]["mae_accuracy"]["value"] <= 100
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/cells/*/result.json")]
    assert {(result["dataset"], result["scores"]["examples"]) for result in results} == {("mae", 100)}
