"""Training examples as demonstrations: which are most like a text, and what their answers are.

Similarity is the cosine of TF-IDF vectors of lower-cased labelling units (scikit-learn: term counts times
ln((1 + n) / (1 + df)) + 1, each vector of length 1), or of the mean states of a text encoder. Only examples of the same
category are compared where there are any; equal similarities keep the order of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avebench.contracts.examples import Example
from avebench.models.generative.codec import pairs_of

Answers = Mapping[str, Sequence[str]]
"""Attribute -> values in the order of the text; none for an attribute that is known to be absent."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A training text with the answers that its annotation gives."""

    text: str
    units: tuple[str, ...]
    category: str | None
    answers: Answers

    def record(self) -> list[Any]:
        """Return it as plain JSON for a vocabulary."""
        return [
            self.text,
            list(self.units),
            self.category,
            {name: list(values) for name, values in self.answers.items()},
        ]


def demonstration_of(record: Sequence[Any]) -> Demonstration:
    """Return the demonstration that a vocabulary keeps."""
    text, units, category, answers = record
    return Demonstration(text, tuple(units), category, answers)


def demonstrated(example: Example) -> Demonstration:
    """Return a training example as a demonstration; a value that is marked twice stands in its answer once."""
    answers: dict[str, list[str]] = {name: [] for name in sorted(example.absent)}
    for name, value in pairs_of(example):
        values = answers.setdefault(name, [])
        if value not in values:
            values.append(value)
    return Demonstration(example.text, units_of(example), example.category, answers)


def units_of(example: Example) -> tuple[str, ...]:
    """Return the labelling units of a text in lower case."""
    return tuple(example.text[start:end].lower() for start, end in example.tokens)


Vectors = Callable[[Sequence[tuple[str, ...]]], Any]
"""From the units of texts to one vector of length 1 for each, or 0: an array or sparse matrix (N, D)."""


class Nearest:
    """The demonstrations, by their nearness to a text."""

    def __init__(self, demonstrations: Sequence[Demonstration]) -> None:
        self._all = demonstrations
        self._of: dict[str | None, list[int]] = {None: list(range(len(demonstrations)))}
        for place, one in enumerate(demonstrations):
            if one.category is not None:
                self._of.setdefault(one.category, []).append(place)
        self._vectors = _tf_idf([one.units for one in demonstrations])
        self._index = {
            name: self._vectors([demonstrations[at].units for at in places]) for name, places in self._of.items()
        }

    def to(self, example: Example, number: int) -> list[Demonstration]:
        """Return the `number` nearest demonstrations, the nearest last; fewer where there are not so many."""
        category = example.category if example.category in self._of else None
        places = self._of[category]
        if not places or number < 1:
            return []
        similarity = (self._index[category] @ self._vectors([units_of(example)]).T).toarray()[:, 0]
        # What differs by rounding alone is equal: sums run in another order elsewhere.
        order = np.argsort(-similarity.round(9), kind="stable")[:number]
        return [self._all[places[at]] for at in reversed(order.tolist())]


def _tf_idf(texts: Sequence[tuple[str, ...]]) -> Vectors:
    """Return what makes TF-IDF vectors, with the frequencies of these texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]  # scikit-learn has no types.

    if not any(texts):
        raise ValueError("no training text has a unit")
    vectorizer = TfidfVectorizer(analyzer=list).fit(texts)
    vectors: Vectors = vectorizer.transform
    return vectors
