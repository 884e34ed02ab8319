"""Additive attention (Bahdanau et al., 2015) over the states of a ragged batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Attention with the scores e_ij = v . tanh(K h_j + Q q_i + b), context c_i = sum_j softmax_j(e_ij) h_j.

    `keys` is K (A, D) without bias, `queries` is Q (A, D') with bias b, `vector` is v (A,); A is D. They start
    Glorot-uniform (v with limit sqrt(3 / A)), b at zero.
    """

    def __init__(self, states: int, queries: int) -> None:
        super().__init__()
        self.keys = nn.Linear(states, states, bias=False)
        self.queries = glorot(nn.Linear(queries, states))
        self.vector = nn.Parameter(torch.empty(states))
        nn.init.xavier_uniform_(self.keys.weight)
        nn.init.uniform_(self.vector, -math.sqrt(3 / states), math.sqrt(3 / states))

    def forward(self, states: Tensor, queries: Tensor, lengths: Tensor, padding: Tensor) -> Tensor:
        """Return the contexts (B, M, D) of `queries` (B, M, D') over `states` (B, S, D), zero behind `lengths` (B,).

        The softmax is over a row's own positions and `padding[b]` more, whose states are zero: they take weight and
        give nothing. With 0 the attention is masked; S - lengths is what a plain softmax over the padded row does.
        Queries behind a row's end must be equal, as those made of its zero states are.
        """
        query = self.queries(queries)  # (B, M, A)
        place = torch.arange(queries.size(1), device=lengths.device)
        asked = place <= lengths.unsqueeze(1)  # (B, M): the first query behind a row's end stands for all there
        scores = self._scores(self.keys(states), query, asked, lengths)  # (B, M, S)
        # All padding of a row has one score: one column stands for it, with the logarithm of its number added.
        nothing = torch.tanh(query) @ self.vector + padding.to(query.dtype).log().unsqueeze(1)  # (B, M)
        # Where a row has no position at all, or nothing is asked, the softmax still needs one finite score.
        empty = (lengths + padding == 0).unsqueeze(1)
        nothing = nothing.masked_fill(empty | ~asked, 0.0)
        weights = torch.cat([scores, nothing.unsqueeze(2)], 2).softmax(2)[..., :-1]  # (B, M, S)
        contexts = weights @ states  # (B, M, D)
        source = place.minimum(lengths.unsqueeze(1))  # (B, M)
        return contexts.gather(1, source.unsqueeze(2).expand_as(contexts))

    def _scores(self, keys: Tensor, queries: Tensor, asked: Tensor, lengths: Tensor) -> Tensor:
        """Return e_ij (B, M, S) of `keys` (B, S, A) and `queries` (B, M, A), minus infinity where it is not needed.

        It is needed for i that is `asked` (B, M) and j within the row: a third of all on sentences of mixed lengths.
        """
        own = torch.arange(keys.size(1), device=keys.device) < lengths.unsqueeze(1)  # (B, S)
        pairs = asked.unsqueeze(2) & own.unsqueeze(1)  # (B, M, S)
        row, query, key = pairs.nonzero(as_tuple=True)  # (P,) each
        seen = torch.tanh(
            keys.flatten(0, 1).index_select(0, row * keys.size(1) + key)
            + queries.flatten(0, 1).index_select(0, row * queries.size(1) + query)
        )  # (P, A)
        found = seen @ self.vector
        return found.new_full(pairs.shape, -math.inf).masked_scatter(pairs, found)


def glorot(linear: nn.Linear) -> nn.Linear:
    """Return the layer, started as TensorFlow starts one: Glorot-uniform weights, zero bias."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
