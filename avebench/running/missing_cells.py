"""Cells and their results: what has none is run, what is stored is read. Nothing heavy is imported if all are there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avebench.nn.completions.contract import DEFAULT_MEANS, Means
from avebench.planning.cells import Cell
from avebench.scoring.metrics import SCORER_VERSION, later_metrics
from avebench.store.results import Result, Store

if TYPE_CHECKING:
    from avebench.running.runner import Failure


def run_missing(
    cells: Sequence[Cell],
    experiment: str,
    store: Store,
    device: str,
    jobs: int | None,
    debug: bool,
    means: Means = DEFAULT_MEANS,
) -> dict[str, Failure]:
    """Train and score the cells without a result; return the failures by key."""
    pending = [cell for cell in cells if not store.finished(cell.key)]
    if not pending:
        return {}
    from avebench.running.progress import Display
    from avebench.running.runner import run_cells

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
            means=means,
        )


def stored_results(cells: Sequence[Cell], store: Store, metrics: Sequence[str] = ()) -> dict[str, Result]:
    """Return the results of the finished cells; nothing is retrained.

    Those of an older scorer are scored again, and those without one of the `metrics` that came later.
    """
    results = {}
    for cell in cells:
        if not store.finished(cell.key):
            continue
        result = store.load(cell.key)
        later = later_metrics(result.annotation).intersection(metrics) - result.scores.metrics.keys()
        if result.scorer_version != SCORER_VERSION or later:
            from avebench.running.cell_run import rescore

            with store.lock(cell.key):
                result = rescore(result, cell, store)
        results[cell.key] = result
    return results
