"""Folders of pictures on disk: what is in them, and one digest over names and sizes."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from avebench.files.cache import cache_folder, place_digest, read_memo, write_memo
from avebench.files.photos import opens_as_stored

TEXT_SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".md", ".sample", ".toml", ".tsv", ".txt"})
"""Files in a picture folder that are no pictures; pictures of some releases have no suffix at all."""


LARGE_FOLDER = 50_000
"""Above this number of files the digest of a folder is remembered by the folder's modification time."""


def folder_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and sizes of the pictures directly in `folder`; of nothing if there is no folder.

    A folder of more than `LARGE_FOLDER` files is scanned once and remembered by path and modification time. That time
    changes when a file is added, removed or replaced, not when one is overwritten in place.
    """
    if not folder.is_dir():
        return hashlib.sha256().hexdigest()
    modified = folder.stat().st_mtime_ns
    identity = f"{folder.resolve()}\x1f{modified}"
    memo = cache_folder() / "folders" / place_digest(identity)
    if (known := read_memo(memo)) is not None:
        return known
    with os.scandir(folder) as entries:
        files = sorted(  # As bytes: in the same order in every locale.
            (os.fsencode(entry.name), entry.stat().st_size, entry.stat().st_mtime_ns)
            for entry in entries
            if not entry.name.startswith(".")
            and Path(entry.name).suffix.lower() not in TEXT_SUFFIXES
            and _is(entry.is_file)
        )
    digest = hashlib.sha256()
    for name, size, _ in files:
        digest.update(name + f"\x1f{size}\n".encode())
    digest.update(_seen_otherwise(folder, files))
    settled = time.time_ns() - modified > 2_000_000_000  # A file may still be arriving within the clock's resolution.
    if len(files) > LARGE_FOLDER and settled:
        write_memo(memo, digest.hexdigest())
    return digest.hexdigest()


def _seen_otherwise(folder: Path, files: Sequence[tuple[bytes, int, int]]) -> bytes:
    """Return what tells a folder apart whose pictures the first versions showed otherwise: nothing, mostly.

    Their pixels are not those in the file (`photos.opens_as_stored`), so what was trained on them is not the same. A
    folder of more than `LARGE_FOLDER` files is not looked through. `files` are name, size and modification time in ns;
    what was found is remembered by them, wherever the folder stands.
    """
    if len(files) > LARGE_FOLDER:
        return b"opened as seen"
    memo = cache_folder() / "opened" / hashlib.sha256(repr(files).encode()).hexdigest()
    if (known := read_memo(memo)) is None:
        names = [os.fsdecode(name) for name, _, _ in files]
        known = "\n".join(name for name in names if not opens_as_stored(folder / name))
        write_memo(memo, known)
    return f"opened as seen\n{known}".encode(errors="surrogateescape") if known else b""


def folders_in(folder: Path, around: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Yield a folder and all folders in it, following symbolic links; one that leads to a folder around it is left out.

    A folder that cannot be opened has none. `around` are the device and number of the folders around it.
    """
    yield folder
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            inner = [entry.path for entry in entries if _is(entry.is_dir)]
    except OSError:
        return
    around = around | {(status.st_dev, status.st_ino)}
    for path in map(Path, inner):
        status = path.stat()
        if (status.st_dev, status.st_ino) not in around:
            yield from folders_in(path, around)


def _is(question: Callable[[], bool]) -> bool:
    """Return the answer of a folder's entry; False for a link that leads into itself."""
    try:
        return question()
    except OSError:
        return False
