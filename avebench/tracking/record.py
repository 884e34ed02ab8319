"""What MLflow is told of one finished cell."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Files = Mapping[str, str | Path]
"""File name -> text, or the file whose bytes it gets; its own last part is then the same."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What MLflow is told of one finished cell.

    `group` is equal for the repetitions of one row under one configuration and data, and for nothing else. `parameters`
    is the flattened resolved config, without repetition and seed. `metrics` are of the test split, in %. `history` has
    one entry per validation: `step`, `epoch`, `losses`, `valid`, `seconds` since the start. `started` and `ended` are
    Unix time in milliseconds.
    """

    experiment: str
    dataset: str
    fingerprint: str
    row: str
    group: str
    repetition: int
    key: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, Any]]
    tags: Mapping[str, str]
    artifacts: Sequence[Path]
    started: int
    ended: int

    @property
    def place(self) -> str:
        """Return the name of the MLflow experiment."""
        return f"{self.experiment} on {self.dataset}"


def plain(record: RunRecord) -> dict[str, Any]:
    """Return a record as JSON."""
    content = asdict(record)
    content["artifacts"] = [str(path) for path in record.artifacts]
    return content


def content_digest(record: RunRecord) -> str:
    """Return a hash of all that is uploaded but the files, to tell a run that is up to date from one that is not."""
    content = plain(record)
    del content["artifacts"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_name(text: str) -> str:
    """Return a text as the name of a file: by the same bytes in every locale."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "experiment"
    return os.fsdecode(name.encode(errors="surrogateescape"))
