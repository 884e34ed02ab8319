"""How deep brackets stand in each other, in JSON and TOML: told before a parser recurses into them.

A parser that runs into Python's own limit leaves no room for what else must run there, destructors above all.
"""

from __future__ import annotations

import re

DEEPEST = 32
"""Brackets within each other beyond this number are a slip or malice, and more than Python can follow."""

_MARKS = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"?|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]', flags=re.DOTALL
)

_NUMBERS = re.compile(r"\[[\d\s,]*\]")
"""Lists such as the ends of a token, of which a line may hold hundreds; each is at most one bracket deeper."""


def _opened(text: str) -> int:
    return text.count("[") + text.count("{")


def too_deep(text: str) -> int | None:
    """Return where the first bracket opens that more than `DEEPEST` others are open around, or None.

    Brackets in strings and in comments of TOML do not count.
    """
    if _opened(text) <= DEEPEST or _opened(_NUMBERS.sub("", text)) < DEEPEST:
        return None
    depth = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            depth += 1
            if depth > DEEPEST:
                return mark.start()
        elif mark[0] in ("]", "}"):
            depth -= 1
    return None
