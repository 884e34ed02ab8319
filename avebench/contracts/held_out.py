"""Attributes that training does not have: some are left out of it, and the system is tested on them alone.

A system that is asked for attributes by their names may answer for one that it has never seen (open attributes). Which
ones are left out depends on the repetition, so that the repetitions of a row speak of different attributes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from avebench.contracts.examples import INTENT, AttributeSchema, Example, Prediction, Span


class HeldOut(BaseModel):
    """Which share of the attributes a row is tested on alone, and whether training is without them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: int = Field(default=5, ge=2)
    """Parts that the attributes are divided into; a repetition holds out one of them, the next repetition the next."""
    training: bool = True
    """Training and validation have nothing of these attributes. False: the same test of the system that has them."""

    def attributes(self, schema: AttributeSchema, repetition: int) -> tuple[str, ...]:
        """Return the attributes that a repetition holds out, in the order of the schema.

        The attributes are ordered by the SHA-256 of their names and dealt to the folds in turn.
        """
        ranked = sorted(schema.attributes, key=lambda name: hashlib.sha256(f"held out:{name}".encode()).hexdigest())
        chosen = frozenset(ranked[repetition % self.folds :: self.folds])
        return tuple(name for name in schema.attributes if name in chosen)


def without(examples: Sequence[Example], attributes: Collection[str]) -> list[Example]:
    """Return examples whose annotation says nothing of these attributes; texts and all else stay."""
    return [_restricted(example, frozenset(attributes), inside=False) for example in examples]


def only(examples: Sequence[Example], attributes: Collection[str]) -> list[Example]:
    """Return examples whose annotation speaks of these attributes alone; as they are if none is named."""
    chosen = frozenset(attributes)
    return [_restricted(example, chosen, inside=True) for example in examples] if chosen else list(examples)


def _restricted(example: Example, attributes: frozenset[str], *, inside: bool) -> Example:
    return replace(
        example,
        spans=tuple(span for span in example.spans if (span.attribute in attributes) == inside),
        pairs={name: values for name, values in example.pairs.items() if (name in attributes) == inside},
        absent=frozenset(name for name in example.absent if (name in attributes) == inside),
    )


def answers_for(prediction: Prediction, attributes: Collection[str]) -> Prediction:
    """Return what a prediction says of these attributes; as it is if none is named."""
    if not attributes:
        return prediction
    spans: tuple[Span, ...] | None = None
    scores: tuple[float, ...] | None = None
    if prediction.spans is not None:
        kept = [place for place, span in enumerate(prediction.spans) if span.attribute in attributes]
        spans = tuple(prediction.spans[place] for place in kept)
        if prediction.span_scores is not None:
            scores = tuple(prediction.span_scores[place] for place in kept)
    candidates, rankings = prediction.candidates, prediction.rankings
    return replace(
        prediction,
        attributes={name: score for name, score in prediction.attributes.items() if name in attributes},
        pairs={name: values for name, values in prediction.pairs.items() if name in attributes and name != INTENT},
        spans=spans,
        span_scores=scores,
        candidates=None if candidates is None else tuple(one for one in candidates if one[0] in attributes),
        rankings=None if rankings is None else {name: row for name, row in rankings.items() if name in attributes},
    )
