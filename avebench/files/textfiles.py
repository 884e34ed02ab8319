"""Text files as people hand them over: plain or gzip whatever the name says, pipes, and line ends of other systems."""

from __future__ import annotations

import gzip
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO, cast

from avebench.files.errors import AvebenchError

STANDARD_INPUT = Path("-")
_GZIP = b"\x1f\x8b"
_kept: dict[Path, bytes] = {}


def is_stream(path: Path) -> bool:
    """Return True for standard input (`-`), a pipe, a terminal or a socket: what can be read once only."""
    if path == STANDARD_INPUT:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


@contextmanager
def read_once(path: Path) -> Iterator[None]:
    """Keep the bytes of a stream while the block runs, so that `opened` may open it again; a file is left alone.

    AvebenchError if the stream cannot be read.
    """
    if not is_stream(path):
        yield
        return
    try:
        _kept[path] = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
    except OSError as error:
        raise AvebenchError(f"{path} cannot be read ({error.strerror}). Check the path.") from None
    try:
        yield
    finally:
        del _kept[path]


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or a stream that `read_once` keeps, for reading bytes; gzip is told by its first bytes or its name.

    OSError if it cannot be read; while reading EOFError, zlib.error or gzip.BadGzipFile where gzip is broken.
    """
    with BufferedReader(BytesIO(_kept[path])) if path in _kept else path.open("rb") as stream:
        if stream.peek(2)[:2] == _GZIP or path.suffix.lower() == ".gz":
            with gzip.open(stream) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            yield stream


def foreign(first: bytes) -> str | None:
    """Return what is wrong with a file whose first line, with its end, is `first`, and what to do, or None."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in first[:4]:
        return "the file is UTF-16, not UTF-8. Save it as UTF-8."
    if not first.endswith(b"\n") and b"\r" in first[:-1]:
        return "the lines end in bare carriage returns, so that all are read as one. Save the file with line feeds."
    return None
