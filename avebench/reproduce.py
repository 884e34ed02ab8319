"""The command `run` from plan to printed table: train what is missing, score, show, record, track."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avebench.cells import Cell, cell_name, sha256
from avebench.experiment import experiment_names
from avebench.metrics import SCORER_VERSION
from avebench.plan import Plan, Request, estimated_seconds, make_plan, status
from avebench.recording import record_results
from avebench.render import Table, emit, render
from avebench.results import Result, Store
from avebench.tables import check_invariants, plan_table, result_table, slice_table
from avebench.tracking import RunRecord, log, tracking_uri

if TYPE_CHECKING:
    from avebench.runner import Failure


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
    """Run one experiment, or every packaged one for `all`; return the exit code."""
    names = experiment_names() if request.experiment == "all" else [request.experiment]
    plans = [make_plan(replace(request, experiment=name)) for name in names]
    store = Store(request.out)
    if dry_run:
        for plan in plans:
            _show_plan(plan, store, format)
        return 0
    if track:
        tracking_uri()
    store.prepare()
    code = 0
    for plan in plans:
        if request.fresh:
            _forget(plan.cells(), store)
        failures = run_missing(plan.cells(), plan.name, store, device, jobs, debug)
        results = stored_results(plan.cells(), store)
        check_invariants(list(results.values()))
        table = result_table(plan, results, failures)
        emit(table, format)
        if slices:
            emit(slice_table(plan, results), format)
        for failure in dict.fromkeys(failures.values()):
            names = [cell_name(cell) for cell in plan.cells() if failures.get(cell.key) == failure]
            print(f"{', '.join(names)} failed: {failure.message}", file=sys.stderr)
        if record:
            record_results(plan, store, results, table)
        if track:
            _track(plan, store, results, table)
        code = max([code, *(2 if failure.unusable else 1 for failure in failures.values())])
    return code


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


def _track(plan: Plan, store: Store, results: Mapping[str, Result], table: Table) -> None:
    """Give MLflow the results that it has not been given for this table; it is imported only if there are any."""
    given = {key: store.folder(key) / f"tracked-{plan.name}" for key in results}
    if all(marker.is_file() for marker in given.values()):
        return
    records = [run_record(plan, cell, results[cell.key], store) for cell in plan.cells() if cell.key in results]
    tables = {"table.md": render(table, "md"), "table.json": render(table, "json"), "table.csv": render(table, "csv")}
    log(records, tables, out=store.out)
    # What MLflow did not take waits in the folder of pending uploads: it has been handed over all the same.
    for marker in given.values():
        marker.touch()


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
    return RunRecord(
        experiment=plan.name,
        dataset=plan.data.name if plan.train_fraction == 1 else f"{plan.data.name}-{plan.train_fraction:g}",
        fingerprint=result.fingerprint,
        row=cell.row,
        group=sha256(group),
        repetition=cell.repetition,
        key=cell.key,
        parameters={"model": result.model, **flattened(result.config)},
        metrics={**metrics, "seconds": sum(result.seconds.values()), "parameters": float(result.parameters)},
        history=result.history,
        tags={name: value for name, value in tags.items() if value},
        artifacts=[folder / name for name in ("config.json", "result.json", "predictions.jsonl.gz")],
        started=round(1000 * result.started),
        ended=round(1000 * result.finished),
    )


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested config as dotted name -> text."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
