"""What every query system does with what it is asked for: attribute names as texts, and one answer of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from avebench.contracts.examples import Example, Prediction, Span, prediction_of
from avebench.contracts.tagging import spans_to_tags, text_units
from avebench.nn.unit_pieces import EncodedText, UnitPieces

OUTSIDE, BEGIN, INSIDE = 0, 1, 2
"""Tags of a text for one attribute."""


def tags_for(example: Example, attribute: str) -> list[int]:
    """Return the tags (S,) of the example's units for one attribute: O, B, I."""
    spans = [span for span in example.spans if span.attribute == attribute]
    if not spans:
        return [OUTSIDE] * len(example.tokens)
    tags, _ = spans_to_tags(spans, example.tokens)
    return [OUTSIDE if tag == "O" else BEGIN if tag.startswith("B") else INSIDE for tag in tags]


def runs(tags: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last place of every value: runs of tags that are not O, of which a B begins a new one."""
    start = None
    for place, tag in enumerate([*tags, OUTSIDE]):
        if start is not None and tag in {OUTSIDE, BEGIN}:
            yield start, place - 1
            start = None
        if start is None and tag != OUTSIDE:
            start = place


def answered(example: Example, values: Mapping[str, Sequence[Span]]) -> Prediction:
    """Return one prediction of the answers for all attributes; their spans may overlap each other."""
    return prediction_of(example, sorted({span for spans in values.values() for span in spans}))


class Names:
    """Attribute names as texts of a text encoder, each turned into word pieces once."""

    def __init__(self, encoder: UnitPieces) -> None:
        self._encoder = encoder
        self._encoded: dict[str, EncodedText] = {}

    def __getitem__(self, name: str) -> EncodedText:
        if name not in self._encoded:
            named = Example(name, name, text_units(name, self._encoder.units))
            self._encoded[name] = self._encoder.encode(named)
        return self._encoded[name]
