"""A disk that takes nothing more: which one, what is safe, the command that continues, exit code 2."""

import errno
import os
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inprocess import avebench_here
from made_up import EMPTY, system
from safetensors import SafetensorError

from avebench.commands import door
from avebench.files import atomic
from avebench.files.atomic import write_atomically
from avebench.files.disk import device_of, full_disk
from avebench.files.errors import AvebenchError, CellFailedError, DataError, DiskFullError, UnusableError
from avebench.running import worker
from avebench.store.results import Store
from avebench.training import checkpoint

TABLE = 'title = "A table"\ndataset = "demo"\nmetrics = ["tag_f1"]\n'
ROW = '[[rows]]\nlabel = "{0}"\nmodel = "{0}"\n'
PLUGIN = """
@classmethod
def learn_vocabulary(cls, config, schema, examples):
    import avebench.files.atomic, avebench.running.cell_run, avebench.running.worker

    def full(path, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    for module in (avebench.files.atomic, avebench.running.cell_run, avebench.running.worker):
        module.write_atomically = full
    return {}
"""


def full_error() -> OSError:
    """A new one each time: a file name is noted in it on its way."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (full_error(), "no space left on {device}"),
        (OSError(errno.EDQUOT, "x"), "the quota of {device} is used up"),
        (OSError(errno.EFBIG, "x"), "a file on {device} may not grow any more"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "no space left on {device}"),
    ],
)
def test_errors_of_a_full_disk_name_the_device_and_the_file(tmp_path: Path, error: Exception, said: str) -> None:
    full = full_disk(error, tmp_path / "new" / "weights.safetensors")
    assert full is not None
    assert str(full).startswith(said.format(device=device_of(tmp_path)))
    assert str(tmp_path / "new" / "weights.safetensors") in str(full)


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "x"), ValueError("os errors 28"), RuntimeError("os error 2")])
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert full_disk(error) is None


def test_the_device_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    assert device_of(tmp_path / "not" / "made" / "yet") == device_of(tmp_path)
    assert device_of(tmp_path / ".." / tmp_path.name) == device_of(tmp_path)
    assert os.path.ismount(device_of(tmp_path).rpartition("(")[2].rstrip(")").removeprefix("the device of "))


def test_a_file_that_does_not_fit_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_text("old")

    def full(descriptor: int) -> None:
        raise full_error()

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match=r"result\.json"):
        write_atomically(tmp_path / "result.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert (tmp_path / "result.json").read_text() == "old"


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"identity": "i", "format": checkpoint.FORMAT, "best_step": None}
    checkpoint.write(tmp_path, 1, checkpoint.Checkpoint({}, {}, state))

    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", full)
    for write in (
        lambda: checkpoint.write(tmp_path, 2, checkpoint.Checkpoint({}, {}, state)),
        lambda: checkpoint.write_best(tmp_path, 2, {}),
    ):
        with pytest.raises(DiskFullError, match="no space left on"):
            write()
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.newest(tmp_path, "i") is not None


def _told(monkeypatch: pytest.MonkeyPatch, out: Path, error: Exception) -> tuple[str, str]:
    """Return what a worker tells its parent when a cell ends with `error`."""
    told: list[tuple[str, str]] = []

    def broken(job: object, tell: object) -> None:
        raise error

    monkeypatch.setattr(worker, "finish_cell", broken)
    cell = SimpleNamespace(key="k", row="r")
    job: Any = SimpleNamespace(plugin_files=(), out=out, cell=cell, debug=False, experiment="mine")
    connection: Any = SimpleNamespace(send=told.append)
    worker._tell_outcome(job, connection)
    (one,) = told
    return one


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (full_error(), "full"),
        (DiskFullError("x"), "full"),
        (DataError("x"), "refused"),
        (CellFailedError("x"), "failed"),
        (UnusableError("x"), "unusable"),
        (AvebenchError("x"), "unusable"),
        (ValueError("x"), "failed"),
    ],
)
def test_a_worker_tells_the_request_from_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    assert _told(monkeypatch, tmp_path, error)[0] == kind


def test_a_worker_that_cannot_keep_its_log_still_says_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: str) -> None:
        raise full_error()

    monkeypatch.setattr(worker, "write_atomically", full)
    kind, said = _told(monkeypatch, tmp_path, ValueError("it broke"))
    assert kind == "failed"
    assert said.startswith("ValueError: it broke (details could not be written: No space left on device")


def test_a_run_on_a_full_disk_says_what_is_safe_and_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "filling.py").write_text(system("filling", PLUGIN + EMPTY, imports="import errno\nimport os"))
    (tmp_path / "mine.toml").write_text(TABLE + ROW.format("dictionary") + ROW.format("filling"))
    command = ("run", "mine.toml", "--plugin", "filling.py", "--no-mlflow", "--jobs", "1")
    done = avebench_here(tmp_path, *command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"avebench: no space left on {device_of(tmp_path)}: runs/cells/")
    assert "1 of 2 cells is finished and stored; what was trained of the others is kept" in last
    assert last.endswith(f"Free some space, then continue with: avebench {shlex.join(command)}")
    assert len(list(tmp_path.glob("runs/cells/*/result.json"))) == 1
    assert not list(tmp_path.glob("runs/**/*.partial")) and not list(tmp_path.glob("runs/**/error.log"))


def test_a_command_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["avebench", "run", "my table.toml"])

    def prepare() -> None:
        monkeypatch.setattr(Path, "touch", lambda self: (_ for _ in ()).throw(full_error()))
        Store(tmp_path / "runs").prepare()

    monkeypatch.setattr(door, "_listen_to_sigterm", lambda: None)
    assert door.enter(prepare, debug=False) == 2
    said = capsys.readouterr().err
    where = f"{device_of(tmp_path)}: {tmp_path / 'runs'}"
    assert said.startswith(f"avebench: no space left on {where} could not be written.")
    assert said.endswith("Free some space, then continue with: avebench run 'my table.toml'\n")
