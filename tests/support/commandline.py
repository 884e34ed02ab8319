"""Runs the command line as a user does, in a process and a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "avebench")


def environment() -> dict[str, str]:
    """Return the environment of a run: the cache of the tests, one thread, no tracking server."""
    kept = {name: value for name, value in os.environ.items() if name not in {"AVEBENCH_DATA", "MLFLOW_TRACKING_URI"}}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def avebench(
    folder: Path, *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `avebench` in `folder`, with further environment variables, and return what it printed and its exit code."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment() | dict(variables or {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
