"""Train fractions: nested subsets of the training products."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction

from avebench.contracts.examples import Example, product_of
from avebench.files.errors import AvebenchError


def split_by_fraction(
    train: Sequence[Example], fraction: float, repetition: int
) -> tuple[list[Example], list[Example]]:
    """Return the training examples that are used and those that are left out (`test_extended`), in their given order.

    Used are all examples of the first ceil(fraction * n) of the n distinct products, ordered by the SHA-256 of
    "<repetition>:<product id>" (`product_of`). All sentences of a product therefore stay together, and at one
    repetition a smaller fraction's subset lies within a larger one's. AvebenchError unless 0 < fraction <= 1.
    """
    if not 0 < fraction <= 1:
        raise AvebenchError(f"The train fraction {fraction} is outside its range. Give a number above 0 and at most 1.")
    products = sorted({product_of(example) for example in train}, key=lambda name: _rank(name, repetition))
    # As written in decimal: 0.07 of 100 products is 7, although the product of the floats lies just above it.
    chosen = frozenset(products[: math.ceil(Fraction(str(fraction)) * len(products))])
    used = [example for example in train if product_of(example) in chosen]
    left_out = [example for example in train if product_of(example) not in chosen]
    return used, left_out


def _rank(product: str, repetition: int) -> str:
    return hashlib.sha256(f"{repetition}:{product}".encode()).hexdigest()
