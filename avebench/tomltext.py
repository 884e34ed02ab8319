"""TOML that a user wrote, as values that can be stored: what JSON cannot hold, or nobody means, is refused in words."""

from __future__ import annotations

import math
import tomllib
from typing import Any

from avebench.errors import AvebenchError

DEEPEST = 32
"""Tables and lists within each other beyond this number are a slip, and more than Python can follow."""
_LARGEST = 2**63 - 1
"""Of a whole number of TOML."""


def parse(text: str, place: str) -> dict[str, Any]:
    """Return the content of a TOML text; AvebenchError that starts with `place` if a value of it cannot be used.

    tomllib.TOMLDecodeError, which the caller answers, if it is no TOML.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise AvebenchError(f"{place}: brackets stand too deep in each other; at most {DEEPEST} may.") from None
    except ValueError:
        raise AvebenchError(f"{place}: a number has too many digits. Give one of at most 64 bits.") from None
    _check(content, place, 0)
    return content


def _check(value: Any, place: str, depth: int) -> None:
    """Raise AvebenchError for the first value that is none of text, finite number, truth value, list and table."""
    if depth > DEEPEST:
        raise AvebenchError(f"{place}: brackets stand too deep in each other; at most {DEEPEST} may.")
    if isinstance(value, dict):
        for inner in value.values():
            _check(inner, place, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, place, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise AvebenchError(f"{place}: {value} is no number that can be used. Give a finite one.")
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise AvebenchError(f"{place}: a number has too many digits. Give one of at most 64 bits.")
    elif not isinstance(value, str | int | float):
        raise AvebenchError(f"{place}: {value} is a {type(value).__name__}, which no option takes. Put it in quotes.")
