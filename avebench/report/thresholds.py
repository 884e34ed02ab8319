"""Precision and recall over the threshold tau on the range scores, from stored candidates; nothing is decoded again.

Attributes are decoded apart from each other, so a candidate adds the same counts at every threshold below its score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avebench.examples import Example, Prediction
from avebench.metrics import Counts, gold_attributes
from avebench.plan import Plan
from avebench.render import MEASURED, Cell, Column, Section, Table, TableRow
from avebench.results import Result
from avebench.tables import HEADINGS, measured_rows, summary_of

TAUS = tuple(number / 20 for number in range(1, 20))
"""0.05 to 0.95; below 0.05 no candidates are stored."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The counts of spans and of attributes at each of `taus`."""

    taus: tuple[float, ...]
    tag: tuple[Counts, ...]
    cls: tuple[Counts, ...]


def sweep(gold: Sequence[Example], predictions: Sequence[Prediction], taus: Sequence[float] = TAUS) -> Sweep | None:
    """Return the counts at each threshold: an attribute is selected if its score is above it.

    None if a prediction has no candidates: its system has no range to sweep.
    """
    tag = [[0, 0] for _ in taus]
    cls = [[0, 0] for _ in taus]
    spans = attributes = 0
    for example, prediction in zip(gold, predictions, strict=True):
        if prediction.candidates is None:
            return None
        wanted_spans, wanted = set(example.spans), gold_attributes(example)
        spans += len(wanted_spans)
        attributes += len(wanted)
        for attribute, score, found in prediction.candidates:
            right = len(wanted_spans & set(found))
            for place, tau in enumerate(taus):
                if score > tau:
                    tag[place][0] += right
                    tag[place][1] += len(set(found))
                    cls[place][0] += attribute in wanted
                    cls[place][1] += 1
    return Sweep(
        tuple(taus),
        tuple(Counts(tp, predicted, spans) for tp, predicted in tag),
        tuple(Counts(tp, predicted, attributes) for tp, predicted in cls),
    )


def threshold_tables(plan: Plan, results: Mapping[str, Result], sweeps: Mapping[str, Sequence[Sweep]]) -> list[Table]:
    """Return F1 of spans and of attributes by threshold; `sweeps` holds a sweep per repetition by label."""
    shown = [(planned, found) for planned, found in measured_rows(plan, results) if planned.row.label in sweeps]
    used = sorted({f"{cell.config.get('range_threshold')}" for planned, _ in shown for cell in planned.cells})
    tables = []
    for kind in ("tag", "cls"):
        rows = []
        for place, tau in enumerate(next(iter(sweeps.values()))[0].taus):
            cells: list[Cell] = [
                summary_of(found, (getattr(one, kind)[place].f1 for one in sweeps[planned.row.label]))
                for planned, found in shown
            ]
            rows.append(TableRow(f"{tau:.2f}", cells))
        tables.append(
            Table(
                f"{plan.experiment.title}: {HEADINGS[f'{kind}_f1']} by threshold",
                [Column(planned.row.label, planned.row.label, MEASURED) for planned, _ in shown],
                [Section(rows)],
                notes=[
                    f"From stored candidates, nothing is decoded again. The rows were run at tau {', '.join(used)}."
                ],
                label_heading="tau",
            )
        )
    return tables
