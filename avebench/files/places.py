"""Paths that a user wrote: a name that no file system takes, or a home that nobody has, names nothing."""

from __future__ import annotations

from pathlib import Path


def expanded(path: Path) -> Path:
    """Return the path with `~` as the home of a user; as it is where there is no such user."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def is_folder(path: Path) -> bool:
    """Return whether there is a folder; False for a name that is too long, holds a zero, or is a loop of links."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Return whether there is a file; False for a name that is too long, holds a zero, or is a loop of links."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def exists(path: Path) -> bool:
    """Return whether there is anything; False for a name that is too long, holds a zero, or is a loop of links."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def shortened(name: str, most: int = 80) -> str:
    """Return a name for a message: of one that is too long for any file its beginning."""
    return name if len(name) <= 255 else f"{name[:most]}... ({len(name):,} characters)"
