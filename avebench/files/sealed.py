"""Files that are written and read again: each carries a digest, and one that is not what was written is not believed.

A record is JSON with its own digest in it; the other files of a cell have theirs beside them. What earlier versions
wrote without a digest is read as it is. (Memos of the cache: `weights`.)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from avebench.files.atomic import write_atomically
from avebench.files.cache import bytes_digest
from avebench.files.nesting import too_deep

DIGEST = "digest"
"""Key of a record's own digest."""
DIGESTS = "digests.json"
"""The file of a folder that holds the digests of others, as name -> SHA-256."""


class DamagedError(ValueError):
    """A file is not what was written."""


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its digest."""
    return {**content, DIGEST: _digest(json.loads(json.dumps(content)))}


def unseal(text: str) -> dict[str, Any]:
    """Return the record that a text holds, without its digest; DamagedError if it is none, or not what was written."""
    if too_deep(text) is not None:
        raise DamagedError("it is nested too deeply")
    try:
        content = json.loads(text)
    except ValueError as error:
        raise DamagedError(f"it is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise DamagedError("it is not a JSON object")
    digest = content.pop(DIGEST, None)
    if digest is not None and digest != _digest(content):
        raise DamagedError("it is not what was written: its digest differs")
    return content


def read_record(path: Path) -> dict[str, Any]:
    """Return the record in a file; DamagedError if it cannot be read, or is not what was written."""
    try:
        return unseal(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedError(error.strerror or str(error)) from None
    except UnicodeDecodeError:
        raise DamagedError("it is not UTF-8") from None


def write_digests(folder: Path, names: Iterable[str]) -> None:
    """Keep the digests of these files of a folder beside them, with those that are kept already."""
    kept = {**_kept(folder), **{name: bytes_digest(folder / name) for name in names}}
    write_atomically(folder / DIGESTS, json.dumps(seal(kept), indent=1) + "\n")


def check_digest(folder: Path, name: str) -> None:
    """Raise DamagedError if a file of a folder is gone, or not what its digest was taken of, where that is kept."""
    digest = _kept(folder).get(name)
    try:
        found = bytes_digest(folder / name) if digest is not None else None
    except OSError as error:
        raise DamagedError(error.strerror or str(error)) from None
    if found != digest:
        raise DamagedError("it is not what was written: its digest differs")


def _kept(folder: Path) -> dict[str, Any]:
    try:
        return read_record(folder / DIGESTS)
    except DamagedError:  # Nothing is known then, as in a folder of an earlier version.
        return {}
