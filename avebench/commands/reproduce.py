"""The command `run` from plan to printed table: train what is missing, score, show, record, track."""

from __future__ import annotations

import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avebench.analysis.attention.figure import Drawn, draw_showcase, drawings_folder
from avebench.analysis.experiment_output import ExperimentOutput, experiment_output
from avebench.analysis.range_cost.jobs import Found, Job, cost_device, cost_jobs, record_costs
from avebench.analysis.range_cost.measuring import measure_all
from avebench.analysis.range_cost.tables import cost_figure, cost_plan_table, cost_table
from avebench.analysis.recording import place, place_name, record_results, record_tables
from avebench.files.atomic import write_atomically
from avebench.files.errors import AvebenchError, DiskFullError
from avebench.files.leftovers import sweep_tree
from avebench.planning.cell_status import estimated_seconds, status
from avebench.planning.cells import Cell, cell_name
from avebench.planning.experiment import Experiment
from avebench.planning.experiment_files import experiment_names
from avebench.planning.plan import Plan, make_plans
from avebench.planning.request import Request
from avebench.planning.requested import note_requested
from avebench.running.devices import check_device
from avebench.running.missing_cells import run_missing, stored_results
from avebench.store.results import Result, Store
from avebench.tables.figures import draw
from avebench.tables.render import emit
from avebench.tables.result_tables import check_invariants, plan_table, result_table, slice_table
from avebench.tracking.place import tracking_uri
from avebench.tracking.run_records import track


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How experiments are run and shown, whatever they are."""

    device: str
    jobs: int | None
    record: bool
    track: bool
    slices: bool
    format: str
    debug: bool


def run_experiments(
    request: Request,
    *,
    device: str,
    jobs: int | None,
    record: bool,
    dry_run: bool,
    track: bool,
    slices: bool,
    format: str,
    debug: bool,
) -> int:
    """Run one experiment, or every packaged one for `all`; return the exit code.

    Of all experiments, those that cannot run on this machine are named at the end with what they lack, and rows whose
    encoders are not here say so in their table; neither fails the run.
    """
    check_device(device)
    store, options = Store(request.out), RunOptions(device, jobs, record, track, slices, format, debug)
    everything = request.experiment == "all"
    planned, refused = _plan_all(request) if everything else ([make_plans(request)], {})
    if not dry_run:
        if track:
            tracking_uri()
        store.prepare()
        if request.fresh:
            # Once and before anything runs: tables share cells.
            _forget([cell for plans in planned for plan in plans for cell in plan.cells()], store)
    code = 0
    for number, plans in enumerate(planned):
        if number:
            _part(format)
        try:
            run = _show_plans if dry_run else _run_experiment
            code = max(code, run(plans, request, store, options))
        except DiskFullError:
            raise  # The others would meet it too.
        except AvebenchError as error:
            if not everything:
                raise
            print(f"{plans[0].name} stopped: {error}", file=sys.stderr)
            code = 2
    for name, reason in refused.items():
        print(f"{name} cannot run here: {reason}", file=sys.stderr)
    return code


def _part(format: str) -> None:
    """Leave a line free between two tables that people read."""
    if format in {"terminal", "md"}:
        print()


def _plan_all(request: Request) -> tuple[list[list[Plan]], dict[str, str]]:
    """Return the plans of every packaged experiment that can run here, and why the others cannot.

    AvebenchError if none can: then it is the request that is at fault.
    """
    planned, refused = [], {}
    for name in experiment_names():
        try:
            planned.append(make_plans(replace(request, experiment=name, forgiving=True)))
        except AvebenchError as error:
            refused[name] = str(error)
    if not planned:
        raise AvebenchError(next(iter(refused.values())))
    return planned, refused


def _run_experiment(plans: Sequence[Plan], request: Request, store: Store, options: RunOptions) -> int:
    """Train and measure what an experiment lacks, show, record and track it; return the exit code."""
    name, experiment = plans[0].name, plans[0].experiment
    cells = [cell for plan in plans for cell in plan.cells()]
    failures = run_missing(cells, name, store, options.device, options.jobs, options.debug)
    results = stored_results(cells, store, experiment.metrics)
    check_invariants(list(results.values()))
    for plan in plans:
        note_requested(plan, results, store)
    jobs, found = _measured_costs(experiment, request, options.device) if experiment.cost is not None else ([], {})
    if jobs:
        figures = {"figure": cost_figure(experiment, jobs, found)}
        shown = ExperimentOutput([cost_table(experiment, jobs, found)], figures)
    else:
        shown = experiment_output(plans, store, results, failures)
    for number, table in enumerate(shown.tables):
        if number:
            _part(options.format)
        emit(table, options.format)
    if options.format == "terminal":
        for line in shown.lines:
            print(line)
    if options.slices:
        for plan in plans:
            emit(slice_table(plan, results), options.format)
    written = write_figures(shown, store.out / "figures", place_name(plans[-1]))
    for path in written:
        print(f"Figure: {path}", file=sys.stderr)
    drawings, anew = [], False
    if shown.showcase is not None:
        folder = drawings_folder(store.out, plans[-1])
        drawn, anew = draw_showcase(shown.showcase, plans[-1], store, results, debug=options.debug)
        drawings = [folder / plate.file for plate in drawn.plates]
        _tell_drawn(drawn, folder)
    for failure in dict.fromkeys(failures.values()):
        names = [cell_name(cell) for cell in cells if failures.get(cell.key) == failure]
        print(f"{', '.join(names)} failed: {failure.message}", file=sys.stderr)
    if options.record:
        _record(plans, store, results, failures, shown)
        if jobs:
            record_costs(jobs, found, place(plans[-1]))
    if options.track:
        for plan in plans:
            track(plan, store, results, shown.tables, written, drawings, anew=anew)
    unmeasured = any(isinstance(one, str) for one in found.values())
    return max([int(unmeasured), *(2 if failure.unusable else 1 for failure in failures.values())])


def _tell_drawn(drawn: Drawn, folder: Path) -> None:
    """Say where the attention is drawn, and what stood in the way."""
    if drawn.plates:
        number = f"{len(drawn.plates)} examples" if len(drawn.plates) > 1 else "one example"
        print(f"Attention over the pictures of {number}: {folder}", file=sys.stderr)
    for line in drawn.said:
        print(line, file=sys.stderr)


def write_figures(shown: ExperimentOutput, folder: Path, name: str) -> list[Path]:
    """Draw the figures of an experiment's output as PNG files into a folder; return their paths."""
    paths = []
    for figure_name, figure in shown.figures.items():
        path = folder / f"{name}{'' if figure_name == 'figure' else '-' + figure_name}.png"
        write_atomically(path, draw(figure))
        paths.append(path)
    return paths


