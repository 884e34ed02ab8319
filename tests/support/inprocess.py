"""Runs the command line within the test's own process: as `avebench` does, but for the start of Python.

Cells still have processes of their own, forked from a server that has imported what they need: here once for all tests
of a process, rather than once for every command.
"""

import contextlib
import io
import multiprocessing.forkserver
import os
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess

import typer
from commandline import environment

from avebench.commands.app import app
from avebench.commands.door import enter
from avebench.contracts import registry
from avebench.files.cache import damaged_memos
from avebench.planning import cells, rows
from avebench.running.runner import processes

_COMMAND = typer.main.get_command(app)
"""Made once: it takes longer than most commands."""


def avebench_here(folder: Path, *arguments: str, variables: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Run a command in `folder`, with further environment variables, and return how it ended and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    if arguments[:1] == ("run",):
        _start_server()
    with (
        _as_if_new(folder, [*arguments], {**environment(), **(variables or {})}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        code = enter(lambda: _COMMAND(args=list(arguments), prog_name="avebench"), debug=False)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@cache
def _start_server() -> None:
    """Start the server that cells are forked from, for this process and all that it runs."""
    processes(heavy=True)
    multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def _as_if_new(folder: Path, arguments: list[str], variables: Mapping[str, str]) -> Iterator[None]:
    """Give a command folder, arguments, environment and registered plug-ins of its own."""
    before, argv, environ = Path.cwd(), sys.argv, dict(os.environ)
    files, modules = list(registry._files), set(sys.modules)
    os.chdir(folder)
    sys.argv = ["avebench", *arguments]
    os.environ.clear()
    os.environ.update(variables)
    damaged_memos.clear()
    rows._content.cache_clear()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = argv
        os.chdir(before)
        if registry._files != files:
            registry._files[:] = files
            for name in set(sys.modules) - modules:
                if name.startswith("avebench_plugin_"):
                    del sys.modules[name]
            registry.plugins.cache_clear()
            cells._source_digests.cache_clear()
