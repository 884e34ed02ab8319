"""Global-local attention over the layers of a pretrained BERT or RoBERTa, in time linear in the length of a text.

Ainslie et al., ETC: Encoding Long and Structured Inputs in Transformers, EMNLP 2020. The long tokens are the pieces of
the input, cut into segments; a few global tokens stand for the segments. In every layer and head, of d numbers,

    e_ij = q_i . (k_j + a_ij) / sqrt(d), a softmax over all j that i sees

    global-global   all; a_ij by the distance j - i, cut at `distance`
    global-long     all or those of the own segment; one a for own tokens, one for others
    long-global     likewise
    long-long       |j - i| <= radius; a_ij by the distance

with one softmax over the global and the long tokens that a token sees. The vectors a are each layer's and head's own,
one set for global and one for long queries, and are zero at first. `Structure` says which blocks a system restricts.

Ours: the weights are those of any BERT folder: words, projections, feed-forward layers, norms, and its positions, which
ETC has none of. Beyond them they are read again from the second on (Longformer starts so), as the first is that of
[CLS]; distances tell the rest. Global tokens have that first position and are at first [CLS] and a little noise. Such
an encoder is at first the BERT where a text is no longer than its positions and the radius, but for the global tokens
that it sees beside. Queries, keys and values of both kinds of tokens have the same projections, as ETC has them when
it starts from such weights. The checkpoints of ETC themselves (TensorFlow) are not read.

Queries are computed in blocks of `radius` tokens over the three blocks of keys around; where a text has few blocks they
are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from avebench.nn.neural import Batch
from avebench.nn.text_encoder import TextEncoder

FEW_BLOCKS = 4
"""Up to so many radii a text is one block: three of its blocks would have hardly fewer keys."""
NOISE = 0.02
"""Deviation of what is added to [CLS] for a global token."""


@dataclass(frozen=True, slots=True)
class Structure:
    """Which tokens see which, beside the radius. A long token is of the segment of one global token."""

    radius: int
    """Long tokens that a long token sees on either side."""
    distance: int
    """The distance from which on all have the same vector."""
    global_long: Literal["all", "own"] = "all"
    """Long tokens that a global token sees."""
    long_global: Literal["all", "own"] = "all"
    """Global tokens that a long token sees."""
    apart: bool = False
    """Whether long tokens see none of another segment."""
    shown: int | None = None
    """The segment, the first of the long tokens, that those of all others see nonetheless, without a vector a."""


class Sight(NamedTuple):
    """What a batch's tokens see, true where they do, and how its G global and L long tokens are cut.

    The L tokens are N blocks of n queries, each with m keys that begin `before` tokens ahead of it.
    """

    own: Tensor
    """(W, G, L): whether a long token is of the segment of a global one."""
    of_global: Tensor
    """(W, 1, G, G + L)"""
    of_long: Tensor
    """(W, 1, N, n, G + A + m): of the global tokens, of the A that are shown, of those around."""
    shown: int
    """A"""
    block: tuple[int, int, int]
    """n, m and `before`."""


def sight(segments: Tensor, size: int, structure: Structure, block: int) -> Sight:
    """Return what long tokens of the `segments` (W, L), -1 behind a row's end, and `size` global tokens G see.

    Blocks are of `block` tokens, a divisor of L that is L itself or the radius. A global token without a long one is
    not there, but for the first, which always is.
    """
    numbers = torch.arange(size, device=segments.device)
    own = segments.unsqueeze(1) == numbers.unsqueeze(1)  # (W, G, L)
    there = own.any(dim=2) | (numbers == 0)  # (W, G)
    filled = segments >= 0
    of_global = own if structure.global_long == "own" else filled.unsqueeze(1).expand_as(own)
    of_global = torch.cat([there.unsqueeze(1).expand(-1, size, -1), of_global], dim=2)
    front = own.transpose(1, 2) if structure.long_global == "own" else there.unsqueeze(1)
    front = front | (there.unsqueeze(1) & ~filled.unsqueeze(2))  # What stands behind the end sees something.
    shown = 0
    if structure.shown is not None:
        given = segments == structure.shown
        shown = int(given.sum(dim=1).max())
        front = torch.cat([front, given[:, None, :shown] & ~given.unsqueeze(2)], dim=2)
    length = segments.size(1)
    cut = (block, length, 0) if block == length else (block, 3 * block, block)
    around = _around(segments, structure, cut)
    of_long = torch.cat([torch.unflatten(front, 1, (-1, block)), around], dim=3)
    return Sight(own, of_global.unsqueeze(1), of_long.unsqueeze(1), shown, cut)


def _around(segments: Tensor, structure: Structure, cut: tuple[int, int, int]) -> Tensor:
    """Return which keys of its block (W, N, n, m) each long token sees."""
    block, keys, before = cut
    places = torch.arange(keys, device=segments.device) - before
    distances = places - torch.arange(block, device=segments.device).unsqueeze(1)  # (n, m)
    other = functional.pad(segments, (before, before), value=-1).unfold(1, keys, block)  # (W, N, m)
    seen = (distances.abs() <= structure.radius) & (other >= 0).unsqueeze(2)
    if structure.apart:
        seen = seen & (torch.unflatten(segments, 1, (-1, block)).unsqueeze(3) == other.unsqueeze(2))
    return seen


class GlobalLocal(nn.Module):
    """What an encoder has for its global tokens and distances; it works with the layers of that encoder.

    `tokens` are the kinds of global tokens. `types` are the token types, each given as the one of the encoder that it
    is at first, where that has so many; they take the place of the encoder's.
    """

    def __init__(self, encoder: TextEncoder, structure: Structure, tokens: int, types: Sequence[int]) -> None:
        super().__init__()
        embeddings, config = encoder.model.embeddings, encoder.model.config
        self.structure = structure
        self.heads: int = config.num_attention_heads
        self.positions: int = embeddings.position_embeddings.num_embeddings
        self.reserved: int = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        """Positions that the encoder does not use, the first ones."""
        with torch.no_grad():
            start = embeddings.word_embeddings.weight[encoder.tokenizer.cls_token_id]
            known = embeddings.token_type_embeddings.weight
            kinds = nn.Embedding(len(types), encoder.hidden)
            kinds.weight.copy_(known[[min(kind, len(known) - 1) for kind in types]])
            self.tokens = nn.Parameter(start + NOISE * torch.randn(tokens, encoder.hidden))
        embeddings.token_type_embeddings = kinds
        labels = 2 * structure.distance + 1 + 2
        shape = (config.num_hidden_layers, labels, encoder.hidden)
        self.of_global = nn.Parameter(torch.zeros(shape))
        """Vectors a of global queries, by layer: the distances from the lowest on, own, other."""
        self.of_long = nn.Parameter(torch.zeros(shape))

    def forward(self, encoder: TextEncoder, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the last states of the global tokens (W, G, H), and of the pieces (W, 1 + L, H), one row for each id.

        The first of these is the first global token's. Of a batch are read `ids` (W, 1 + L), the first of which is not,
        `segments` (W, L), the global token of each long one, -1 behind a row's end, `kinds` and `kind_types` (G,) of
        the global tokens, and `segment_types` (W, G), those of the segments' long tokens.
        """
        segments = batch["segments"]
        length, size = segments.size(1), len(batch["kinds"])
        block = length if length <= FEW_BLOCKS * self.structure.radius else self.structure.radius
        missing = -length % block
        embedded = functional.pad(self._embed(encoder, batch), (0, 0, 0, missing))
        segments = functional.pad(segments, (0, missing), value=-1)

        def read(states: Tensor, some: Tensor) -> tuple[Tensor]:
            seen = sight(some, size, self.structure, block)
            for number, layer in enumerate(encoder.model.encoder.layer):
                states = self._layer(layer, states, seen, number)
            return (states,)

        (states,) = encoder.in_parts(read, batch, embedded, segments)
        return states[:, :size], torch.cat([states[:, :1], states[:, size : size + length]], dim=1)

    def _embed(self, encoder: TextEncoder, batch: Batch) -> Tensor:
        """Return the embeddings (W, G + L, H)."""
        parts, segments = encoder.model.embeddings, batch["segments"]
        rows, length = segments.shape
        words = torch.cat(
            [self.tokens[batch["kinds"]].expand(rows, -1, -1), parts.word_embeddings(batch["ids"][:, 1:])], dim=1
        )
        own_types = batch["segment_types"].gather(1, segments.clamp(min=0))
        types = torch.cat([batch["kind_types"].expand(rows, -1), own_types], dim=1)
        places = torch.arange(length, device=segments.device) % (self.positions - self.reserved - 1) + 1
        places = torch.cat([places.new_zeros(len(batch["kinds"])), places]) + self.reserved
        embedded = words + parts.token_type_embeddings(types) + parts.position_embeddings(places)
        found: Tensor = parts.dropout(parts.LayerNorm(embedded))
        return found

    def _layer(self, layer: Any, states: Tensor, seen: Sight, number: int) -> Tensor:
        """Return the output (W, G + L, H) of a layer of BERT with this attention in place of its own."""
        attention = layer.attention.self
        size = seen.own.size(1)

        def headed(values: Tensor) -> Tensor:
            return torch.unflatten(values, -1, (self.heads, -1)).transpose(-2, -3)  # (..., h, T, d)

        queries, keys, values = (headed(part(states)) for part in (attention.query, attention.key, attention.value))
        queries = queries * queries.size(3) ** -0.5
        scores = global_scores(queries[:, :, :size], keys, headed(self.of_global[number]), seen)
        mixed = attention.dropout(scores.softmax(dim=3)) @ values  # (W, h, G, d)
        scores = long_scores(queries[:, :, size:], keys, headed(self.of_long[number]), seen)
        shares = attention.dropout(scores.softmax(dim=4))  # (W, h, N, n, G + A + m)
        front = size + seen.shown
        around = shares[..., front:] @ _blocks(values[:, :, size:], seen.block).transpose(3, 4)
        ahead = shares[..., :front].flatten(2, 3) @ values[:, :, :front]  # (W, h, L, d)
        context = torch.cat([mixed, ahead + around.flatten(2, 3)], dim=2).transpose(1, 2).flatten(2)
        context = layer.attention.output(context, states)
        output: Tensor = layer.output(layer.intermediate(context), context)
        return output


