"""BIO tags and character spans, and the units that taggers label.

Two chunk schemes turn tags into spans. `lenient` is the conlleval rule that the JAVE and Slot-Gated code share: an
orphan `I-x` opens a chunk. `strict` is strict IOB2 as in seqeval: a chunk is `B-x` and the `I-x` that follow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from avebench.contracts.examples import Span, Units
from avebench.contracts.model import ChunkScheme

_WORD = re.compile(r"\w+|[^\w\s]")
_FINE = re.compile(r"\d+|[^\W\d_]+|[^\w\s]|_")


def word_units(text: str) -> tuple[tuple[int, int], ...]:
    r"""Return the character ranges of words and single punctuation marks (`\w+|[^\w\s]`); white space is in none."""
    return tuple(match.span() for match in _WORD.finditer(text))


def fine_units(text: str) -> tuple[tuple[int, int], ...]:
    """Return the character ranges of words cut between letters, digits and underscores, and of punctuation marks."""
    return tuple(match.span() for match in _FINE.finditer(text))


def character_units(text: str) -> tuple[tuple[int, int], ...]:
    """Return one range per code point, white space included, as character taggers of Chinese label them."""
    return tuple((position, position + 1) for position in range(len(text)))


def text_units(text: str, units: Units) -> tuple[tuple[int, int], ...]:
    """Return the character ranges of the units of `text` of the named kind."""
    return {"character": character_units, "word": word_units, "fine": fine_units}[units](text)


def bio_labels(attributes: Iterable[str]) -> list[str]:
    """Return `["O", "B-a", "I-a", "B-b", ...]` in the order of `attributes`."""
    return ["O", *(f"{prefix}-{attribute}" for attribute in attributes for prefix in "BI")]


def split_tag(tag: str) -> tuple[str, str]:
    """Return prefix and type, split at the first "-" so that attribute names may hold one; `O` has the empty type."""
    prefix, _, kind = tag.partition("-")
    return prefix, kind


def spans_to_tags(spans: Iterable[Span], tokens: Sequence[tuple[int, int]]) -> tuple[list[str], int]:
    """Return one BIO tag per token and the number of spans that tags cannot express.

    Such a span does not start and end on token boundaries, or shares a token with one that comes before it in `spans`.
    """
    first = {start: position for position, (start, _) in enumerate(tokens)}
    last = {end: position for position, (_, end) in enumerate(tokens)}
    tags = ["O"] * len(tokens)
    untaggable = 0
    for span in spans:
        begin, end = first.get(span.start), last.get(span.end)
        if begin is None or end is None or end < begin or any(tag != "O" for tag in tags[begin : end + 1]):
            untaggable += 1
            continue
        tags[begin] = f"B-{span.attribute}"
        tags[begin + 1 : end + 1] = [f"I-{span.attribute}"] * (end - begin)
    return tags, untaggable


def tags_of(spans: Iterable[Span], tokens: Sequence[tuple[int, int]]) -> list[tuple[str, ...]]:
    """Return the BIO tags of each token that are not O, attribute by attribute in the order of the spans.

    Values of several attributes may overlap; two of one attribute that do are tagged as in `spans_to_tags`.
    """
    by_attribute: dict[str, list[Span]] = {}
    for span in spans:
        by_attribute.setdefault(span.attribute, []).append(span)
    rows = [spans_to_tags(found, tokens)[0] for found in by_attribute.values()]
    return [tuple(row[place] for row in rows if row[place] != "O") for place in range(len(tokens))]


def chunks(tags: Sequence[str], scheme: ChunkScheme = "lenient") -> list[tuple[str, int, int]]:
    """Return (type, first token, token after the last) of every chunk, in order.

    Lenient, as the JAVE code counts: a chunk starts at `B`, at an `I` after `O`, and at any tag other than `O` whose
    type differs from the previous tag's; it ends where the next one starts, at `O`, and at the end of the sentence.
    Tags such as `[PAD]` have the empty type: right after a value they open a chunk of empty type, after `O` nothing.
    Strict: whatever is neither `B-x` nor an `I-x` that continues it counts as outside.
    """
    found: list[tuple[str, int, int]] = []
    open_at: int | None = None
    previous_prefix, previous_kind = "O", ""
    for position, tag in enumerate(tags):
        prefix, kind = split_tag(tag)
        changed = kind != previous_kind
        if scheme == "strict":
            starts = prefix == "B"
            ends = starts or prefix != "I" or changed
        else:
            starts = prefix == "B" or (prefix == "I" and previous_prefix == "O") or (prefix != "O" and changed)
            ends = starts or prefix == "O"
        if ends and open_at is not None:
            found.append((previous_kind, open_at, position))
            open_at = None
        if starts:
            open_at = position
        previous_prefix, previous_kind = prefix, kind
    if open_at is not None:
        found.append((previous_kind, open_at, len(tags)))
    return found


def orphans(tags: Sequence[str]) -> int:
    """Return how many chunks of the lenient rule begin with a tag other than `B-x`."""
    return sum(split_tag(tags[start])[0] != "B" for _, start, _ in chunks(tags))


def tags_to_spans(
    tags: Sequence[str], tokens: Sequence[tuple[int, int]], scheme: ChunkScheme = "lenient"
) -> list[Span]:
    """Return the chunks of `tags` as character spans; ValueError unless there is one tag per token.

    A chunk of empty type (a lenient `[PAD]` after a value) becomes a span with the attribute "": a false positive.
    """
    if len(tags) != len(tokens):
        raise ValueError(f"{len(tags)} tags for {len(tokens)} tokens")
    return [Span(kind, tokens[start][0], tokens[end - 1][1]) for kind, start, end in chunks(tags, scheme)]
