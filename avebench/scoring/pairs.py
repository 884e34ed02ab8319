"""Tags to attribute -> set of value strings: the post-processing behind the accuracy on MAE (arXiv appendix A.3).

Where a text and spans are at hand, `contracts.examples.pairs_from_spans` gives the strings as they stand in the text;
here is the rule on tags, and the released code's variant of it on word pieces.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from avebench.contracts.model import ChunkScheme
from avebench.contracts.tagging import chunks, split_tag


@lru_cache(maxsize=1 << 16)  # The same few values stand in most products.
def normalise_value(value: str) -> str:
    """Return a value string as it is compared: NFKC, case-folded, white space collapsed to single spaces."""
    return " ".join(unicodedata.normalize("NFKC", value).casefold().split())


def normalise_pairs(pairs: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]]:
    """Return the pairs with normalised values; attributes without a value are left out."""
    return {attribute: frozenset(map(normalise_value, values)) for attribute, values in pairs.items() if values}


def pairs_from_tags(
    tags: Sequence[str], units: Sequence[str], scheme: ChunkScheme = "lenient", *, released: bool = False
) -> dict[str, frozenset[str]]:
    """Return attribute -> set of value strings; an attribute without a value is left out.

    `units` are the strings of the tagged units. By default the chunks of `scheme` are joined by single spaces. With
    `released` the computation of the released DRAM code is followed: `units` are word pieces, joined without spaces and
    with their `##`; `scheme` has no effect, each attribute is read as a sequence of its own. ValueError unless there is
    one tag per unit.
    """
    if len(tags) != len(units):
        raise ValueError(f"{len(tags)} tags for {len(units)} units")
    if released:
        kinds = dict.fromkeys(split_tag(tag)[1] for tag in tags if tag != "O")
        found = {kind: _released_values(tags, units, kind) for kind in kinds if kind}
    else:
        found = {}
        for kind, start, end in chunks(tags, scheme):
            if kind:  # A chunk of empty type names no attribute.
                found.setdefault(kind, set()).add(" ".join(units[start:end]))
    return {kind: frozenset(values) for kind, values in found.items() if values}


def _released_values(tags: Sequence[str], pieces: Sequence[str], attribute: str) -> set[str]:
    """Return the values of one attribute as the released code collects them.

    The first `I` of an orphan run is skipped, later ones of the run are collected: `O I I` gives the second piece.
    """
    values: set[str] = set()
    current: list[str] = []
    inside = False
    for tag, piece in zip(tags, pieces, strict=True):
        prefix, kind = split_tag(tag)
        belongs = kind == attribute and prefix in {"B", "I", "X"}
        if (prefix == "B" or not belongs) and current:
            values.add("".join(current))
            current = []
        if belongs and (prefix == "B" or inside):
            current.append(piece)
        inside = belongs
    if current:
        values.add("".join(current))
    return values
