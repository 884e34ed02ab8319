"""What is counted: families of counts, each behind one metric or three, and the counts themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ClsSource = Literal["head", "tags", "derived"]
Family = Literal[
    "tag",
    "cls",
    "cls_with_pad",
    "mae",
    "mae_by_attribute",
    "string",
    "annotated",
    "intent",
    "sentence",
    "mave",
    "mave_all",
    "mave_pairs",
    "option",
    "containment",
    "hits_1",
    "hits_5",
    "hits_10",
    "hits_20",
    "reciprocal_rank",
]


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, predicted and gold items; counts of two shards add up. An accuracy has predicted = gold."""

    tp: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.predicted + other.predicted, self.gold + other.gold)

    @property
    def precision(self) -> float:
        """Return tp / predicted in %, 0 if nothing is predicted."""
        return 100.0 * self.tp / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Return tp / gold in %, 0 if there is no gold item."""
        return 100.0 * self.tp / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall in %, that is 2 tp / (predicted + gold)."""
        return 200.0 * self.tp / (self.predicted + self.gold) if self.predicted + self.gold else 0.0
