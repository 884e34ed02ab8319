"""Finished rows with the counts of every test example: from the output folder, or as recorded under `results/`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from avebench.analysis.comparison.comparability import check_totals
from avebench.analysis.comparison.contrasts import System
from avebench.analysis.recording import recorded_folder
from avebench.contracts.examples import Example, Prediction, product_of
from avebench.contracts.held_out import only
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.files.errors import AvebenchError
from avebench.planning.cells import cell_name
from avebench.planning.experiment import Row
from avebench.planning.plan import Plan
from avebench.planning.requested import note_requested
from avebench.running.material import TEST, Material, materials_of
from avebench.running.missing_cells import run_missing, stored_results
from avebench.scoring.metrics import SCORER_VERSION
from avebench.store.examplecounts import ExampleCounts, attribute_counts, columns_of, count_examples
from avebench.store.recorded import RecordedCell, recorded_cells, slug
from avebench.store.results import Result, Store

Reader = Callable[[Sequence[Example]], list[Prediction]]
"""Returns predictions in the order of the examples, with the strings that their spans cover there."""


class CellsFailedError(Exception):
    """A row could not be trained, so there is nothing to compare; the messages are printed already."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Finished:
    """Systems ready to be compared; `gold` is None where the data is not at hand, and `notes` say what that means.

    `predictions` read what each system's first repetition said on test.
    """

    systems: tuple[System, ...]
    predictions: tuple[Reader, ...]
    gold: Sequence[Example] | None
    dataset: str
    banner: str
    notes: tuple[str, ...]


Recorded = Mapping[int, RecordedCell]
"""What is recorded of a row, by repetition."""


def recorded_by_row(folder: Path, rows: Sequence[Row]) -> list[Recorded]:
    """Return what a folder of `results/` holds of each row, which may be nothing."""
    cells = recorded_cells(folder)
    return [{cell.repetition: cell for cell in cells if cell.row == slug(row.label)} for row in rows]


# ---------------------------------------------------------------------------------------------------------------------
# Rows of a plan: finished, recorded with the same key, or trained now


def finish_rows(
    plan: Plan, store: Store, labels: Sequence[str], *, device: str, jobs: int | None, debug: bool
) -> Finished:
    """Return the named rows of a plan, after training what is neither in the output folder nor recorded.

    CellsFailedError if a cell fails.
    """
    unfinished = [cell for cell in plan.cells() if not store.finished(cell.key)]
    recorded = _recorded_by_key(plan, {cell.key for cell in unfinished}) if unfinished else {}
    missing = [cell for cell in unfinished if cell.key not in recorded]
    if missing:
        store.prepare()
        failures = run_missing(missing, plan.name, store, device, jobs, debug)
        if failures:
            for cell in missing:
                if cell.key in failures:
                    print(f"{cell_name(cell)} failed: {failures[cell.key].message}", file=sys.stderr)
            raise CellsFailedError(max(2 if failure.unusable else 1 for failure in failures.values()))
    results = stored_results(plan.cells(), store)
    note_requested(plan, results, store)
    material = materials_of(plan.data, plan.train_fraction)
    systems, predictions = [], []
    cells = {planned.row.label: planned.cells for planned in plan.rows}
    for label in labels:
        found, counts = [], []
        readers: list[Reader] = []
        for cell in cells[label]:
            if cell.key in results:
                result, path = results[cell.key], store.folder(cell.key) / TEST
                counted: Sequence[ExampleCounts] = _counted(material(cell), path)
                readers.append(partial(read_predictions, path))
            else:
                result, kept = recorded[cell.key]
                counted = _recorded_counts(kept, material(cell).test)
                readers.append(kept.predictions)
            check_totals(result, counted, label)
            # A result that another row or profile has run first is the same cell: what was asked for now counts.
            found.append(result.model_copy(update={"profile": cell.profile}))
            counts.append(counted)
        systems.append(System(label, cells[label][0].protocol, tuple(found), tuple(counts)))
        predictions.append(readers[0])
    gold = material(cells[labels[0]][0]).test
    return Finished(tuple(systems), tuple(predictions), gold, plan.data.shown, plan.banner, ())


