"""Damages every kind of stored file in every way and runs every command that reads it: nothing may break or lie.

A command may end well only with what it prints without the damage; else it says what is damaged and ends with 2, or,
of a report, leaves the cell out and says so. `make corrupt` runs all cases, the suite a part of them.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image
from small_table import EXPERIMENT

from avebench.commands.app import app
from avebench.commands.door import enter
from avebench.files import cache
from avebench.files.errors import AvebenchError
from avebench.planning import cells, rows
from avebench.running.cell_run import Job, finish_cell
from avebench.running.runner import Failure
from avebench.store.recorded import COUNTS, PREDICTIONS, RESULTS_FILE

NEEDED = ["--experiment", "mine.toml", "--device", "cpu"]
COMMANDS: dict[str, list[str]] = {
    "run": ["run", "mine.toml", "--data", "data", "--no-mlflow", "--record", "--format", "json"],
    "predict": ["predict", *NEEDED, "--row", "DRAM", "--text", "a dress 3 blue", "--image", "data/0.png"],
    "predict dictionary": ["predict", *NEEDED, "--row", "dictionary", "--text", "a dress 3 blue"],
    "explain": ["explain", *NEEDED, "--row", "DRAM", "--text", "a dress 3 blue", "--image", "data/0.png"],
    "report": ["report", "mine.toml", "--data", "data", "--output", "report.html"],
    "compare": ["compare", "DRAM", "dictionary", "--experiment", "mine.toml", "--data", "data", "--format", "json"],
    "report recorded": [
        "report",
        "mine.toml",
        "--recorded",
        "--out",
        "none",
        "--data",
        "data",
        "--output",
        "report.html",
    ],
    "compare recorded": [
        "compare",
        "DRAM",
        "dictionary",
        "--experiment",
        "mine.toml",
        "--recorded",
        "--format",
        "json",
    ],
}
Harm = Callable[[Path, random.Random], None]


def _flip(path: Path, drawn: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[drawn.randrange(len(content))] ^= 1 << drawn.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, drawn: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: drawn.randrange(len(content))])


def _digit(path: Path, drawn: random.Random) -> None:
    """Change a digit, or a letter where there is none, so that a text file keeps its form."""
    content = bytearray(path.read_bytes())
    places = [i for i, byte in enumerate(content) if 48 <= byte <= 57] or [i for i, b in enumerate(content) if b > 64]
    content[drawn.choice(places)] ^= 1
    path.write_bytes(content)


def _other(path: Path, drawn: random.Random) -> None:
    path.write_text(drawn.choice(["[]", "3", '"text"', "{}", "null", '{"a": [1]}', "[" * 3000]))


def _folder(path: Path, drawn: random.Random) -> None:
    path.unlink()
    path.mkdir()


HARMS: dict[str, Harm] = {
    "bit flip": _flip,
    "digit": _digit,
    "truncation": _cut,
    "emptied": lambda path, drawn: path.write_bytes(b""),
    "other content": _other,
    "a folder": _folder,
    "removed": lambda path, drawn: path.unlink(),
}


GAPS = ("cannot be", "not finished", "of another version", "not complete", "was scored by version")
"""What a report says of a cell that it leaves out."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit code, standard output, standard error; for a report its page instead of the output."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def standing_in(folder: Path) -> Iterator[None]:
    """Run in `folder`, with the cache in it, and what this process remembers of other folders forgotten."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with mock.patch.dict(os.environ, {"AVEBENCH_CACHE": str(folder / "cache"), "COLUMNS": "200"}):
            rows._content.cache_clear()
            cache.damaged_memos.clear()
            yield
    finally:
        os.chdir(before)


def in_this_process(wanted: list[cells.Cell], **request: Any) -> dict[str, Failure]:
    """Stand in for `run_cells`: no process is started, which takes longer than everything else here."""
    failures = {}
    for cell in wanted:
        try:
            finish_cell(Job(cell, request["experiment"], request["out"], "cpu", (), False), lambda kind, detail: None)
        except AvebenchError as error:
            failures[cell.key] = Failure(str(error), unusable=True)
    return failures


def command(name: str, folder: Path) -> Ended:
    """Run a command in the folder, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        standing_in(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.object(sys, "argv", ["avebench", *COMMANDS[name]]),
        mock.patch("avebench.running.runner.run_cells", in_this_process),
    ):
        code = enter(app, debug=False)
        page = Path("report.html").read_text() if name.startswith("report") and Path("report.html").exists() else ""
    shown = re.sub(r"\d\d\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?( UTC)?|in [\d.]+ s", "", page) or out.getvalue()
    if name.startswith("compare"):  # A cell whose result is gone is run again, in another time.
        shown = re.sub(r"[\d.,]+ (s per 1,000 test examples|GB peak memory)", r"\1", shown)
    return Ended(code, shown, err.getvalue())


