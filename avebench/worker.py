"""One cell in a process of its own: read, train or continue, predict, score, store."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avebench.cells import Cell
from avebench.errors import AvebenchError
from avebench.results import Result, Store, Weight
from avebench.seeds import derive_seed
from avebench.weights import write_atomically


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told."""

    cell: Cell
    experiment: str
    out: Path
    device: str
    plugin_files: tuple[Path, ...]
    debug: bool


def work(job: Job, connection: Connection, parent: int) -> None:
    """Run one cell and tell the parent how it went; the entry point of a worker process."""
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    try:
        finish_cell(job, lambda kind, detail: connection.send((kind, detail)))
        connection.send(("finished", None))
    except AvebenchError as error:
        connection.send(("failed", str(error)))
    except Exception as error:
        log = Store(job.out).folder(job.cell.key) / "error.log"
        log.write_text(traceback.format_exc())
        if job.debug:
            traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {error} (details in {log})"))
    connection.close()


def _die_with(parent: int) -> None:
    """End this process when its parent is gone, so that a killed run leaves nothing behind that still trains."""
    while os.getppid() == parent:
        time.sleep(0.3)
    os._exit(1)
