"""From attributes and values to what a language model is to write, from what it wrote back to them, and to places.

Two targets. The pair `list` is `color: dark blue ; length: long`, in the order of the text, `none` where there is no
value (the layout is ours; Roy et al. 2024 say no more than pairs and separators). In it a backslash stands before a
backslash, a semicolon, a colon of a name, and white space at either end of a name or value, so that any string comes
back. `json` is an object of attribute -> value, or list of values. A value that says that there is none ("n/a",
"none", ...) is never written, and is none where a model writes it.

An answer is read tolerantly. Of `json`: text and code fences around it, trailing commas, single quotes, bare words,
missing brackets at its end, keys that occur twice, objects inside lists and under other names, and numbers, which are
taken as they are written. Names are compared as they are, then without regard to case and outer white space.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from avebench.contracts.examples import INTENT, Example, Prediction, Span, Written
from avebench.scoring.queried import NO_VALUE

Pair = tuple[str, str]
"""Attribute and value."""
Target = Literal["list", "json"]
Mode = Literal["constrained", "free"]
"""Whether values that have no place in the text are dropped, or kept without one."""

NONE = "none"
"""The pair list of a text without values."""
SEPARATOR = " ; "
_NOTHING = NO_VALUE | {"null"}
_LONGEST = 100_000
"""Characters of an answer that are read; what runs on repeats itself."""
_DEEPEST = 32
"""Brackets within brackets that are read; an answer that nests more is no answer."""
_STARTS = 32
"""Places of an answer at which reading an object is tried."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a written answer says: pairs in its order, as often as they are written.

    `unknown` counts the values of attributes that are not among those that may be answered; they are dropped. Whether
    the answer was `cut` at the longest that may be written, who asks for it knows.
    """

    pairs: tuple[Pair, ...] = ()
    unknown: int = 0
    unparsable: bool = False
    cut: bool = False


def pairs_of(example: Example) -> tuple[Pair, ...]:
    """Return the gold pairs of an example: its spans in the order of the text, then values that have no span.

    A value that is marked twice stands in it twice. An intent is no value.
    """
    spans = sorted(example.spans, key=lambda span: (span.start, span.end, span.attribute))
    found = [(span.attribute, example.text[span.start : span.end]) for span in spans]
    held = {(name, value) for name, values in example.pairs.items() if name != INTENT for value in values}
    return (*found, *sorted(held - set(found)))


def encode(pairs: Iterable[Pair], target: Target) -> str:
    """Return pairs as a model is to write them; those whose value says that there is none are left out."""
    held = [(name, value) for name, value in pairs if not says_none(value)]
    if target == "list":
        return SEPARATOR.join(written_name(name) + written_value(value) for name, value in held) or NONE
    grouped: dict[str, list[str]] = {}
    for name, value in held:
        grouped.setdefault(name, []).append(value)
    return json.dumps({k: v[0] if len(v) == 1 else v for k, v in grouped.items()}, ensure_ascii=False)


def encode_values(values: Iterable[str]) -> str:
    """Return the values of one attribute as a model is to write them, as in a pair list without the name."""
    return SEPARATOR.join(written_value(value) for value in values if not says_none(value)) or NONE


def parse_values(text: str, attribute: str) -> Answer:
    """Return what an answer says of one attribute; an empty one is unparsable."""
    parts = [_unescaped(part) for part in _parts(_SIGN.findall(text[:_LONGEST]), ";")]
    found = tuple((attribute, value) for value in parts if not says_none(value))
    return Answer(found, unparsable=not text.strip())


def parse(text: str, target: Target, attributes: Collection[str]) -> Answer:
    """Return what an answer says of these attributes; it raises nothing, whatever the text is."""
    text = text[:_LONGEST]
    if text.strip().lower() in _NOTHING - {""}:
        return Answer()
    names = _Names(attributes)
    written = _list_pairs(text) if target == "list" else _json_pairs(text, names)
    if written is None:
        return Answer(unparsable=True)
    found: list[Pair] = []
    unknown = 0
    for one, value in written:
        name = names.meant(one)
        if name is not None and not says_none(value):
            found.append((name, value))
        unknown += name is None and not says_none(value)
    return Answer(tuple(found), unknown)


def says_none(value: str) -> bool:
    """Return whether a value says that there is none."""
    return value.strip().lower() in _NOTHING


class _Names:
    """The attributes that may be answered, by what is written for them."""

    def __init__(self, attributes: Collection[str]) -> None:
        self._exact = frozenset(attributes)
        plain: dict[str, list[str]] = {}
        for name in self._exact:
            plain.setdefault(name.strip().casefold(), []).append(name)
        self._plain = {one: names[0] for one, names in plain.items() if len(names) == 1}

    def meant(self, written: str) -> str | None:
        """Return the attribute that is written, or None: as it is, or the only one that is so in plain letters."""
        return written if written in self._exact else self._plain.get(written.strip().casefold())


def written_name(name: str) -> str:
    """Return an attribute as it stands in a pair list, with what parts it from its value."""
    return _escaped(name, ":;") + ": "


def written_value(value: str) -> str:
    """Return a value as it stands in a pair list."""
    return _escaped(value, ";")


def _escaped(text: str, marks: str) -> str:
    """Return a name or value of a pair list with its backslashes."""
    ends = {0, len(text) - 1}
    return "".join(
        f"\\{sign}" if sign in marks + "\\" or (place in ends and sign.isspace()) else sign
        for place, sign in enumerate(text)
    )


_SIGN = re.compile(r"\\.|.", re.DOTALL)


def _list_pairs(text: str) -> list[Pair] | None:
    """Return the pairs of a pair list; a part without a colon is none, and a text without any no pair list (None)."""
    parts = [_parts(part, ":", most=1) for part in _parts(_SIGN.findall(text), ";")]
    found = [(_unescaped(part[0]), _unescaped(part[1])) for part in parts if len(part) == 2]
    return found or None


def _parts(signs: Sequence[str], mark: str, most: int = -1) -> list[Sequence[str]]:
    """Return what lies between the marks, at most the first `most` of them."""
    cuts = [place for place, sign in enumerate(signs) if sign == mark]
    cuts = cuts if most < 0 else cuts[:most]
    return [signs[a + 1 : b] for a, b in zip([-1, *cuts], [*cuts, len(signs)], strict=True)]


def _unescaped(signs: Sequence[str]) -> str:
    start, stop = 0, len(signs)
    while start < stop and signs[start].isspace():
        start += 1
    while stop > start and signs[stop - 1].isspace():
        stop -= 1
    return "".join(sign[-1] for sign in signs[start:stop])


Members = list[tuple[str, Any]]
"""An object with its keys in order, as often as they occur."""


@dataclass(frozen=True, slots=True)
class _Object:
    members: Members


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=str, parse_float=str, parse_constant=str, strict=False)


def _json_pairs(text: str, names: _Names) -> list[Pair] | None:
    """Return the values of the first object, or list of objects, of a text by their keys; None if there is none."""
    for found in islice(re.finditer(r"[\[{]", text), _STARTS):
        for read in (_strictly, _tolerantly):
            value = read(text, found.start())
            objects = value if isinstance(value, list) else [value]
            if objects and all(isinstance(one, _Object) for one in objects):
                return [pair for one in objects for pair in _leaves(one, names)]
    return None


def _strictly(text: str, start: int) -> Any:
    try:
        return _DECODER.raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


_TOKEN = re.compile(
    r"""\s*(?:(?P<mark>[{}\[\]:,])|"(?P<double>(?:[^"\\]|\\.)*)(?:"|$)"""
    r"""|'(?P<single>(?:[^'\\]|\\.|'(?!\s*(?:[:,}\]]|$)))*)(?:'|$)|(?P<bare>[^\s{}\[\]:,"'][^{}\[\]:,"'\n]*))""",
    re.DOTALL,
)


