"""What MLflow holds after a table was logged, read back with its own client; and what happens when it is away."""

from __future__ import annotations

import dataclasses
import json
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from avebench.files.errors import AvebenchError
from avebench.running.experiment_run import ExperimentRun
from avebench.store.results import Store
from avebench.tracking import mlflow_log, run_records, uploading
from avebench.tracking.mlflow_log import log, sync
from avebench.tracking.place import database_identity, tracking_uri, turn
from avebench.tracking.record import RunRecord
from avebench.tracking.server import serve, server_command

TABLES = {"table6.md": "| Row |\n|:----|\n| a |\n", "table6.csv": "label\na\n"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@dataclasses.dataclass(frozen=True)
class Made:
    """A database with MLflow's tables, and what the process that made it printed."""

    content: bytes
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Make a database once, in a process of its own; making it takes seconds, copying it none."""
    folder = tmp_path_factory.mktemp("mlflow")
    code = """
import os, sys
for name in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST"):
    os.environ.pop(name, None)
from avebench.tracking import mlflow_log, run_records, uploading
print(any(name in sys.modules for name in ("mlflow", "pandas", "torch")))
with uploading.quiet_client("sqlite:///new.db") as client:
    client.search_experiments()
from mlflow.telemetry.client import get_telemetry_client
from mlflow.telemetry.utils import is_telemetry_disabled
print(is_telemetry_disabled(), get_telemetry_client())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return Made((folder / "new.db").read_bytes(), done.stdout, done.stderr)


@pytest.fixture
def uri(tmp_path: Path, made: Made) -> str:
    (tmp_path / "mlflow.db").write_bytes(made.content)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def record(out: Path, row: str = "a", repetition: int = 0, **changes: Any) -> RunRecord:
    """A made-up finished cell with its files."""
    key = f"{row}{repetition}".encode().hex().ljust(64, "0")
    folder = out / "cells" / key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"steps": 2}')
    (folder / "predictions.jsonl.gz").write_bytes(b"made up")
    history = [
        {
            "step": step,
            "epoch": step / 10,
            "losses": {"crf": 9.0 / step},
            "valid": {"tag_f1": 50.0 + step},
            "seconds": step,
        }
        for step in (1, 2, 3)
    ]
    fields: dict[str, Any] = {
        "experiment": "table6",
        "dataset": "demo",
        "fingerprint": "f" * 64,
        "row": row,
        "group": f"group of {row}",
        "repetition": repetition,
        "key": key,
        "parameters": {"training.steps": "2", "odd (name)!": "x"},
        "metrics": {"tag_f1": 90.125 + repetition, "cls_f1": 95.0},
        "history": history,
        "tags": {"revision": "abc123", "hardware.cpu": "made up"},
        "artifacts": [folder / "config.json", folder / "predictions.jsonl.gz"],
        "started": 1_700_000_000_000,
        "ended": 1_700_000_010_000 + repetition,
    }
    return RunRecord(**{**fields, **changes})


