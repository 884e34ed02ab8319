"""The files of the JAVE release as input: text states computed by its authors, and its vocabularies.

    embedded/  txts.embedded.npy (n, L, D)   txts.embeddedG.npy (n, D)   sids_of_txts, the n sentence ids of the rows
    vocab/     vocab.label: [PAD], [UNK], attributes    vocab.bio: [PAD], [UNK], O, then B- and I- of each attribute
               vocab.word: [PAD], [UNK], characters

The picture arrays of the same folder are read by `avebench.nn.features.PrecomputedFeatures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avebench.contracts.examples import Example
from avebench.contracts.tagging import bio_labels
from avebench.data.reading import numbered_lines
from avebench.files.errors import UnusableError
from avebench.files.places import expanded
from avebench.nn.features import released_array, released_ids
from avebench.nn.weights import PRECOMPUTED_TEXT_IDS, RELEASED_VOCABULARY

STATES, SENTENCES = "txts.embedded.npy", "txts.embeddedG.npy"
SPECIALS = ("[PAD]", "[UNK]")
"""The first two rows of every vocabulary, and so of the outputs for labels and tags."""


class PrecomputedTexts:
    """Text states that others computed, memory-mapped; a row is found by the example's id.

    `limit` is L, the longest text that has states, `hidden` is D. UnusableError if a file is missing or broken.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = expanded(Path(folder))
        self._positions = released_ids(self.folder / PRECOMPUTED_TEXT_IDS, f"{STATES} and {SENTENCES}")
        rows = len(self._positions)
        self._states = released_array(self.folder / STATES, "(n, L, D)", rows, PRECOMPUTED_TEXT_IDS)
        self._sentences = released_array(self.folder / SENTENCES, "(n, D)", rows, PRECOMPUTED_TEXT_IDS)
        self.limit, self.hidden = self._states.shape[1:]
        self.sentence = int(self._sentences.shape[1])

    def position(self, example: Example) -> int:
        """Return the row of an example; UnusableError if it has none."""
        found = self._positions.get(example.id)
        if found is None:
            raise UnusableError(
                f"The precomputed texts in {self.folder} have no row for the example '{example.id}': "
                f"{PRECOMPUTED_TEXT_IDS} does not name it. Add it, or choose an encoder that reads texts."
            )
        return found

    def stack(self, positions: Sequence[int], lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the states (B, S, D), zero behind a row's length, and the sentence vectors (B, D) in float32."""
        states = np.zeros((len(positions), max([1, *lengths]), self.hidden), np.float32)
        for row, position, length in zip(states, positions, lengths, strict=True):
            row[:length] = self._states[position, :length]
        return torch.from_numpy(states), torch.from_numpy(self._sentences[list(positions)].astype(np.float32))


def read_vocabulary(folder: Path | str, attributes: Iterable[str]) -> dict[str, list[str]]:
    """Return `attributes` (lower-cased) and `units` in the order of a vocabulary folder, without [PAD] and [UNK].

    UnusableError if a file is missing or not as the release has it, or if one of the data's `attributes` is not there.
    """
    place = expanded(Path(folder))
    labels, tags, words = (_rows(place / file) for file in RELEASED_VOCABULARY)
    # The blank behind the last row stands for the end of the file.
    for number, (tag, wanted) in enumerate(zip([*tags, ""], [*bio_labels(labels), ""], strict=False), start=3):
        if tag != wanted:
            raise UnusableError(
                f"{place / RELEASED_VOCABULARY[1]}, line {number}: '{tag}' stands where {RELEASED_VOCABULARY[0]} asks "
                f"for '{wanted}'. Copy both files from the same release."
            )
    names = [label.lower() for label in labels]  # As the data is read.
    lacking = sorted(set(attributes) - set(names))
    if lacking:
        raise UnusableError(
            f"{place / RELEASED_VOCABULARY[0]} lacks the attribute '{lacking[0]}' of the data. Leave the option "
            "`released_vocabulary` out for data other than MEPAVE."
        )
    return {"attributes": names, "units": words}


def _rows(path: Path) -> list[str]:
    """Return the lines of a vocabulary behind [PAD] and [UNK]."""
    lines: list[str] = []
    for line in numbered_lines(path, str(path)):
        if not isinstance(line, tuple):
            raise UnusableError(str(line))
        lines.append(line[1])
    if tuple(lines[: len(SPECIALS)]) != SPECIALS:
        raise UnusableError(f"{path}, line 1: the file must begin with the lines {' and '.join(SPECIALS)}.")
    rows = lines[len(SPECIALS) :]
    seen: set[str] = set()
    for number, row in enumerate(rows, start=len(SPECIALS) + 1):
        if row in seen:
            raise UnusableError(f"{path}, line {number}: '{row}' is there twice. Remove one.")
        seen.add(row)
    return rows
