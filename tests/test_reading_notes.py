"""A table says which rows read cut texts and which were still rising when their budget ended."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from commandline import avebench
from stored_cells import result

from avebench.tables import reading_notes


def _row(label: str) -> Any:
    return SimpleNamespace(row=SimpleNamespace(label=label))


def test_the_rows_and_the_number_of_repetitions_are_named() -> None:
    flat, rising, cut = result(best_step=10), result(best_step=20), result(best_step=10, truncated=3)
    taken_as_it_is = result(best_step=20, selection="last")
    closed_form = result(best_step=0, steps=0, history=[])
    rows = [(_row("a"), [flat, rising, rising]), (_row("b"), [flat, cut]), (_row("c"), [closed_form, taken_as_it_is])]
    assert reading_notes(rows) == [
        "Test texts that run over the encoder's limit: b 3 of 4. Their ends were tagged O, so that values there count "
        "as missed.",
        "Still rising, best on validation at the last step (repetitions): a (2 of 3).",
    ]
    assert reading_notes([(_row("a"), [flat]), (_row("c"), [closed_form]), (_row("d"), [])]) == []


def test_texts_over_the_limit_stand_under_the_table(tmp_path: Path) -> None:
    """Of four test texts two are of 120 words before the value; the demo encoder reads fewer pieces than that."""
    data = tmp_path / "shop"
    data.mkdir()
    for split in ("train", "valid", "test"):
        lines = []
        for i in range(4):
            text = "word " * 120 * (i < 2) + f"blue dress {split} {i}"
            start = text.index("blue")
            span = {"attribute": "Color", "start": start, "end": start + 4}
            lines.append(json.dumps({"id": f"{split}{i}", "text": text, "spans": [span]}) + "\n")
        (data / f"{split}.jsonl").write_text("".join(lines))
    options = ("--text-encoder", "demo", "--set", "training.steps=2", "--set", "training.warmup_steps=0")
    where = ("--dataset", "jsonl", "--data", str(data))
    run = avebench(tmp_path, "run", "table6", "--rows", "virc-text", *options, *where)
    assert run.returncode == 0, run.stderr
    assert "over the encoder's limit: virc-text 2 of 4." in " ".join(run.stdout.split())
