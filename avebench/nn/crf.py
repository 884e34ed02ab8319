"""A linear-chain CRF over ragged batches: pytorch-crf's parameters and likelihood, and a batched Viterbi search."""

from __future__ import annotations

from typing import Literal

import torch
import torchcrf  # type: ignore[import-untyped]  # pytorch-crf ships no types.
from torch import Tensor

Reduction = Literal["none", "sum", "mean", "token_mean"]
MANY_TAGS = 128
"""From here on the likelihood is computed with matrix products: pytorch-crf keeps (B, T, T) per position for the
gradient, 1 GB a position for a batch of 16 and the 4,001 tags of 2,000 attributes."""
WIDEST_RANGE = 40.0
"""Largest difference of two transitions that matrix products of their exponentials bear without a loss in float32."""
VITERBI_TERMS = 1 << 24
"""Sums of one step of the Viterbi search over many tags that are held at once: more rows follow one another."""


class CRF(torchcrf.CRF):  # type: ignore[misc]  # The untyped base is Any to the type checker.
    """Linear-chain conditional random field (Lafferty et al., 2001) over `num_tags` tags, batch first.

    Parameters, their names and their start are pytorch-crf's: `start_transitions` (T,), `end_transitions` (T,) and
    `transitions` (T, T), from row tag to column tag. Beyond it, a sequence may be empty: its log-likelihood is 0 and
    its best path is empty. Masks are (B, S) and mark a prefix of every row.
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__(num_tags, batch_first=True)

    def forward(
        self, emissions: Tensor, tags: Tensor, mask: Tensor | None = None, reduction: Reduction = "sum"
    ) -> Tensor:
        """Return the log-likelihood of `tags` (B, S) under `emissions` (B, S, T): (B,) for `none`, else a scalar.

        `mean` is over sequences, empty ones included, `token_mean` over positions; of nothing, each of them is 0.
        Half precision is computed in float32, also under autocast. ValueError if shapes do not match, the mask marks
        no prefix, or the reduction is unknown.
        """
        if reduction not in ("none", "sum", "mean", "token_mean"):
            raise ValueError(f"The reduction is '{reduction}'; it must be none, sum, mean or token_mean.")
        mask = self._prefix_mask(emissions, mask)
        filled = mask.any(dim=1).nonzero().squeeze(1)
        # The product with zero keeps an all-empty batch differentiable.
        likelihood: Tensor = self.start_transitions.sum() * 0 + emissions.new_zeros(len(emissions), dtype=torch.float32)
        if len(filled):
            with torch.autocast(emissions.device.type, enabled=False):
                # A padded emission is multiplied by zero further down, which would not remove an infinite one.
                scores = _at_least_float32(emissions).masked_fill(~mask.unsqueeze(2), 0.0)
                found = self._likelihood(scores[filled], tags[filled], mask[filled])
            likelihood = likelihood.to(found.dtype).index_put((filled,), found)
        if reduction == "none":
            return likelihood
        if reduction == "mean":
            return likelihood.sum() / max(len(likelihood), 1)
        return likelihood.sum() / mask.sum().clamp(min=1) if reduction == "token_mean" else likelihood.sum()

    @torch.no_grad()
    def decode(self, emissions: Tensor, mask: Tensor | None = None) -> list[list[int]]:
        """Return the best tag sequence of every row of `emissions` (B, S, T), each as long as its mask.

        Its score is exactly that of `torchcrf.CRF.decode`; the path is the same wherever the best one is unique.
        ValueError if shapes do not match or the mask marks no prefix.
        """
        mask = self._prefix_mask(emissions, mask)
        lengths = mask.sum(dim=1)
        if not mask.any():
            return [[] for _ in range(len(emissions))]
        with torch.autocast(emissions.device.type, enabled=False):
            scores = _at_least_float32(emissions)
            search = self._best_paths if self.num_tags < MANY_TAGS else self._best_paths_of_many_tags
            paths = search(scores, lengths)
        rows = paths.t().tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    @torch.no_grad()
    def marginals(self, emissions: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the probability (B, S, T) of every tag at every position, over all paths of `emissions` (B, S, T).

        What stands behind a row's end is 0. ValueError if shapes do not match or the mask marks no prefix.
        """
        mask = self._prefix_mask(emissions, mask)
        with torch.autocast(emissions.device.type, enabled=False):
            scores = _at_least_float32(emissions).masked_fill(~mask.unsqueeze(2), 0.0)
            scores[:, 0] += self.start_transitions
            lengths = mask.sum(dim=1)
            scores[torch.arange(len(scores), device=scores.device), (lengths - 1).clamp(min=0)] += self.end_transitions
            return marginals(scores, self.transitions.to(scores.dtype).expand(len(scores), -1, -1), lengths)

    def _likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return the log-likelihood (B,) of `tags` (B, S) under `emissions` (B, S, T); no row is empty."""
        transitions: Tensor = self.transitions
        likelihood: Tensor
        if self.num_tags < MANY_TAGS or transitions.detach().max() - transitions.detach().min() > WIDEST_RANGE:
            likelihood = super().forward(emissions, tags, mask, reduction="none")
            return likelihood
        likelihood = self._path_score(emissions, tags, mask) - self._normaliser(emissions, mask)
        return likelihood

    def _path_score(self, emissions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Return the score (B,) of the path `tags` (B, S)."""
        visited = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # (B, S)
        moves = self.transitions[tags[:, :-1], tags[:, 1:]]  # (B, S - 1)
        last = tags.gather(1, mask.sum(dim=1, keepdim=True) - 1).squeeze(1)
        inner = (visited * mask).sum(dim=1) + (moves * mask[:, 1:]).sum(dim=1)
        score: Tensor = self.start_transitions[tags[:, 0]] + inner + self.end_transitions[last]
        return score

    def _normaliser(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """Return the log of the sum (B,) over all paths, from one product (B, T) x (T, T) per position.

        log sum_i exp(a_i + t_ij) = m + n + log sum_i exp(a_i - m) exp(t_ij - n), with m the largest a of the row and n
        the largest transition. A term that underflows is below exp(-87 + `WIDEST_RANGE`) of the sum.
        """
        highest = self.transitions.detach().max()
        weights = (self.transitions - highest).exp()  # (T, T)
        scores = self.start_transitions + emissions[:, 0]  # (B, T)
        for step in range(1, emissions.size(1)):
            top = scores.detach().max(dim=1, keepdim=True).values
            reached = ((scores - top).exp() @ weights).log() + (top + highest)
            scores = torch.where(mask[:, step : step + 1], reached + emissions[:, step], scores)
        total: Tensor = (scores + self.end_transitions).logsumexp(dim=1)
        return total

    def _prefix_mask(self, emissions: Tensor, mask: Tensor | None) -> Tensor:
        """Return the mask (B, S) as booleans, all true for None; ValueError unless all fits and it marks prefixes."""
        shape = tuple(emissions.shape)
        if len(shape) != 3 or shape[2] != self.num_tags:
            raise ValueError(f"Emissions must be (batch, positions, {self.num_tags} tags), not of shape {shape}.")
        if mask is None:
            return torch.ones(shape[:2], dtype=torch.bool, device=emissions.device)
        if mask.shape != shape[:2]:
            raise ValueError(f"The mask is of shape {tuple(mask.shape)}, the emissions of {shape}.")
        mask = mask.bool()
        if (mask[:, 1:] & ~mask[:, :-1]).any():
            raise ValueError("The mask must mark a prefix of every row; a marked position follows an unmarked one.")
        return mask

    def _best_paths(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Return the best tags (S, B) of `emissions` (B, S, T); what stands at and after a row's length means nothing.

        All rows run to the last position. Time-major with the batch innermost, every step is a few passes over
        contiguous memory; a row's result is read off at its own length afterwards.
        """
        # A copy (S, T, B) that becomes the table of best scores.
        scores = emissions.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
        steps, _, size = scores.shape
        previous = torch.empty(scores.shape, dtype=torch.long, device=scores.device)
        scores[0] += self.start_transitions.unsqueeze(1)
        transitions = self.transitions.unsqueeze(2)  # (T from, T to, 1)
        for step in range(1, steps):
            best, previous[step] = (scores[step - 1].unsqueeze(1) + transitions).max(dim=0)  # (T to, B)
            scores[step] += best
        rows = torch.arange(size, device=scores.device)
        last = (lengths - 1).clamp(min=0)
        paths = torch.empty((steps, size), dtype=torch.long, device=scores.device)
        final = (scores[last, :, rows] + self.end_transitions).argmax(dim=1)  # (B,)
        paths[steps - 1] = final
        for step in range(steps - 1, 0, -1):
            came_from = previous[step].gather(0, paths[step].unsqueeze(0)).squeeze(0)
            paths[step - 1] = torch.where(last >= step, came_from, final)
        return paths

    def _best_paths_of_many_tags(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Return what `_best_paths` does; only the best scores are kept, and the way back is looked for in them.

        Best tags of all T positions before would cost more than the search: here one row of T is compared per step.
        """
        size, steps, tags = emissions.shape
        transitions = self.transitions.t().contiguous()  # (T to, T from)
        scores = emissions.transpose(0, 1).clone(memory_format=torch.contiguous_format)  # (S, B, T)
        scores[0] += self.start_transitions
        rows = max(1, VITERBI_TERMS // tags**2)
        sums = scores.new_empty(min(rows, size), tags, tags)
        for step in range(1, steps):
            for at in range(0, size, rows):
                before = scores[step - 1, at : at + rows].unsqueeze(1)  # (R, 1, T from)
                reached = torch.add(transitions, before, out=sums[: len(before)])
                scores[step, at : at + rows] += reached.amax(dim=2)
        last = (lengths - 1).clamp(min=0)
        paths = torch.empty((steps, size), dtype=torch.long, device=scores.device)
        final = (scores[last, torch.arange(size, device=scores.device)] + self.end_transitions).argmax(dim=1)  # (B,)
        paths[steps - 1] = final
        for step in range(steps - 1, 0, -1):
            came_from = (scores[step - 1] + transitions[paths[step]]).argmax(dim=1)
            paths[step - 1] = torch.where(last >= step, came_from, final)
        return paths


@torch.no_grad()
def marginals(emissions: Tensor, transitions: Tensor, lengths: Tensor) -> Tensor:
    """Return the probability (Q, S, T) of every tag at every place under scores (Q, S, T) and transitions (Q, T, T).

    Forward-backward (Rabiner, 1989) in the logarithm; transitions are from row tag to column tag, start and end have no
    scores of their own. What stands behind a row's length (Q,) is 0.
    """
    inside = (torch.arange(emissions.size(1), device=emissions.device) < lengths.unsqueeze(1)).unsqueeze(2)
    emissions = emissions.masked_fill(~inside, 0.0)
    forward, backward = [emissions[:, 0]], [torch.zeros_like(emissions[:, 0])]
    for place in range(1, emissions.size(1)):
        # (Q, from, to)
        reached = torch.logsumexp(forward[-1].unsqueeze(2) + transitions, dim=1) + emissions[:, place]
        forward.append(reached)
    for place in range(emissions.size(1) - 1, 0, -1):
        onward = backward[-1] + emissions[:, place]
        before = torch.logsumexp(transitions + onward.unsqueeze(1), dim=2)
        # Nothing follows a row's last place.
        backward.append(before.where(inside[:, place], backward[-1]))
    both = torch.stack(forward, dim=1) + torch.stack(backward[::-1], dim=1)
    return both.softmax(dim=2).masked_fill(~inside, 0.0)


def _at_least_float32(emissions: Tensor) -> Tensor:
    """Return half precision as float32, wider types as they are."""
    return emissions.float() if emissions.dtype in (torch.float16, torch.bfloat16) else emissions
