"""How far a planned cell is, and how long it may take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from avebench.planning.cells import Cell, keyed_config
from avebench.store.results import Result, Store

Status = Literal["finished", "interrupted", "new"]


def status(store: Store, cell: Cell) -> Status:
    """Return whether a cell is finished, was interrupted, or is new."""
    if store.finished(cell.key):
        return "finished"
    return "interrupted" if (store.folder(cell.training_key) / "checkpoint").is_dir() else "new"


def estimated_seconds(cell: Cell, history: Sequence[Result]) -> float | None:
    """Return the mean seconds of finished cells of the same config, data and fraction; None without any."""
    seconds = [
        sum(result.seconds.values())
        for result in history
        if result.model == cell.model
        and keyed_config(result.config) == keyed_config(cell.config)
        and result.control == cell.control
        and result.held_out == cell.held_out
        and result.fingerprint == cell.data.fingerprint
        and result.train_fraction == cell.train_fraction
    ]
    return sum(seconds) / len(seconds) if seconds else None
