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
        """
        query = self.queries(queries)  # (B, M, A)
        seen = torch.tanh(self.keys(states).unsqueeze(1) + query.unsqueeze(2))  # (B, M, S, A)
        own = torch.arange(states.size(1), device=states.device) < lengths.unsqueeze(1)  # (B, S)
        scores = (seen @ self.vector).masked_fill(~own.unsqueeze(1), -math.inf)
        # All padding of a row has one score: one column stands for it, with the logarithm of its number added.
        nothing = torch.tanh(query) @ self.vector + padding.to(query.dtype).log().unsqueeze(1)  # (B, M)
        # A row without any position, padding included, attends to its (zero) padding.
        nothing = torch.where((lengths + padding == 0).unsqueeze(1), 0.0, nothing)
        weights = torch.cat([scores, nothing.unsqueeze(2)], 2).softmax(2)[..., :-1]  # (B, M, S)
        return weights @ states


def glorot(linear: nn.Linear) -> nn.Linear:
    """Return the layer, started as TensorFlow starts one: Glorot-uniform weights, zero bias."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
