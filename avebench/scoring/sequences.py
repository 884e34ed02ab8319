"""Scores of tag sequences held in memory as lists of strings, fast: the chunk rules of `tagging` on arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from avebench.contracts.model import ChunkScheme
from avebench.contracts.tagging import split_tag
from avebench.scoring.families import Counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BLOCK = 1 << 15
"""Tags per block: the arrays of a block stay in the processor's cache."""
_OUTSIDE, _BEGIN, _INSIDE, _OTHER = range(4)
_CLASSES = {"O": _OUTSIDE, "B": _BEGIN, "I": _INSIDE}


def score_tag_sequences(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: ChunkScheme = "lenient"
) -> tuple[Counts, dict[str, Counts]]:
    """Return the micro-averaged counts of chunks, and the counts per type, of parallel sequences of BIO tags.

    A predicted chunk is correct if a gold chunk of its type starts and ends where it does. The chunk rules are those of
    `avebench.contracts.tagging.chunks`. ValueError names the first sentence whose two sequences differ in length.
    """
    import numpy as np

    inventory = _Inventory()
    per_type = np.zeros((1, 3), dtype=np.int64)
    for begin, end, lengths in _blocks(gold, predicted):
        first = (np.cumsum(lengths) - lengths)[lengths > 0]  # position of each sentence's first tag in the block
        total = int(lengths.sum())
        gold_ids = inventory.ids(gold[begin:end])
        predicted_ids = inventory.ids(predicted[begin:end])
        inventory.describe()
        per_type = np.pad(per_type, ((0, len(inventory.kind_names) - len(per_type)), (0, 0)))
        gold_chunks = _chunk_arrays(gold_ids, first, inventory, scheme)
        predicted_chunks = _chunk_arrays(predicted_ids, first, inventory, scheme)
        per_type += _count(gold_chunks, predicted_chunks, total, len(per_type))
    rows = zip(inventory.kind_names, per_type.tolist(), strict=True)
    return Counts(*per_type.sum(axis=0).tolist()), {name: Counts(*row) for name, row in rows if any(row)}


def _blocks(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield (first sentence, sentence after the last, lengths) of blocks of at least `_BLOCK` tags, the last apart."""
    import numpy as np

    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} gold sentences beside {len(predicted)} predicted ones")
    lengths = np.fromiter(map(len, gold), np.int64, len(gold))
    others = np.fromiter(map(len, predicted), np.int64, len(gold))
    if (wrong := np.flatnonzero(lengths != others)).size:
        at = int(wrong[0])
        raise ValueError(f"sentence {at + 1} has {lengths[at]} gold tags and {others[at]} predicted ones")
    marks = np.flatnonzero(np.diff(np.cumsum(lengths) // _BLOCK, prepend=0)) + 1
    begin = 0
    for end in [*marks.tolist(), len(gold)]:
        if end > begin:
            yield begin, end, lengths[begin:end]
        begin = end


class _TagIds(dict[str, bytes]):
    """Tag -> id in order of first appearance, as the four bytes of a little-endian integer.

    Joined bytes become an array faster than Python integers do, and reading the strings is most of the work.
    """

    def __missing__(self, tag: str) -> bytes:
        number = self[tag] = len(self).to_bytes(4, "little")
        return number


class _Inventory:
    """The tags seen so far: id of each, and per id its prefix class and the number of its type; type 0 is empty."""

    def __init__(self) -> None:
        self.tags = _TagIds()
        self.kind_names = [""]
        self.kind_numbers = {"": 0}
        self.classes: list[int] = []
        self.kinds: list[int] = []
        self.describe()

    def ids(self, sentences: Sequence[Sequence[str]]) -> NDArray[np.int32]:
        """Return the ids of all tags one after the other, (number of tags,)."""
        import numpy as np

        return np.frombuffer(b"".join(map(self.tags.__getitem__, chain.from_iterable(sentences))), np.dtype("<i4"))

    def describe(self) -> None:
        """Bring the arrays `class_of` and `kind_of` up to date with the tags."""
        import numpy as np

        for tag in list(self.tags)[len(self.classes) :]:
            prefix, kind = split_tag(tag)
            if kind not in self.kind_numbers:
                self.kind_numbers[kind] = len(self.kind_names)
                self.kind_names.append(kind)
            self.classes.append(_CLASSES.get(prefix, _OTHER))
            self.kinds.append(self.kind_numbers[kind])
        self.class_of = np.array(self.classes, dtype=np.uint8)
        self.kind_of = np.array(self.kinds, dtype=np.int32)


@dataclass(frozen=True, slots=True)
class _Chunks:
    """Chunks of a block in order: position of the first tag, position after the last, number of the type; (n,) each."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    kinds: NDArray[np.int32]


def _chunk_arrays(
    ids: NDArray[np.int32], first: NDArray[np.int64], inventory: _Inventory, scheme: ChunkScheme
) -> _Chunks:
    """Return the chunks of a block of tag ids, (total,); `first` holds where its sentences begin."""
    import numpy as np

    classes, kinds = inventory.class_of[ids], inventory.kind_of[ids]
    before, kinds_before = np.empty_like(classes), np.empty_like(kinds)
    before[1:], kinds_before[1:] = classes[:-1], kinds[:-1]
    before[first], kinds_before[first] = _OUTSIDE, 0  # Every sentence is preceded by an `O`.
    changed = kinds != kinds_before
    start = classes == _BEGIN
    if scheme == "strict":
        close = changed | (classes != _INSIDE)
    else:
        start |= (classes == _INSIDE) & (before == _OUTSIDE)
        start |= (classes != _OUTSIDE) & changed
        close = start | (classes == _OUTSIDE)
    close[first] = True
    # What is open before a position of `closing` ends there; every start is one of these positions.
    closing = np.append(np.flatnonzero(close), len(ids))
    opened = np.flatnonzero(start[closing[:-1]])
    starts = closing[opened]
    return _Chunks(starts, closing[opened + 1], kinds[starts])


def _count(gold: _Chunks, predicted: _Chunks, total: int, kinds: int) -> NDArray[np.int64]:
    """Return (tp, predicted, gold) per type, (kinds, 3)."""
    import numpy as np

    ends = np.zeros(total, dtype=np.int64)
    ends[predicted.starts] = predicted.ends
    kind_at = np.zeros(total, dtype=np.int32)
    kind_at[predicted.starts] = predicted.kinds
    correct = (ends[gold.starts] == gold.ends) & (kind_at[gold.starts] == gold.kinds)
    found = (gold.kinds[correct], predicted.kinds, gold.kinds)
    return np.stack([np.bincount(kind, minlength=kinds) for kind in found], axis=1)
