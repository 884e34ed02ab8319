"""What a finished experiment shows: pure functions of its plans, the stored results and the prediction files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avebench.analysis.attention.chosen_examples import (
    AttentionExamples,
    choose,
    example_lines,
    examples_table,
)
from avebench.analysis.data_statistics import counted_statistics, published_statistics_table
from avebench.analysis.fractions import fraction_figure, fraction_table
from avebench.analysis.range_cost.jobs import Costs
from avebench.analysis.range_cost.measuring import measure_costs
from avebench.analysis.range_cost.tables import cost_figure, cost_table
from avebench.analysis.sweep import Swepts, sweep, sweep_figure, sweep_table, swept_families
from avebench.contracts.examples import Example, Prediction
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.files.atomic import write_atomically
from avebench.planning.experiment import Experiment
from avebench.planning.plan import Plan, make_plans
from avebench.planning.request import Request
from avebench.running.devices import check_device
from avebench.running.experiment_run import Execution, ExperimentRun, prepare, run_experiment
from avebench.running.material import TEST
from avebench.store.results import Result, Store
from avebench.tables.figures import Figure, draw
from avebench.tables.result_tables import result_table
from avebench.tables.table import Table


@dataclass(frozen=True, slots=True)
class ExperimentOutput:
    """Tables, the first of which is the experiment's own; figures by name; and lines for a terminal alone.

    `attention` holds the examples whose attention is drawn, by `avebench.analysis.attention.figure`.
    """

    tables: Sequence[Table]
    figures: Mapping[str, Figure] = field(default_factory=dict)
    lines: Sequence[str] = ()
    attention: AttentionExamples | None = None


def experiment_output(done: ExperimentRun) -> ExperimentOutput:
    """Return what an experiment shows: a row without a result says what stands in its way."""
    plans, plan, store, results, failed = done.plans, done.plan, done.store, done.results, done.failures
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
        return _attention(plan, store, results, plain)
    return ExperimentOutput([plain])


def cost_output(experiment: Experiment, costs: Costs) -> ExperimentOutput:
    """Return what an experiment shows that measures costs."""
    figures = {"figure": cost_figure(experiment, costs.jobs, costs.found)}
    return ExperimentOutput([cost_table(experiment, costs.jobs, costs.found)], figures)


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


def _attention(plan: Plan, store: Store, results: Mapping[str, Result], plain: Table) -> ExperimentOutput:
    """Return the ordinary table of the two rows, and the examples that are chosen from their first repetition."""
    rows = [planned for planned in plan.rows if not planned.row.reference]
    attention = plan.experiment.attention
    if attention is None or len(rows) != 2 or any(not p.cells or p.cells[0].key not in results for p in rows):
        return ExperimentOutput([plain])
    gold = _test(plan)
    predictions: list[list[Prediction]] = [read_predictions(store.folder(p.cells[0].key) / TEST, gold) for p in rows]
    labels = (rows[0].row.label, rows[1].row.label)
    shown = choose(gold, predictions, labels, attention)
    chosen = AttentionExamples(labels, (rows[0].cells[0], rows[1].cells[0]), shown)
    tables = [plain, examples_table(plan, labels, shown)]
    return ExperimentOutput(tables, lines=list(example_lines(labels, shown)), attention=chosen)


def write_figures(output: ExperimentOutput, folder: Path, name: str) -> list[Path]:
    """Draw the figures of an experiment's output as PNG files into a folder; return their paths."""
    paths = []
    for figure_name, figure in output.figures.items():
        path = folder / f"{name}{'' if figure_name == 'figure' else '-' + figure_name}.png"
        write_atomically(path, draw(figure))
        paths.append(path)
    return paths


def experiment_tables(request: Request, execution: Execution) -> tuple[ExperimentRun, Sequence[Table]]:
    """Run an experiment for a program, which draws and records nothing; return the run and the tables of its output."""
    check_device(execution.device)
    plans = make_plans(request)
    prepare([plans], Store(request.out), fresh=request.fresh)
    done, output, _ = finish_experiment(plans, request, execution)
    return done, output.tables


def finish_experiment(
    plans: Sequence[Plan], request: Request, execution: Execution
) -> tuple[ExperimentRun, ExperimentOutput, Costs | None]:
    """Train and measure what an experiment lacks; return the run, what it shows, and the costs of one that has some."""
    done = run_experiment(plans, Store(request.out), execution)
    if done.experiment.cost is None:
        return done, experiment_output(done), None
    costs = measure_costs(done.experiment, request, execution.device)
    return done, cost_output(done.experiment, costs), costs
