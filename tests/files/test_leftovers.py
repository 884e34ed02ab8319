"""What killed processes left of files that they were writing is removed, and nothing else."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from avebench.files.leftovers import STALE_SECONDS, sweep, sweep_held, sweep_tree
from avebench.store.results import Store


@pytest.fixture(scope="module")
def gone() -> int:
    """Return the number of a process that has ended."""
    process = multiprocessing.get_context("fork").Process(target=int)
    process.start()
    process.join()
    assert process.pid is not None
    return process.pid


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_orphans_go_and_what_is_being_written_stays(tmp_path: Path, gone: int) -> None:
    kept = {f".a.json.{os.getpid()}.partial", "a.json", ".a.json.partial", f"b.{gone}.partial", ".c.x.partial"}
    for name in (*kept, f".a.json.{gone}.partial", f".b.{gone}.partial"):
        (tmp_path / name).touch()
    (tmp_path / f".folder.{gone}.partial").mkdir()
    (tmp_path / f".folder.{gone}.partial" / "inner").touch()
    sweep(tmp_path, "a.json")
    assert f".b.{gone}.partial" in _names(tmp_path)
    assert f".a.json.{gone}.partial" not in _names(tmp_path)
    sweep(tmp_path)
    assert _names(tmp_path) == kept


def test_a_number_that_another_process_has_by_now_protects_an_orphan_for_an_hour(tmp_path: Path) -> None:
    old = tmp_path / f".a.{os.getpid()}.partial"
    old.touch()
    past = time.time() - STALE_SECONDS - 1
    os.utime(old, (past, past))
    sweep(tmp_path)
    assert not old.exists()


def test_a_start_sweeps_cells_figures_and_cache(tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "cache"))
    runs = tmp_path / "runs"
    places = [runs / "cells" / "k", runs / "figures", runs / "mlflow-pending", tmp_path / "cache" / "digests"]
    for place in places:
        place.mkdir(parents=True)
        (place / f".x.json.{gone}.partial").touch()
    (runs / "cells" / "k" / "lock").touch()
    Store(runs).prepare()
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"lock"}


def test_a_cell_that_a_process_works_on_is_left_to_it(tmp_path: Path, gone: int) -> None:
    """On a shared disk the process may be of another machine: its number says nothing, its lock does."""
    cell, path = tmp_path / "cells" / "k", tmp_path / "cells" / "k" / f".weights.{gone}.partial"
    cell.mkdir(parents=True)
    path.touch()
    with FileLock(cell / "lock"):
        sweep_tree(tmp_path)
        assert path.exists()
        sweep_held(cell)
    assert not path.exists()
