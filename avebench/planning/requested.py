"""For which rows of which tables a finished cell was asked: kept beside its result, by every command that shows it.

A result names the row that ran it first. Whether it is a cell of another row is read off its content (`rows`); what
`--set` laid over a row is known from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from avebench.files.atomic import write_atomically
from avebench.files.sealed import DamagedError, read_record, seal
from avebench.planning.plan import Plan
from avebench.store.results import Result, Store

FILE = "requested.json"
"""Name of the file in a cell's folder."""


@dataclass(frozen=True, slots=True)
class Requested:
    """One row of a table under a profile, with what the command line set; None if that was not kept."""

    experiment: str
    row: str
    profile: str
    settings: Mapping[str, Any] | None


def read_requested(folder: Path, result: Result) -> tuple[Requested, ...]:
    """Return what a cell was asked for: at least what its result says, of which nothing was kept in earlier versions.

    A file that cannot be read, or is not what was written, counts as none.
    """
    try:
        return tuple(Requested(**entry) for entry in read_record(folder / FILE)["rows"])
    except (DamagedError, LookupError, TypeError):
        return (Requested(result.experiment, result.row, result.profile, None),)


def note_requested(plan: Plan, finished: Mapping[str, Result], store: Store) -> None:
    """Keep beside the `finished` cells of a plan, by key, that its rows are asked for."""
    for planned in plan.rows:
        for cell in planned.cells:
            if (result := finished.get(cell.key)) is None:
                continue
            entry = Requested(plan.name, planned.row.label, cell.profile, plan.settings)
            if entry in read_requested(store.folder(cell.key), result):
                continue
            with store.lock(cell.key):
                before = read_requested(store.folder(cell.key), result)
                # What was not kept before is this, if it is the same row.
                entries = [*(one for one in before if one != replace(entry, settings=None)), entry]
                content = json.dumps(seal({"rows": [asdict(one) for one in entries]}), ensure_ascii=False, indent=1)
                write_atomically(store.folder(cell.key) / FILE, content + "\n")
