"""What readers of crawled product titles share: entities made characters, and where the values of a title stand."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Iterable, Sequence

from avebench.contracts.examples import Span

_ENTITY = re.compile(r"&(?:#\d+|#[xX][0-9a-fA-F]+|\w+);")
"""Entities end in a semicolon; without one, `&not` of `this&nothing` would be one as well."""


def unescape(text: str) -> str:
    """Return `text` with its HTML entities (`&#39;`, `&amp;`) as characters, once: `&amp;lt;` becomes `&lt;`."""
    return _ENTITY.sub(lambda entity: _character(entity.group()), text)


def _character(entity: str) -> str:
    """Return the character of an HTML entity; U+FFFD for a number of more digits than Python reads."""
    try:
        return html.unescape(entity)
    except ValueError:
        return "\ufffd"


def exact_spans(attribute: str, values: Iterable[str], text: str, tokens: Sequence[tuple[int, int]]) -> list[Span]:
    """Return where the values stand exactly on unit boundaries, the longest first, none over another."""
    starts, ends = {start for start, _ in tokens}, {end for _, end in tokens}
    spans: list[Span] = []
    for value in sorted(values, key=lambda value: (-len(value), value)):
        start = text.find(value)
        while start >= 0:
            end = start + len(value)
            free = all(end <= span.start or span.end <= start for span in spans)
            if free and start in starts and end in ends:
                spans.append(Span(attribute, start, end))
            start = text.find(value, start + 1)
    return spans


def longer_first(spans: Iterable[Span]) -> tuple[Span, ...]:
    """Return spans in text order, the longer first: of those that share a unit, tags can express the first."""
    return tuple(sorted(spans, key=lambda span: (span.start, -span.end, span.attribute)))


def title_digest(text: str) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of a title."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
