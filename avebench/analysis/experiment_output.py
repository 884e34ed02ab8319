"""What a finished experiment shows: pure functions of its plans, the stored results and the prediction files."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

from avebench.analysis.attention.chosen_examples import Showcase, choose, showcase_lines, showcase_table
from avebench.analysis.data_statistics import counted_statistics, published_statistics_table
from avebench.analysis.fractions import fraction_figure, fraction_table
from avebench.analysis.sweep import Swepts, sweep, sweep_figure, sweep_table, swept_families
from avebench.contracts.examples import Example, Prediction
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.planning.plan import Plan
from avebench.running.worker import TEST
from avebench.store.results import Result, Store
from avebench.tables.figures import Figure
from avebench.tables.render import Table
from avebench.tables.result_tables import result_table


@dataclass(frozen=True, slots=True)
class ExperimentOutput:
    """Tables, the first of which is the experiment's own; figures by name; and lines for a terminal alone.

    `showcase` holds the examples whose attention is drawn, by `avebench.analysis.attention.figure`.
    """

    tables: Sequence[Table]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    lines: Sequence[str] = ()
    showcase: Showcase | None = None


def experiment_output(
    plans: Sequence[Plan], store: Store, results: Mapping[str, Result], failed: Container[str]
) -> ExperimentOutput:
    """Return what an experiment shows; `plans` are all of its plans, `failed` holds the keys of cells that failed.

    A row without a result says what stands in its way, whatever is made of the others.
    """
    plan = plans[-1]
    kind = plan.experiment.kind
    if kind == "statistics":
        return ExperimentOutput([published_statistics_table(plan, counted_statistics(plan))])
    plain = result_table(plan, results, failed)
    if kind == "sweep":
        swept = _swept(plan, store, results)
        figures = {"figure": sweep_figure(plan, swept)} if swept else {}
        return ExperimentOutput([sweep_table(plan, swept, plain, failed)], figures)
    if kind == "fractions":
        figures = {"figure": fraction_figure(plans, results)} if results else {}
        return ExperimentOutput([fraction_table(plans, results, plain, failed)], figures)
    if kind == "attention":
        return _showcase(plan, store, results, plain)
    return ExperimentOutput([plain])


def _test(plan: Plan) -> list[Example]:
    return list(open_dataset(plan.data.name, plan.data.folder, dict(plan.data.options)).read("test"))


def _swept(plan: Plan, store: Store, results: Mapping[str, Result]) -> dict[str, Swepts]:
    """Return label -> per repetition the sweep of a row, for the rows that have a result."""
    gold = _test(plan)
    families = swept_families(plan.experiment.metrics)
    found: dict[str, Swepts] = {}
    for planned in plan.rows:
        keys = [cell.key for cell in planned.cells if cell.key in results]
        if keys:
            files = [read_predictions(store.folder(key) / TEST, gold) for key in keys]
            found[planned.row.label] = [sweep(gold, one, plan.experiment.thresholds, families) for one in files]
    return found


def _showcase(plan: Plan, store: Store, results: Mapping[str, Result], plain: Table) -> ExperimentOutput:
    """Return the ordinary table of the two rows, and the examples that are chosen from their first repetition."""
    rows = [planned for planned in plan.rows if not planned.row.reference]
    attention = plan.experiment.attention
    if attention is None or len(rows) != 2 or any(not p.cells or p.cells[0].key not in results for p in rows):
        return ExperimentOutput([plain])
    gold = _test(plan)
    predictions: list[list[Prediction]] = [read_predictions(store.folder(p.cells[0].key) / TEST, gold) for p in rows]
    labels = (rows[0].row.label, rows[1].row.label)
    shown = choose(gold, predictions, labels, attention)
    showcase = Showcase(labels, (rows[0].cells[0], rows[1].cells[0]), shown)
    tables = [plain, showcase_table(plan, labels, shown)]
    return ExperimentOutput(tables, lines=list(showcase_lines(labels, shown)), showcase=showcase)