def global_scores(queries: Tensor, keys: Tensor, vectors: Tensor, seen: Sight) -> Tensor:
    """Return e (W, h, G, G + L) of scaled queries (W, h, G, d) over all keys; `vectors` are a (h, 2 distance + 3, d).

    It is minus infinity where nothing is seen.
    """
    size = queries.size(2)
    near = by_distance(queries.unsqueeze(2), vectors[:, :-2], size, 0).squeeze(2)  # (W, h, G, G)
    scores = queries @ keys.transpose(2, 3)
    scores += torch.cat([near, _by_owner(queries, vectors, seen.own)], dim=3)
    return scores.masked_fill_(~seen.of_global, -torch.inf)


def long_scores(queries: Tensor, keys: Tensor, vectors: Tensor, seen: Sight) -> Tensor:
    """Return e (W, h, N, n, G + A + m) of scaled queries (W, h, L, d): over global keys, shown ones, those around."""
    size, (block, around, before) = seen.own.size(1), seen.block
    ahead = queries @ keys[:, :, : size + seen.shown].transpose(2, 3)
    ahead[..., :size] += _by_owner(queries, vectors, seen.own.transpose(1, 2))
    blocks = torch.unflatten(queries, 2, (-1, block))  # (W, h, N, n, d)
    near = blocks @ _blocks(keys[:, :, size:], seen.block)
    near += by_distance(blocks, vectors[:, :-2], around, before)
    scores = torch.cat([torch.unflatten(ahead, 2, (-1, block)), near], dim=4)
    return scores.masked_fill_(~seen.of_long, -torch.inf)


