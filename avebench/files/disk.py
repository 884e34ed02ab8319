"""Disks that take nothing more: how such an error is known, and what it says of the device."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from avebench.files.errors import AvebenchError, DiskFullError

_REASONS = {
    errno.ENOSPC: "no space left on {device}",
    errno.EDQUOT: "the quota of {device} is used up",
    errno.EFBIG: "a file on {device} may not grow any more (see ulimit -f)",
}
_WORDS = re.compile(r"os error (\d+)|No space left on device|database or disk is full")
"""What libraries say that hand on no error of the system: safetensors, Arrow, SQLite."""


def full_disk(error: BaseException, path: Path | None = None) -> DiskFullError | None:
    """Return the error as one of a full disk that names the device and the file, None if it is another error.

    The file is the one that the error names, else `path`.
    """
    number = error.errno if isinstance(error, OSError) else _number_in(str(error))
    if number not in _REASONS:
        return None
    named = error.filename if isinstance(error, OSError) else None
    where = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else path
    device = "the device" if where is None else device_of(where)
    target = "the output" if where is None else str(where)
    return DiskFullError(f"{_REASONS[number].format(device=device)}: {target} could not be written.")


def unwritable(error: BaseException, path: Path, otherwise: str) -> AvebenchError:
    """Return what `full_disk` does, or an error with the message `otherwise`."""
    return full_disk(error, path) or AvebenchError(otherwise)


def _number_in(message: str) -> int | None:
    found = _WORDS.search(message)
    return None if found is None else int(found[1] or errno.ENOSPC)


def device_of(path: Path) -> str:
    """Return the device that holds `path`, or would hold it: its name where the system tells, and its mount point."""
    place = path.resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    mount = place
    while not os.path.ismount(mount) and mount != mount.parent:
        mount = mount.parent
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        mounts = []
    # The last one counts: it hides what was mounted there before. Spaces are written as \040.
    names = [line.split()[0] for line in mounts if line.split()[1].replace("\\040", " ") == str(mount)]
    return f"{names[-1]} ({mount})" if names else f"the device of {mount}"
