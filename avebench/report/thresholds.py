"""Precision and recall over the threshold tau on the range scores, from stored candidates; nothing is decoded again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from avebench.analysis.sweep import Known, Swept, Swepts, sweep
from avebench.contracts.examples import Example, Prediction
from avebench.planning.plan import Plan
from avebench.scoring.families import Family
from avebench.store.results import Result
from avebench.tables.result_tables import HEADINGS, measured_rows, summary_of
from avebench.tables.table import MEASURED, Cell, Column, Section, Table, TableRow

TAUS = tuple(number / 20 for number in range(1, 20))
"""0.05 to 0.95; below 0.05 no candidates are stored."""


def sweep_cell(
    gold: Sequence[Example],
    predictions: Sequence[Prediction],
    families: Collection[Family] | None = None,
    known: Known | None = None,
) -> list[Swept] | None:
    """Return what each of `TAUS` gives; None if a prediction has no candidates: its system has no range to sweep.

    `known` is what other cells on the same examples were found to give: see `analysis.sweep.sweep`.
    """
    if any(prediction.candidates is None for prediction in predictions):
        return None
    return sweep(gold, predictions, TAUS, families, known)


def threshold_tables(plan: Plan, results: Mapping[str, Result], sweeps: Mapping[str, Swepts]) -> list[Table]:
    """Return F1 of spans and of attributes by threshold; `sweeps` holds a sweep per repetition by label."""
    shown = [(planned, found) for planned, found in measured_rows(plan, results) if planned.row.label in sweeps]
    used = sorted({f"{cell.config.get('range_threshold')}" for planned, _ in shown for cell in planned.cells})
    tables = []
    for metric in ("tag_f1", "cls_f1"):
        rows = []
        for place, tau in enumerate(TAUS):
            cells: list[Cell] = [
                summary_of(found, (one[place].value(metric) for one in sweeps[planned.row.label]))
                for planned, found in shown
            ]
            rows.append(TableRow(f"{tau:.2f}", cells))
        tables.append(
            Table(
                f"{plan.experiment.title}: {HEADINGS[metric]} by threshold",
                [Column(planned.row.label, planned.row.label, MEASURED) for planned, _ in shown],
                [Section(rows)],
                notes=[
                    "An attribute is selected if its range score is above tau. From stored candidates, nothing is "
                    f"decoded again. The rows were run at tau {', '.join(used)}."
                ],
                label_heading="tau",
            )
        )
    return tables
