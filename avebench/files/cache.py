"""The cache folder: digests of files, and texts that are remembered there and checked when they are read."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_dir

from avebench.files.atomic import write_atomically


def cache_folder() -> Path:
    """Return `$AVEBENCH_CACHE`, by default the user's cache folder; everything under it is safe to delete."""
    configured = os.environ.get("AVEBENCH_CACHE")
    return Path(configured) if configured else Path(user_cache_dir("avebench", appauthor=False))


def place_digest(place: str) -> str:
    """Return the SHA-256 of a path, with whatever else stands beside it: the same in a locale that is not UTF-8."""
    return hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()


damaged_memos: list[Path] = []
"""Memos that this process found to be not what was written; each was made anew."""


def write_memo(path: Path, text: str) -> None:
    """Keep a text in the cache below its digest; a cache that cannot be written costs time, never a run."""
    try:
        content = text.encode(errors="surrogateescape")
        write_atomically(path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
    except OSError:
        return


def read_memo(path: Path) -> str | None:
    """Return the text of a memo; None if there is none, or if it is not what was written: then it is remembered."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
    except FileNotFoundError:
        return None
    except OSError:
        digest = content = b""
    if digest == hashlib.sha256(content).hexdigest().encode():
        return content.decode(errors="surrogateescape")
    damaged_memos.append(path)
    return None


def bytes_digest(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, read now."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, remembered in the cache by path, size and modification time."""
    status = path.stat()
    identity = f"{path.resolve()}\x1f{status.st_size}\x1f{status.st_mtime_ns}"
    memo = cache_folder() / "digests" / place_digest(identity)
    if (known := read_memo(memo)) is not None:
        return known
    digest = bytes_digest(path)
    write_memo(memo, digest)
    return digest
