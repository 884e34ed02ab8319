"""The files of the MAE release: folders of JSON files, each one array of product objects, read in constant memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from avebench.contracts.dataset import Fault
from avebench.files.nesting import too_deep

CHUNK = 1 << 18
"""Bytes read at a time."""
LARGEST_PRODUCT = 1 << 26
"""Characters of one array element above which a file is given up as broken (a quote that is never closed)."""

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()
_CUT_OFF = 16
"""Characters: a complaint this near the end of what has been read may be due to a literal or escape that is cut."""
_NUMBER_GOES_ON = 3
"""Characters behind a number that can still belong to it: "1" read, "e+5" to come."""


class _NotJSONError(Exception):
    """The array breaks off or is no JSON; `position` is where, in the buffer."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


class _Buffer:
    """A window on a UTF-8 file that moves forward and knows its line."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self.text = ""
        self.position = 0
        self.ended = False
        self._line = 1
        self._counted = 0
        self._deep: int | None = None  # Where `text` is nested too deeply to be parsed.

    def line(self) -> int:
        """Return the line, counted from 1, of the current position."""
        self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def line_at(self, position: int) -> int:
        """Return the line of a position of `text` that has not been passed yet."""
        return self._line + self.text.count("\n", self._counted, position)

    def more(self) -> None:
        """Read on, in larger steps the more is kept, so that a long element is not parsed again for every chunk."""
        self.line()
        kept = self.text[self.position :]
        if len(kept) > LARGEST_PRODUCT:
            raise _NotJSONError("a product is larger than 64 million characters; is a quote missing?", 0)
        raw = self._stream.read(max(CHUNK, 2 * len(kept)))
        self.ended = not raw
        self.text, self.position, self._counted = kept, 0, 0
        try:
            self.text += self._decode(raw, final=self.ended)
        except UnicodeDecodeError as error:
            self.text += error.object[: error.start].decode("utf-8")
            raise _NotJSONError("a byte is not UTF-8", len(self.text)) from None
        self._deep = too_deep(self.text)

    def next_character(self) -> str:
        """Return the next character that is not white space, without taking it; the empty string at the end."""
        while True:
            match = _SPACE.match(self.text, self.position)
            assert match is not None
            self.position = match.end()
            if self.position < len(self.text) or self.ended:
                return self.text[self.position : self.position + 1]
            self.more()

    def element(self) -> Any:
        """Take one JSON value."""
        self.next_character()
        while True:
            text = self.text[: self._deep]
            try:
                value, end = _DECODER.raw_decode(text, self.position)
            except json.JSONDecodeError as error:
                open_string = error.msg.startswith("Unterminated string")
                near_end = open_string or error.pos > len(text) - _CUT_OFF
                if near_end and self._deep is not None:
                    raise _NotJSONError("a product is nested too deeply", self.position) from None
                if self.ended or not near_end:
                    breaks_off = open_string or error.pos >= len(self.text)
                    raise _NotJSONError("the file breaks off" if breaks_off else error.msg, error.pos) from None
            except ValueError:
                raise _NotJSONError("a number of a product has thousands of digits", self.position) from None
            else:
                # A number near the end of what has been read may go on: "1" with "e+" behind it.
                if end + _NUMBER_GOES_ON <= len(text) or self.ended:
                    self.position = end
                    return value
            self.more()


def array_elements(path: Path, shown: str) -> Iterator[tuple[int, Any] | Fault]:
    """Yield (line on which it starts, value) of each element of the one JSON array in `path`.

    Memory is bounded by the largest element, not by the file. What is broken ends the file with one `Fault`.
    """
    try:
        stream = path.open("rb")
    except OSError as error:
        yield Fault(shown, None, None, f"the file cannot be read ({error.strerror}).")
        return
    with stream:
        buffer = _Buffer(stream)
        try:
            yield from _elements(buffer)
        except _NotJSONError as error:
            yield Fault(
                shown,
                buffer.line_at(error.position),
                None,
                f"{error}. Each file holds one JSON array of products; unpack it again.",
            )


def _elements(buffer: _Buffer) -> Iterator[tuple[int, Any]]:
    first = buffer.next_character()
    if first != "[":
        raise _NotJSONError(
            "the file is empty" if not first else f"it starts with {first!r}, not with '['", buffer.position
        )
    buffer.position += 1
    if buffer.next_character() == "]":
        buffer.position += 1
    else:
        while True:
            buffer.next_character()
            yield buffer.line(), buffer.element()
            following = buffer.next_character()
            if following not in {",", "]"}:
                what = f"{following!r} where ',' or ']' must stand" if following else "the file breaks off"
                raise _NotJSONError(what, buffer.position)
            buffer.position += 1
            if following == "]":
                break
    if buffer.next_character():
        raise _NotJSONError("something follows the array", buffer.position)
