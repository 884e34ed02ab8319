"""The segments of an input, each with a global token: category, name of the attribute, paragraphs of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from avebench.contracts.examples import Example
from avebench.contracts.model import QueryConfig
from avebench.nn.neural import Batch

GLOBAL, CATEGORY, NAME, TITLE, DESCRIPTION, OTHER = range(6)
"""Types of tokens; those of a text are of its paragraph's source."""
SOURCES = {"title": TITLE, "description": DESCRIPTION}
"""The type of a paragraph by its source, of any other `OTHER`."""


class GlobalLocalOptions(QueryConfig):
    """Options of a system over the encoder of `avebench.models.query.global_local`; each system has its own sizes."""

    long_length: int = Field(ge=16)
    """Long tokens that are read at once: the word pieces of all segments, each with its [SEP]."""
    radius: int = Field(ge=1)
    """Long tokens that a long token sees on either side."""
    distance: int = Field(ge=1)
    """The distance between two tokens from which on all have the same vector."""


def paragraphs_of(example: Example) -> Sequence[tuple[int, int, str]]:
    """Return start, end and source of the paragraphs of an example's text, in order; it is one where none is said."""
    return example.paragraphs or ((0, len(example.text), ""),)


def unit_paragraphs(example: Example, units: int) -> NDArray[np.int64]:
    """Return the number (S,) of the paragraph in which each of the first `units` of an example begins."""
    paragraphs = paragraphs_of(example)
    if len(paragraphs) == 1:
        return np.zeros(units, dtype=np.int64)
    begins = [start for start, _, _ in paragraphs]
    found = np.searchsorted(begins, [start for start, _ in example.tokens[:units]], side="right") - 1
    return np.maximum(found, 0).astype(np.int64)


def piece_paragraphs(batch: Batch, paragraphs: Tensor) -> Tensor:
    """Return the number (W, P) of the paragraph of every piece of a batch of pairs, from those (Q, S) of the units.

    A piece is of the paragraph of the last unit that begins there or before, of those that are read in its window; what
    stands ahead of the first of them is of that one's.
    """
    first, owned = batch["first"], batch["counts"] > 0
    rows, width = batch["ids"].shape
    if not paragraphs.any():
        return torch.zeros(rows, width, dtype=torch.long)
    row = batch.get("window", torch.arange(len(first)).unsqueeze(1).expand_as(first))
    begun = torch.full((rows, width), -1)
    begun[row[owned], first[owned]] = paragraphs[owned]
    lowest = begun.where(begun >= 0, begun.max()).amin(dim=1, keepdim=True)
    nothing = (begun < 0).all(dim=1, keepdim=True)
    return torch.maximum(begun.cummax(dim=1).values, lowest.masked_fill(nothing, 0))


def segment_numbers(batch: Batch, name: int, paragraphs: Tensor) -> Tensor:
    """Return the segment (W, P - 1) of every piece but [CLS] of a batch of pairs, -1 behind a row's end.

    `name` is the segment of the attribute's name. What precedes it is the one before, the `paragraphs` (W, P) are those
    that follow.
    """
    questions, rows = batch["questions"], len(batch["ids"])
    owner = batch.get("owner", torch.arange(rows))
    ends = torch.tensor([(question.preceding, question.named) for question in questions])[owner]  # (W, 2)
    places = torch.arange(1, batch["ids"].size(1))
    text = places >= ends[:, 1:]
    numbers = name - (places <= ends[:, :1]).long() + text * (1 + paragraphs[:, 1:])
    return numbers.where(batch["mask"][:, 1:], torch.tensor(-1))
