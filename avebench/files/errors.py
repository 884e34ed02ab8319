"""The errors that a user can cause, and near matches for mistyped names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AvebenchError(Exception):
    """A request that cannot be carried out; the command line prints it and exits with 2.

    The message says what is wrong, where (file, line, field) and what to do, in one or two lines.
    """


class DataError(AvebenchError):
    """A fault of the data or the machine: every row of a table would meet it, so the whole run stops."""


class UnusableError(AvebenchError):
    """What one row was given, an encoder for instance, cannot be used: the row fails, others go on; exit code 2."""


class CellFailedError(AvebenchError):
    """A cell failed although the request could be carried out, by a loss without end for instance; exit code 1."""


class DiskFullError(AvebenchError):
    """A disk takes nothing more: what runs is stopped, what is finished is stored; exit code 2."""


def near_matches(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the entries of `known` nearest to `name`, or lists them all when none is near."""
    choices = sorted(known)
    if not choices:
        return "There is none to choose from."
    near = difflib.get_close_matches(name, choices, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(f"'{choice}'" for choice in near) + "?"
    return "Known: " + ", ".join(choices) + "."