def _tolerantly(text: str, start: int) -> Any:
    """Return the object or list that begins at a place, as far as it can be read; None if it holds nothing."""
    found, _ = _Reader(text).value(start, 0)
    return None if isinstance(found, _Object) and not found.members else found


class _Reader:
    """Reads what is nearly JSON. Where it breaks off, everything that is open ends."""

    def __init__(self, text: str) -> None:
        self.text = text

    def token(self, place: int) -> tuple[str, str | None, int]:
        """Return mark, string or null (None) at a place, its kind, and the place behind it; the kind "" is the end."""
        found = _TOKEN.match(self.text, place)
        if found is None:
            return "", None, len(self.text)
        kind, string = str(found.lastgroup), str(found.group(str(found.lastgroup)))
        if kind == "mark":
            return string, None, found.end()
        if kind == "bare":
            return "string", None if string.strip().lower() in _NOTHING else string.strip(), found.end()
        return "string", _unquoted(string), found.end()

    def value(self, place: int, depth: int) -> tuple[Any, int]:
        """Return the value at a place, and the place behind it."""
        kind, string, behind = self.token(place)
        if kind in {"{", "["} and depth < _DEEPEST:
            members: Members = []
            behind = self.members(behind, depth, members, "}" if kind == "{" else "]")
            return (_Object(members) if kind == "{" else [value for _, value in members]), behind
        return string, behind if kind == "string" else len(self.text)

    def members(self, place: int, depth: int, members: Members, closing: str) -> int:
        """Read the members of an object or list up to its end; return the place behind it."""
        while True:
            kind, string, behind = self.token(place)
            if kind == closing or kind not in {",", "string", "{", "["}:
                return behind
            place = behind if kind == "," else place
            if kind == ",":
                continue
            name = ""
            if closing == "}":
                colon, _, after = self.token(behind)
                if kind != "string" or colon != ":":
                    return len(self.text)
                name, place = string or "", after
            value, place = self.value(place, depth + 1)
            members.append((name, value))


