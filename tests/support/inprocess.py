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
from types import ModuleType

import typer
from commandline import environment

from avebench.commands.app import app
from avebench.commands.door import enter
from avebench.contracts import registry
from avebench.files.cache import damaged_memos
from avebench.planning import configs, rows
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
    """Give a command folder, arguments and environment of its own, and no plug-in files but those that it names."""
    before, argv, environ = Path.cwd(), sys.argv, dict(os.environ)
    files, modules = list(registry._files), _take_plugins()
    os.chdir(folder)
    sys.argv = ["avebench", *arguments]
    os.environ.clear()
    os.environ.update(variables)
    damaged_memos.clear()
    rows._content.cache_clear()
    _register([])
    try:
        yield
    finally:
        _take_plugins()
        sys.modules.update(modules)
        _register(files)
        os.environ.clear()
        os.environ.update(environ)
        sys.argv = argv
        os.chdir(before)


def _take_plugins() -> dict[str, ModuleType]:
    """Let Python forget the modules of plug-in files, and return them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("avebench_plugin_")}


def _register(files: list[Path]) -> None:
    """Let `files` be the plug-in files of this process; what is remembered of others is forgotten."""
    if registry._files != files:
        registry._files[:] = files
        registry.plugins.cache_clear()
        configs._digests_around.cache_clear()
