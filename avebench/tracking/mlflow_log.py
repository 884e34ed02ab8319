"""MLflow, where people browse: one experiment per table and data set, one parent run per row, one child per repetition.

The files under `<out>` are the truth and MLflow is a copy of them. A run therefore never fails because the tracking
server is away: what could not be uploaded waits in `<out>/mlflow-pending/` for `avebench sync`. MLflow takes two
seconds to import, so it is imported inside functions only.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avebench.files.atomic import write_atomically
from avebench.files.errors import AvebenchError
from avebench.store.folder import RUNS
from avebench.tracking.place import DEFAULT_URI, artifact_root, is_database, sqlite_path, tracking_uri, turn

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Files = Mapping[str, str | Path]
"""File name -> text, or the file whose bytes it gets; its own last part is then the same."""
PENDING = "mlflow-pending"
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


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What MLflow is told of one finished cell.

    `group` is equal for the repetitions of one row under one configuration and data, and for nothing else. `parameters`
    is the flattened resolved config, without repetition and seed. `metrics` are of the test split, in %. `history` has
    one entry per validation: `step`, `epoch`, `losses`, `valid`, `seconds` since the start. `started` and `ended` are
    Unix time in milliseconds.
    """

    experiment: str
    dataset: str
    fingerprint: str
    row: str
    group: str
    repetition: int
    key: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, Any]]
    tags: Mapping[str, str]
    artifacts: Sequence[Path]
    started: int
    ended: int

    @property
    def place(self) -> str:
        """Return the name of the MLflow experiment."""
        return f"{self.experiment} on {self.dataset}"


# ---------------------------------------------------------------------------------------------------------------------
# Uploading


def log(records: Sequence[RunRecord], tables: Files, *, out: Path, uri: str | None = None) -> bool:
    """Upload the records of one table and its rendered `tables`; return whether MLflow has them.

    What it has already is left alone, so that a table can be logged after every run. If MLflow cannot be reached, one
    line on standard error says so and the records wait under `out` for `sync`; no failure of MLflow is raised.
    """
    if not records:
        return True
    target = uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    try:
        _upload(records, tables, tracking_uri(uri))
    except Exception as error:  # The results are safe in files: whatever ails MLflow may not fail the run.
        for record in records:
            write_atomically(_marker(out, record), _dump(record, tables, out))
        print(
            f"MLflow at {target} did not take {_results(len(records))} ({_reason(error, target)}). They are stored in "
            f"{out}; upload them later with `{_sync_command(out)}`.",
            file=sys.stderr,
        )
        return False
    for record in records:
        _marker(out, record).unlink(missing_ok=True)
    return True


def waits(out: Path, experiment: str, dataset: str, key: str) -> bool:
    """Return whether the result of a cell waits under `out` for `sync`."""
    return _marker_of(out, f"{experiment} on {dataset}", key).is_file()


def _sync_command(out: Path) -> str:
    return "avebench sync" if out == RUNS else f"avebench sync --out {shlex.quote(str(out))}"


@dataclass(frozen=True, slots=True)
class Synced:
    """What `sync` did: how many results it uploaded to the MLflow at `uri`, and how many that had already."""

    uploaded: int
    known: int
    uri: str
    out: Path

    def said(self) -> str:
        """Return it in words."""
        if not self.uploaded + self.known:
            return (
                f"Nothing waits in {self.out / PENDING}. MLflow at {self.uri} is given the results that it lacks when "
                "their table is run again, which trains nothing that is finished."
            )
        also = f" {_results(self.known)} {'was' if self.known == 1 else 'were'} there already." if self.known else ""
        return f"{_results(self.uploaded)} uploaded to MLflow at {self.uri}.{also}"


def _results(count: int) -> str:
    return f"{count} result{'' if count == 1 else 's'}"


def sync(out: Path, uri: str | None = None) -> Synced:
    """Upload what waits in `<out>/mlflow-pending/`. Two processes may do so at once: each result is there once.

    AvebenchError if MLflow still cannot be reached, or if a waiting result or one of its files is broken or gone; what
    was not uploaded keeps waiting.
    """
    target = tracking_uri(uri)
    paths = sorted((out / PENDING).glob("*.json"))
    waiting = [(path, *loaded) for path in paths if (loaded := _load(path, out)) is not None]
    uploaded = 0
    for place in dict.fromkeys(record.place for _, record, _ in waiting):
        some = [(path, record, tables) for path, record, tables in waiting if record.place == place]
        try:
            uploaded += _upload([record for _, record, _ in some], some[-1][2], target)
        except Exception as error:  # MLflow raises its own, requests' and SQLAlchemy's errors.
            before = f" {_results(uploaded)} uploaded before that." if uploaded else ""
            raise AvebenchError(
                f"MLflow at {target} did not take the results of '{place}' ({_reason(error, target)}). "
                f"They stay in {out / PENDING}; run `{_sync_command(out)}` again when it is back.{before}"
            ) from error
        for path, _, _ in some:
            path.unlink(missing_ok=True)  # Another process may have been as quick.
    return Synced(uploaded, len(waiting) - uploaded, target, out)


REASON_LENGTH = 400
"""Characters of an error of MLflow that are shown; its longest advice, on upgrading a database, has 330."""