def _unquoted(string: str) -> str:
    """Return a quoted string without its backslashes, as JSON reads them where it does."""
    try:
        found = json.loads(
            '"' + re.sub(r'(?<!\\)((?:\\\\)*)"', r'\1\\"', string.replace("\\'", "'")) + '"', strict=False
        )
    except ValueError:
        return string
    return str(found)


def _leaves(found: _Object, names: _Names) -> Iterator[Pair]:
    """Yield the strings under each key, in order.

    What stands in an object under one of the `names` belongs to it ({"color": {"value": "red"}}); under any other key
    its own keys count ({"attributes": {"color": "red"}}).
    """
    stack = list(reversed(found.members))
    while stack:
        name, value = stack.pop()
        if isinstance(value, list):
            stack += [(name, one) for one in reversed(value)]
        elif isinstance(value, _Object):
            known = names.meant(name) is not None
            stack += [(name if known else inner, one) for inner, one in reversed(value.members)]
        elif value is not None:
            yield name, str(value).lower() if isinstance(value, bool) else _encodable(value)


def _encodable(text: str) -> str:
    """Return a string without halves of surrogate pairs, which JSON can spell and no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def placed(example: Example, answer: Answer, mode: Mode) -> Prediction:
    """Return what is predicted by an answer: each value at its place in the text, and what became of the others.

    A value stands in the text as it is, or else without outer white space; places on the boundaries of units count,
    or if it has none of them, all. Longer values choose first, of equal length in the order of the answer: the
    left-most place that no other value overlaps, or if there is none, the left-most that this attribute has not taken.
    One that is repeated beyond its places is merged. Without a place it is dropped (`constrained`), or kept as a string
    (`free`).
    """
    chosen: list[Span] = []
    values: dict[str, set[str]] = {}
    dropped = 0
    for name, value in sorted(answer.pairs, key=lambda pair: -len(pair[1].strip())):
        found = next((one for one in (value, value.strip()) if one in example.text), value.strip())
        places = [Span(name, start, start + len(found)) for start in _starts(example, found)]
        dropped += not places
        if places or mode == "free":
            values.setdefault(name, set()).add(found)
        free = [place for place in places if place not in chosen]
        if free:
            chosen.append(min(free, key=lambda place: (_overlaps(place, chosen), place.start)))
    return Prediction(
        id=example.id,
        attributes=dict.fromkeys(values, 1.0),
        pairs={name: frozenset(strings) for name, strings in values.items()},
        spans=tuple(sorted(chosen, key=lambda span: (span.start, span.end, span.attribute))),
        written=Written(
            answers=1,
            values=len(answer.pairs),
            dropped=dropped,
            unknown=answer.unknown,
            unparsable=int(answer.unparsable),
            cut=int(answer.cut),
        ),
    )


def _starts(example: Example, value: str) -> list[int]:
    """Return where a value stands in a text: on boundaries of units, or if nowhere there, anywhere."""
    starts = [found.start() for found in re.finditer(f"(?={re.escape(value)})", example.text)]
    begins, ends = ({token[side] for token in example.tokens} for side in (0, 1))
    return [start for start in starts if start in begins and start + len(value) in ends] or starts


def _overlaps(place: Span, others: Iterable[Span]) -> bool:
    return any(place.start < other.end and other.start < place.end for other in others)
