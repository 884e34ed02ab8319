"""Training examples as demonstrations: which are most like a text, and what their answers are.

Similarity is the cosine of TF-IDF vectors of lower-cased labelling units (scikit-learn: term counts times
ln((1 + n) / (1 + df)) + 1, each vector of length 1), or of the mean unit states of a text encoder. Only examples of the
same category are compared where there are any; equal similarities keep the order of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from avebench.contracts.examples import Example, Units, blind
from avebench.models.generative.codec import pairs_of

TF_IDF = "tfidf"
Answers = Mapping[str, Sequence[str]]
"""Attribute -> values in the order of the text; none for an attribute that is known to be absent."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A training text, as an example without its annotation, with the answers that this gives."""

    example: Example
    answers: Answers

    def record(self) -> list[Any]:
        """Return it as plain JSON for a vocabulary."""
        one, answers = self.example, {name: list(values) for name, values in self.answers.items()}
        return [one.text, [list(token) for token in one.tokens], one.category, answers]


def demonstration_of(record: Sequence[Any]) -> Demonstration:
    """Return the demonstration that a vocabulary keeps."""
    text, tokens, category, answers = record
    return Demonstration(Example("", text, tuple((start, end) for start, end in tokens), category=category), answers)


def demonstrated(example: Example) -> Demonstration:
    """Return a training example as a demonstration; a value that is marked twice stands in its answer once."""
    answers: dict[str, list[str]] = {name: [] for name in sorted(example.absent)}
    for name, value in pairs_of(example):
        values = answers.setdefault(name, [])
        if value not in values:
            values.append(value)
    return Demonstration(blind(example), answers)


def units_of(example: Example) -> list[str]:
    """Return the labelling units of a text in lower case."""
    return [example.text[start:end].lower() for start, end in example.tokens]


Vectors = Callable[[Sequence[Example]], Any]
"""From texts to one vector of length 1 for each, or of zeros: an array or a sparse matrix (N, D)."""


class Nearest:
    """The demonstrations, by their nearness to a text: `similarity` is `tfidf`, or the name of a text encoder."""

    def __init__(self, demonstrations: Sequence[Demonstration], similarity: str, units: Units) -> None:
        self._all = demonstrations
        self._of: dict[str | None, list[int]] = {None: list(range(len(demonstrations)))}
        for place, one in enumerate(demonstrations):
            if one.example.category is not None:
                self._of.setdefault(one.example.category, []).append(place)
        examples = [one.example for one in demonstrations]
        self._vectors = _tf_idf(examples) if similarity == TF_IDF else _mean_states(similarity, units)
        self._index = self._vectors(examples)

    def to(self, example: Example, number: int) -> list[Demonstration]:
        """Return the `number` nearest demonstrations, the nearest last; fewer where there are not so many."""
        places = self._of[example.category if example.category in self._of else None]
        product = self._index[places] @ self._vectors([example]).T
        similarity = np.asarray(product.toarray() if hasattr(product, "toarray") else product)[:, 0]
        # What differs by rounding alone is equal: sums run in another order elsewhere.
        order = np.argsort(-similarity.round(9), kind="stable")[:number]
        return [self._all[places[at]] for at in reversed(order.tolist())]


def _tf_idf(examples: Sequence[Example]) -> Vectors:
    """Return what makes TF-IDF vectors, with the frequencies of these texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # type: ignore[import-untyped]  # It has no types.

    vectorizer = TfidfVectorizer(analyzer=units_of).fit(examples)
    vectors: Vectors = vectorizer.transform
    return vectors


def _mean_states(name: str, units: Units) -> Vectors:
    """Return what makes vectors of the mean of a text encoder's unit states, in float64."""
    import torch

    from avebench.nn.text_encoder import TextEncoder

    encoder = TextEncoder(name, units).eval()

    @torch.inference_mode()
    def vector(example: Example) -> Any:
        states = encoder(encoder.collate([encoder.encode(example)])).units[0]  # (S, H)
        return states.double().mean(0).numpy() if len(states) else np.zeros(states.shape[1])

    def vectors(examples: Sequence[Example]) -> Any:
        found = np.stack([vector(example) for example in examples])  # (N, H)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(lengths > 0, lengths, 1.0)

    return vectors