def _reason(error: Exception, uri: str) -> str:
    """Return the first line of an error, with the URI where MLflow's advice leaves a place for it."""
    line = next(iter(str(error).splitlines()), "").strip() or type(error).__name__
    if len(line) > REASON_LENGTH:
        line = line[:REASON_LENGTH].rpartition(" ")[0] + " ..."
    return line.replace("<database_uri>", shlex.quote(uri)).rstrip(".")


def _upload(records: Sequence[RunRecord], tables: Files, uri: str) -> int:
    """Bring MLflow to the state that the records describe; return how many of them it did not have."""
    uploaded = 0
    # Creating a database, and looking for a run before it is made, are no single step: processes take turns.
    with turn(uri), _quiet_client(uri) as client:
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
def _quiet_client(uri: str) -> Iterator[MlflowClient]:
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
        local = (artifact_root(uri) / _slug(name)).as_uri() if is_database(uri) else None
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


def _slug(text: str) -> str:
    """Return a text as the name of a file: by the same bytes in every locale."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.") or "experiment"
    return os.fsdecode(name.encode(errors="surrogateescape"))


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
    content = _content(record)
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

    entities = [Metric(_name(name), value, moment, step) for name, value, moment, step in metrics]
    for start in range(0, len(entities), METRICS_PER_BATCH):
        client.log_batch(run, metrics=entities[start : start + METRICS_PER_BATCH])


def _log_parameters(client: MlflowClient, run: str, record: RunRecord) -> None:
    """Log the config in as few calls as MLflow allows; a value too long for it is cut and says so."""
    from mlflow.entities import Param

    entities = [Param(_name(name), _cut(value, PARAMETER_LENGTH)) for name, value in record.parameters.items()]
    for start in range(0, len(entities), PARAMETERS_PER_BATCH):
        client.log_batch(run, params=entities[start : start + PARAMETERS_PER_BATCH])


def _log_data(client: MlflowClient, run: str, record: RunRecord) -> None:
    """Name the data set and its fingerprint where MLflow shows data sets."""
    from mlflow.entities import Dataset, DatasetInput

    data = Dataset(record.dataset, record.fingerprint[:8], "code", json.dumps({"fingerprint": record.fingerprint}))
    client.log_inputs(run, [DatasetInput(data)])


def _tags(record: RunRecord) -> dict[str, str]:
    """Return the record's tags, with the names under which MLflow shows source and revision."""
    tags = {_name(name): _cut(value, TAG_LENGTH) for name, value in list(record.tags.items())[:TAGS_PER_BATCH]}
    tags |= {"avebench.row": record.row, "avebench.fingerprint": record.fingerprint}
    tags |= {"mlflow.source.name": f"avebench run {record.experiment}", "mlflow.source.type": "LOCAL"}
    if record.tags.get("revision"):
        tags["mlflow.source.git.commit"] = record.tags["revision"]
    return tags


def _name(name: str) -> str:
    """Return `name` with the characters that MLflow allows on every system, at most 250, without empty or dot parts."""
    parts = re.sub(r"[^\w./ -]", "_", name).split("/")
    return "/".join(part for part in parts if part.strip(". "))[:250].strip("/ ") or "_"


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - len(CUT)] + CUT


# ---------------------------------------------------------------------------------------------------------------------
# What waits for the server


def _plain(record: RunRecord) -> dict[str, Any]:
    content = asdict(record)
    content["artifacts"] = [str(path) for path in record.artifacts]
    return content


def _content(record: RunRecord) -> str:
    """Return a hash of all that is uploaded but the files, to tell a run that is up to date from one that is not."""
    content = _plain(record)
    del content["artifacts"]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _marker(out: Path, record: RunRecord) -> Path:
    return _marker_of(out, record.place, record.key)


def _marker_of(out: Path, place: str, key: str) -> Path:
    return out / PENDING / f"{_slug(place)}-{key}.json"


def _dump(record: RunRecord, tables: Files, out: Path) -> str:
    """Return a waiting record as JSON. Files under `out` are named relative to it, so that the folder may be moved."""
    content, root = _plain(record), out.resolve()

    def named(path: Path) -> str:
        whole = path.resolve()
        return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)

    content["artifacts"] = [named(path) for path in record.artifacts]
    files = {name: {"file": named(one)} if isinstance(one, Path) else one for name, one in tables.items()}
    return json.dumps({"record": content, "tables": files}, indent=1, ensure_ascii=False) + "\n"


def _load(path: Path, out: Path) -> tuple[RunRecord, dict[str, str | Path]] | None:
    """Return a waiting record and its tables, None if it does not wait any more: another process has uploaded it.

    AvebenchError if the file is broken or a file of the record is gone. A drawing that is gone is left out.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        fields = content["record"]
        fields["artifacts"] = [out.resolve() / name for name in fields["artifacts"]]
        record = RunRecord(**fields)
        waiting = content["tables"].items()
        files = {name: one if isinstance(one, str) else out.resolve() / one["file"] for name, one in waiting}
        tables = {name: one for name, one in files.items() if isinstance(one, str) or one.is_file()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise AvebenchError(
            f"The waiting result {path} cannot be read ({error}). Delete it and run its table again."
        ) from None
    for artifact in record.artifacts:
        if not artifact.is_file():
            raise AvebenchError(
                f"The waiting result {path} names the file {artifact}, which is gone. Delete {path.name} and run its "
                "table again."
            )
    return record, tables
