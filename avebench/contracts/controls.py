"""Controls: the same system with other pictures, to see whether the right picture matters at all.

A gain from pictures is believed only if it goes away when the pictures are another product's, blank, or missing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import BaseModel, ConfigDict

from avebench.contracts.examples import ZERO_PICTURE, Example, product_of
from avebench.files.errors import AvebenchError


class Control(BaseModel):
    """Which pictures a row's system is shown instead of its own, at test or in training as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pictures: Literal["shuffled", "zero", "none"]
    """All those of another product; inputs that are zero after normalisation; no picture, so that G = 0."""
    training: bool = False
    """Whether training sees such pictures too; otherwise the normally trained system is tested with them."""


def with_control(examples: Sequence[Example], control: Control) -> list[Example]:
    """Return the examples, in order, as the control shows them to a system; texts and gold stay.

    "shuffled" is one fixed permutation of the products of `examples` that have a picture, none keeping its own; the
    sentences of a product stay together. AvebenchError if it has fewer than two products to permute.
    """
    if control.pictures == "none":
        return [replace(example, picture=None, further_pictures=()) for example in examples]
    if control.pictures == "zero":
        return [example if example.picture is None else _zeroed(example) for example in examples]
    first: dict[str, Example] = {}
    for example in examples:
        if example.picture is not None:
            first.setdefault(product_of(example), example)
    if len(first) < 2:
        raise AvebenchError(
            f"Pictures of {len(first)} product(s) cannot be shuffled: the control needs two products with a picture."
        )
    circle = sorted(first, key=lambda product: hashlib.sha256(f"shuffled:{product}".encode()).hexdigest())
    after = dict(zip(circle, circle[1:] + circle[:1], strict=True))  # One cycle through all products: nobody stays.
    shown = []
    for example in examples:
        if example.picture is not None:
            other = first[after[product_of(example)]]
            # Computed features are found by the product; to a system, the picture's product is the product.
            shown.append(
                replace(
                    example,
                    picture=other.picture,
                    further_pictures=other.further_pictures,
                    product_id=other.product_id,
                )
            )
        else:
            shown.append(example)
    return shown


def _zeroed(example: Example) -> Example:
    """Return an example whose pictures, as many as there are, are inputs of zero."""
    further = (ZERO_PICTURE,) * len(example.further_pictures)
    return replace(example, picture=ZERO_PICTURE, further_pictures=further)