def make(folder: Path, bert: Path, resnet: Path) -> Path:
    """Write a data set, a table and its trained rows below `folder`, and return it."""
    data = folder / "data"
    data.mkdir(parents=True)
    for number, colour in enumerate(("blue", "red")):
        Image.new("RGB", (8, 8), colour).save(data / f"{number}.png")
    for split, numbers in (("train", range(24)), ("valid", range(24, 32)), ("test", range(32, 44))):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(_line(number)) + "\n" for number in numbers))
    (folder / "mine.toml").write_text(EXPERIMENT.format(bert=bert, resnet=resnet))
    for name in COMMANDS:
        ended = command(name, folder)
        assert ended.code == 0, (name, ended.err)
    return folder


def _line(number: int) -> dict[str, Any]:
    colour = ("blue", "red")[number % 2]
    text = f"a dress {number} {colour}"
    span = {"attribute": "Color", "start": len(text) - len(colour), "end": len(text)}
    return {"id": f"p{number}", "text": text, "spans": [span], "image": f"{number % 2}.png"}


def stored_files(place: Path) -> list[Path]:
    """Return the stored files below `place`, relative to it, but locks; of equal memos two stand for all."""
    found: dict[Path, list[Path]] = {}
    recorded = [path for name in (RESULTS_FILE, PREDICTIONS, COUNTS) for path in (place / "results").rglob(name)]
    kept = [path for top in ("runs", "cache") for path in (place / top).rglob("*") if path.is_file()]
    for path in sorted(kept + recorded):
        if path.stat().st_size and path.suffix != ".lock":
            found.setdefault(path.parent, []).append(path.relative_to(place))
    return [path for folder, files in found.items() for path in (files[:2] if len(files) > 20 else files)]


def verdict(name: str, expected: Ended, ended: Ended, file: Path) -> str:
    """Return "equal", "refused" or "left out"; or, of a fault, what is wrong."""
    if "Traceback" in ended.err or "This is a fault of avebench" in ended.err:
        return f"fault: {ended.err.strip().splitlines()[0][:200]}"
    if ended.code == 2:
        return "refused" if ended.err.strip() else "fault: refused without a word"
    if ended.code != 0:
        return f"fault: exit code {ended.code}: {ended.err[:200]}"
    if ended.out == expected.out:
        return "equal"
    cell = file.parts[2][:12] if file.parts[:2] == ("runs", "cells") else "no cell"
    cell = file.name if file.parts[0] == "results" else cell
    said = [line for line in ended.out.splitlines() if cell in line and line not in expected.out]
    if name.startswith("report") and any(word in line for line in said for word in (*GAPS, file.name)):
        return "left out"
    return "fault: other output with exit code 0"


Case = tuple[Path, str, str]
"""A file, a harm and a command."""


def campaign(
    place: Path, chosen: Callable[[list[Case]], list[Case]], seed: int, say: Callable[[str], None] = lambda line: None
) -> Counter[str]:
    """Run the chosen of all cases (file, harm, command); AssertionError names every fault. Returns how often what."""
    expected = {name: command(name, place) for name in COMMANDS}
    for name, ended in expected.items():
        assert ended.code == 0, (name, ended.err)
    results = [json.loads(path.read_text()) for path in (place / "runs" / "cells").glob("*/result.json")]
    control = next(result["key"] for result in results if result["row"] == "DRAM, shuffled")
    every = [(file, harm, name) for file in stored_files(place) for harm in HARMS for name in COMMANDS]
    # Without its result a cell is no damaged one: compare runs it again, and prints another time. A folder without
    # `results.jsonl` has nothing recorded in it.
    passed = {("result.json", "removed", "compare"), (RESULTS_FILE, "removed", "report recorded")}
    cases = chosen([one for one in every if (one[0].name, *one[1:]) not in passed])
    counts: Counter[str] = Counter()
    faults = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, (file, harm, name) in enumerate(cases):
            copy = Path(scratch) / str(number)
            shutil.copytree(place, copy)
            HARMS[harm](copy / file, random.Random(f"{seed} {file.name} {harm} {name}"))
            if name == "run" and file.parts[2] != control:
                # Let the control be tested anew, with the weights that are stored.
                (copy / "runs" / "cells" / control / "result.json").unlink()
            found = verdict(name, expected[name], command(name, copy), file)
            counts[found if not found.startswith("fault") else "fault"] += 1
            if found.startswith("fault"):
                faults.append(f"{file} | {harm} | {name} | {found}")
                say(faults[-1])
            if number % 100 == 99:
                say(f"{number + 1} of {len(cases)} cases: {dict(counts)}")
            shutil.rmtree(copy)
    assert not faults, f"{len(faults)} of {len(cases)}:\n" + "\n".join(faults)
    return counts


def main() -> None:
    """Run all cases, or of them the share `NUMBER/OF` that is given, so that several processes can divide them."""
    from tiny_encoders import write_tiny_bert, write_tiny_resnet

    number, of = (int(part) for part in (sys.argv[1] if len(sys.argv) > 1 else "1/1").split("/"))
    with tempfile.TemporaryDirectory() as folder:
        encoders = write_tiny_bert(Path(folder) / "bert"), write_tiny_resnet(Path(folder) / "resnet")
        place = make(Path(folder) / "place", *encoders)
        counts = campaign(
            place, lambda cases: cases[number - 1 :: of], seed=1, say=lambda line: print(line, flush=True)
        )
    print(f"{sum(counts.values())} cases: {dict(counts)}")


if __name__ == "__main__":
    main()
