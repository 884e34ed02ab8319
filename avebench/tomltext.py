"""TOML that a user wrote, as values that can be stored: what JSON cannot hold, or nobody means, is refused in words."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from typing import Any

from avebench.errors import AvebenchError

DEEPEST = 32
"""Tables and lists within each other beyond this number are a slip, and more than Python can follow."""
_DIGITS = re.compile("[0-9_]{1000}")
_LARGEST = 2**63 - 1
"""Of a whole number of TOML."""


def parse(text: str, place: str, *, fields: bool = True) -> dict[str, Any]:
    """Return the content of a TOML text; AvebenchError that starts with `place` if a value of it cannot be used.

    With `fields` it names the field as well, or the line of what cannot be read. tomllib.TOMLDecodeError, which the
    caller answers, if it is no TOML.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        where = _line(text, lambda line: line.count("[") + line.count("{") > DEEPEST) if fields else ""
        raise AvebenchError(f"{place}{where}: brackets stand too deep in each other; at most {DEEPEST} may.") from None
    except ValueError:
        where = _line(text, lambda line: _DIGITS.search(line) is not None) if fields else ""
        raise AvebenchError(f"{place}{where}: a number has too many digits. Give one of at most 64 bits.") from None
    _check(content, place, (), fields)
    return content


def _line(text: str, wrong: Callable[[str], bool]) -> str:
    """Return the first line that is `wrong`, in words; empty if none is."""
    return next((f", line {number}" for number, line in enumerate(text.split("\n"), start=1) if wrong(line)), "")


def _check(value: Any, place: str, field: tuple[str, ...], named: bool) -> None:
    """Raise AvebenchError for the first value that is none of text, finite number, truth value, list and table."""
    if isinstance(value, dict | list) and len(field) < DEEPEST + 1:
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            _check(item, place, (*field, str(key)), named)
        return
    if named and field:
        place += f", field '{'.'.join(field[:8])}{'...' if len(field) > 8 else ''}'"
    if isinstance(value, dict | list):
        raise AvebenchError(f"{place}: brackets stand too deep in each other; at most {DEEPEST} may.")
    if isinstance(value, float) and not math.isfinite(value):
        raise AvebenchError(f"{place}: {value} is no number that can be used. Give a finite one.")
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise AvebenchError(f"{place}: a number has too many digits. Give one of at most 64 bits.")
    if not isinstance(value, str | int | float):
        raise AvebenchError(f"{place}: {value} is a {type(value).__name__}, which no option takes. Put it in quotes.")
