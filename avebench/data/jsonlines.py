"""JSON Lines from outside, gold and predictions: every complaint names file, line and field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from avebench.contracts.dataset import Fault
from avebench.contracts.examples import Span
from avebench.data.reading import numbered_lines
from avebench.files.errors import AvebenchError, near_matches
from avebench.files.nesting import too_deep

SPAN_KEYS = ("attribute", "start", "end")


class FieldError(Exception):
    """A field of one line that breaks the format; the reader of the file adds where."""

    def __init__(self, field: str | None, message: str) -> None:
        super().__init__(message)
        self.field = field


def fault(path: Path, line: int | None, field: str | None, message: str) -> AvebenchError:
    """Return the error that says where something is wrong, and what."""
    return AvebenchError(str(Fault(str(path), line, field, message)))


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line counted from 1, text without its line end) of a UTF-8 file, unpacked if it is gzip.

    A byte order mark is dropped. AvebenchError if the file is missing, empty, cut off, or not UTF-8 in some line.
    """
    for one in numbered_lines(path, str(path)):
        if isinstance(one, Fault):
            raise AvebenchError(str(one))
        yield one


def json_lines(path: Path, keys: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line counted from 1, object) of a JSON Lines file; empty lines are passed over.

    AvebenchError for what is not a JSON object, for a repeated key, and for a key outside `keys`.
    """
    for number, text in text_lines(path):
        if not text.strip():
            continue
        try:
            yield number, parse_object(text, keys)
        except FieldError as error:
            raise fault(path, number, error.field, str(error)) from None


@dataclass(frozen=True, slots=True)
class FileRecords:
    """The records of a JSON Lines file."""

    path: Path
    unit: str = "line"

    def read(self, keys: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (line, record); AvebenchError as `json_lines`."""
        return json_lines(self.path, keys)

    def fault(self, line: int | None, field: str | None, message: str) -> AvebenchError:
        """Return the error that says where something is wrong, and what."""
        return fault(self.path, line, field, message)


class Records(Protocol):
    """Records with their places: lines of a file, or what stands in memory (`avebench.data.records`)."""

    @property
    def unit(self) -> str:
        """Return what a place is called."""

    def read(self, keys: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (place, record); AvebenchError for what is no object, and for a key outside `keys`."""

    def fault(self, place: int | None, field: str | None, message: str) -> AvebenchError:
        """Return the error that says where something is wrong, and what."""


def parse_object(text: str, keys: Iterable[str]) -> dict[str, Any]:
    """Return the JSON object of a line; FieldError if it is none, or has an unknown or repeated key."""
    record = json_object(text)
    check_keys(record, keys)
    return record


def json_object(text: str) -> dict[str, Any]:
    """Return the JSON object of a line, whatever its keys; FieldError if it is none, or has a repeated key."""
    if too_deep(text) is not None:
        raise FieldError(None, "the line is nested too deeply.")
    try:
        record = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        message = f"not JSON, character {error.pos + 1}: {error.msg}. Is the line cut off?"
        raise FieldError(None, message) from None
    except ValueError:
        raise FieldError(None, "not JSON: a number has thousands of digits. Is a separator missing?") from None
    if not isinstance(record, dict):
        raise FieldError(None, f"the line is {kind(record)}. Write one JSON object per line.")
    return record


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        names = [key for key, _ in items]
        twice = next(key for key in names if names.count(key) > 1)
        raise FieldError(twice, "the key stands twice in one object.")
    return found


def _no_constant(name: str) -> float:
    raise FieldError(None, f"{name} is not a JSON number.")


def check_keys(record: Mapping[str, Any], keys: Iterable[str], inside: str = "") -> None:
    """Raise FieldError, with the near matches, for a key that is not one of `keys`; `inside` is the field around it."""
    known = tuple(keys)
    for key in record:
        if key not in known:
            raise FieldError(f"{inside}{key}", f"unknown key. {near_matches(key, known)}")


def kind(value: object) -> str:
    """Return the JSON name of a value's type with its article."""
    kinds = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null")


def checked_string(value: object, field: str) -> str:
    """Return `value` if it is a string that can be stored as UTF-8; FieldError otherwise."""
    if not isinstance(value, str):
        raise FieldError(field, f"a string is needed, not {kind(value)}.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise FieldError(field, "the string holds half of a surrogate pair. Write the character itself.")
    return value


def filled_string(record: Mapping[str, Any], key: str, inside: str = "") -> str:
    """Return the string under `key`; FieldError if it is missing, no string, or empty; `inside` as in `check_keys`."""
    if key not in record:
        raise FieldError(f"{inside}{key}", "the key is missing.")
    value = checked_string(record[key], f"{inside}{key}")
    if not value.strip():
        raise FieldError(f"{inside}{key}", "the string is empty.")
    return value


def checked_number(value: object, field: str) -> float:
    """Return `value` as a finite float; FieldError otherwise."""
    try:
        number = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise FieldError(field, f"a finite number is needed, not {json.dumps(value)[:80]}.")
    return number


def checked_list(value: object, field: str, what: str) -> list[Any]:
    """Return `value` if it is a list; FieldError says what it should be a list of."""
    if not isinstance(value, list):
        raise FieldError(field, f"a list of {what} is needed, not {kind(value)}.")
    return value


def checked_object(value: object, field: str, what: str) -> dict[str, Any]:
    """Return `value` if it is an object; FieldError says of what shape."""
    if not isinstance(value, dict):
        raise FieldError(field, f"an object {what} is needed, not {kind(value)}.")
    return value


def checked_offset(record: Mapping[str, Any], key: str, inside: str) -> int:
    """Return the whole number under `key`; FieldError if it is missing or none; `inside` as in `check_keys`."""
    if key not in record:
        raise FieldError(f"{inside}{key}", "the key is missing.")
    offset = record[key]
    if not isinstance(offset, int) or isinstance(offset, bool):
        raise FieldError(f"{inside}{key}", f"an offset is a whole number, not {json.dumps(offset)[:80]}.")
    return offset


def checked_span(item: object, text: str, field: str, more: tuple[str, ...] = ()) -> Span:
    """Return the span {attribute, start, end}; FieldError for a wrong key, or offsets that are no range of `text`.

    `more` are keys that may stand beside the three; the caller reads them.
    """
    record = checked_object(item, field, "{attribute, start, end}")
    check_keys(record, SPAN_KEYS + more, f"{field}.")
    for key in SPAN_KEYS:
        if key not in record:
            raise FieldError(f"{field}.{key}", "the key is missing.")
    attribute = checked_string(record["attribute"], f"{field}.attribute")
    start, end = (checked_offset(record, key, f"{field}.") for key in ("start", "end"))
    if not 0 <= start < end <= len(text):
        message = f"[{start}, {end}) is no range of the text, which has {len(text)} characters (end exclusive)."
        raise FieldError(field, message)
    return Span(attribute, start, end)


def checked_pairs(value: object, field: str) -> dict[str, frozenset[str]]:
    """Return attribute -> set of value strings; FieldError names the attribute and the value that is none."""
    pairs = {}
    for attribute, values in checked_object(value, field, "{attribute: [value]}").items():
        inside = f"{field}.{checked_string(attribute, field)}"
        listed = checked_list(values, inside, "value strings")
        pairs[attribute] = frozenset(checked_string(item, f"{inside}[{n}]") for n, item in enumerate(listed))
    return pairs
