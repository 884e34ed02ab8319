"""Why a system predicts what it predicts: the contract of a model plug-in's `explain`.

A plug-in may offer `explain(example)`. What it returns comes from the forward pass that makes the prediction, so that
both can never tell different stories. Nothing here draws or prints: see `avebench.analysis.attention`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from avebench.contracts.examples import Example, Prediction
from avebench.contracts.tagging import tags_of

Figures = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """One prediction and what led to it; U counts the tokens of the example that the system reads, P patches.

    `ranges` holds the score of every attribute in question: what a range classifier gives it, or the probability that
    an attribute that was asked for has a value. Those above `threshold` are selected; None where a threshold decides
    nothing. `decides` says in words what does, and what the scores are; empty where a range classifier does.

    `similarities` holds the cosine (U,) of the vector of each attribute, selected or asked for, with the state of every
    token. `probabilities` holds what a query system gives every token for each attribute (U,), by what it is: `begin`
    and `end` of the value, or `inside` one. `mixtures` holds the weights (K,) of the experts that an attribute's
    decoder is mixed of.

    `attention` (U, P) is how much a token takes from every patch of the picture, `attends` says what that is in words;
    None without a picture, or where the system looks at none. `cells` are the rows and columns of the picture that the
    patches are, in reading order; None where patches are no such cells.
    """

    example: Example
    prediction: Prediction
    ranges: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None
    decides: str = ""
    similarities: Mapping[str, Figures] = field(default_factory=dict)
    probabilities: Mapping[str, Mapping[str, Figures]] = field(default_factory=dict)
    mixtures: Mapping[str, Figures] = field(default_factory=dict)
    attention: Figures | None = None
    attends: str = ""
    cells: tuple[int, int] | None = None

    def tokens(self) -> list[str]:
        """Return the labelling units of the text."""
        return [self.example.text[start:end] for start, end in self.example.tokens]

    def tags(self) -> list[tuple[str, ...]]:
        """Return the BIO tags of each token that are not O; values of several attributes may overlap."""
        return tags_of(self.prediction.spans or (), self.example.tokens)

    def gold_tags(self) -> list[tuple[str, ...]]:
        """Return the tags of the annotation in the same way."""
        return tags_of(self.example.spans, self.example.tokens)

    def token_scores(self) -> dict[str, Mapping[str, Figures]]:
        """Return all that is said of each attribute's tokens, by what it is: `cosine`, and kinds of probabilities."""
        return {**({"cosine": self.similarities} if self.similarities else {}), **self.probabilities}

    def maps(self) -> Figures | None:
        """Return the attention laid out as the picture (U, rows, columns); None where it cannot be."""
        if self.attention is None or self.cells is None:
            return None
        return self.attention.reshape(-1, *self.cells)

    def without_maps(self) -> str:
        """Return why there are no maps, as a sentence; empty where there are."""
        if self.maps() is not None:
            return ""
        if self.attention is not None:
            return "The patches of this system are no cells of the picture: its attention cannot be laid over it."
        return "This system attends to no picture." if self.example.picture else "There is no picture to attend to."


@runtime_checkable
class Explains(Protocol):
    """A model that says why it predicts what it predicts."""

    def explain(self, example: Example) -> Explanation:
        """Return the explanation of one example, from the forward pass that makes its prediction."""
