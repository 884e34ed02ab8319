"""Pairs as places: a decoder that points at the first and last unit of each value and names its attribute.

With the encoder's unit states h_1 .. h_S, a learnt h_0 that means "no more", and the decoder's state d_t of step t:

    first      softmax over i in 0 .. S of (W_f d_t) . h_i / sqrt(H)
    last       softmax over j >= i of (W_l [d_t; h_i]) . h_j / sqrt(H)
    attribute  softmax of W_a [d_t; h_i; h_j] + b_a
    input of step t + 1: W_p [h_i; h_j] + e_a; of the first step a learnt vector

In training i, j and a are gold. Roy et al. say that start, end and attribute come out of pointer and classification
layers; the formulas are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from avebench.models.generative.encoder_decoder import IGNORED, EncoderDecoder
from avebench.nn.ragged import padded, prefix_mask

Place = tuple[int, int, int]
"""First unit, last unit and number of the attribute."""


def collate_places(places: Sequence[Sequence[Place]]) -> dict[str, Tensor]:
    """Return `gold_first`, `gold_last` and `gold_name` (B, T): a text's places, and a step whose first is 0: no more.

    Units count from 1. Of that step, and behind it, the others are `IGNORED`, as `first` is behind it.
    """
    steps = 1 + max([0, *map(len, places)])
    rows = [np.array(row, dtype=np.int64).reshape(-1, 3) for row in places]
    return {
        "gold_first": padded([np.append(row[:, 0] + 1, 0) for row in rows], IGNORED, steps),
        "gold_last": padded([row[:, 1] + 1 for row in rows], IGNORED, steps),
        "gold_name": padded([row[:, 2] for row in rows], IGNORED, steps),
    }


class Pointers(nn.Module):
    """The layers around the decoder, of width `hidden`, for a number of attributes."""

    def __init__(self, hidden: int, attributes: int) -> None:
        super().__init__()
        self.scale = hidden**-0.5
        self.nothing = nn.Parameter(torch.randn(hidden) * self.scale)
        self.begin = nn.Parameter(torch.randn(hidden) * self.scale)
        self.first = nn.Linear(hidden, hidden)
        self.last = nn.Linear(2 * hidden, hidden)
        self.attribute = nn.Linear(3 * hidden, attributes)
        self.pair = nn.Linear(2 * hidden, hidden)
        self.names = nn.Embedding(attributes, hidden)

    def units(self, states: Tensor, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Return h (B, 1 + S, H) of the encoder's states (B, P, H), and the mask (B, 1 + S) of what is there."""
        first = batch["first"].unsqueeze(2).expand(-1, -1, states.size(2))
        nothing = self.nothing.to(states.dtype).expand(len(states), 1, -1)
        mask = prefix_mask([length + 1 for length in batch["lengths"]], first.size(1) + 1, states.device)
        return torch.cat([nothing, states.gather(1, first)], dim=1), mask

    def first_scores(self, decoded: Tensor, units: Tensor, mask: Tensor) -> Tensor:
        """Return the scores (B, T, 1 + S) of first units for d (B, T, H)."""
        scores: Tensor = self.first(decoded) @ units.transpose(1, 2) * self.scale
        return scores.masked_fill(~mask.unsqueeze(1), -torch.inf)

    def last_scores(self, decoded: Tensor, units: Tensor, mask: Tensor, first: Tensor) -> Tensor:
        """Return the scores (B, T, 1 + S) of last units for d (B, T, H) and first units (B, T)."""
        query = self.last(torch.cat([decoded, _at(units, first)], dim=2))
        scores: Tensor = query @ units.transpose(1, 2) * self.scale
        before = torch.arange(units.size(1), device=units.device) < first.unsqueeze(2)
        return scores.masked_fill(before | ~mask.unsqueeze(1), -torch.inf)

    def name_scores(self, decoded: Tensor, units: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """Return the scores (B, T, N) of attributes for d (B, T, H) and places (B, T)."""
        scores: Tensor = self.attribute(torch.cat([decoded, _at(units, first), _at(units, last)], dim=2))
        return scores

    def following(self, units: Tensor, first: Tensor, last: Tensor, name: Tensor) -> Tensor:
        """Return what the decoder reads after places (B, T), (B, T, H)."""
        found: Tensor = self.pair(torch.cat([_at(units, first), _at(units, last)], dim=2)) + self.names(name)
        return found

    def losses(self, generator: EncoderDecoder, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the cross-entropies of `first`, `last` and `attribute` under teacher forcing, means over steps."""
        states = generator.states(batch)
        units, mask = self.units(states, batch)
        gold = {name: batch[f"gold_{name}"] for name in ("first", "last", "name")}
        first, last, name = (rows.clamp(min=0) for rows in gold.values())
        begin = self.begin.to(units.dtype).expand(len(units), 1, -1)
        inputs = torch.cat([begin, self.following(units, first, last, name)[:, :-1]], dim=1)
        decoded, _ = generator.decode(inputs, states, batch)
        scores = {
            "first": self.first_scores(decoded, units, mask),
            "last": self.last_scores(decoded, units, mask, first),
            "name": self.name_scores(decoded, units, first, last),
        }
        found = {part: _cross_entropy(scores[part], gold[part]) for part in scores}
        return {"first": found["first"], "last": found["last"], "attribute": found["name"]}

    def find(self, generator: EncoderDecoder, batch: dict[str, Any], most: int) -> list[list[Place]]:
        """Return the best place of each step for every text, up to the step that is no place, at most `most`."""
        states = generator.states(batch)
        units, mask = self.units(states, batch)
        inputs = self.begin.to(units.dtype).expand(len(units), 1, -1)
        found: list[list[Place]] = [[] for _ in batch["lengths"]]
        going = [True] * len(found)
        cache: Any = None
        for _ in range(most):
            decoded, cache = generator.decode(inputs, states, batch, cache)
            first = self.first_scores(decoded, units, mask).argmax(dim=2)  # (B, 1)
            last = self.last_scores(decoded, units, mask, first).argmax(dim=2)
            name = self.name_scores(decoded, units, first, last).argmax(dim=2)
            places = zip(first[:, 0].tolist(), last[:, 0].tolist(), name[:, 0].tolist(), strict=True)
            for row, place in enumerate(places):
                going[row] = going[row] and place[0] > 0
                if going[row]:
                    found[row].append((place[0] - 1, place[1] - 1, place[2]))
            if not any(going):
                break
            inputs = self.following(units, first, last, name)
        return found


def _at(units: Tensor, places: Tensor) -> Tensor:
    """Return the states (B, T, H) at places (B, T) of h (B, 1 + S, H)."""
    return units.gather(1, places.unsqueeze(2).expand(-1, -1, units.size(2)))


def _cross_entropy(scores: Tensor, gold: Tensor) -> Tensor:
    """Return the mean over the steps that have a gold answer; 0 where none has."""
    counted = gold != IGNORED
    if not counted.any():
        return scores.masked_fill(scores == -torch.inf, 0).sum() * 0
    return functional.cross_entropy(scores[counted].float(), gold[counted])
