"""Global-local attention written out pair by pair, one row at a time: what the blocks of the real one must come to."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from avebench.models.query.global_local import GlobalLocal, Structure
from avebench.nn.text_encoder import TextEncoder


@dataclass(frozen=True)
class Token:
    """A token of a row: its segment, and its place among the global or among the long tokens.

    A long token has a word `piece`, a global one a `kind`; the segment of a global token is its place.
    """

    segment: int
    place: int
    type: int
    kind: int | None = None
    piece: int = -1


def sees(structure: Structure, one: Token, other: Token) -> bool:
    """Return whether a token sees another, both of which are there."""
    own = one.segment == other.segment
    if one.kind is not None:
        return other.kind is not None or own or structure.global_long == "all"
    if other.kind is not None:
        return own or structure.long_global == "all"
    if structure.apart and not own:
        return other.segment == structure.shown
    return abs(one.place - other.place) <= structure.radius


def label(structure: Structure, one: Token, other: Token) -> int | None:
    """Return the number of the vector of a pair, None where there is none."""
    own, furthest = one.segment == other.segment, structure.distance
    if (one.kind is None) != (other.kind is None):
        return 2 * furthest + (1 if own else 2)
    if structure.apart and not own and one.kind is None:
        return None
    return max(-furthest, min(furthest, other.place - one.place)) + furthest


def states(encoder: TextEncoder, own: GlobalLocal, tokens: list[Token]) -> Tensor:
    """Return the last states (T, H) of the tokens of a row, in evaluation."""
    parts, first, structure = encoder.model.embeddings, 0, own.structure
    if encoder.model.config.model_type == "roberta":
        first = encoder.model.config.pad_token_id + 1
    known = parts.position_embeddings.num_embeddings - first
    rows = []
    for token in tokens:
        if token.kind is None:
            word, place = parts.word_embeddings.weight[token.piece], 1 + token.place % (known - 1)
        else:
            word, place = own.tokens[token.kind], 0
        summed = word + parts.token_type_embeddings.weight[token.type]
        rows.append(parts.LayerNorm(summed + parts.position_embeddings.weight[first + place]))
    found = torch.stack(rows)
    for number, layer in enumerate(encoder.model.encoder.layer):
        attention, size = layer.attention.self, found.size(1) // own.heads
        queries, keys, values = (part(found) for part in (attention.query, attention.key, attention.value))
        mixed = []
        for place, one in enumerate(tokens):
            vectors = own.of_long[number] if one.kind is None else own.of_global[number]
            seen = [other for other, token in enumerate(tokens) if sees(structure, one, token)]
            parts_of_heads = []
            for head in range(own.heads):
                cut = slice(head * size, (head + 1) * size)
                scores = []
                for other in seen:
                    chosen = label(structure, one, tokens[other])
                    key = keys[other, cut] + (0 if chosen is None else vectors[chosen, cut])
                    scores.append((queries[place, cut] * key).sum() / size**0.5)
                shares = functional.softmax(torch.stack(scores), dim=0)
                parts_of_heads.append(
                    sum(share * values[other, cut] for share, other in zip(shares, seen, strict=True))
                )
            mixed.append(torch.cat(parts_of_heads))
        inner = layer.attention.output.LayerNorm(found + layer.attention.output.dense(torch.stack(mixed)))
        wide = functional.gelu(layer.intermediate.dense(inner))
        found = layer.output.LayerNorm(inner + layer.output.dense(wide))
    return found