def by_distance(queries: Tensor, vectors: Tensor, keys: int, before: int) -> Tensor:
    """Return q_i . a_(j - i) (W, h, N, n, m) of blocks of queries (W, h, N, n, d) over m keys each.

    The first key stands `before` tokens ahead of the first query; `vectors` (h, 2 distance + 1, d) begin with that of
    -distance. Row i of the products with all n + m distances is wanted from its place n - 1 - i on: read as rows that
    are shorter by one, they stand below each other.
    """
    size, furthest = queries.size(3), vectors.size(1) // 2
    distances = torch.arange(size + keys, device=queries.device) - (size - 1 + before)
    products = torch.einsum("whbnd,htd->whbnt", queries, vectors[:, distances.clamp(-furthest, furthest) + furthest])
    width = size + keys - 1
    flat = products.flatten(3)[..., size - 1 : size - 1 + size * width]
    return torch.unflatten(flat, 3, (size, width))[..., :keys]


def _by_owner(queries: Tensor, vectors: Tensor, own: Tensor) -> Tensor:
    """Return q . a (W, h, T, K) of queries (W, h, T, d): a of one's own where `own` (W, T, K), else that of others."""
    products = torch.einsum("whtd,hkd->whtk", queries, vectors[:, -2:])
    return torch.where(own.unsqueeze(1), products[..., :1], products[..., 1:])


def _blocks(values: Tensor, cut: tuple[int, int, int]) -> Tensor:
    """Return what each block of long tokens has around it, (W, h, N, d, m) of values (W, h, L, d); zero outside."""
    block, keys, before = cut
    return functional.pad(values, (0, 0, before, before)).unfold(2, keys, block)
