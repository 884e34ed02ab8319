"""Slices: named subsets of examples, decided from data alone and never from a model.

| slice | holds examples |
| --- | --- |
| `distractor` | where a value of one of the example's gold attributes, known from all training products whatever the train fraction, stands on unit boundaries and touches no gold span |
| `unseen` | with a gold value that the training subset in use does not have for that attribute |
| `multi-value` | with two or more different values of one attribute |
| `no-attribute` | without any gold attribute (an intent is none) |
| `no-image` | without a picture |
| `category: NAME` | of that category |

Values are compared case-folded and unit by unit, so white space between units does not matter.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Iterable, Iterator

from avebench.contracts.examples import INTENT, Example, Units, gold_attributes
from avebench.contracts.tagging import text_units

CATEGORY = "category: "
"""How the name of a slice starts that is a category."""

_Key = tuple[str, ...]


class SliceRule:
    """Says which slices an example is in; built once from all training examples and the training subset in use.

    `units` is how a value is cut into units where its span does not lie on unit boundaries, or where it has no span.
    """

    def __init__(self, train: Iterable[Example], subset: Iterable[Example], units: Units = "word") -> None:
        self._units = units
        self._attributes: dict[_Key, set[str]] = {}
        """Value -> attributes that have it in some training product."""
        self._lengths: dict[str, set[int]] = {}
        """First unit of a value -> lengths of such values: the only n-grams worth looking up."""
        for example in train:
            for attribute, key in self._values(example):
                self._attributes.setdefault(key, set()).add(attribute)
                self._lengths.setdefault(key[0], set()).add(len(key))
        self._seen = {value for example in subset for value in self._values(example)}

    def names(self, example: Example) -> frozenset[str]:
        """Return the names of the slices that `example` is in."""
        found = set()
        attributes = gold_attributes(example)
        if not attributes:
            found.add("no-attribute")
        values = set(self._values(example))
        if len({attribute for attribute, _ in values}) < len(values):
            found.add("multi-value")
        if example.picture is None:
            found.add("no-image")
        if example.category is not None:
            found.add(f"{CATEGORY}{example.category}")
        if not values <= self._seen:
            found.add("unseen")
        if attributes and self._has_distractor(example, attributes):
            found.add("distractor")
        return frozenset(found)

    def _has_distractor(self, example: Example, attributes: frozenset[str]) -> bool:
        units = [example.text[start:end].casefold() for start, end in example.tokens]
        gold = self._gold_units(example, units)
        for position, unit in enumerate(units):
            for length in self._lengths.get(unit, ()):
                end = position + length
                if end > len(units) or any(gold[position:end]):
                    continue
                known = self._attributes.get(tuple(units[position:end]))
                if known and not known.isdisjoint(attributes):
                    return True
        return False

    def _gold_units(self, example: Example, units: list[str]) -> list[bool]:
        """Return for each unit whether a gold span touches it; without spans, every place where a gold value stands."""
        gold = [False] * len(units)
        for span in example.spans:
            for position, (start, end) in enumerate(example.tokens):
                if start < span.end and span.start < end:
                    gold[position] = True
        if not example.spans:
            for _, key in self._values(example):
                for position in range(len(units) - len(key) + 1):
                    if tuple(units[position : position + len(key)]) == key:
                        gold[position : position + len(key)] = [True] * len(key)
        return gold

    def _values(self, example: Example) -> Iterator[tuple[str, _Key]]:
        """Yield (attribute, case-folded units) of every gold value that has a unit.

        The units are the example's own where a span of the value lies on their boundaries.
        """
        first = {start: position for position, (start, _) in enumerate(example.tokens)}
        last = {end: position + 1 for position, (_, end) in enumerate(example.tokens)}
        spanned: set[tuple[str, str]] = set()
        for span in example.spans:
            begin, end = first.get(span.start), last.get(span.end)
            if span.attribute and begin is not None and end is not None and begin < end:
                spanned.add((span.attribute, example.text[span.start : span.end]))
                yield span.attribute, tuple(example.text[a:b].casefold() for a, b in example.tokens[begin:end])
        for attribute, values in example.pairs.items():
            for value in values:
                if attribute == INTENT or (attribute, value) in spanned:
                    continue
                key = tuple(value[start:end].casefold() for start, end in text_units(value, self._units))
                if key:
                    yield attribute, key
