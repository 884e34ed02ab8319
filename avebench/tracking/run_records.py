"""What MLflow is told of an experiment: a run per result, and the tables and figures of the whole as files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avebench.analysis.recording import place
from avebench.files.atomic import write_atomically
from avebench.files.digests import sha256
from avebench.planning.cells import Cell, keyed_config
from avebench.planning.plan import Plan
from avebench.planning.settings import flattened
from avebench.running.experiment_run import ExperimentRun
from avebench.scoring.evaluation import SliceCounts
from avebench.scoring.families import Counts
from avebench.scoring.slices import CATEGORY
from avebench.store.costs import MEMORY, SECONDS, costs_of
from avebench.store.results import Result, Store
from avebench.tables.render import render
from avebench.tables.table import Table
from avebench.tracking.mlflow_log import log
from avebench.tracking.place import database_identity, tracking_uri, uri_digest
from avebench.tracking.record import RunRecord
from avebench.tracking.waiting import waits


@dataclass(frozen=True, slots=True)
class Attachments:
    """Files that MLflow holds of an experiment: figures, and drawings of attention, which may be drawn `anew`."""

    figures: Sequence[Path] = ()
    drawings: Sequence[Path] = ()
    anew: bool = False


def track(done: ExperimentRun, tables: Sequence[Table], attached: Attachments) -> None:
    """Give MLflow the results that it has not been given for this table, or all if there are drawings made anew.

    The file `tracked-<table>` beside a result names the databases that have it, and where it could not be uploaded:
    another database, or one made anew where one was deleted, is given it too. MLflow is imported only if there is
    something to give. AvebenchError if the tracking URI is a folder.
    """
    for plan in done.plans:
        _track(plan, done, tables, attached)


def _track(plan: Plan, done: ExperimentRun, tables: Sequence[Table], attached: Attachments) -> None:
    store, results = done.store, done.results
    target, name = tracking_uri(), _data_name(plan)
    cells = [cell for cell in plan.cells() if cell.key in results]
    markers = {cell.key: store.folder(cell.key) / f"tracked-{plan.name}" for cell in cells}
    identity, waiting = database_identity(target), f"waits {uri_digest(target)}"

    def given(key: str, marker: Path) -> bool:
        noted = _noted(marker)
        # What waits was handed over all the same: a server that is away would hold every run up.
        return identity in noted or (waiting in noted and waits(store.out, plan.name, name, key))

    if not attached.anew and all(given(key, marker) for key, marker in markers.items()):
        return
    records = [run_record(plan, cell, results[cell.key], store) for cell in cells]
    taken = log(records, _artifacts(plan, results, tables, attached), out=store.out)
    note = database_identity(target) if taken else waiting
    for marker in markers.values():
        noted = _noted(marker)
        if note is not None and note not in noted:
            write_atomically(marker, "".join(f"{line}\n" for line in [*noted, note]))


def _data_name(plan: Plan) -> str:
    """Return the data set with its train fraction, as MLflow names it."""
    return plan.data.shown + place(plan).name.removeprefix(plan.data.name)


def _noted(marker: Path) -> list[str]:
    """Return the lines of a marker, none if there is none; an empty one was written before databases were named."""
    try:
        return marker.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


SMALL = 2**20
"""Bytes of a drawing from which on MLflow is not given it."""


def _artifacts(
    plan: Plan, results: Mapping[str, Result], tables: Sequence[Table], attached: Attachments
) -> dict[str, str | Path]:
    """Return the files that MLflow holds of an experiment, as text or as the file that is uploaded.

    These are its tables first, their breakdown and cost, figures, and small drawings of attention.
    """
    from avebench.report.chapters import result_parts

    files: dict[str, str | Path] = {
        f"table{'' if place == 0 else f'-{place + 1}'}.{format}": render(table, format)
        for place, table in enumerate(tables)
        for format in ("md", "json", "csv")
    }
    for part in result_parts(plan, results):
        # Each part but the learning curves has one table; that of the first is `table`, with what failed.
        for inner in part.tables if part.name != "table" else ():
            files |= {f"{part.name}.{format}": render(inner, format) for format in ("md", "csv")}
        files |= {f"figures/{figure.name}.svg": figure.svg() for figure in part.figures}
    files |= {f"figures/{path.name}": path for path in attached.figures}
    return files | {f"attention/{path.name}": path for path in attached.drawings if path.stat().st_size < SMALL}


def _long_texts(result: Result) -> dict[str, float]:
    """Return how many texts run over the encoder's limit and are cut there; nothing where none does."""
    counts = {"test_texts_cut": result.truncated}
    if result.over_limit is not None:
        found = result.over_limit
        counts |= {"test_texts_over_limit": found.test, "training_texts_over_limit": found.train or 0}
        counts |= {"gold_values_over_limit": found.values, "encoder_limit": found.limit or 0}
    over = any(count for name, count in counts.items() if name != "encoder_limit")
    return {name: float(count) for name, count in counts.items()} if over else {}


def run_record(plan: Plan, cell: Cell, result: Result, store: Store) -> RunRecord:
    """Return what MLflow is told of one result."""
    folder = store.folder(cell.key)
    group = [plan.name, cell.row, cell.model, cell.implementation, keyed_config(cell.config), cell.train_fraction]
    group += [{role: weight["sha256"] for role, weight in cell.weights.items()}, cell.data.fingerprint, cell.protocol]
    group += [] if cell.control is None else [cell.control.model_dump()]
    group += [] if cell.held_out is None else ["held out", cell.held_out.model_dump()]
    tags = {
        "revision": result.revision,
        "dirty": str(result.dirty),
        "protocol": result.protocol,
        "profile": result.profile,
        "train_fraction": f"{result.train_fraction:g}",
        "chunk_scheme": result.chunk_scheme,
        "scorer_version": str(result.scorer_version),
        "control": "" if cell.control is None else json.dumps(cell.control.model_dump()),
        "held_out": ", ".join(result.held_out_attributes),
        "note": plan.banner,
        **{f"version.{name}": version for name, version in result.versions.items()},
        **{f"hardware.{name}": str(value) for name, value in result.hardware.items()},
        **{f"weights.{role}": f"{weight.name} {weight.sha256}" for role, weight in result.weights.items()},
    }
    metrics = {name: metric.value for name, metric in result.scores.metrics.items()}
    if result.scores_extended is not None:
        metrics |= {f"extended_{name}": metric.value for name, metric in result.scores_extended.metrics.items()}
    metrics |= {f"slice.{name}.f1": Counts(one.tp, one.predicted, one.gold).f1 for name, one in _slices(result).items()}
    metrics |= _long_texts(result)
    metrics |= {"seconds": sum(result.seconds.values()), "parameters": float(result.parameters)}
    metrics |= {_COSTS[cost.name]: cost.values[0] for cost in costs_of([result]) if cost.name in _COSTS and cost.values}
    return RunRecord(
        experiment=plan.name,
        dataset=_data_name(plan),
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
