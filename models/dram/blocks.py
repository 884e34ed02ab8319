"""The building blocks of DRAM: text-related embeddings, range classifier, the three guidances, V-IRC's joint stream.

Symbols: B batch, S text positions, H hidden size, P patches, C channels of a patch, N attributes, M selected (example,
attribute) pairs. Formulas are numbered as in the journal (Electronics 2026, 15(5), 969); what the papers leave open is
taken from the authors' code, which each class says.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Initialisation = Literal["small-normal", "linear"]
Output = Literal["joint", "separate"]
COSINE_EPSILON = 1e-8
"""Smallest norm in a cosine; the authors' code divides by zero where a prototype or a state vanishes."""


class TextRelatedEmbeddings(nn.Module):
    """TEM: what each text embedding gathers from the text and from the picture, added to it before BERT.

        A_t = (E q_t) (E k_t)^T / sqrt(d)    (B, S, S)        A_v = (E q_v) (G k_v)^T / sqrt(d)    (B, S, P)
        E_m = (A_t (E v_t) + A_v (G v_v)) W_o + b_o           (B, S, H)

    One head of size d = `inner`, no softmax (both papers and the authors' code). `q_t`, `k_t`, `v_t` and `q_v` are
    (H, d), `k_v` and `v_v` (C, d), without bias; `out` is W_o and b_o. They start as N(0, 1) / 100 (`small-normal`) or
    as a Linear layer does; the cross term of real patches is ten times as large then. With `softmax` the rows of A_t
    and A_v sum to 1; with `separate` output the picture has a linear layer of its own, `out_v`; with `visual` 0 there
    is no picture and A_v has no column.
    """

    q_t: nn.Parameter
    k_t: nn.Parameter
    v_t: nn.Parameter
    q_v: nn.Parameter
    k_v: nn.Parameter
    v_v: nn.Parameter

    def __init__(
        self,
        hidden: int,
        visual: int,
        inner: int = 200,
        *,
        initialisation: Initialisation = "small-normal",
        softmax: bool = False,
        output: Output = "joint",
    ) -> None:
        super().__init__()
        self.inner, self.softmax = inner, softmax
        sizes = {"q_t": hidden, "k_t": hidden, "v_t": hidden}
        if visual:
            sizes |= {"q_v": hidden, "k_v": visual, "v_v": visual}
        for name, size in sizes.items():
            # A Linear layer starts uniformly within one over the root of its inputs.
            small = torch.randn(size, inner) / 100
            wide = torch.empty(size, inner).uniform_(-1, 1) / math.sqrt(size)
            self.register_parameter(name, nn.Parameter(small if initialisation == "small-normal" else wide))
        self.visual = visual
        self.out = nn.Linear(inner, hidden)
        self.out_v = nn.Linear(inner, hidden) if visual and output == "separate" else None

    def projections(self) -> list[nn.Parameter]:
        """Return the matrices that the authors' code may never have trained."""
        return [parameter for name, parameter in self.named_parameters(recurse=False)]

    def forward(self, E: Tensor, G: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: N803
        """Return E_m (B, S, H) and A_v (B, S, P) of embeddings E (B, S, H) and patches G (B, P, C).

        `mask` (B, S) is true where E is text; other positions are no keys of A_t, yet have an E_m of their own.
        """
        scale = 1 / math.sqrt(self.inner)
        own = (E @ self.q_t) @ (E @ self.k_t).transpose(1, 2) * scale  # (B, S, S)
        text = self._weights(own, mask) @ (E @ self.v_t)  # (B, S, d)
        if not self.visual:
            return self.out(text), E.new_zeros(*E.shape[:2], 0)
        cross = self._weights((E @ self.q_v) @ (G @ self.k_v).transpose(1, 2) * scale, None)  # (B, S, P)
        picture = cross @ (G @ self.v_v)  # (B, S, d)
        if self.out_v is not None:
            return self.out(text) + self.out_v(picture), cross
        return self.out(text + picture), cross

    def _weights(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention weights of scores (B, S, K) over keys; `mask` (B, K)."""
        if self.softmax:
            return (scores if mask is None else scores.masked_fill(~mask.bool().unsqueeze(1), -torch.inf)).softmax(2)
        # Without a softmax a key is taken out by zero, not by minus infinity.
        return scores if mask is None else scores * mask.to(scores.dtype).unsqueeze(1)


class RangeClassifier(nn.Module):
    """The attribute range classifier: logits (B, N) from [CLS] of the last two layers (authors' code).

        Linear(H -> N)( ReLU( Linear(2H -> H)( concat(X^(L-1)[CLS], X^(L)[CLS]) ) ) )

    With `layers` 1 it is the papers' single matrix on the last layer's [CLS].
    """

    def __init__(self, hidden: int, attributes: int, layers: Literal[1, 2] = 2) -> None:
        super().__init__()
        self.first = nn.Linear(2 * hidden, hidden) if layers == 2 else None
        self.second = nn.Linear(hidden, attributes)

    def forward(self, cls_prev: Tensor, cls_last: Tensor) -> Tensor:
        """Return the logits (B, N) of the [CLS] states (B, H) of the last layer but one and the last layer."""
        hidden = cls_last
        if self.first is not None:
            hidden = self.first(torch.cat([cls_prev, cls_last], dim=1)).relu()
        logits: Tensor = self.second(hidden)
        return logits

    @torch.no_grad()
    def start_at(self, share: float) -> None:
        """Let every attribute start with the probability `share`, the mean share of gold attributes.

        At 0.5, a range of all attributes would go through the decoder at first.
        """
        share = min(max(share, 1e-6), 1 - 1e-6)
        self.second.bias.fill_(math.log(share / (1 - share)))


def cosines(vectors: Tensor, F: Tensor) -> Tensor:  # noqa: N803
    """Return w_j = cos(vector, F_j) (journal Eq. 12): (M, S) of vectors (M, H) and states (M, S, H)."""
    return functional.cosine_similarity(vectors.unsqueeze(1), F, dim=2, eps=COSINE_EPSILON)


def cosine_guided(vectors: Tensor, F: Tensor) -> Tensor:  # noqa: N803
    """Return concat(F_j, w_j F_j) with the cosines w_j: (M, S, 2H) of vectors (M, H) and states (M, S, H)."""
    return torch.cat([F, cosines(vectors, F).unsqueeze(2) * F], dim=2)


class PrototypeGuidance(nn.Module):
    """Prototype-guided ARM (PAR): a trained vector per attribute, `prototypes` (N, H), starting as N(0, 1)."""

    def __init__(self, attributes: int, hidden: int) -> None:
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(attributes, hidden))

    def forward(self, F: Tensor, index: Tensor) -> Tensor:  # noqa: N803
        """Return the guided states (M, S, 2H) of F (M, S, H), each row for attribute `index[m]` (M,)."""
        return cosine_guided(self.vectors(index), F)

    def vectors(self, index: Tensor, names: Tensor | None = None) -> Tensor:
        """Return the prototypes (M, H) of attributes `index` (M,)."""
        return self.prototypes[index]


class DyNetGuidance(nn.Module):
    """DyNet-guided ARM (DAR): concat(F_j, F_j W_a) with a matrix per attribute, `matrices` (N, H, H).

    They start as the identity plus N(0, 1) times `noise` (unstated in the papers).
    """

    def __init__(self, attributes: int, hidden: int, noise: float = 0.02) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.eye(hidden) + noise * torch.randn(attributes, hidden, hidden))

    def forward(self, F: Tensor, index: Tensor) -> Tensor:  # noqa: N803
        """Return the guided states (M, S, 2H) of F (M, S, H), each row for attribute `index[m]` (M,)."""
        return torch.cat([F, torch.bmm(F, self.matrices[index].to(F.dtype))], dim=2)


class NameGuidance(nn.Module):
    """BERT-guided ARM (BAR): as the prototypes, with an encoder's [CLS] vector of the attribute's name.

    `names` (N, H) holds the vectors of an encoder that is not tuned. Those of a tuned one change at every step and are
    given to `forward`. The authors' snippet indexes a list as if it were a tensor and does not run; this is its intent.
    """

    names: Tensor

    def __init__(self, attributes: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("names", torch.zeros(attributes, hidden))

    def forward(self, F: Tensor, index: Tensor, names: Tensor | None = None) -> Tensor:  # noqa: N803
        """Return the guided states (M, S, 2H) of F (M, S, H), each row for the name `index[m]` (M,) of `names`."""
        return cosine_guided(self.vectors(index, names), F)

    def vectors(self, index: Tensor, names: Tensor | None = None) -> Tensor:
        """Return the vectors (M, H) of the names `index` (M,) of `names`."""
        return (self.names if names is None else names)[index]


class JointEmbeddings(nn.Module):
    """What V-IRC adds to BERT's embeddings, after VL-BERT: patches become tokens behind the text.

        patch = LayerNorm_o(Linear(G)) + object        word = word embedding + word_constant

    The constant is VL-BERT's LayerNorm_t of a zero vector. LayerNorm_o's scale starts at `gamma`: with 0, as in the
    authors' code, vision enters gradually, and within a small budget
    hardly at all. `patch_type` is the token type of patches.
    """

    def __init__(self, visual: int, hidden: int, gamma: float, type_vector: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(visual, hidden)
        self.norm = nn.LayerNorm(hidden)
        nn.init.constant_(self.norm.weight, gamma)
        self.object = nn.Parameter(0.02 * torch.randn(hidden))
        self.word_constant = nn.Parameter(torch.zeros(hidden))
        self.patch_type = nn.Parameter(type_vector.detach().clone())

    def patches(self, G: Tensor) -> Tensor:  # noqa: N803
        """Return the patch tokens (B, P, H) of patches (B, P, C), before position embedding and LayerNorm."""
        tokens: Tensor = self.norm(self.linear(G)) + self.object + self.patch_type
        return tokens


class SelfAttentionLayer(nn.Module):
    """One ordinary self-attention sub-layer with residual and LayerNorm, between the embeddings and BERT.

    The row "+ 1 x self-attention layer" of the arXiv version; its details are not given there.
    """

    def __init__(self, hidden: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(hidden, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return states (B, K, H) after attention over the keys that `mask` (B, K) marks."""
        found, _ = self.attention(states, states, states, key_padding_mask=~mask, need_weights=False)
        normed: Tensor = self.norm(states + self.dropout(found))
        return normed


def selected_pairs(
    scores: Tensor, threshold: float, gold: Tensor | None = None, *, predicted: bool = True, cap: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return rows and attributes (M,) of the pairs in range, in row-major order of the scores R (B, N).

    In range is what scores above `threshold` if `predicted`, and what is `gold` (B, N) if that is given. With `cap` at
    most so many attributes a row remain, gold ones first, then by score (training only).
    """
    chosen = scores > threshold if predicted else torch.zeros_like(scores, dtype=torch.bool)
    ranked = scores.detach()
    if gold is not None:
        chosen = chosen | gold
        ranked = ranked + gold.to(ranked.dtype)  # A score is below 1, so gold ones come first.
    if cap is not None and cap < scores.size(1):
        best = ranked.masked_fill(~chosen, -1.0).topk(cap, dim=1).indices
        chosen = chosen & torch.zeros_like(chosen).scatter_(1, best, True)
    rows, attributes = chosen.nonzero(as_tuple=True)
    return rows, attributes


class WarmUp(nn.Module):
    """Says when the tagger joins in: the classifier learns alone until its range is of a sensible size.

    It is over after `steps_at_least` steps, once the running mean of selected attributes lies within [0.5, 2] times the
    mean number of gold ones; at the latest after `steps_at_most`. Everything is kept in persistent buffers, so that a
    run that is continued goes on in the same phase. (The authors' code for MAE has a switch for such steps; when to use
    it is our rule. At R near 0.5, thousands of attributes of every example would be decoded.)
    """

    step: Tensor
    mean_selected: Tensor
    over: Tensor

    def __init__(self, steps_at_least: int, steps_at_most: int, mean_gold: float) -> None:
        super().__init__()
        self.steps_at_least, self.steps_at_most, self.mean_gold = steps_at_least, steps_at_most, mean_gold
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean_selected", torch.zeros(()))
        self.register_buffer("over", torch.zeros((), dtype=torch.bool))

    def advance(self, selected: float) -> bool:
        """Count one step with a mean of `selected` attributes per example; return True if the tagger takes part."""
        step = int(self.step)
        # The mean over some ten steps; at the first step, the value itself.
        self.mean_selected.mul_(0.9 if step else 0.0).add_(selected * (0.1 if step else 1.0))
        settled = 0.5 * self.mean_gold <= float(self.mean_selected) <= 2 * self.mean_gold
        if step >= self.steps_at_most or (step >= self.steps_at_least and settled):
            self.over.fill_(True)
        self.step += 1
        return bool(self.over)
