"""The formulas of the slot-filling systems, one sentence and one position at a time: what the tests compare with.

Written from the papers' equations in plain float64 operations; nothing of the package is used. Weights are tensors in
dictionaries, so that their gradients can be taken.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def lstm(words: Tensor, w: Tensor, u: Tensor, b: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
    """Return h of every step of `words` (n, E), and the last c and h; gates in the order i, f, g, o, forget bias 1."""
    hidden = u.size(1)
    c = h = torch.zeros(hidden, dtype=words.dtype)
    steps = []
    for word in words:
        i, f, g, o = (w @ word + u @ h + b).split(hidden)
        c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        steps.append(h)
    return steps, c, h


def bilstm(words: Tensor, weights: Weights, prefix: str = "encoder.") -> tuple[Tensor, Tensor]:
    """Return the states (n, 2H) and [c_fw ; h_fw ; c_bw ; h_bw] of one sentence."""
    w, u, b = (weights[f"{prefix}{name}"] for name in ("input_weights", "hidden_weights", "bias"))
    ahead, c_fw, h_fw = lstm(words, w[0], u[0], b[0])
    back, c_bw, h_bw = lstm(words.flip(0), w[1], u[1], b[1])
    states = torch.stack([torch.cat(pair) for pair in zip(ahead, back[::-1], strict=True)])
    return states, torch.cat([c_fw, h_fw, c_bw, h_bw])


def attention(query: Tensor, states: Tensor, weights: Weights, prefix: str) -> Tensor:
    """Return sum_j softmax_j(v . tanh(K h_j + Q q + b)) h_j of one query over `states` (n, D)."""
    k, q, b, v = (weights[f"{prefix}.{name}"] for name in ("keys.weight", "queries.weight", "queries.bias", "vector"))
    scores = torch.stack([v @ torch.tanh(k @ state + q @ query + b) for state in states])
    shares = scores.exp() / scores.exp().sum()
    return sum((share * state for share, state in zip(shares, states, strict=True)), torch.zeros_like(states[0]))


def linear(inputs: Tensor, weights: Weights, prefix: str) -> Tensor:
    """Return W x + b."""
    return weights[f"{prefix}.weight"] @ inputs + weights[f"{prefix}.bias"]


def with_padding(states: Tensor, width: int) -> Tensor:
    """Return the states with zero states behind them, up to `width`."""
    return torch.cat([states, states.new_zeros(width - len(states), states.size(1))])


def slot_gated(words: Tensor, weights: Weights, width: int, *, full: bool) -> tuple[Tensor, Tensor]:
    """Return slot logits (n, T) and intent logits (L,) of one sentence, attention over `width` positions."""
    states, final = bilstm(words, weights)
    seen = with_padding(states, width)
    sentence = torch.cat([attention(final, seen, weights, "intent_attention"), final])
    bias = linear(sentence, weights, "slot_gate.sentence")
    rows = []
    for state in states:
        r = attention(state, seen, weights, "slot_attention") if full else state
        gate = (weights["slot_gate.vector"] * torch.tanh(r + bias)).sum()
        rows.append(linear(torch.cat([gate * r, state]), weights, "slot_output"))
    return torch.stack(rows), linear(sentence, weights, "intent_output")


def attn_birnn(words: Tensor, weights: Weights, width: int) -> tuple[Tensor, Tensor]:
    """Return slot logits (n, T) and intent logits (L,) of one sentence, attention over `width` positions."""
    states, final = bilstm(words, weights)
    seen = with_padding(states, width)
    rows = []
    for position, state in enumerate(states):
        query = linear(final, weights, "slot_start") if position == 0 else state
        context = attention(query, seen, weights, "slot_attention")
        rows.append(linear(torch.cat([context, state]), weights, "slot_output"))
    sentence = attention(final, seen, weights, "intent_attention")
    return torch.stack(rows), linear(sentence, weights, "intent_output")


def cross_entropy(logits: Tensor, target: int) -> Tensor:
    """Return -log softmax(logits)[target]."""
    return logits.exp().sum().log() - logits[target]
