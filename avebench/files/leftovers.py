"""What killed processes left of files that they were writing, `.NAME.PID.partial`: removed by the next start."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path

from filelock import FileLock, Timeout

_PARTIAL = re.compile(r"\.(?P<name>.+)\.(?P<process>\d{1,10})\.partial")
STALE_SECONDS = 3600.0
"""A partial file that nobody wrote to for so long is an orphan, whatever process has its number by now."""


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove the orphans that lie directly in `folder`, those of the file or folder `name` alone if it is given.

    An orphan is what a process was writing that is gone. What cannot be removed stays.
    """
    for path in _partial_in(folder):
        found = _PARTIAL.fullmatch(path.name)
        if found is not None and name in {None, found["name"]} and _is_orphan(path, int(found["process"])):
            _remove(path)


def sweep_held(folder: Path) -> None:
    """Remove every partial file of a folder whose lock this process holds: nobody else writes there."""
    for path in _partial_in(folder):
        _remove(path)


def sweep_tree(root: Path) -> None:
    """Remove the orphans in `root` and below it; in a folder with a `lock` only while nobody holds that."""
    for place, folders, files in os.walk(root):
        if not any(_PARTIAL.fullmatch(entry) for entry in (*folders, *files)):
            continue
        folder = Path(place)
        if "lock" not in files:
            sweep(folder)
            continue
        try:
            with FileLock(folder / "lock", timeout=0):
                sweep(folder)
        except (Timeout, OSError):
            continue


def _partial_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if _PARTIAL.fullmatch(path.name))
    except OSError:
        return []


def _is_orphan(path: Path, process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:  # Somebody else's.
        pass
    try:
        return time.time() - path.lstat().st_mtime > STALE_SECONDS
    except OSError:
        return False


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        path.unlink()
    except OSError:  # Gone already, or read-only: it harms nobody.
        return
