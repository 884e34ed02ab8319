"""What stored predictions show beyond the figures of a result: counts of single examples, mistakes, thresholds.

A cell is read once, whatever number of tables it stands in. Texts come from the data set where it is at hand as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avebench.analysis.comparison.comparability import check_totals
from avebench.analysis.comparison.contrasts import metric_intervals
from avebench.analysis.sweep import Known, Swept, swept_families
from avebench.contracts.examples import Example, Prediction
from avebench.contracts.held_out import only
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.files.errors import AvebenchError
from avebench.report.mistakes import Mistakes, count_mistakes
from avebench.report.stored_cells import StoredCell
from avebench.report.thresholds import sweep_cell
from avebench.store.examplecounts import ExampleCounts, columns_of, count_examples
from avebench.store.recorded_columns import ValuesLeftOutError
from avebench.store.results import Result

Interval = tuple[float, float]
"""Lower and upper bound in %."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cell's predictions show; None where that cannot be known, for which `gaps` give the reasons."""

    counts: Sequence[ExampleCounts] | None = None
    mistakes: Mistakes | None = None
    sweep: Sequence[Swept] | None = None
    gaps: tuple[str, ...] = ()


class Examiner:
    """Reads the predictions of cells against the examples of their data sets.

    `data` is a folder that is tried where a data set is not under `$AVEBENCH_DATA` as it was when the cell was run.
    Thresholds are swept for the `metrics`, and for those of spans and attributes.
    """

    def __init__(self, data: Path | None, metrics: Iterable[str] = ()) -> None:
        self._data = data
        self._families = swept_families(metrics)
        self._gold: dict[tuple[str, str, str, tuple[str, ...]], list[Example] | str] = {}
        self._known: dict[str, Evidence] = {}
        self._swept: dict[int, Known] = {}
        self._intervals: dict[tuple[str, ...], dict[str, Interval]] = {}

    def evidence(self, cell: StoredCell) -> Evidence:
        """Return what the predictions of a cell show."""
        if cell.result.key not in self._known:
            self._known[cell.result.key] = self._examine(cell)
        return self._known[cell.result.key]

    def intervals(self, cells: Sequence[StoredCell], metrics: Sequence[str]) -> dict[str, Interval]:
        """Return the interval of each metric that all repetitions of a row have; empty if counts are not known."""
        counts = [found for cell in cells if (found := self.evidence(cell).counts) is not None]
        shared = [metric for metric in metrics if all(metric in cell.result.scores.metrics for cell in cells)]
        if len(counts) < len(cells) or not shared:
            return {}
        place = (*(cell.result.key for cell in cells), *shared)
        if place not in self._intervals:
            self._intervals[place] = metric_intervals(counts, shared)
        return self._intervals[place]

    def gold(self, result: Result) -> list[Example] | str:
        """Return the examples that a result is of, or why they are not at hand."""
        place = (result.dataset, result.fingerprint, result.split, result.held_out_attributes)
        if place not in self._gold:
            self._gold[place] = self._read_gold(result)
        return self._gold[place]

    def _read_gold(self, result: Result) -> list[Example] | str:
        reason = ""
        for folder in dict.fromkeys((None, self._data)):
            try:
                dataset = open_dataset(result.dataset, folder, result.dataset_options)
                if dataset.fingerprint() == result.fingerprint:
                    return only(list(dataset.read(result.split)), result.held_out_attributes)
                reason = f"The data set {result.dataset} here is another than the one that was measured on."
            except AvebenchError as error:
                # What --data names may be the folder of another data set.
                reason = reason or str(error)
        return reason

    def _examine(self, cell: StoredCell) -> Evidence:
        gold = self.gold(cell.result)
        without = "Without it there are no texts, mistakes and thresholds, and intervals only from recorded counts."
        if isinstance(gold, str):
            return _from_counts(cell, f"{gold} {without}")
        if not cell.predictions.is_file():
            return _from_counts(cell, f"The prediction file {cell.predictions} is missing. {without}")
        try:
            if cell.recorded is None:
                predictions = read_predictions(cell.predictions, gold)
            else:
                predictions = cell.recorded.predictions(gold)
            counts = _counts(cell, gold, predictions)
            check_totals(cell.result, counts, cell.result.row)
            known = self._swept.setdefault(id(gold), {})
            return Evidence(
                counts, count_mistakes(gold, predictions), sweep_cell(gold, predictions, self._families, known)
            )
        except ValuesLeftOutError as error:
            return _from_counts(cell, str(error))
        except AvebenchError as error:
            return Evidence(gaps=(str(error),))


def _counts(cell: StoredCell, gold: Sequence[Example], predictions: Sequence[Prediction]) -> Sequence[ExampleCounts]:
    """Return the counts of the whole test: as recorded, where products and ids are the data's, or counted."""
    if cell.recorded is not None and cell.recorded.counts_file.is_file():
        recorded = cell.recorded.counts()
        columns = columns_of(recorded)
        if columns.by_attribute and columns.ids == [one.id for one in gold]:
            return recorded
    return [replace(one, attributes=None) for one in count_examples(gold, predictions, lambda _: ())]


def _from_counts(cell: StoredCell, gap: str) -> Evidence:
    """Return what the recorded counts alone show."""
    if cell.recorded is None or not cell.recorded.counts_file.is_file():
        return Evidence(gaps=(gap,))
    try:
        counts = cell.recorded.counts()
        check_totals(cell.result, counts, cell.result.row)
        return Evidence(counts, gaps=(gap,))
    except AvebenchError as error:
        return Evidence(gaps=(gap, str(error)))
