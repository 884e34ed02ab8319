"""Runs cells in processes of their own: skips finished ones, shares them with others, survives a failing one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.registry import plugin_files
from avebench.files.errors import AvebenchError, DataError, DiskFullError
from avebench.nn.completions.contract import DEFAULT_MEANS, Means
from avebench.planning.cells import Cell
from avebench.running.cell_run import Job
from avebench.running.worker import work
from avebench.store.results import Store

EventKind = Literal[
    "started", "waiting", "phase", "notice", "progress", "alive", "finished", "failed", "unusable", "refused", "full"
]
ALIVE_SECONDS = 1.0
"""How often every running cell is said to be alive."""
_ENDING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell has no result. `unusable` says that the fault lies in what its row was given."""

    message: str
    unusable: bool


@dataclass(frozen=True, slots=True)
class Event:
    """Something to show: a cell, what happened, and its details (name of the phase, progress of the training, failure).

    `alive` says that the cell runs, about once a second, whatever it does.
    """

    cell: Cell
    kind: EventKind
    detail: Any = None


@dataclass(slots=True)
class _Running:
    cell: Cell
    process: BaseProcess
    connection: Connection
    ending: tuple[EventKind, Any] | None = None


def run_cells(
    cells: Sequence[Cell],
    *,
    experiment: str,
    out: Path,
    jobs: int,
    device: str,
    debug: bool,
    show: Callable[[Event], None],
    means: Means = DEFAULT_MEANS,
) -> dict[str, Failure]:
    """Run the cells that are not finished, `jobs` at a time; return the failures by key.

    After the running cells were stopped: DataError if the data is broken or the machine lacks the device, since no row
    could be scored; DiskFullError if the disk is full. AvebenchError if `jobs` is below 1.

    Every cell has a process of its own, so that a crash takes nothing with it, and one thread, so that the scores do
    not depend on `jobs`. A cell that another process on the same folder works on is waited for, not trained twice.
    """
    if jobs < 1:
        raise AvebenchError(f"{jobs} cells at a time would never end. Give at least 1.")
    store = Store(out)
    waiting = [cell for cell in cells if not store.finished(cell.key)]
    running: list[_Running] = []
    failures: dict[str, Failure] = {}
    # Set before the children start: torch reads these when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    context = processes(heavy=any("training" in cell.config for cell in waiting))
    shown_alive = time.monotonic()
    try:
        while waiting or running:
            while len(running) < jobs and (cell := _startable(waiting, running, store)) is not None:
                waiting.remove(cell)
                receiver, sender = context.Pipe(duplex=False)
                job = Job(cell, experiment, out, device, plugin_files(), debug, means)
                process = context.Process(target=work, args=(job, sender), name=cell.row)
                with _signals_wait(), main_hidden():  # A process that started is known, so that an interrupt ends it.
                    process.start()
                    sender.close()
                    running.append(_Running(cell, process, receiver))
                show(Event(cell, "started"))
            _collect(running, failures, show)
            if time.monotonic() - shown_alive >= ALIVE_SECONDS:
                shown_alive = time.monotonic()
                for one in running:
                    show(Event(one.cell, "alive"))
    except BaseException as error:
        for one in running:
            one.process.kill()
        if isinstance(error, DiskFullError):
            raise DiskFullError(f"{error} {_kept(cells, store)}") from None
        raise
    return failures


def _kept(cells: Sequence[Cell], store: Store) -> str:
    """Say what of a run that stops is safe."""
    number = sum(store.finished(cell.key) for cell in cells)
    whole = f"{number} of {len(cells)} cells {'is' if number == 1 else 'are'} finished and stored"
    return f"{whole}; what was trained of the others is kept up to their last checkpoints."


@contextmanager
def main_hidden() -> Iterator[None]:
    """Keep processes that are started from running the user's script again: nothing of it is needed in them."""
    main = sys.modules["__main__"]
    kept: dict[str, Any] = {name: main.__dict__.pop(name) for name in ("__file__", "__spec__") if name in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(kept)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is over; they reach Python in the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _startable(waiting: Sequence[Cell], running: Sequence[_Running], store: Store) -> Cell | None:
    """Return the first cell that need not wait for what a running one still trains or predicts; None if all would."""
    training = {one.cell.training_key for one in running}
    unfinished = {one.cell.key for one in running} | {one.key for one in waiting}

    def is_ready(cell: Cell) -> bool:
        if cell.range_cell is not None and cell.range_cell.key in unfinished:
            return False
        return cell.training_key not in training or store.finished(cell.training_key)

    return next((cell for cell in waiting if is_ready(cell)), None)


def processes(*, heavy: bool) -> ForkServerContext | SpawnContext:
    """Return how processes are started: forked from a server that has imported once what they need, torch if `heavy`.

    Importing torch takes longer than testing a small model. Nothing runs in the server, and no GPU is touched there.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    libraries = ["avebench.training.loop", "avebench.nn.text_encoder"] if heavy else []
    context.set_forkserver_preload(["avebench.running.worker", *libraries])
    return context


def _collect(running: list[_Running], failures: dict[str, Failure], show: Callable[[Event], None]) -> None:
    """Wait for messages of the running cells, show them, and take those that ended off the list."""
    ready = wait([one.connection for one in running], timeout=ALIVE_SECONDS)
    for one in list(running):
        if one.connection not in ready:
            continue
        try:
            kind, detail = one.connection.recv()
        except EOFError:
            one.process.join()
            running.remove(one)
            ending = one.ending or ("failed", _how_it_ended(one.process.exitcode))
            if ending[0] == "refused":
                raise DataError(ending[1]) from None
            if ending[0] == "full":
                raise DiskFullError(ending[1]) from None
            if ending[0] in {"failed", "unusable"}:
                failures[one.cell.key] = Failure(ending[1], ending[0] == "unusable")
            show(Event(one.cell, *ending))
            continue
        if kind in {"finished", "failed", "unusable", "refused", "full"}:
            one.ending = (kind, detail)
        else:
            show(Event(one.cell, kind, detail))


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by signal {-code}; run the same command again to continue from its checkpoint"
    return f"its process ended with code {code} without a result"
