"""Stored cells as the report finds them: under the output folder, or recorded under `results/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avebench.analysis.recording import RESULTS
from avebench.files.errors import AvebenchError
from avebench.planning.cells import keyed_config
from avebench.planning.requested import Requested, read_requested
from avebench.planning.settings import flattened
from avebench.running.cell_run import FAILURE
from avebench.running.material import TEST
from avebench.scoring.metrics import SCORER_VERSION
from avebench.store.recorded import RecordedCell, recorded_cells, recorded_folders
from avebench.store.results import Result, load_result


@dataclass(frozen=True, slots=True)
class StoredCell:
    """A finished cell: its result, the files of it and of its predictions on test, and all of it where it is recorded.

    `options` is everything that two cells of one row at one repetition can differ in, as name -> text.
    """

    result: Result
    file: Path
    predictions: Path
    recorded: RecordedCell | None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundCell:
    """A stored cell, the table and the row's label that it is stored for, and all that it was requested for."""

    experiment: str
    label: str
    cell: StoredCell
    requested: tuple[Requested, ...] = ()


def found_finished(out: Path, gaps: list[str]) -> Iterator[FoundCell]:
    """Yield the finished cells under `<out>/cells/`."""
    for folder in sorted((out / "cells").glob("*/")):
        path = folder / "result.json"
        if not path.is_file():
            if (failed := _failure(folder)) is not None:
                gaps.append(failed)
            elif any(content.name != "lock" for content in folder.iterdir()):
                gaps.append(
                    f"The cell {folder.name[:12]} under {out} was started and not finished. "
                    "The command that started it continues it."
                )
            continue
        result = _load(partial(load_result, path), path, gaps)
        if result is None:
            continue
        requested = read_requested(folder, result)
        for experiment, label, profile in dict.fromkeys((one.experiment, one.row, one.profile) for one in requested):
            under = result.model_copy(update={"profile": profile})
            stored = StoredCell(under, path, folder / TEST, None, _options(result))
            yield FoundCell(experiment, label, stored, requested)


def _failure(folder: Path) -> str | None:
    """Return that a cell failed, and why; None if nothing says so."""
    try:
        kept = json.loads((folder / FAILURE).read_text(encoding="utf-8"))
        return f"{kept['row']} of {kept['experiment']} (cell {folder.name[:12]}) failed: {kept['reason']}"
    except (OSError, ValueError, LookupError, TypeError):
        return None


def found_recorded(gaps: list[str]) -> Iterator[FoundCell]:
    """Yield what is recorded under `results/`; the folders say for which table."""
    for folder in recorded_folders(RESULTS):
        try:
            cells = recorded_cells(folder)
        except AvebenchError as error:
            gaps.append(str(error))
            continue
        for cell in cells:
            result = _load(cell.result, cell.file, gaps)
            if result is not None:
                stored = StoredCell(result, cell.file, cell.predictions_file, cell, _options(result))
                yield FoundCell(folder.parent.name, cell.row, stored)


def _load(read: Callable[[], Result], path: Path, gaps: list[str]) -> Result | None:
    try:
        result = read()
    except AvebenchError as error:
        gaps.append(str(error))
        return None
    if result.scorer_version != SCORER_VERSION:
        gaps.append(
            f"{path} ({result.row} of {result.experiment}) was scored by version {result.scorer_version} of the "
            f"metrics, this is version {SCORER_VERSION}. `avebench run {result.experiment}` scores it again."
        )
        return None
    return result


def _options(result: Result) -> dict[str, str]:
    weights = {f"{role} (content)": weight.sha256[:12] for role, weight in result.weights.items()}
    return {
        **flattened(keyed_config(result.config)),
        **weights,
        "protocol": result.protocol,
        "control": str(result.control),
        "held out": str(result.held_out),
    }
