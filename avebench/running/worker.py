"""A worker: one cell in a process of its own, which tells its parent how the cell went."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import threading
import traceback
from contextlib import suppress
from multiprocessing.connection import Connection

from avebench.contracts.registry import add_plugin_file
from avebench.files.atomic import write_atomically
from avebench.files.disk import full_disk
from avebench.files.errors import AvebenchError, CellFailedError, DataError, DiskFullError
from avebench.running.cell_run import ERROR_LOG, FAILURE, Job, finish_cell
from avebench.store.results import Store


def work(job: Job, connection: Connection) -> None:
    """Run one cell and tell the parent how it went; the entry point of a worker process."""
    end_with_reader(connection)
    keep_freed_memory()
    with suppress(BrokenPipeError):
        # Nobody listens any more where the parent was killed: the end of that is near, and not to be complained of.
        _tell_outcome(job, connection)
    connection.close()


def _tell_outcome(job: Job, connection: Connection) -> None:
    """Run one cell and tell the parent how it went."""
    try:
        for path in job.plugin_files:
            add_plugin_file(path)
        finish_cell(job, lambda kind, detail: connection.send((kind, detail)))
        connection.send(("finished", None))
    except BrokenPipeError:
        raise
    except DataError as error:
        connection.send(("refused", str(error)))
    except DiskFullError as error:
        connection.send(("full", str(error)))
    except AvebenchError as error:
        _keep_reason(job, str(error))
        connection.send(("failed" if isinstance(error, CellFailedError) else "unusable", str(error)))
    except Exception as error:
        if (full := full_disk(error)) is not None:
            connection.send(("full", str(full)))
            return
        if job.debug:
            traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {error} ({_kept_details(job)})"))


def _keep_reason(job: Job, reason: str) -> None:
    """Keep beside a cell why it failed, for the report; where that cannot be written it is only told."""
    content = {"experiment": job.experiment, "row": job.cell.row, "reason": reason}
    with suppress(OSError):
        write_atomically(Store(job.out).folder(job.cell.key) / FAILURE, json.dumps(content, ensure_ascii=False) + "\n")


def _kept_details(job: Job) -> str:
    """Write the traceback of the error at hand into the cell's folder and say where it is."""
    log = Store(job.out).folder(job.cell.key) / ERROR_LOG
    try:
        write_atomically(log, traceback.format_exc())
    except OSError as error:
        return f"details could not be written: {error.strerror}; --debug prints them"
    return f"details in {log}"


def end_with_reader(connection: Connection) -> None:
    """End this process when nobody can read `connection` any more: a killed run leaves nothing behind that trains.

    The parent process says nothing of that: it may be the server of the processes, which lives as long as they do.
    Ctrl-C goes to every process of a terminal; it is left to the reader, who ends this one.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_await_end, args=(connection.fileno(),), daemon=True).start()


def _await_end(descriptor: int) -> None:
    reader = select.poll()
    reader.register(descriptor, select.POLLERR)
    reader.poll()
    os._exit(1)


def keep_freed_memory() -> None:
    """Let the C library keep large blocks for the next step instead of giving them back, where it is glibc.

    Else the gradients of a vocabulary come anew from the system at every step, zeroed page by page: a sixth of a step.
    """
    limit = getattr(ctypes.CDLL(None), "mallopt", None)
    if limit is not None:
        most_mapped, trim_threshold = -4, -1  # M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h.
        limit(most_mapped, 0)
        limit(trim_threshold, 2**31 - 1)
