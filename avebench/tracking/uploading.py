"""Results brought to MLflow: one experiment per table and data set, one parent run per row, one child per repetition.

MLflow takes two seconds to import, so it is imported inside functions only.
"""

from __future__ import annotations

import json
import logging
import os
import re
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from avebench.tracking.place import artifact_root, is_database, sqlite_path, turn
from avebench.tracking.record import Files, RunRecord, content_digest, file_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CELL, GROUP, CONTENT = "avebench.cell", "avebench.group", "avebench.content"
"""Tags that identify a repetition, the row that it belongs to, and what was uploaded of it."""
METRICS_PER_BATCH, PARAMETERS_PER_BATCH, TAGS_PER_BATCH = 1000, 100, 90
"""MLflow's limits of one call; ten tags are left for those that are added here."""
PARAMETER_LENGTH, TAG_LENGTH = 6000, 8000
CUT = " ... (cut; the whole is in config.json)"
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""Set before MLflow is imported, unless the user has set them. Its own seven retries of 120 s would hold a run up."""


def upload(records: Sequence[RunRecord], tables: Files, uri: str) -> int:
    """Bring MLflow to the state that the records describe; return how many of them it did not have."""
    uploaded = 0
    # Creating a database, and looking for a run before it is made, are no single step: processes take turns.
    with turn(uri), quiet_client(uri) as client:
        for place in dict.fromkeys(record.place for record in records):
            experiment = _experiment(client, uri, place, tables)
            rows: dict[str, list[RunRecord]] = {}
            for record in records:
                if record.place == place:
                    rows.setdefault(record.group, []).append(record)
            for repetitions in rows.values():
                parent = _parent(client, experiment, repetitions)
                for record in repetitions:
                    uploaded += _child(client, experiment, parent, record)
                _summarise(client, experiment, parent, tables)
    return uploaded


@contextmanager
def quiet_client(uri: str) -> Iterator[MlflowClient]:
    """Import MLflow without telemetry and give a client; its migrations do not report every step on standard error.

    OSError at once if an SQLite database cannot be written; MLflow itself would try for minutes.
    """
    path = sqlite_path(uri)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("ab").close()
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield MlflowClient(tracking_uri=uri)
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _experiment(client: MlflowClient, uri: str, name: str, tables: Files) -> str:
    """Return the id of the experiment, made on first use; the rendered table is its description."""
    found = client.get_experiment_by_name(name)
    if found is None:
        local = (artifact_root(uri) / file_name(name)).as_uri() if is_database(uri) else None
        # The kind spares people the question whether this is about language models.
        number = client.create_experiment(name, local, tags={"mlflow.experimentKind": "custom_model_development"})
    else:
        number = found.experiment_id
    for text in _descriptions(tables):
        client.set_experiment_tag(number, "mlflow.note.content", text)
    return number


def _descriptions(tables: Files) -> list[str]:
    """Return the Markdown table, as MLflow shows it above the runs, if it fits."""
    texts = [text for name, text in tables.items() if isinstance(text, str) and name.endswith(".md")]
    return [text for text in texts if len(text) <= TAG_LENGTH][:1]


def _find(client: MlflowClient, experiment: str, tag: str, value: str) -> list[Run]:
    """Return the runs of the experiment that carry the tag, the newest first."""
    return list(client.search_runs([experiment], filter_string=f"tags.`{tag}` = '{value}'", max_results=1000))


def _parent(client: MlflowClient, experiment: str, repetitions: Sequence[RunRecord]) -> str:
    """Return the id of the row's run, made on first use."""
    record = repetitions[0]
    for run in _find(client, experiment, GROUP, record.group):
        if CELL not in run.data.tags:
            return str(run.info.run_id)
    tags = {**_tags(record), GROUP: record.group, "avebench.kind": "row"}
    run = client.create_run(experiment, min(one.started for one in repetitions), tags, run_name=record.row)
    _log_parameters(client, run.info.run_id, record)
    _log_data(client, run.info.run_id, record)
    return str(run.info.run_id)


def _child(client: MlflowClient, experiment: str, parent: str, record: RunRecord) -> bool:
    """Upload one repetition and return True; False if it is there whole.

    A run cut off half-way, or of an older result, is replaced.
    """
    content = content_digest(record)
    for run in _find(client, experiment, CELL, record.key):
        if run.info.status == "FINISHED" and run.data.tags.get(CONTENT) == content:
            return False
        client.delete_run(run.info.run_id)
    tags = {
        **_tags(record),
        "mlflow.parentRunId": parent,
        CELL: record.key,
        GROUP: record.group,
        CONTENT: content,
        "avebench.kind": "repetition",
        "avebench.repetition": str(record.repetition),
    }
    name = f"{record.row}, repetition {record.repetition}"
    number = client.create_run(experiment, record.started, tags, run_name=name).info.run_id
    _log_parameters(client, number, record)
    _log_data(client, number, record)
    metrics = [*_history(record), *((name, value, record.ended, 0) for name, value in record.metrics.items())]
    _log_metrics(client, number, metrics)
    for artifact in record.artifacts:
        client.log_artifact(number, str(artifact))
    # Finished is the last thing that is said: a run without it was cut off.
    client.set_terminated(number, "FINISHED", record.ended)
    return True


