"""What DRAM learns and predicts of a text: its attributes by number, the tags of its positions, of all or of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avebench.contracts.examples import (
    PAD,
    AttributeSchema,
    Example,
    Prediction,
    Span,
    gold_attributes,
    pairs_from_spans,
)
from avebench.models.dram.config import Config
from avebench.models.dram.text import Labeller, Tags, TagSet, Text

VALUE = "value"
"""The name in the tags of one attribute."""
CANDIDATE_SCORE = 0.05
"""Attributes that score this much are decoded for `candidates`, so that a threshold can be swept afterwards."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: its text and picture, and its targets.

    `tags` are those of the tagger over all attributes. With ARM there are `gold` attributes by number, their own
    `targets`, and `outside`, the tags of an attribute that has no value.
    """

    example: Example
    text: Text
    tags: Tags
    gold: frozenset[int]
    targets: Mapping[int, Tags]
    outside: Tags

    def target(self, attribute: int) -> Tags:
        """Return the tags of one attribute: its own, or all O."""
        return self.targets.get(attribute, self.outside)


class Targets:
    """The attributes of a data set, behind them [PAD] where "no attribute" is one, and the tags in use."""

    def __init__(self, config: Config, schema: AttributeSchema) -> None:
        self.attributes = schema.attributes + ((PAD,) if config.pad_attribute else ())
        self.extractable = len(schema.attributes)
        """Attributes before this one have values; [PAD] has none."""
        self._numbers = {attribute: number for number, attribute in enumerate(self.attributes)}
        self._apart = config.arm != "none"
        self.tags = TagSet(
            [VALUE] if self._apart else self.attributes,
            blank=config.blank_tag,
            continuation=config.continuation_tag and schema.units != "character",
        )

    def gold(self, example: Example) -> frozenset[int]:
        """Return the gold attributes that are known; none at all is [PAD], where that is known."""
        gold = frozenset(self._numbers[name] for name in gold_attributes(example) if name in self._numbers)
        return gold or frozenset({self._numbers[PAD]} if PAD in self._numbers else ())

    def encode(self, example: Example, labeller: Labeller) -> Encoded:
        """Return ids and gold tags; an attribute that the schema does not know is tagged O."""
        text = labeller.encode(example)
        if not self._apart:
            tags = labeller.tags(text, example.spans, self.tags)
            return Encoded(example, text, tags, frozenset(), {}, tags)
        outside = labeller.tags(text, (), self.tags)
        targets = {
            number: labeller.tags(text, _renamed(example.spans, self.attributes[number]), self.tags)
            for number in {self._numbers[span.attribute] for span in example.spans if span.attribute in self._numbers}
        }
        return Encoded(example, text, outside, self.gold(example), targets, outside)

    def prediction(
        self,
        example: Example,
        scores: Sequence[float],
        found: Mapping[int, tuple[Span, ...]],
        threshold: float,
        *,
        sweeps: bool,
    ) -> Prediction:
        """Return the prediction with ARM from the scores of all attributes, and the spans of those that were decoded.

        With `sweeps` it has candidates.
        """
        selected = [number for number, score in enumerate(scores) if score > threshold]
        spans = tuple(span for number in selected for span in found.get(number, ()))
        candidates = (
            (name, scores[number], found[number])
            for number, name in enumerate(self.attributes[: self.extractable])
            if scores[number] >= CANDIDATE_SCORE
        )
        return Prediction(
            id=example.id,
            attributes={self.attributes[number]: scores[number] for number in selected},
            pairs=pairs_from_spans(example.text, spans),
            spans=spans,
            candidates=tuple(candidates) if sweeps else None,
        )


def _renamed(spans: Sequence[Span], attribute: str) -> list[Span]:
    """Return the spans of one attribute under the name that the tags of any attribute have."""
    return [Span(VALUE, span.start, span.end) for span in spans if span.attribute == attribute]