def _measured_costs(experiment: Experiment, request: Request, device: str) -> tuple[list[Job], Found]:
    """Return the measurements of a cost experiment; what is not there is measured."""
    jobs = cost_jobs(experiment, request, cost_device(device))
    return jobs, measure_all(jobs, request.out, fresh=request.fresh)


def _show_plans(plans: Sequence[Plan], request: Request, store: Store, options: RunOptions) -> int:
    """Print what an experiment would do; return the exit code."""
    experiment, format = plans[0].experiment, options.format
    if experiment.cost is not None:
        jobs = cost_jobs(experiment, request, cost_device(options.device))
        emit(cost_plan_table(plans[0].name, jobs, request.out), format)
    elif experiment.statistics is not None:
        print(f"{plans[0].name} counts the statistics of {plans[0].data.name}; it trains nothing.", file=sys.stderr)
    else:
        for plan in plans:
            _show_plan(plan, store, format)
    return 0


def _show_plan(plan: Plan, store: Store, format: str) -> None:
    statuses = {cell.key: status(store, cell) for cell in plan.cells()}
    history = store.results()
    seconds = {cell.key: estimated_seconds(cell, history) for cell in plan.cells()}
    emit(plan_table(plan, statuses, seconds), format)


def _forget(cells: Sequence[Cell], store: Store) -> None:
    for key in {key for cell in cells for key in (cell.key, cell.training_key)}:
        with store.lock(key):
            store.forget(key)


def _record(
    plans: Sequence[Plan], store: Store, results: Mapping[str, Result], failed: Container[str], shown: ExperimentOutput
) -> None:
    """Write the results of all plans, and what the experiment shows, under `results/` in the current folder."""
    for plan in plans:
        sweep_tree(place(plan))
        if plan.rows:
            record_results(plan, store, results, result_table(plan, results, failed))
    record_tables(plans[-1], shown.tables)
    write_figures(shown, place(plans[-1]), "figure")
