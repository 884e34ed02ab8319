"""Recorded folders of the earlier layout, three files per row and repetition, as they were written before."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from avebench.data.predictions import line_of
from avebench.scoring.families import Counts
from avebench.store.examplecounts import ExampleCounts
from avebench.store.recorded import RESULTS_FILE, Recording, recorded_cells
from avebench.store.results import dump


def _triple(counts: Counts) -> list[int]:
    return [counts.tp, counts.predicted, counts.gold]


def to_line(counted: ExampleCounts) -> str:
    """Return the line of a counts file, ending in a line feed."""
    record: dict[str, Any] = {"id": counted.id}
    if counted.product != counted.id:
        record["product"] = counted.product
    record["slices"] = sorted(counted.slices)
    record["counts"] = {family: _triple(counts) for family, counts in counted.counts.items()}
    if counted.attributes is not None:
        record["attributes"] = {
            family: {name: _triple(counts) for name, counts in sorted(found.items())}
            for family, found in counted.attributes.items()
        }
    return json.dumps(record, ensure_ascii=False) + "\n"


def write_earlier(folder: Path, recordings: Iterable[Recording]) -> None:
    """Write what is to be recorded into a folder as the earlier versions did."""
    for one in recordings:
        path = folder / one.row / f"{one.repetition}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dump(one.result), encoding="utf-8")
        predictions = b"".join(line_of(dict(record)) for record in one.predictions)
        path.with_suffix(".predictions.jsonl.gz").write_bytes(gzip.compress(predictions, mtime=0))
        counts = "".join(map(to_line, one.counts))
        path.with_suffix(".counts.jsonl.gz").write_bytes(gzip.compress(counts.encode(), mtime=0))


def unpack(folder: Path) -> None:
    """Put a recorded folder into the earlier layout."""
    cells = recorded_cells(folder)
    packed = [Recording(one.row, one.repetition, one.result(), one.records(), one.counts()) for one in cells]
    for path in folder.glob("*.parquet"):
        path.unlink()
    (folder / RESULTS_FILE).unlink()
    write_earlier(folder, packed)
