"""A linear-chain CRF whose transitions are given with each row, for tags of one attribute at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def log_likelihood(emissions: Tensor, transitions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
    """Return the log-likelihood (Q,) of `tags` (Q, S) under scores (Q, S, T) and transitions (Q, T, T), from row tag.

    `mask` (Q, S) marks a prefix of every row; the likelihood of an empty row is 1. There are no scores of starting and
    ending. Half precision is computed in float32.
    """
    emissions = emissions.to(torch.promote_types(emissions.dtype, torch.float32))
    transitions = transitions.to(emissions.dtype)
    emissions = emissions.masked_fill(~mask.unsqueeze(2), 0.0)
    rows = torch.arange(len(tags), device=tags.device)
    path = (emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * mask).sum(dim=1)
    total = emissions[:, 0]
    for place in range(1, emissions.size(1)):
        step = transitions[rows, tags[:, place - 1], tags[:, place]]
        path = path + step * mask[:, place]
        # (Q, from, to)
        onward = torch.logsumexp(total.unsqueeze(2) + transitions + emissions[:, place].unsqueeze(1), dim=1)
        total = torch.where(mask[:, place].unsqueeze(1), onward, total)
    likelihood = path - torch.logsumexp(total, dim=1)
    return likelihood.where(mask[:, 0], torch.zeros_like(likelihood))


@torch.no_grad()
def best_paths(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> list[list[int]]:
    """Return the best tags of every row, as many as its length, under scores (Q, S, T) and transitions (Q, T, T)."""
    best, backs = emissions[:, 0], []
    for place in range(1, emissions.size(1)):
        scores, back = (best.unsqueeze(2) + transitions).max(dim=1)
        going_on = (place < lengths).unsqueeze(1)
        best = torch.where(going_on, scores + emissions[:, place], best)
        same = torch.arange(back.size(1), device=back.device).expand_as(back)
        backs.append(torch.where(going_on, back, same))
    tag = best.argmax(dim=1)
    path = [tag]
    for back in reversed(backs):
        tag = back.gather(1, tag.unsqueeze(1)).squeeze(1)
        path.append(tag)
    rows = torch.stack(path[::-1], dim=1).tolist()
    return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]
