"""Finished rows with the counts of every test example: from the output folder, or as recorded under `results/`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from avebench.analysis.comparison.comparability import check_totals
from avebench.analysis.comparison.contrasts import System
from avebench.analysis.recording import recorded_folder, slug
from avebench.contracts.examples import Example, product_of
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.files.errors import AvebenchError
from avebench.planning.cells import cell_name
from avebench.planning.experiment import Row
from avebench.planning.plan import Plan
from avebench.planning.requested import note_requested
from avebench.running.cell_run import TEST
from avebench.running.material import Material, read_material
from avebench.running.missing_cells import run_missing, stored_results
from avebench.scoring.metrics import SCORER_VERSION
from avebench.store.examplecounts import ExampleCounts, attribute_counts, count_example, read_counts
from avebench.store.results import Result, Store, load_result

PredictionFiles = tuple[tuple[Path, ...], ...]
"""Per system and repetition the file of its predictions on test."""


class CellsFailedError(Exception):
    """A row could not be trained, so there is nothing to compare; the messages are printed already."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Finished:
    """Systems ready to be compared; `gold` is None where the data is not at hand, and `notes` say what that means."""

    systems: tuple[System, ...]
    predictions: PredictionFiles
    gold: Sequence[Example] | None
    dataset: str
    banner: str
    notes: tuple[str, ...]


def recorded_files(folder: Path, label: str) -> dict[int, Path]:
    """Return repetition -> result file of a row under a folder of `results/`; empty if none is recorded."""
    return {int(path.stem): path for path in sorted((folder / slug(label)).glob("*.json")) if path.stem.isdigit()}


# ---------------------------------------------------------------------------------------------------------------------
# Rows of a plan: finished, recorded with the same key, or trained now


def finish_rows(
    plan: Plan, store: Store, labels: Sequence[str], *, device: str, jobs: int | None, debug: bool
) -> Finished:
    """Return the named rows of a plan, after training what is neither in the output folder nor recorded.

    CellsFailedError if a cell fails.
    """
    recorded = _recorded_by_key(plan)
    missing = [cell for cell in plan.cells() if not store.finished(cell.key) and cell.key not in recorded]
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
    material = _material(plan)
    systems, predictions = [], []
    cells = {planned.row.label: planned.cells for planned in plan.rows}
    for label in labels:
        found, counts, files = [], [], []
        for cell in cells[label]:
            if cell.key in results:
                result, files_of = results[cell.key], store.folder(cell.key) / TEST
                counted = _counted(material(cell.repetition), files_of)
            else:
                result, path = recorded[cell.key]
                files_of = path.with_suffix(".predictions.jsonl.gz")
                counted = _recorded_counts(path, material(cell.repetition).test)
            check_totals(result, counted, label)
            # A result that another row or profile has run first is the same cell: what was asked for now counts.
            found.append(result.model_copy(update={"profile": cell.profile}))
            counts.append(counted)
            files.append(files_of)
        systems.append(System(label, cells[label][0].protocol, tuple(found), tuple(counts)))
        predictions.append(tuple(files))
    return Finished(tuple(systems), tuple(predictions), material(0).test, plan.data.shown, plan.banner, ())


def _recorded_by_key(plan: Plan) -> dict[str, tuple[Result, Path]]:
    """Return cell key -> recorded result of the cells of a plan that any table has recorded with these metrics."""
    wanted = {cell.key for cell in plan.cells()}
    folder = recorded_folder("*", plan.data.name, plan.train_fraction)
    found = {}
    for path in sorted(Path().glob(f"{folder}/*/*.json")):
        if path.stem.isdigit() and any(key in path.read_text(encoding="utf-8") for key in wanted):
            result = load_result(path)
            if result.key in wanted and result.scorer_version == SCORER_VERSION:
                found[result.key] = (result, path)
    return found


def _material(plan: Plan) -> Callable[[int], Material]:
    """Return a function from repetition to the examples, which are read once where repetitions share them."""
    dataset = open_dataset(plan.data.name, plan.data.folder, dict(plan.data.options))
    read = cache(lambda repetition: read_material(dataset, plan.train_fraction, repetition))
    return lambda repetition: read(repetition if plan.train_fraction < 1 else 0)


def _counted(material: Material, predictions: Path) -> list[ExampleCounts]:
    found = read_predictions(predictions, material.test)
    return [
        count_example(gold, prediction, material.rule.names(gold))
        for gold, prediction in zip(material.test, found, strict=True)
    ]


def _recorded_counts(path: Path, gold: Sequence[Example] | None) -> list[ExampleCounts]:
    """Return the counts recorded beside a result; `gold` fills in products and attributes that the file lacks."""
    counted = read_counts(path.with_suffix(".counts.jsonl.gz"))
    if gold is None or all(one.attributes is not None for one in counted):
        return counted
    if [one.id for one in counted] != [example.id for example in gold]:
        raise AvebenchError(
            f"{path.with_suffix('.counts.jsonl.gz')} holds other examples than the data. Record it again."
        )
    predictions = read_predictions(path.with_suffix(".predictions.jsonl.gz"), gold)
    return [
        replace(one, product=product_of(example), attributes=attribute_counts(example, prediction))
        for one, example, prediction in zip(counted, gold, predictions, strict=True)
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Recorded rows, without training anything


def recorded_rows(folder: Path, rows: Sequence[Row], repetitions: int | None, data: Path | None) -> Finished:
    """Return rows as recorded in a folder of `results/`: their first `repetitions`, by default all of them.

    The data is used if it is at hand and unchanged. AvebenchError if a row, or a repetition, is not recorded.
    """
    results: list[list[tuple[Result, Path]]] = []
    for row in rows:
        files = recorded_files(folder, row.label)
        wanted = sorted(files) if repetitions is None else list(range(repetitions))
        missing = [str(number) for number in wanted if number not in files]
        if missing or not wanted:
            known = f"Recorded repetitions: {', '.join(map(str, sorted(files)))}" if files else "No repetition is"
            raise AvebenchError(f"{row.label} is not recorded in {folder} as asked for. {known}.")
        results.append([(load_result(files[number]), files[number]) for number in wanted])
    gold, notes = _gold_of([result for found in results for result, _ in found], data)
    systems = []
    for row, found in zip(rows, results, strict=True):
        counts = []
        for result, path in found:
            counts.append(_recorded_counts(path, gold))
            check_totals(result, counts[-1], row.label)
        systems.append(System(row.label, row.protocol, tuple(result for result, _ in found), tuple(counts)))
    predictions = tuple(tuple(path.with_suffix(".predictions.jsonl.gz") for _, path in found) for found in results)
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
    return list(dataset.read(first.split)), []
