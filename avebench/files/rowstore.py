"""Arrays of one shape by identity, on disk: shared by processes, memory-mapped, bounded, safe to delete at any time.

A store is a folder `$AVEBENCH_CACHE/features/<key>/` of three files: `about.json` says what made the rows, `rows.bin`
holds them one behind the other, and `index.bin` names them in the same order: 32 bytes of identity and the CRC-32 of
the row. Rows reach the disk before their index entries do, so whatever a killed process left behind the last entry is
cut off by the next one that writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from avebench.files.atomic import write_atomically
from avebench.files.cache import cache_folder
from avebench.files.errors import DataError

Row = npt.NDArray[Any]
ENTRY = struct.Struct("<32sI")
"""One entry of the index: identity, CRC-32 of the row."""
DEFAULT_LIMIT_GB = 20.0
TOUCH_SECONDS = 60.0
"""How stale the recorded time of last use may be."""
_log = logging.getLogger(__name__)


def limit_bytes() -> float:
    """Return `$AVEBENCH_CACHE_GB` (10^9 bytes; default 20) in bytes.

    DataError if it is no number from 0 on: every row with pictures would meet it.
    """
    text = os.environ.get("AVEBENCH_CACHE_GB", str(DEFAULT_LIMIT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise DataError(f"AVEBENCH_CACHE_GB is '{text}'. Set it to a number of gigabytes, for instance 20.")
    return limit * 1e9


class RowStore:
    """The rows (`shape`, `dtype`) that are made as `description` says; equal descriptions share one store.

    A cache that cannot be written, or that is full although nothing else is left to evict, stores no more: `stores` is
    then False and the rest is computed again each time. That costs time, never a run.
    """

    def __init__(self, description: Mapping[str, Any], shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        limit_bytes()  # Complains now rather than after the first rows are computed.
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        about = {**description, "shape": list(shape), "dtype": self.dtype.name}
        self._about = json.dumps(about, sort_keys=True, ensure_ascii=False, indent=1) + "\n"
        self.root = cache_folder() / "features"
        self.folder = self.root / hashlib.sha256(self._about.encode()).hexdigest()[:32]
        self.stores = True
        self._lock = FileLock(self.root / f"{self.folder.name}.lock")
        self._places: dict[bytes, tuple[int, int]] = {}
        self._rows: Row = np.zeros((0, *shape), self.dtype)
        self._verified: set[bytes] = set()
        self._inode: int | None = None
        self._touched = 0.0
        self.refresh()

    def __contains__(self, identity: bytes) -> bool:
        return identity in self._places

    def __len__(self) -> int:
        return len(self._places)

    def get(self, identity: bytes) -> Row | None:
        """Return the row of an identity, as a read-only view of the file, or None if it is not there or damaged."""
        place = self._places.get(identity)
        if place is None:
            return None
        position, checksum = place
        row: Row = self._rows[position]
        if identity not in self._verified:
            if zlib.crc32(row.data) != checksum:
                del self._places[identity]
                return None
            self._verified.add(identity)
        self._touch()
        return row

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one process at a time compute what is missing; what others have stored meanwhile is known inside.

        The system frees the lock of a process that is killed.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            self._give_up(f"cannot be written ({error})")
        try:
            self.refresh()
            yield
        finally:
            self._lock.release()  # Of a lock that is not held, this does nothing.

    def append(self, rows: Mapping[bytes, Row]) -> None:
        """Store rows by identity, evicting what was used least recently where that is needed.

        ValueError if a row is of another shape or type.
        """
        for row in rows.values():
            if row.shape != self.shape or row.dtype != self.dtype:
                raise ValueError(f"a row is {row.dtype}{row.shape}, the store holds {self.dtype}{self.shape}")
        if not self.stores or not rows:
            return
        with self.exclusive():
            try:
                if make_room(self.root, self.folder, len(rows) * (self.row_bytes + ENTRY.size)):
                    self._write(rows)
                else:
                    self._give_up("is full (see AVEBENCH_CACHE_GB)")
            except OSError as error:
                self._give_up(f"cannot be written ({error})")
            self.refresh()

    def _write(self, rows: Mapping[bytes, Row]) -> None:
        """Append rows, then their entries; what an interrupted write left behind is cut off before."""
        if not (self.folder / "about.json").is_file():
            write_atomically(self.folder / "about.json", self._about)
        with (self.folder / "rows.bin").open("ab") as data, (self.folder / "index.bin").open("ab") as index:
            whole = min(data.tell() // self.row_bytes, index.tell() // ENTRY.size)
            data.truncate(whole * self.row_bytes)
            index.truncate(whole * ENTRY.size)
            entries = []
            for identity, row in rows.items():
                content = row.tobytes()
                data.write(content)
                entries.append(ENTRY.pack(identity, zlib.crc32(content)))
            data.flush()
            os.fsync(data.fileno())
            index.write(b"".join(entries))
            index.flush()
            os.fsync(index.fileno())

    def refresh(self) -> None:
        """Take notice of what other processes have stored, or removed, since the last look."""
        try:
            with (self.folder / "rows.bin").open("rb") as data, (self.folder / "index.bin").open("rb") as index:
                status = os.fstat(data.fileno())
                whole = min(os.fstat(index.fileno()).st_size // ENTRY.size, status.st_size // self.row_bytes)
                # A mapped file keeps its inode, so that an equal one means the same file, which has only grown.
                if status.st_ino != self._inode or whole < len(self._rows):
                    self._forget()
                known = len(self._rows)
                if whole == known:
                    return
                index.seek(known * ENTRY.size)
                entries = index.read((whole - known) * ENTRY.size)
                # The mapping outlives the open file, and even the removal of the file.
                self._rows = np.memmap(data, self.dtype, "r", shape=(whole, *self.shape))
                self._inode = status.st_ino
        except OSError:
            self._forget()
            return
        # Of two entries of one identity the later one counts: it replaced a damaged row.
        for position, (identity, checksum) in enumerate(ENTRY.iter_unpack(entries), known):
            self._places[identity] = (position, checksum)
            self._verified.discard(identity)

    def _forget(self) -> None:
        """Know of no row."""
        self._places.clear()
        self._verified.clear()
        self._rows, self._inode = np.zeros((0, *self.shape), self.dtype), None

    def _touch(self) -> None:
        """Record that the store is in use, for the order of eviction."""
        now = time.monotonic()
        if now - self._touched < TOUCH_SECONDS:
            return
        self._touched = now
        try:
            os.utime(self.folder / "about.json")
        except OSError:  # Evicted meanwhile, or read-only: nothing to record.
            return

    def _give_up(self, reason: str) -> None:
        """Store nothing more, and say so once."""
        if self.stores:
            _log.warning("The feature cache %s %s: features are computed again instead.", self.folder, reason)
        self.stores = False


def make_room(root: Path, keep: Path, needed: int) -> bool:
    """Remove the stores under `root` used least recently, never `keep`, until `needed` more bytes fit the limit.

    Returns whether they fit. Nothing is removed where that would not help. A store whose lock is held is left alone.
    """
    sizes: dict[Path, int] = {}
    for folder in (path for path in root.iterdir() if path.is_dir()):
        if folder.name.startswith("."):  # Left by a process that was killed while it removed a store.
            shutil.rmtree(folder, ignore_errors=True)
        else:
            sizes[folder] = sum(file.stat().st_size for file in folder.iterdir())
    excess = sum(sizes.values()) + needed - limit_bytes()
    own = sizes.pop(keep, 0)
    if own + needed > limit_bytes():
        return False
    for folder in sorted(sizes, key=_last_use):
        if excess <= 0:
            break
        if _remove(folder):
            excess -= sizes[folder]
    return excess <= 0


def _last_use(folder: Path) -> int:
    """Return when a store was last used, in nanoseconds; 0 if it is torn."""
    try:
        return (folder / "about.json").stat().st_mtime_ns
    except OSError:
        return 0


def _remove(folder: Path) -> bool:
    """Remove a store unless a process is writing it; processes that have it mapped read on."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0)
    try:
        with lock:
            removed = folder.with_name(f".{folder.name}.{os.getpid()}.removed")
            folder.replace(removed)
    except OSError:  # The lock is held, or another process removed the store first.
        return False
    shutil.rmtree(removed, ignore_errors=True)
    return True