def _history(record: RunRecord) -> Iterator[tuple[str, float, int, int]]:
    """Yield (name, value, Unix time in ms, step) of every validation; a name's first part is its chart's section."""
    for entry in record.history:
        moment = min(record.started + round(1000 * entry["seconds"]), record.ended)
        values = {f"loss/{name}": value for name, value in entry["losses"].items()}
        values |= {f"valid/{name}": value for name, value in entry["valid"].items()}
        values |= {"training/epoch": entry["epoch"], "training/seconds": entry["seconds"]}
        for name, value in values.items():
            yield name, float(value), moment, int(entry["step"])


def _summarise(client: MlflowClient, experiment: str, parent: str, tables: Files) -> None:
    """Give the row's run the mean of its finished children, from two on the standard deviation (n - 1) as well.

    The children are read back: repetitions that were logged earlier count.
    """
    runs = _find(client, experiment, "mlflow.parentRunId", parent)
    finished = [run for run in runs if run.info.status == "FINISHED"]
    summary: dict[str, float] = {}
    for name in sorted({name for run in finished for name in run.data.metrics if "/" not in name}):
        values = [run.data.metrics[name] for run in finished if name in run.data.metrics]
        summary[name] = statistics.fmean(values)
        if len(values) > 1:
            summary[f"{name}_sd"] = statistics.stdev(values)
    # Last: where rows are compared, the first metric is the one that is shown.
    summary["repetitions"] = len(finished)
    known = client.get_run(parent).data.metrics
    now = time.time_ns() // 1_000_000
    _log_metrics(client, parent, [(name, value, now, 0) for name, value in summary.items() if known.get(name) != value])
    for name, content in tables.items():
        if isinstance(content, str):
            client.log_text(parent, content, name)
        else:
            client.log_artifact(parent, str(content), name.rpartition("/")[0] or None)
    for text in _descriptions(tables):
        client.set_tag(parent, "mlflow.note.content", text)
    client.set_terminated(parent, "FINISHED", max(run.info.end_time for run in finished))


def _log_metrics(client: MlflowClient, run: str, metrics: Iterable[tuple[str, float, int, int]]) -> None:
    """Log metrics in as few calls as MLflow allows."""
    from mlflow.entities import Metric

    entities = [Metric(allowed_name(name), value, moment, step) for name, value, moment, step in metrics]
    for start in range(0, len(entities), METRICS_PER_BATCH):
        client.log_batch(run, metrics=entities[start : start + METRICS_PER_BATCH])


def _log_parameters(client: MlflowClient, run: str, record: RunRecord) -> None:
    """Log the config in as few calls as MLflow allows; a value too long for it is cut and says so."""
    from mlflow.entities import Param

    entities = [Param(allowed_name(name), _cut(value, PARAMETER_LENGTH)) for name, value in record.parameters.items()]
    for start in range(0, len(entities), PARAMETERS_PER_BATCH):
        client.log_batch(run, params=entities[start : start + PARAMETERS_PER_BATCH])


def _log_data(client: MlflowClient, run: str, record: RunRecord) -> None:
    """Name the data set and its fingerprint where MLflow shows data sets."""
    from mlflow.entities import Dataset, DatasetInput

    data = Dataset(record.dataset, record.fingerprint[:8], "code", json.dumps({"fingerprint": record.fingerprint}))
    client.log_inputs(run, [DatasetInput(data)])


def _tags(record: RunRecord) -> dict[str, str]:
    """Return the record's tags, with the names under which MLflow shows source and revision."""
    tags = {allowed_name(name): _cut(value, TAG_LENGTH) for name, value in list(record.tags.items())[:TAGS_PER_BATCH]}
    tags |= {"avebench.row": record.row, "avebench.fingerprint": record.fingerprint}
    tags |= {"mlflow.source.name": f"avebench run {record.experiment}", "mlflow.source.type": "LOCAL"}
    if record.tags.get("revision"):
        tags["mlflow.source.git.commit"] = record.tags["revision"]
    return tags


def allowed_name(name: str) -> str:
    """Return `name` with the characters that MLflow allows on every system, at most 250, without empty or dot parts."""
    parts = re.sub(r"[^\w./ -]", "_", name).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250].strip("/ ") or "_"


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - len(CUT)] + CUT
