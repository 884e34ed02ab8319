"""The door of the command line: what leaves a command, however it ends, becomes a message and an exit code."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn

from avebench.files.cache import damaged_memos
from avebench.files.disk import full_disk
from avebench.files.errors import AvebenchError, DiskFullError
from avebench.files.places import shortened
from avebench.files.printing import visible_output

FAULT, REFUSED, INTERRUPTED, CLOSED_PIPE, TERMINATED = 1, 2, 130, 141, 143
"""Exit codes of commands that do not end by themselves; those of signals are 128 and their number, as in a shell."""
_UNUSABLE = {errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR}
"""What is wrong with a path that was given, where the command that opens it does not say so itself."""


class Terminated(BaseException):
    """SIGTERM came. It stands beside Exception, as KeyboardInterrupt does, so that no handler of faults keeps it."""


def enter(command: Callable[[], object], *, debug: bool) -> int:
    """Run a command and return the exit code; with `debug` a fault, or a refused request, leaves as it is."""
    _listen_to_sigterm()
    with visible_output():
        return _entered(command, debug)


def _entered(command: Callable[[], object], debug: bool) -> int:
    try:
        code = _code_of(command)
        if damaged_memos:
            print(f"avebench: damaged entries of the cache, made anew: {len(damaged_memos)}.", file=sys.stderr)
        # Here and not at the exit of Python, where a closed pipe or a full disk can no longer be answered.
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _let_go()
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return _end("stopped. The same command continues where it was.", INTERRUPTED)
    except Terminated:
        return _end("ended by SIGTERM. The same command continues where it was.", TERMINATED)
    except AvebenchError as error:
        if debug:
            raise
        return _end(_with_way_on(error) if isinstance(error, DiskFullError) else str(error), REFUSED)
    except Exception as error:
        if (full := full_disk(error)) is not None:
            stored = "What was finished before is stored."
            return _end(_with_way_on(DiskFullError(f"{full} {stored}")), REFUSED)
        if isinstance(error, OSError) and error.errno in _UNUSABLE and error.filename is not None:
            place = shortened(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else "a file"
            return _end(f"{place} cannot be used ({error.strerror}). Check the path.", REFUSED)
        if debug:
            raise
        return _end(f"{type(error).__name__}: {error or 'no message'}\n{_kept_details()}", FAULT)
    return code


def _with_way_on(full: DiskFullError) -> str:
    """Return what a full disk stopped, with the command that goes on from there."""
    return f"{full} Free some space, then continue with: {shlex.join(['avebench', *sys.argv[1:]])}"


def _code_of(command: Callable[[], object]) -> int:
    """Return the exit code that a command ends with; a closed pipe or Ctrl-C comes out as itself.

    Typer and rich answer both before they reach this place, by an exit: what they answered stands behind it.
    """
    try:
        command()
    except SystemExit as end:
        behind: BaseException | None = end
        while behind is not None:
            if isinstance(behind, BrokenPipeError | KeyboardInterrupt):
                raise behind from None
            behind = behind.__cause__ or behind.__context__
        if isinstance(end.code, str):
            return _end(end.code, FAULT)
        return end.code or 0
    return 0


def _listen_to_sigterm() -> None:
    """Let SIGTERM end a command as Ctrl-C does, so that it ends the processes that it started."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, frame: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Once is enough: a second one would disturb the end.
    raise Terminated


def _end(message: str, code: int) -> int:
    """Print a message, if there is still somewhere to print, and return the code."""
    _let_go()
    try:
        print(f"avebench: {message}", file=sys.stderr, flush=True)
    except OSError:
        _let_go()
    return code


def _let_go() -> None:
    """Point output that takes nothing more at nowhere: Python would try again, and complain, when it exits."""
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _kept_details() -> str:
    """Write the traceback of the fault at hand to a new file and say where it is."""
    import tempfile

    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", prefix="avebench-", suffix=".log", delete=False
        ) as file:
            file.write(traceback.format_exc())
    except OSError:
        return "Its details could not be written to the folder of temporary files."
    return f"This is a fault of avebench or of a plug-in; the details are in {file.name}."
