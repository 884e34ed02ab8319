"""What the readers share: numbered lines, one stream of examples and faults, marking values, splitting by title."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from avebench.contracts.dataset import Fault
from avebench.contracts.examples import Span
from avebench.files.errors import AvebenchError
from avebench.files.textfiles import foreign, opened

Record = TypeVar("Record")


def numbered_lines(path: Path, shown: str) -> Iterator[tuple[int, str] | Fault]:
    """Yield (line counted from 1, text without its line end) of a UTF-8 file, or a `Fault` for what is not UTF-8.

    What ends the reading, a file that is missing, empty, broken gzip, or of another kind, is one fault without a line.
    A byte order mark at the start is taken off, gzip unpacked. `shown` names the file in faults. A pipe can be read
    more than once only within `avebench.files.textfiles.read_once`.
    """
    number = 0
    try:
        with opened(path) as stream:
            for number, raw in enumerate(stream, start=1):
                if number == 1 and (wrong := foreign(raw)) is not None:
                    yield Fault(shown, None, None, wrong)
                    return
                yield _decoded(number, raw, shown)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Fault(shown, None, None, f"the gzip file is broken behind line {number} ({error}). Write it again.")
        return
    except OSError as error:
        yield Fault(shown, None, None, f"the file cannot be read ({error.strerror}). Put it there, or check the path.")
        return
    if number == 0:
        yield Fault(shown, None, None, "the file is empty.")


def _decoded(number: int, raw: bytes, shown: str) -> tuple[int, str] | Fault:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        return Fault(shown, number, None, f"byte {error.start + 1} is not UTF-8. Save the file as UTF-8.")
    return number, line.removesuffix("\n").removesuffix("\r")


def examples_of(records: Iterable[Record | Fault]) -> Iterator[Record]:
    """Yield the examples (or whatever they are made of) of a reader's stream; AvebenchError at its first fault."""
    for record in records:
        if isinstance(record, Fault):
            raise AvebenchError(f"{record} Run `avebench data check` for all faults.")
        yield record


def is_encodable(text: str) -> bool:
    """Return False if `text` holds half of a surrogate pair (a JSON escape can): no file could store it as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Marker:
    """Marks values in one text: compared lower-cased on whole units, never over a unit that is taken.

    `tokens` are the character ranges of the units. This is the silver labelling of `mae` and `fashion`.
    """

    def __init__(self, text: str, tokens: Sequence[tuple[int, int]]) -> None:
        self.tokens = tokens
        self.spans: list[Span] = []
        self._units = [text[start:end].lower() for start, end in tokens]
        self._taken = [False] * len(tokens)
        self._first: dict[str, list[int]] = {}
        for position, unit in enumerate(self._units):
            self._first.setdefault(unit, []).append(position)

    def occurrences(self, form: Sequence[str]) -> list[int]:
        """Return the positions at which the lower-cased units `form` stand, taken or not."""
        if not form:
            return []
        wanted, units = list(form), self._units
        starts = self._first.get(wanted[0], ())
        return [position for position in starts if units[position : position + len(wanted)] == wanted]

    def mark(self, attribute: str, positions: Iterable[int], length: int) -> int:
        """Mark `length` units at each of `positions` where all of them are free; return how many spans that gave."""
        marked = 0
        for position in positions:
            if any(self._taken[position : position + length]):
                continue
            self._taken[position : position + length] = [True] * length
            self.spans.append(Span(attribute, self.tokens[position][0], self.tokens[position + length - 1][1]))
            marked += 1
        return marked

    def in_text_order(self) -> tuple[Span, ...]:
        """Return the marked spans from left to right."""
        return tuple(sorted(self.spans, key=lambda span: span.start))


def title_key(title: str) -> str:
    """Return the title lower-cased with white space collapsed."""
    return " ".join(title.lower().split())


def split_of(title: str) -> str:
    """Return the split of a title: SHA-256 of its key modulo 10; below 7 train, 7 valid, otherwise test."""
    bucket = int(hashlib.sha256(title_key(title).encode()).hexdigest(), 16) % 10
    if bucket < 7:
        return "train"
    return "valid" if bucket == 7 else "test"
