"""Rows of different lengths in one batch: filled up to one width, and their mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def padded(rows: Sequence[NDArray[np.signedinteger[Any]]], value: int = 0, width: int | None = None) -> Tensor:
    """Return the rows as one long tensor (B, W), filled up with `value`.

    W is `width`, which no row may exceed; None: the length of the longest row, at least 1.
    """
    if width is None:
        width = max([1, *(len(row) for row in rows)])
    table = np.full((len(rows), width), value, dtype=np.int64)
    for target, row in zip(table, rows, strict=True):
        target[: len(row)] = row
    return torch.from_numpy(table)


def prefix_mask(lengths: Sequence[int] | Tensor, width: int, device: torch.device) -> Tensor:
    """Return the mask (B, width) that is true at the first `lengths[b]` positions of row b."""
    ends = torch.as_tensor(lengths, dtype=torch.long, device=device)
    return torch.arange(width, device=device) < ends.unsqueeze(1)
