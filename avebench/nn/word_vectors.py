"""Labelling units as vectors: learnt with the model, or pretrained ones from a text file of word2vec or GloVe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avebench.contracts.examples import Example
from avebench.files.errors import AvebenchError
from avebench.files.places import expanded

PADDING, UNKNOWN = 0, 1
"""Ids of no unit and of a unit that the vocabulary lacks."""


def units_of(example: Example) -> list[str]:
    """Return the lower-cased strings of the example's units."""
    return [example.text[start:end].lower() for start, end in example.tokens]


def learn_units(train: Sequence[Example], min_count: int = 1) -> list[str]:
    """Return the units that occur `min_count` times or more, the most frequent first, then by spelling."""
    counts = Counter(unit for example in train for unit in units_of(example))
    return sorted((unit for unit in counts if counts[unit] >= min_count), key=lambda unit: (-counts[unit], unit))


class UnitEmbeddings(nn.Module):
    """A vector of `size` numbers per unit of the vocabulary `units`, and one for all others.

    With the file `vectors`, `size` is that of the file. A unit of the vocabulary starts at its vector there and is
    trained if `tuned`; one that only the file has keeps the file's vector, so that words never seen in training are
    known. Other units start as N(0, s^2) with s the deviation of the file's numbers, 1 without a file. Vectors are
    looked up by lower-cased unit. AvebenchError if the file is missing or broken.
    """

    others: Tensor

    def __init__(self, units: Sequence[str], size: int, vectors: str | None = None, *, tuned: bool = True) -> None:
        super().__init__()
        words, table = ([], np.zeros((0, size), np.float32)) if vectors is None else read_vectors(Path(vectors))
        self.size = table.shape[1]
        self._ids = {unit: number for number, unit in enumerate(units, start=UNKNOWN + 1)}
        self.table = nn.Embedding(len(units) + 2, self.size, padding_idx=PADDING)
        # What only the file has is read from it again, not stored with the model.
        rows = [number for number, word in enumerate(words) if word not in self._ids]
        self.register_buffer("others", torch.from_numpy(table[rows]), persistent=False)
        if vectors is not None:
            self._start(words, table)
            self.table.weight.requires_grad_(tuned)
        self._ids.update((words[row], len(units) + 2 + number) for number, row in enumerate(rows))

    @torch.no_grad()
    def _start(self, words: Sequence[str], table: NDArray[np.float32]) -> None:
        """Let the units of the vocabulary start at the vectors of the file."""
        self.table.weight.mul_(float(table.std()))
        known = [(self._ids[word], row) for row, word in enumerate(words) if word in self._ids]
        if known:
            ids, rows = zip(*known, strict=True)
            self.table.weight[list(ids)] = torch.from_numpy(table[list(rows)])

    def ids(self, example: Example) -> NDArray[np.int32]:
        """Return the ids (S,) of the example's units."""
        return np.array([self._ids.get(unit, UNKNOWN) for unit in units_of(example)], dtype=np.int32)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the vectors (B, S, `size`) of ids (B, S), 0 for padding."""
        size = self.table.num_embeddings
        learnt: Tensor = self.table(ids.masked_fill(ids >= size, UNKNOWN))
        if not len(self.others):
            return learnt
        fixed = self.others[(ids - size).clamp(min=0)]
        return torch.where((ids >= size).unsqueeze(2), fixed, learnt)


def read_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    """Return the W lower-cased words of a text file of vectors and their vectors (W, E); of equal words the first.

    A line is a word and E numbers between white space (GloVe); a first line of two whole numbers says W and E
    (word2vec, fastText). A word may hold spaces. AvebenchError names the line that breaks the format.
    """
    vectors: dict[str, NDArray[np.float32]] = {}
    promised, width, read = None, None, 0
    for number, parts in _lines(path):
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            promised, width = int(parts[0]), int(parts[1])
            continue
        width = len(parts) - 1 if width is None else width
        word, vector = _parse(path, number, parts, width)
        vectors.setdefault(word, vector)
        read += 1
    if promised is not None and read != promised:
        _fail(path, None, f"the first line promises {promised} vectors, but {read} follow.")
    if not vectors:
        _fail(path, None, "it holds no vectors.")
    return list(vectors), np.stack(list(vectors.values()))


def _lines(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the number, counted from 1, and the parts of every line that is not blank."""
    try:
        with expanded(path).open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                parts = line.split()  # Of bytes: a no-break space is part of a word.
                if parts:
                    yield number, parts
    except OSError as error:
        raise AvebenchError(f"The word vectors {path} cannot be read ({error.strerror}). Check `vectors`.") from None


def _parse(path: Path, number: int, parts: list[bytes], width: int) -> tuple[str, NDArray[np.float32]]:
    """Return the word and the vector of a line."""
    if width < 1 or len(parts) <= width:
        found = f"it holds a word and {len(parts) - 1} numbers, not {width}" if width else "it holds no numbers"
        _fail(path, number, f"{found}.")
    try:
        word = b" ".join(parts[:-width]).decode()
        vector = np.array([float(part) for part in parts[-width:]], dtype=np.float32)
    except UnicodeDecodeError:
        _fail(path, number, "the word is not UTF-8.")
    except ValueError as error:
        _fail(path, number, f"{error}.")
    if not np.isfinite(vector).all():
        _fail(path, number, "a number is not finite.")
    if len(parts) > width + 1 and _is_number(parts[-width - 1]):
        _fail(path, number, f"it holds more numbers than the {width} of the lines before.")
    return word.lower(), vector


def _is_number(part: bytes) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _fail(path: Path, number: int | None, what: str) -> NoReturn:
    place = f"{path}" if number is None else f"{path}, line {number}"
    raise AvebenchError(f"{place}: {what} A line is a word and its numbers, all lines of one length. Copy it again.")