def runs(uri: str, experiment: str = "table6 on demo") -> dict[str, Run]:
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    by_name = {run.info.run_name: run for run in client.search_runs([found.experiment_id])}
    assert len(by_name) == len(client.search_runs([found.experiment_id]))
    return by_name


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_rows_are_parents_of_repetitions(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    records = [record(out, row, repetition) for row, n in (("a", 3), ("b", 1)) for repetition in range(n)]
    assert log(records, TABLES, out=out, uri=uri)
    found = runs(uri)
    assert sorted(found) == ["a", "a, repetition 0", "a, repetition 1", "a, repetition 2", "b", "b, repetition 0"]
    for name, run in found.items():
        parent = run.data.tags.get("mlflow.parentRunId")
        assert parent == (found[name[0]].info.run_id if "," in name else None)
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.source.git.commit"] == "abc123"
        assert run.data.params == {"training.steps": "2", "odd _name__": "x"}
        assert run.inputs.dataset_inputs[0].dataset.name == "demo"
    figures = [90.125, 91.125, 92.125]
    assert found["a"].data.metrics["tag_f1"] == statistics.fmean(figures)
    assert found["a"].data.metrics["tag_f1_sd"] == pytest.approx(statistics.stdev(figures))
    assert found["a"].data.metrics["cls_f1_sd"] == 0.0
    assert found["b"].data.metrics == {"tag_f1": 90.125, "cls_f1": 95.0, "repetitions": 1.0}
    assert found["a, repetition 1"].data.tags["avebench.cell"] == records[1].key
    assert found["a"].data.tags["mlflow.note.content"] == TABLES["table6.md"]


def test_history_and_files_of_a_repetition(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    log([record(out)], TABLES, out=out, uri=uri)
    client, found = MlflowClient(tracking_uri=uri), runs(uri)
    child = found["a, repetition 0"].info
    history = client.get_metric_history(child.run_id, "valid/tag_f1")
    assert [(point.step, point.value) for point in history] == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert [point.timestamp - child.start_time for point in history] == [1000, 2000, 3000]
    assert [point.value for point in client.get_metric_history(child.run_id, "loss/crf")] == [9.0, 4.5, 3.0]
    assert [item.path for item in client.list_artifacts(child.run_id)] == ["config.json", "predictions.jsonl.gz"]
    config = client.download_artifacts(child.run_id, "config.json", str(tmp_path))
    assert json.loads(Path(config).read_text()) == {"steps": 2}
    parent = found["a"].info.run_id
    assert [item.path for item in client.list_artifacts(parent)] == ["table6.csv", "table6.md"]
    assert (tmp_path / "mlartifacts").is_dir()


def test_drawings_are_uploaded_as_they_are_also_later(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    drawing, gone = out / "figures" / "a.png", out / "figures" / "gone.png"
    drawing.parent.mkdir(parents=True)
    drawing.write_bytes(b"\x89PNG \xff")
    gone.write_bytes(b"")
    files = {**TABLES, "attention/a.png": drawing, "attention/gone.png": gone}
    assert not log([record(out)], files, out=out, uri=f"http://127.0.0.1:{closed_port()}")
    gone.unlink()
    assert sync(out, uri).uploaded == 1
    client, parent = MlflowClient(tracking_uri=uri), runs(uri)["a"].info.run_id
    assert [item.path for item in client.list_artifacts(parent, "attention")] == ["attention/a.png"]
    got = client.download_artifacts(parent, "attention/a.png", str(tmp_path))
    assert Path(got).read_bytes() == b"\x89PNG \xff"
    assert runs(uri)["a"].data.tags["mlflow.note.content"] == TABLES["table6.md"]


def test_logging_again_changes_nothing_and_adds_what_is_new(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    first = record(out)
    log([first], TABLES, out=out, uri=uri)
    before = runs(uri)
    log([first], TABLES, out=out, uri=uri)
    assert {name: run.info.run_id for name, run in runs(uri).items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    log([record(out, repetition=1)], TABLES, out=out, uri=uri)
    after = runs(uri)
    assert len(after) == 3
    assert after["a"].info.run_id == before["a"].info.run_id
    assert after["a"].data.metrics["tag_f1"] == pytest.approx(90.625)
    assert after["a"].data.metrics["repetitions"] == 2


def test_another_configuration_of_a_row_is_another_parent(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    other = record(out, row="a", repetition=1, group="a at 3 %", metrics={"tag_f1": 10.0})
    log([record(out), other], TABLES, out=out, uri=uri)
    client = MlflowClient(tracking_uri=uri)
    number = client.get_experiment_by_name("table6 on demo").experiment_id
    parents = [run for run in client.search_runs([number]) if "mlflow.parentRunId" not in run.data.tags]
    assert sorted(run.data.metrics["tag_f1"] for run in parents) == [10.0, 90.125]


def test_a_changed_result_replaces_the_old_one(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    log([record(out)], TABLES, out=out, uri=uri)
    log([record(out, metrics={"tag_f1": 80.0})], TABLES, out=out, uri=uri)
    found = runs(uri)
    assert len(found) == 2
    assert found["a"].data.metrics["tag_f1"] == found["a, repetition 0"].data.metrics["tag_f1"] == 80.0


def test_a_run_cut_off_half_way_is_repaired(tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "runs"

    def fail(*_: object) -> None:
        raise ConnectionError("the line was cut")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", fail)
        assert not log([record(out)], TABLES, out=out, uri=uri)
    assert runs(uri)["a, repetition 0"].info.status == "RUNNING"
    assert sync(out, uri).uploaded == 1
    found = runs(uri)
    assert len(found) == 2
    assert {run.info.status for run in found.values()} == {"FINISHED"}
    assert found["a"].data.metrics["repetitions"] == 1


def test_limits_of_one_call(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    parameters = {f"p{number}": str(number) for number in range(250)} | {"long": "x" * 7000}
    losses = {f"part {number}": float(number) for number in range(30)}
    history = [{"step": n, "epoch": n, "losses": losses, "valid": {}, "seconds": n} for n in range(50)]
    assert log([record(out, parameters=parameters, history=history)], TABLES, out=out, uri=uri)
    child = runs(uri)["a, repetition 0"]
    assert len(child.data.params) == 251
    assert len(child.data.params["long"]) == 6000
    assert child.data.params["long"].endswith("(cut; the whole is in config.json)")
    client = MlflowClient(tracking_uri=uri)
    assert len(client.get_metric_history(child.info.run_id, "loss/part 29")) == 50


def test_a_server_that_is_away_fails_nothing(tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs"
    away = f"http://127.0.0.1:{closed_port()}"
    records = [record(out, repetition=repetition) for repetition in (0, 1)]
    assert not log(records, TABLES, out=out, uri=away)
    message = capsys.readouterr().err
    assert len(message.splitlines()) == 1
    assert away in message and "avebench sync --out " in message
    assert len(list((out / "mlflow-pending").iterdir())) == 2
    with pytest.raises(AvebenchError, match=r"run `avebench sync --out .*` again"):
        sync(out, away)
    # The folder is moved before the upload: what waits names its files relative to it.
    out = out.rename(tmp_path / "moved")
    assert sync(out, uri).uploaded == 2
    assert list((out / "mlflow-pending").iterdir()) == []
    found = runs(uri)
    assert len(found) == 3
    assert found["a"].data.metrics["tag_f1"] == pytest.approx(90.625)
    client = MlflowClient(tracking_uri=uri)
    child = found["a, repetition 0"].info.run_id
    assert [item.path for item in client.list_artifacts(child)] == ["config.json", "predictions.jsonl.gz"]
    assert sync(out, uri).uploaded == 0


def test_logging_what_waits_takes_it_off_the_list(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    log([record(out)], TABLES, out=out, uri=f"http://127.0.0.1:{closed_port()}")
    log([record(out)], TABLES, out=out, uri=uri)
    assert list((out / "mlflow-pending").iterdir()) == []


@pytest.mark.parametrize("content", ["{", '{"record": {}, "tables": {}}', "[]", '{"record": {"artifacts": []}}'])
def test_a_broken_waiting_result_is_named(tmp_path: Path, uri: str, content: str) -> None:
    pending = tmp_path / "runs" / "mlflow-pending"
    pending.mkdir(parents=True)
    (pending / "x.json").write_text(content)
    with pytest.raises(AvebenchError, match=r"x\.json cannot be read"):
        sync(tmp_path / "runs", uri)


def test_a_file_that_is_gone_is_named(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    log([record(out)], TABLES, out=out, uri=f"http://127.0.0.1:{closed_port()}")
    record(out).artifacts[0].unlink()
    with pytest.raises(AvebenchError, match=r"config\.json, which is gone"):
        sync(out, uri)
    assert len(list((out / "mlflow-pending").iterdir())) == 1


@pytest.mark.parametrize("wrong", ["mlruns", "./mlruns", "/srv/mlruns", "file:///srv/mlruns", "C:\\mlruns"])
def test_a_folder_is_no_tracking_uri(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(AvebenchError, match="is a folder"):
        tracking_uri(wrong)
    assert not log([record(tmp_path)], {}, out=tmp_path, uri=wrong)


def test_tracking_uri_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri() == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    assert tracking_uri() == "https://mlflow.example"
    assert tracking_uri("sqlite:///other.db") == "sqlite:///other.db"


def test_a_database_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    (tmp_path / "file").touch()
    assert not log([record(out)], TABLES, out=out, uri=f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}")
    assert len(list((out / "mlflow-pending").iterdir())) == 1


def test_server_command_and_its_complaints(tmp_path: Path, uri: str) -> None:
    command, environment = server_command(uri, "127.0.0.1", 5123)
    assert command[command.index("--backend-store-uri") + 1] == uri
    assert command[command.index("--artifacts-destination") + 1] == str(tmp_path / "mlartifacts")
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == environment["DO_NOT_TRACK"] == "true"
    with pytest.raises(AvebenchError, match="There is no MLflow database"):
        serve(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(AvebenchError, match=r"open http://mlflow\.example"):
        serve("http://mlflow.example")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(AvebenchError, match="cannot be used"):
            serve(uri, port=taken.getsockname()[1])


def test_import_is_cheap_and_a_new_database_is_made_in_silence_without_telemetry(made: Made) -> None:
    assert made.stdout.split() == ["False", "True", "None"]
    assert made.stderr == ""


def test_names_are_those_that_mlflow_allows() -> None:
    from mlflow.utils.validation import _validate_metric_name

    for name in ("tag_f1", "loss/crf", "f1 [color]", "颜色", "/x/", "ü" * 300, "", "a//b", "../x", "a/./b", "."):
        _validate_metric_name(uploading.allowed_name(name))


def tracked(out: Path, monkeypatch: pytest.MonkeyPatch, data: str = "demo", shown: str = "demo") -> Callable[[], None]:
    """Return a function that gives MLflow the one result of a made-up table, as every run of the table does."""
    cell = SimpleNamespace(key=record(out).key)
    known = SimpleNamespace(name=data, shown=shown)
    plan: Any = SimpleNamespace(name="table6", cells=lambda: [cell], data=known)
    monkeypatch.setattr(run_records, "run_record", lambda plan, cell, result, store: record(out, dataset=shown))
    monkeypatch.setattr(run_records, "_artifacts", lambda *_: TABLES)
    monkeypatch.setattr(run_records, "place", lambda plan: Path(data))
    results: Any = {cell.key: None}
    done = ExperimentRun([plan], Store(out), results, {})
    return lambda: run_records.track(done, [], run_records.Attachments())


def test_every_database_gets_the_results_also_one_made_anew(
    tmp_path: Path, uri: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "runs"
    track = tracked(out, monkeypatch)
    (tmp_path / "second.db").write_bytes(made.content)
    for one in (uri, f"sqlite:///{tmp_path / 'second.db'}", uri):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", one)
        track()
        assert sorted(runs(one)) == ["a", "a, repetition 0"]
    uploads: list[object] = []
    with monkeypatch.context() as patched:
        patched.setattr(run_records, "log", lambda records, *_, **__: uploads.append(records))
        track()
        assert uploads == []  # Both have it.
        (tmp_path / "second.db").unlink()
        patched.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'second.db'}")
        track()
        assert len(uploads) == 1
        # One made anew at the same path is another database.
        (tmp_path / "second.db").write_bytes(made.content)
        with closing(sqlite3.connect(tmp_path / "second.db")) as connection, connection:
            connection.execute("update experiments set creation_time = creation_time + 1")
        track()
        assert len(uploads) == 2


def test_a_marker_of_an_earlier_version_names_no_database(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "runs"
    track = tracked(out, monkeypatch)
    marker = Store(out).folder(record(out).key) / "tracked-table6"
    marker.touch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    track()
    assert sorted(runs(uri)) == ["a", "a, repetition 0"]
    assert marker.read_text().splitlines() == [database_identity(uri)]


@pytest.mark.parametrize(("data", "shown"), [("demo", "demo"), ("jsonl", "shoes (jsonl)")])
def test_a_server_that_is_away_is_asked_once(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch, data: str, shown: str
) -> None:
    out = tmp_path / "runs"
    track = tracked(out, monkeypatch, data, shown)
    asked: list[str] = []

    def away(records: object, tables: object, uri: str) -> int:
        asked.append(uri)
        raise ConnectionError("away")

    server = "https://someone:secret@mlflow.example"
    with monkeypatch.context() as patched:
        patched.setattr(mlflow_log, "upload", away)
        patched.setenv("MLFLOW_TRACKING_URI", server)
        track()
        track()
        assert asked == [server]
    assert not [path for path in out.rglob("*") if path.is_file() and b"secret" in path.read_bytes()]
    # Another database is given it all the same; then nothing waits.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    track()
    assert sorted(runs(uri, f"table6 on {shown}")) == ["a", "a, repetition 0"]


def test_sync_says_what_it_did(tmp_path: Path, uri: str) -> None:
    out = tmp_path / "runs"
    away = f"http://127.0.0.1:{closed_port()}"
    log([record(out)], TABLES, out=out, uri=uri)
    log([record(out), record(out, repetition=1)], TABLES, out=out, uri=away)
    assert sync(out, uri).said() == f"1 result uploaded to MLflow at {uri}. 1 result was there already."
    nothing = sync(out, uri).said()
    assert nothing.startswith(f"Nothing waits in {out / 'mlflow-pending'}.") and "run again" in nothing


def test_two_syncs_at_once_upload_every_result_once(tmp_path: Path, uri: str) -> None:
    """The second has read what waits before the first has uploaded it."""
    out = tmp_path / "runs"
    log([record(out), record(out, repetition=1)], TABLES, out=out, uri=f"http://127.0.0.1:{closed_port()}")
    read, done = threading.Event(), []
    first = threading.Thread(target=lambda: (read.wait(30), done.append(sync(out, uri))))
    first.start()
    upload = mlflow_log.upload

    def later(*arguments: Any) -> int:
        if threading.current_thread() is first:
            return upload(*arguments)
        read.set()
        first.join()
        return upload(*arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(mlflow_log, "upload", later)
        second = sync(out, uri)
    assert (done[0].uploaded, done[0].known) == (2, 0)
    assert (second.uploaded, second.known) == (0, 2)
    assert len(runs(uri)) == 3


def test_a_cache_that_cannot_be_written_keeps_no_database_unused(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()  # A folder below it can be made by nobody, not even by root.
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    assert log([record(tmp_path / "runs")], TABLES, out=tmp_path / "runs", uri=uri)
    assert sorted(runs(uri)) == ["a", "a, repetition 0"]
    with turn(uri), pytest.raises(AvebenchError, match="another process"):
        monkeypatch.setattr("avebench.tracking.place.TURN_SECONDS", 0.01)
        with turn(uri):
            pass


def test_the_advice_on_a_database_of_another_version_is_whole(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("update alembic_version set version_num = '451aebb31d03'")
    assert not log([record(tmp_path)], TABLES, out=tmp_path, uri=uri)
    said = capsys.readouterr().err
    assert f"'mlflow db upgrade {uri}'" in said and "more detail). They are stored" in said
    assert len(said.splitlines()) == 1
