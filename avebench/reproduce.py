"""The command `run` from plan to printed table: train what is missing, score, show, record, track."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avebench.cells import Cell, cell_name, flattened, sha256
from avebench.costs import MEMORY, SECONDS, costs_of
from avebench.errors import AvebenchError
from avebench.experiment import experiment_names
from avebench.figures import draw
from avebench.metrics import SCORER_VERSION, Counts
from avebench.outcomes.costtables import cost_figure, cost_plan_table, cost_table
from avebench.outcomes.drawn import Drawn, draw_showcase, drawings_folder
from avebench.outcomes.outcome import Outcome, outcome
from avebench.outcomes.rangecost import cost_device, cost_jobs, measure_all
from avebench.plan import Plan, Request, estimated_seconds, make_plans, status
from avebench.recording import place, record_results, record_tables
from avebench.render import Table, emit, render
from avebench.results import Result, SliceCounts, Store
from avebench.slices import CATEGORY
from avebench.tables import check_invariants, plan_table, result_table, slice_table
from avebench.tracking import RunRecord, log, tracking_uri
from avebench.weights import write_atomically

if TYPE_CHECKING:
    from avebench.runner import Failure


@dataclass(frozen=True, slots=True)
class Manner:
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
    store, manner = Store(request.out), Manner(device, jobs, record, track, slices, format, debug)
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
            code = max(code, run(plans, request, store, manner))
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


def _run_experiment(plans: Sequence[Plan], request: Request, store: Store, manner: Manner) -> int:
    """Train and measure what an experiment lacks, show, record and track it; return the exit code."""
    name, experiment = plans[0].name, plans[0].experiment
    cells = [cell for plan in plans for cell in plan.cells()]
    failures = run_missing(cells, name, store, manner.device, manner.jobs, manner.debug)
    results = stored_results(cells, store)
    check_invariants(list(results.values()))
    unmeasured = 0
    if experiment.cost is not None:
        shown, unmeasured = _costs(plans[0], request, manner.device)
    else:
        shown = outcome(plans, store, results, failures)
    for number, table in enumerate(shown.tables):
        if number:
            _part(manner.format)
        emit(table, manner.format)
    if manner.format == "terminal":
        for line in shown.lines:
            print(line)
    if manner.slices:
        for plan in plans:
            emit(slice_table(plan, results), manner.format)
    figures = write_figures(shown, store.out / "figures", f"{name}-{plans[-1].data.name}")
    for path in figures:
        print(f"Figure: {path}", file=sys.stderr)
    drawings, anew = [], False
    if shown.showcase is not None:
        folder = drawings_folder(store.out, plans[-1])
        drawn, anew = draw_showcase(shown.showcase, plans[-1], store, results, debug=manner.debug)
        drawings = [folder / plate.file for plate in drawn.plates]
        _tell_drawn(drawn, folder)
    for failure in dict.fromkeys(failures.values()):
        names = [cell_name(cell) for cell in cells if failures.get(cell.key) == failure]
        print(f"{', '.join(names)} failed: {failure.message}", file=sys.stderr)
    if manner.record:
        _record(plans, store, results, failures, shown)
    if manner.track:
        for plan in plans:
            _track(plan, store, results, shown.tables, drawings, anew=anew)
    return max([min(unmeasured, 1), *(2 if failure.unusable else 1 for failure in failures.values())])


def _tell_drawn(drawn: Drawn, folder: Path) -> None:
    """Say where the attention is drawn, and what stood in the way."""
    if drawn.plates:
        number = f"{len(drawn.plates)} examples" if len(drawn.plates) > 1 else "one example"
        print(f"Attention over the pictures of {number}: {folder}", file=sys.stderr)
    for line in drawn.said:
        print(line, file=sys.stderr)


def write_figures(shown: Outcome, folder: Path, name: str) -> list[Path]:
    """Draw the figures of an outcome as PNG files into a folder; return their paths."""
    paths = []
    for figure_name, figure in shown.figures.items():
        path = folder / f"{name}{'' if figure_name == 'figure' else '-' + figure_name}.png"
        write_atomically(path, draw(figure))
        paths.append(path)
    return paths


def _costs(plan: Plan, request: Request, device: str) -> tuple[Outcome, int]:
    """Measure what a cost experiment lacks; return its table and figure, and how many measurements failed."""
    jobs = cost_jobs(plan.experiment, request, cost_device(device))
    found = measure_all(jobs, request.out, fresh=request.fresh)
    failed = sum(isinstance(measured, str) for measured in found.values())
    return Outcome([cost_table(plan, jobs, found)], {"figure": cost_figure(plan, jobs, found)}), failed


def _show_plans(plans: Sequence[Plan], request: Request, store: Store, manner: Manner) -> int:
    """Print what an experiment would do; return the exit code."""
    experiment, format = plans[0].experiment, manner.format
    if experiment.cost is not None:
        jobs = cost_jobs(experiment, request, cost_device(manner.device))
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


def run_missing(
    cells: Sequence[Cell], experiment: str, store: Store, device: str, jobs: int | None, debug: bool
) -> dict[str, Failure]:
    """Train and score the cells without a result; return the failures by key."""
    pending = [cell for cell in cells if not store.finished(cell.key)]
    if not pending:
        return {}
    from avebench.progress import Display
    from avebench.runner import run_cells

    on_gpu = device.startswith("cuda") or (device == "auto" and Path("/dev/nvidiactl").exists())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with Display(len(pending)) as display:
        return run_cells(
            pending,
            experiment=experiment,
            out=store.out,
            jobs=jobs or (1 if on_gpu else cores),
            device=device,
            debug=debug,
            show=display.show,
        )


def stored_results(cells: Sequence[Cell], store: Store) -> dict[str, Result]:
    """Return the results of the finished cells; those of an older scorer are scored again, nothing is retrained."""
    results = {}
    for cell in cells:
        if not store.finished(cell.key):
            continue
        result = store.load(cell.key)
        if result.scorer_version != SCORER_VERSION:
            from avebench.worker import rescore

            with store.lock(cell.key):
                result = rescore(result, cell, store)
        results[cell.key] = result
    return results


def _record(
    plans: Sequence[Plan], store: Store, results: Mapping[str, Result], failed: Container[str], shown: Outcome
) -> None:
    """Write the results of all plans, and what the experiment shows, under `results/` in the current folder."""
    for plan in plans:
        if plan.rows:
            record_results(plan, store, results, result_table(plan, results, failed))
    record_tables(plans[-1], shown.tables)
    write_figures(shown, place(plans[-1]), "figure")


def _track(
    plan: Plan,
    store: Store,
    results: Mapping[str, Result],
    shown: Sequence[Table],
    drawings: Sequence[Path],
    *,
    anew: bool,
) -> None:
    """Give MLflow the results that it has not been given for this table, or all if there are `anew` drawings.

    It is imported only if there is something to give.
    """
    given = {key: store.folder(key) / f"tracked-{plan.name}" for key in results}
    given = {key: marker for key, marker in given.items() if any(cell.key == key for cell in plan.cells())}
    if not anew and all(marker.is_file() for marker in given.values()):
        return
    records = [run_record(plan, cell, results[cell.key], store) for cell in plan.cells() if cell.key in results]
    log(records, _artifacts(plan, results, shown, drawings), out=store.out)
    # What MLflow did not take waits in the folder of pending uploads: it has been handed over all the same.
    for marker in given.values():
        marker.touch()


SMALL = 2**20
"""Bytes of a drawing from which on MLflow is not given it."""


def _artifacts(
    plan: Plan, results: Mapping[str, Result], shown: Sequence[Table], drawings: Sequence[Path]
) -> dict[str, str | Path]:
    """Return the files that MLflow holds of an experiment, as text or as the file that is uploaded.

    These are its tables first, their breakdown and cost, figures, and small drawings of attention.
    """
    from avebench.report.chapters import result_parts

    files: dict[str, str | Path] = {
        f"table{'' if place == 0 else f'-{place + 1}'}.{format}": render(table, format)
        for place, table in enumerate(shown)
        for format in ("md", "json", "csv")
    }
    for part in result_parts(plan, results):
        # Each part but the learning curves has one table; that of the first is `table`, with what failed.
        for inner in part.tables if part.name != "table" else ():
            files |= {f"{part.name}.{format}": render(inner, format) for format in ("md", "csv")}
        files |= {f"figures/{figure.name}.svg": figure.svg() for figure in part.figures}
    return files | {f"attention/{path.name}": path for path in drawings if path.stat().st_size < SMALL}


def run_record(plan: Plan, cell: Cell, result: Result, store: Store) -> RunRecord:
    """Return what MLflow is told of one result."""
    folder = store.folder(cell.key)
    group = [plan.name, cell.row, cell.model, cell.implementation, dict(cell.config), cell.train_fraction]
    group += [{role: weight["sha256"] for role, weight in cell.weights.items()}, cell.data.fingerprint, cell.protocol]
    group += [] if cell.control is None else [cell.control.model_dump()]
    tags = {
        "revision": result.revision,
        "dirty": str(result.dirty),
        "protocol": result.protocol,
        "profile": result.profile,
        "train_fraction": f"{result.train_fraction:g}",
        "chunk_scheme": result.chunk_scheme,
        "scorer_version": str(result.scorer_version),
        "control": "" if cell.control is None else json.dumps(cell.control.model_dump()),
        "note": plan.banner,
        **{f"version.{name}": version for name, version in result.versions.items()},
        **{f"hardware.{name}": str(value) for name, value in result.hardware.items()},
        **{f"weights.{role}": f"{weight.name} {weight.sha256}" for role, weight in result.weights.items()},
    }
    metrics = {name: metric.value for name, metric in result.scores.metrics.items()}
    if result.scores_extended is not None:
        metrics |= {f"extended_{name}": metric.value for name, metric in result.scores_extended.metrics.items()}
    metrics |= {f"slice.{name}.f1": Counts(one.tp, one.predicted, one.gold).f1 for name, one in _slices(result).items()}
    metrics |= {"seconds": sum(result.seconds.values()), "parameters": float(result.parameters)}
    metrics |= {_COSTS[cost.name]: cost.values[0] for cost in costs_of([result]) if cost.name in _COSTS and cost.values}
    return RunRecord(
        experiment=plan.name,
        dataset=place(plan).name,
        fingerprint=result.fingerprint,
        row=cell.row,
        group=sha256(group),
        repetition=cell.repetition,
        key=cell.key,
        parameters={"model": result.model, **flattened(result.config)},
        metrics=metrics,
        history=result.history,
        tags={name: value for name, value in tags.items() if value},
        artifacts=[folder / name for name in ("config.json", "result.json", "predictions.jsonl.gz")],
        started=round(1000 * result.started),
        ended=round(1000 * result.finished),
    )


_COSTS = {SECONDS: "seconds_per_1000_examples", MEMORY: "peak_memory_gb"}
"""Costs under the names of metrics; parameters are there as a number of their own."""


def _slices(result: Result) -> dict[str, SliceCounts]:
    """Return the counts of the slices that are not categories and hold anything to be found."""
    slices = result.scores.per_slice.items()
    return {name: counts for name, counts in slices if counts.gold and not name.startswith(CATEGORY)}