def _recorded_by_key(plan: Plan, wanted: Set[str]) -> dict[str, tuple[Result, RecordedCell]]:
    """Return cell key -> what any table has recorded with these metrics of the `wanted` cells of a plan."""
    folder = recorded_folder("*", plan.data.name, plan.train_fraction)
    found = {}
    for path in sorted(Path().glob(str(folder))):
        for cell in recorded_cells(path):
            if cell.holds(wanted):
                result = cell.result()
                if result.key in wanted and result.scorer_version == SCORER_VERSION:
                    found[result.key] = (result, cell)
    return found


def _counted(material: Material, predictions: Path) -> list[ExampleCounts]:
    return count_examples(material.test, read_predictions(predictions, material.test), material.rule.names)


def _recorded_counts(cell: RecordedCell, gold: Sequence[Example] | None) -> Sequence[ExampleCounts]:
    """Return the recorded counts of a result; `gold` fills in products and attributes that they may lack."""
    counted = cell.counts()
    if gold is None or columns_of(counted).by_attribute:
        return counted
    if [one.id for one in counted] != [example.id for example in gold]:
        raise AvebenchError(f"{cell.counts_file} holds other examples than the data. Record it again.")
    return [
        replace(one, product=product_of(example), attributes=attribute_counts(example, prediction))
        for one, example, prediction in zip(counted, gold, cell.predictions(gold), strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Recorded rows, without training anything


def recorded_rows(
    folder: Path, rows: Sequence[Row], recorded: Sequence[Recorded], repetitions: int | None, data: Path | None
) -> Finished:
    """Return rows as `recorded` in a folder of `results/`: their first `repetitions`, by default all of them.

    The data is used if it is at hand and unchanged. AvebenchError if a row, or a repetition, is not recorded.
    """
    results: list[list[tuple[Result, RecordedCell]]] = []
    for row, cells in zip(rows, recorded, strict=True):
        wanted = sorted(cells) if repetitions is None else list(range(repetitions))
        missing = [str(number) for number in wanted if number not in cells]
        if missing or not wanted:
            known = f"Recorded repetitions: {', '.join(map(str, sorted(cells)))}" if cells else "No repetition is"
            raise AvebenchError(f"{row.label} is not recorded in {folder} as asked for. {known}.")
        results.append([(cells[number].result(), cells[number]) for number in wanted])
    gold, notes = _gold_of([result for found in results for result, _ in found], data)
    systems = []
    for row, found in zip(rows, results, strict=True):
        counts = []
        for result, cell in found:
            counts.append(_recorded_counts(cell, gold))
            check_totals(result, counts[-1], row.label)
        systems.append(System(row.label, row.protocol, tuple(result for result, _ in found), tuple(counts)))
    predictions = tuple(found[0][1].predictions for found in results)
    notes = [f"Recorded results of {folder}.", *notes]
    return Finished(tuple(systems), predictions, gold, results[0][0][0].shown_dataset, "", tuple(notes))


def _gold_of(results: Sequence[Result], data: Path | None) -> tuple[list[Example] | None, list[str]]:
    """Return the test examples that all the results are of, None with a note if they are not at hand as they were."""
    first = results[0]
    without = "examples without a recorded product count as products of their own"
    try:
        dataset = open_dataset(first.dataset, data, first.dataset_options)
    except AvebenchError:
        if data is not None:
            raise
        return None, [f"The data set {first.dataset} is not here: no texts, and {without}."]
    if any(result.fingerprint != dataset.fingerprint() for result in results):
        return None, [f"The data set {first.dataset} here is another than was recorded: no texts, and {without}."]
    return only(list(dataset.read(first.split)), first.held_out_attributes), []
