"""TOML that a user wrote, as values that can be stored: what JSON cannot hold, or nobody means, is refused in words."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

from avebench.files.errors import AvebenchError
from avebench.files.nesting import DEEPEST, too_deep

_DIGITS = re.compile("[0-9_]{1000}")
_LARGEST = 2**63 - 1
"""Of a whole number of TOML."""


def parse(text: str, place: str, *, fields: bool = True) -> dict[str, Any]:
    """Return the content of a TOML text; AvebenchError that starts with `place` if a value of it cannot be used.

    With `fields` it names the field as well, or the line of what cannot be read. tomllib.TOMLDecodeError, which the
    caller answers, if it is no TOML.
    """
    if (deep := too_deep(text)) is not None:
        where = f", line {_line(text, deep)}" if fields else ""
        raise AvebenchError(f"{place}{where}: brackets stand too deep in each other; at most {DEEPEST} may.")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:
        digits = _DIGITS.search(text)
        where = f", line {_line(text, digits.start())}" if fields and digits else ""
        raise AvebenchError(f"{place}{where}: a number has too many digits. Give one of at most 64 bits.") from None
    _check(content, place, (), fields)
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; AvebenchError if it cannot be read or used."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise AvebenchError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise AvebenchError(f"{path} cannot be read: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise AvebenchError(f"{path} is not valid TOML: {error}.") from None


def _line(text: str, position: int) -> int:
    """Return the line, counted from 1, of a position."""
    return text.count("\n", 0, position) + 1


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
