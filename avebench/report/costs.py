"""What each row costs, beside what it reaches."""

from __future__ import annotations

from collections.abc import Mapping

from avebench.analysis.comparison.contrasts import headline
from avebench.planning.plan import Plan
from avebench.store.costs import MEMORY, PARAMETERS, SECONDS, costs_of, machine_of
from avebench.store.results import Result
from avebench.tables.result_tables import HEADINGS, measured_rows, metric_value, summary_of
from avebench.tables.table import MEASURED, Cell, Column, Section, Table, TableRow

TRAINING = "training (min)"
RANGE, ONE_TAGGER, SELECTED = "N_m", "C_o", "C_m"


def cost_table(plan: Plan, results: Mapping[str, Result]) -> Table:
    """Return quality, trained parameters, time, memory and the sizes of the range of every measured row."""
    metric = headline(plan.experiment.metrics)
    quality = HEADINGS.get(metric, metric)
    rows = []
    for planned, found in measured_rows(plan, results):
        values = {cost.name: cost.values for cost in costs_of(found)}
        cells: list[Cell] = [
            summary_of(found, (metric_value(result, metric) for result in found)),
            summary_of(found, values[PARAMETERS]),
            summary_of(found, (_training_minutes(result) for result in found)),
            summary_of(found, values[SECONDS]),
            summary_of(found, values[MEMORY]) if len(values[MEMORY]) == len(found) else None,
            summary_of(found, (result.scores.mean_selected_range for result in found)),
            summary_of(found, (result.scores.c_o for result in found)),
            summary_of(found, (result.scores.c_m for result in found)),
        ]
        rows.append(TableRow(planned.row.label, cells, protocol=planned.row.protocol))
    columns = [Column(metric, quality, MEASURED)]
    columns += [Column(name, name, MEASURED) for name in (PARAMETERS, TRAINING, SECONDS, MEMORY, RANGE)]
    columns += [Column(name, name, MEASURED, digits=0) for name in (ONE_TAGGER, SELECTED)]
    notes = [
        "Trained parameters; wall time of training and per 1,000 test examples; peak memory in GB (10^9 bytes).",
        "N_m: mean number of attributes selected per sentence. C_o and C_m: outputs of one tagger over all attributes, "
        "and over the selected ones (journal Eq. 1 and 2).",
        "A row that is another's trained system with other pictures at test has no training of its own.",
        f"Measured on {'; '.join(sorted({machine_of(result) for result in results.values()}))}.",
    ]
    return Table(f"{plan.experiment.title}: cost", columns, [Section(rows)], notes=notes)


def _training_minutes(result: Result) -> float | None:
    seconds = result.seconds.get("train")
    return None if seconds is None else seconds / 60
