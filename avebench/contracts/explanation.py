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

    `ranges` holds the score of every attribute of a range classifier, selected above `threshold`; empty without one.
    `similarities` holds the cosine (U,) of each selected attribute's vector with the state of every token.
    `attention` (U, P) is how much a token takes from every patch of the picture, `attends` says what that is in words;
    None without a picture, or where the system looks at none. `cells` are the rows and columns of the picture that the
    patches are, in reading order; None where patches are no such cells.
    """

    example: Example
    prediction: Prediction
    ranges: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None
    similarities: Mapping[str, Figures] = field(default_factory=dict)
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
