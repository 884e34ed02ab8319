"""Pseudo-random integers that are the same on every machine and in every version of every library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from avebench.contracts.seeds import derive_seed

Item = TypeVar("Item")
_MASK = (1 << 64) - 1


class Stream:
    """The SplitMix64 generator (Steele, Lea and Flood 2014), seeded by hashing named axes."""

    def __init__(self, *axes: str | int) -> None:
        self._state = derive_seed(*axes)

    def below(self, bound: int) -> int:
        """Return an integer in [0, `bound`); the bias of the modulo is below 2**-50 for the small bounds used here."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return (mixed ^ (mixed >> 31)) % bound

    def chance(self, per_cent: int) -> bool:
        """Return True in `per_cent` of 100 cases."""
        return self.below(100) < per_cent

    def pick(self, items: Sequence[Item]) -> Item:
        """Return one of `items`, each as likely as the others."""
        return items[self.below(len(items))]

    def weighted(self, weights: Mapping[Item, int]) -> Item:
        """Return a key of `weights` in proportion to its integer weight."""
        rest = self.below(sum(weights.values()))
        for item, weight in weights.items():
            rest -= weight
            if rest < 0:
                return item
        raise AssertionError("The weights sum to more than they are.")
