"""Runs the command line within the test's own process: as `avebench` does, but for the start of Python."""

import contextlib
import io
import os
import sys
from pathlib import Path
from typing import NamedTuple

import typer

from avebench.commands.app import app
from avebench.commands.door import enter

_COMMAND = typer.main.get_command(app)
"""Made once: it takes longer than most commands."""


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


def avebench_here(folder: Path, *arguments: str) -> Done:
    """Run a command in `folder`."""
    out, err = io.StringIO(), io.StringIO()
    before, argv = Path.cwd(), sys.argv
    os.chdir(folder)
    sys.argv = ["avebench", *arguments]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = enter(lambda: _COMMAND(args=list(arguments), prog_name="avebench"), debug=False)
    finally:
        os.chdir(before)
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())
