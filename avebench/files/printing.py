r"""The one place where text leaves for people: what a terminal would obey, or a spreadsheet compute, comes out as text.

Texts, ids, tags and names of attributes come from files that anybody may have written. A control character of theirs is
shown as JSON writes it (`\u001b`), so that nothing is lost and JSON stays JSON.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""C0 without tab and line feed, DEL and C1."""
_UNDECODED = re.compile("[\ud800-\udfff]+")
_NUMBER = re.compile(r"[-+]?(\d+([.,]\d*)*|[.,]\d+)([eE][-+]?\d+)?(\s*(%|±.*))?")
ERRORS = "avebench.shown"
"""Name of the error handler of streams."""


def visible(text: str) -> str:
    r"""Return `text` with every control character but tab and line feed as `\u` and four hexadecimal digits.

    Bytes of a path that the locale could not decode stay as they are where they are UTF-8, for `ERRORS` to write;
    others, and halves of surrogate pairs, become U+FFFD.
    """
    if text.isprintable():
        return text
    text = _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    return _UNDECODED.sub(lambda found: _undecoded(found.group()), text)


def _undecoded(run: str) -> str:
    try:
        name = run.encode(errors="surrogateescape").decode()
    except UnicodeError:
        return "\ufffd" * len(run)
    return "\ufffd" * len(run) if _CONTROL.search(name) else run


def in_line(text: str) -> str:
    """Return `text` visible and in one line: tabs and line feeds are spaces."""
    return text if text.isprintable() else visible(text).replace("\n", " ").replace("\t", " ")


def spreadsheet_cell(text: str) -> str:
    """Return a text for a CSV file: visible, and behind an apostrophe where a spreadsheet would compute it.

    That is a text that begins with `=`, `+`, `-` or `@` and more, and is no number.
    """
    text = visible(text)
    start = text.lstrip()
    computed = len(start) > 1 and start[0] in "=+-@" and not _NUMBER.fullmatch(start)
    return f"'{text}" if computed else text


def _encoded(error: UnicodeError) -> tuple[str | bytes, int]:
    """Answer what an encoding lacks: a byte of a path as that byte, any other character as `?`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wrong = error.object[error.start : error.end]
    written = (bytes([ord(one) - 0xDC00]) if "\udc80" <= one <= "\udcff" else b"?" for one in wrong)
    return b"".join(written), error.end


codecs.register_error(ERRORS, _encoded)


class Visible:
    """A text stream that writes nothing but visible text to the stream behind it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text; a progress bar of a library may begin by going back to the start of the line."""
        if text.startswith("\r") and self.stream.isatty():
            self.stream.write("\r" + visible(text[1:]))
        else:
            self.stream.write(visible(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write one text after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def visible_output() -> Iterator[None]:
    """While the block runs, let standard output and standard error write visible text only.

    A character that their encoding lacks comes out as `?`, and does not end the command.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ERRORS)
    sys.stdout, sys.stderr = (stream if isinstance(stream, Visible) else Visible(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def console(*, stderr: bool = False, **options: Any) -> Console:
    """Return a rich console whose texts are made visible before it adds its own styles to them."""
    stream: Any = sys.stderr if stderr else sys.stdout
    return _class()(file=stream.stream if isinstance(stream, Visible) else stream, **options)


@cache
def _class() -> type[Console]:
    from rich.console import Console
    from rich.segment import Segment

    class VisibleConsole(Console):
        """A console that changes the texts of what it renders, not the control codes that rich puts between them."""

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else segment._replace(text=visible(segment.text))

    return VisibleConsole
