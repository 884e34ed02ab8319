"""A sweep of the range threshold over stored predictions: nothing is trained or decoded again (journal Figure 6).

A system with a range module keeps, for every attribute that scores at least 0.05, the score and the values decoded for
it (`Prediction.candidates`). Whatever the threshold, an attribute is selected if it scores above it, and its values do
not depend on which others are selected: so cutting the candidates is the same as decoding again.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avebench.analysis.comparison.contrasts import headline
from avebench.contracts.examples import Example, Prediction, Span, pairs_from_spans
from avebench.files.errors import AvebenchError
from avebench.planning.experiment import Experiment
from avebench.planning.plan import Plan, PlannedRow
from avebench.planning.published import published_of
from avebench.scoring.counts import cls_counts, example_counts, tag_counts
from avebench.scoring.families import Counts, Family
from avebench.scoring.metrics import METRICS
from avebench.scoring.queried import QUERIED, unspoken
from avebench.tables.figures import Figure, Line, Panel
from avebench.tables.result_tables import HEADINGS, PUBLISHED, empty_cells, summary
from avebench.tables.table import MEASURED, Cell, Column, Section, Table, TableRow


def cut(example: Example, prediction: Prediction, threshold: float) -> Prediction:
    """Return what the system predicts of an example with this threshold; AvebenchError if it left no candidates."""
    if prediction.candidates is None:
        raise AvebenchError(f"The prediction of '{prediction.id}' has no candidates: its system has no range module.")
    kept = [candidate for candidate in prediction.candidates if candidate[1] > threshold]
    spans = tuple(span for _, _, found in kept for span in found)
    attributes = {name: score for name, score, _ in kept}
    return Prediction(prediction.id, attributes, pairs_from_spans(example.text, spans), spans)


@dataclass(slots=True)
class Swept:
    """What one threshold gives on a set of examples: counts per family, and the number of selected attributes."""

    counts: dict[Family, Counts]
    selected: int = 0
    examples: int = 0

    def value(self, metric: str) -> float | None:
        """Return a metric in %, None if it cannot be counted."""
        family, ratio = METRICS[metric]
        return getattr(self.counts[family], ratio) if family in self.counts else None

    @property
    def mean_selected_range(self) -> float:
        """Return the mean number of selected attributes, N_m of the journal."""
        return self.selected / self.examples if self.examples else 0.0


def sweep(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    thresholds: Sequence[float],
    families: Collection[Family] | None = None,
    known: Known | None = None,
) -> list[Swept]:
    """Return the counts of families, by default all, at each threshold; AvebenchError without candidates.

    `known` takes up what was counted: systems mostly say the same of an example. It is of one list of examples and
    of these families.
    """
    import numpy as np

    known = {} if known is None else known
    left_out = unspoken(gold) | (frozenset() if families is None else QUERIED.difference(families))
    # A higher threshold selects fewer attributes, so that thresholds with equal numbers of them select the same ones.
    order = sorted(range(len(thresholds)), key=lambda place: thresholds[place])
    ascending = [thresholds[place] for place in order]
    totals: dict[Family, Any] = {}
    selected = np.zeros(len(order), np.int64)
    for example, prediction in zip(gold, predictions, strict=True):
        scores = sorted(score for _, score, _ in prediction.candidates or ())
        numbers = [len(scores) - bisect_right(scores, threshold) for threshold in ascending]
        selected += numbers
        start = 0
        for _, same in itertools.groupby(numbers):
            end = start + sum(1 for _ in same)
            for family, counts in _counted(example, prediction, ascending[start], families, left_out, known):
                if family not in totals:
                    totals[family] = np.zeros((len(order), 3), np.int64)
                totals[family][start:end] += counts
            start = end
    found = [Swept({}) for _ in thresholds]
    for line, place in enumerate(order):
        summed = {family: Counts(*map(int, table[line])) for family, table in totals.items()}
        found[place] = Swept(summed, int(selected[line]), len(gold))
    return found


Known = dict[tuple[str, tuple[tuple[str, tuple[Span, ...]], ...]], list[tuple[Family, tuple[int, int, int]]]]
"""(id of an example, its selected candidates without their scores) -> its counts."""


def _counted(
    example: Example,
    prediction: Prediction,
    threshold: float,
    families: Collection[Family] | None,
    left_out: Collection[Family],
    known: Known,
) -> list[tuple[Family, tuple[int, int, int]]]:
    """Return the counts of an example at a threshold."""
    kept = tuple([(name, spans) for name, score, spans in prediction.candidates or () if score > threshold])
    if prediction.candidates is None or (example.id, kept) not in known:
        counted: Mapping[Any, Counts | None]
        if prediction.candidates is not None and families is not None and set(families) <= {"tag", "cls"}:
            # Values, which these do not look at, take most of the time.
            spans = tuple([span for _, found in kept for span in found])
            decoded = Prediction(prediction.id, dict.fromkeys([name for name, _ in kept], 1.0), {}, spans)
            counted = {"tag": tag_counts(example, decoded), "cls": cls_counts(example, decoded)}
        else:
            counted = example_counts(example, cut(example, prediction, threshold), unspoken=left_out)
        known[example.id, kept] = [
            (family, (n.tp, n.predicted, n.gold)) for family in families or counted if (n := counted.get(family))
        ]
    return known[example.id, kept]


def swept_families(metrics: Iterable[str]) -> frozenset[Family]:
    """Return the families that a sweep counts to show these metrics, beside spans and attributes."""
    return frozenset({"tag", "cls", *(METRICS[metric][0] for metric in metrics)})


Swepts = Sequence[Sequence[Swept]]
"""Per repetition the sweep of a row."""


def sweep_table(plan: Plan, swept: Mapping[str, Swepts], plain: Table, failed: Container[str]) -> Table:
    """Return the figures by threshold, a section per row of the experiment; `swept` is by label.

    `plain` is the ordinary table of the plan, whose source and notes this one has as well.
    """
    experiment = plan.experiment
    chosen = {one.row.label: _published(one) for one in plan.rows}
    columns = [Column("choice", "choice", PUBLISHED)] if any(chosen.values()) else []
    columns += [Column(name, HEADINGS.get(name, name), MEASURED) for name in experiment.metrics]
    columns.append(Column("selected", "selected", MEASURED))
    sections, notes = [], []
    for planned in plan.rows:
        label = planned.row.label
        if swept.get(label):
            lines = _lines(experiment, swept[label], chosen[label], len(columns))
            notes.append(_best(label, headline(experiment.metrics), experiment.thresholds, swept[label]))
        else:
            missing = empty_cells(planned, failed, len(experiment.metrics) + 1)
            lines = [TableRow(label, [None] * (len(columns) - len(missing)) + missing)]
        sections.append(Section(lines, label))
    notes.append("selected: mean number of attributes in range, N_m of the journal.")
    return Table(
        experiment.title,
        columns,
        sections,
        source=plain.source,
        notes=[*notes, *plain.notes],
        banner=plan.banner,
        label_heading="tau_R",
    )


def _published(planned: PlannedRow) -> dict[float, str]:
    """Return threshold -> what a paper says of it."""
    known = published_of(planned.row)
    figures = {} if known is None else known.figures
    words = {"tau_best": "best", "tau_compared": "compared with"}
    return {figures[name]: word for name, word in words.items() if name in figures}


def _lines(experiment: Experiment, swept: Swepts, chosen: Mapping[float, str], columns: int) -> list[TableRow]:
    """Return one row per threshold, with what a paper says of it in front."""
    published = columns - len(experiment.metrics) - 1
    lines = []
    for place, threshold in enumerate(experiment.thresholds):
        ones = [repetition[place] for repetition in swept]
        cells: list[Cell] = [chosen.get(threshold)] * published
        for metric in experiment.metrics:
            values = [value for one in ones if (value := one.value(metric)) is not None]
            cells.append(summary(values) if values else None)
        cells.append(summary([one.mean_selected_range for one in ones]))
        lines.append(TableRow(f"{threshold:g}", cells))
    return lines


def _mean(swept: Swepts, metric: str) -> list[float]:
    """Return the mean over repetitions of a metric at each threshold."""
    return [sum(one.value(metric) or 0.0 for one in ones) / len(ones) for ones in zip(*swept, strict=True)]


def _best(label: str, metric: str, thresholds: Sequence[float], swept: Swepts) -> str:
    means = _mean(swept, metric)
    best = max(range(len(means)), key=means.__getitem__)
    name = HEADINGS.get(metric, metric)
    return f"{label}: the highest {name} measured is {means[best]:.2f}, at {thresholds[best]:g}."


def sweep_figure(plan: Plan, swept: Mapping[str, Swepts]) -> Figure:
    """Return a panel per row with its metrics against the threshold, and one with the mean range of all rows."""
    thresholds = plan.experiment.thresholds
    panels, ranges = [], []
    for planned in plan.rows:
        label = planned.row.label
        if label not in swept:
            continue
        lines = [
            Line(HEADINGS.get(name, name), list(zip(thresholds, _mean(swept[label], name), strict=True)))
            for name in plan.experiment.metrics
        ]
        marks = [(threshold, f"published: {word}") for threshold, word in _published(planned).items()]
        panels.append(Panel(label, "range threshold tau_R", "%", lines, marks=marks))
        selected = [
            sum(one.mean_selected_range for one in ones) / len(ones) for ones in zip(*swept[label], strict=True)
        ]
        ranges.append(Line(label, list(zip(thresholds, selected, strict=True))))
    panels.append(Panel("Mean number of selected attributes", "range threshold tau_R", "N_m", ranges))
    return Figure(plan.experiment.title, panels, f"Measured on {plan.data.shown}, test.")
