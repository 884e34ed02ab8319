"""The TOML files that come with the package: experiments, profiles, published figures."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from avebench.files.tomltext import read_toml


def packaged_folder() -> Path:
    """Return the folder of the packaged TOML files."""
    return Path(str(files("avebench.experiments")))


@cache
def packaged_toml(name: str) -> dict[str, Any]:
    """Return the content of a packaged file; it is shared, so it must not be changed."""
    return read_toml(packaged_folder() / f"{name}.toml")
