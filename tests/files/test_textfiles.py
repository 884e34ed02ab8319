"""Pipes, standard input, gzip whatever its name, and files of other systems are read, or named for what they are."""

import gzip
import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from commandline import COMMAND, environment
from inprocess import avebench_here

from avebench.files.errors import AvebenchError
from avebench.running.predict import _check_files
from avebench.running.products import read_products

GOLD = {"id": "p1", "text": "a blue dress", "spans": [{"attribute": "Color", "start": 2, "end": 6}]}
PREDICTED = {"id": "p1", "attributes": {"Color": 1.0}, "spans": GOLD["spans"]}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "gold.jsonl").write_text(json.dumps(GOLD) + "\n")
    (tmp_path / "found").write_text("\n" + json.dumps(PREDICTED) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        "cat found | {0} score - --gold gold.jsonl",
        "cat gold.jsonl | {0} score found --gold -",
        "cat found | {0} score /dev/stdin --gold gold.jsonl",
        "mkfifo pipe; cat found > pipe & {0} score pipe --gold gold.jsonl",
        "{0} score <(cat found) --gold <(cat gold.jsonl)",
        "gzip -c found | {0} score - --gold gold.jsonl",
        "gzip -c found > found.GZ; {0} score found.GZ --gold gold.jsonl",
        "gzip -c gold.jsonl > packed; {0} score found --gold packed",
    ],
)
def test_predictions_are_scored_wherever_they_come_from(files: Path, command: str) -> None:
    def scored(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", line], cwd=files, env=environment(), capture_output=True, text=True, timeout=60, check=False
        )

    usual = scored(f"{COMMAND} score found --gold gold.jsonl --format csv")
    piped = scored(command.format(COMMAND) + " --format csv")
    assert usual.returncode == piped.returncode == 0, piped.stderr
    assert "100" in usual.stdout
    assert piped.stdout == usual.stdout


def test_one_pipe_cannot_be_both(files: Path) -> None:
    done = avebench_here(files, "score", "-", "--gold", "-")
    assert done.returncode == 2
    assert "cannot be both predictions and gold" in done.stderr


def test_an_empty_pipe_is_empty(files: Path) -> None:
    line = f"{COMMAND} score - --gold gold.jsonl < /dev/null"
    done = subprocess.run(
        ["bash", "-c", line], cwd=files, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the file is empty" in done.stderr


WRONG = {
    "utf-16-le": "the file is UTF-16, not UTF-8",
    "utf-16-be": "the file is UTF-16, not UTF-8",
    "utf-16": "the file is UTF-16, not UTF-8",
    "cr": "the lines end in bare carriage returns",
}


def _written_as(kind: str, text: str) -> bytes:
    return text.replace("\n", "\r").encode() if kind == "cr" else text.encode(kind)


@pytest.mark.parametrize("kind", WRONG)
def test_foreign_files_are_named(files: Path, kind: str) -> None:
    (files / "found").write_bytes(_written_as(kind, (json.dumps(PREDICTED) + "\n") * 2))
    done = avebench_here(files, "score", "found", "--gold", "gold.jsonl")
    assert done.returncode == 2
    assert WRONG[kind] in " ".join(done.stderr.split())


@pytest.mark.parametrize("kind", WRONG)
def test_foreign_column_files_are_named(tmp_path: Path, kind: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        (data / f"{split}.txt").write_bytes(_written_as(kind, "a O\nblue B-Color\n\nred B-Color\n"))
    done = avebench_here(tmp_path, "data", "check", "conll", "--data", str(data))
    assert done.returncode == 2
    assert WRONG[kind] in " ".join((done.stdout + done.stderr).split())


def test_a_packed_column_file_is_read_under_any_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "valid", "test"):
        content = f"a O\nblue B-Color\n{split} O\n".encode()
        (data / f"{split}.txt").write_bytes(gzip.compress(content))
    done = avebench_here(tmp_path, "data", "check", "conll", "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mentions: 3" in done.stdout


@pytest.mark.parametrize("kind", [*WRONG, "gzip cut off"])
def test_predict_answers_no_part_of_a_foreign_file(files: Path, kind: str) -> None:
    """One fault of the whole file is not an answer to its first line, with the rest passed over."""
    text = (json.dumps({"id": "p1", "text": "a blue dress"}) + "\n") * 2
    content = gzip.compress(text.encode())[:-12] if kind == "gzip cut off" else _written_as(kind, text)
    (files / "new").write_bytes(content)
    with pytest.raises(AvebenchError, match="the gzip file is broken" if kind == "gzip cut off" else WRONG[kind]):
        list(read_products(files / "new", "word", "error", Counter()))


def test_predict_refuses_a_pipe(files: Path) -> None:
    os.mkfifo(files / "pipe")
    with pytest.raises(AvebenchError, match="a pipe cannot be continued"):
        _check_files(files / "pipe", files / "out.jsonl")
