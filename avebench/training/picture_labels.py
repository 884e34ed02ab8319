"""What the gold annotation says about pictures: the labels that a picture encoder is pretrained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avebench.contracts.examples import Example, Picture
from avebench.files.errors import AvebenchError
from avebench.nn.image_encoder import pixels_of


@dataclass(frozen=True, slots=True)
class Product:
    """A picture, its category, and all (attribute, value) pairs that stand in sentences about it, in lower case."""

    picture: Picture
    category: str
    pairs: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Labels:
    """What is told apart: categories and (attribute, value) pairs, each the most frequent first."""

    categories: tuple[str, ...]
    values: tuple[tuple[str, str], ...]

    def columns(self) -> dict[str, list[int]]:
        """Return attribute -> positions of its values, the most frequent first."""
        found: dict[str, list[int]] = {}
        for position, (attribute, _) in enumerate(self.values):
            found.setdefault(attribute, []).append(position)
        return found


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """`pixels` (N, 3, size, size) in bytes, `categories` (N,), -1 for an unknown one, `shown` (N, V) and `told` (N, V).

    `shown` marks the gold values; `annotated` marks all values of the attributes that are annotated. An attribute
    without annotation may well be in the picture, so that nothing is known of its values.
    """

    pixels: Tensor
    categories: Tensor
    shown: Tensor
    annotated: Tensor


def products_of(examples: Iterable[Example]) -> list[Product]:
    """Return one product per picture, in order; examples without a picture or a category are left out."""
    found: dict[str, Product] = {}
    for example in examples:
        if example.picture is None or example.category is None:
            continue
        pairs = {(attribute, value.lower()) for attribute, values in example.pairs.items() for value in values}
        known = found.get(example.picture.name)
        product = Product(example.picture, example.category, frozenset(pairs | (known.pairs if known else set())))
        found[example.picture.name] = product
    return list(found.values())


def labels_of(products: Sequence[Product], min_count: int) -> Labels:
    """Return the categories, and the values of at least `min_count` products where their attribute has two of them.

    AvebenchError if there are none.
    """
    categories = Counter(product.category for product in products)
    pairs = Counter(pair for product in products for pair in product.pairs)
    frequent = [pair for pair in pairs if pairs[pair] >= min_count]
    choices = Counter(attribute for attribute, _ in frequent)
    values = [pair for pair in frequent if choices[pair[0]] > 1]
    if not values:
        raise AvebenchError(
            f"There is nothing to tell apart in {len(products)} pictures with a category: no attribute has two values "
            f"of at least {min_count} pictures each. Name a data set whose pretraining(count) yields such pictures."
        )
    return Labels(
        tuple(sorted(categories, key=lambda name: (-categories[name], name))),
        tuple(sorted(values, key=lambda pair: (-pairs[pair], pair))),
    )


def labelled(products: Sequence[Product], labels: Labels, size: int) -> LabelledPictures:
    """Open the pictures at `size` pixels a side and look their labels up."""
    category = {name: position for position, name in enumerate(labels.categories)}
    value = {pair: position for position, pair in enumerate(labels.values)}
    columns = labels.columns()
    pixels = torch.empty(len(products), 3, size, size, dtype=torch.uint8)
    shown = torch.zeros(len(products), len(value), dtype=torch.bool)
    annotated = torch.zeros_like(shown)
    for row, product in enumerate(products):
        pixels[row] = torch.from_numpy(pixels_of(product.picture, size))
        shown[row, [value[pair] for pair in product.pairs if pair in value]] = True
        annotated[row, [column for attribute, _ in product.pairs for column in columns.get(attribute, [])]] = True
    categories = torch.tensor([category.get(product.category, -1) for product in products])
    return LabelledPictures(pixels, categories, shown, annotated)
