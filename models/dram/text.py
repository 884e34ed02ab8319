"""What DRAM's taggers label: units (the harness's way), or word pieces with [CLS] and padding (the authors' way).

The authors run a Chinese sentence through WordPiece as a whole while its tags stay one per character: a run of Latin
letters or digits is one piece, and behind it pieces and tags are shifted against each other. They label [CLS], [SEP]
and padding with a blank tag, and continuation pieces of English words with X.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avebench.contracts.examples import Example, Span
from avebench.contracts.explanation import Figures
from avebench.contracts.model import ChunkScheme
from avebench.contracts.tagging import bio_labels, spans_to_tags, tags_to_spans
from avebench.nn.neural import Batch
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.unit_pieces import EncodedText

Labelling = Literal["units", "pieces"]
Tags = NDArray[np.int32]
BLANK, CONTINUATION = "BLANK", "X"
"""Tags of special symbols and of continuation pieces; no BIO tag is called so."""
RELEASED_WIDTH = 128
"""Word pieces to which the authors pad English texts."""


@dataclass(frozen=True, slots=True)
class Text:
    """One text as the decoder sees it: its pieces, and the first `scored` positions, which have tags."""

    pieces: EncodedText
    scored: int
    tokens: tuple[tuple[int, int], ...]


class TagSet:
    """BIO tags over `names`, on request with the authors' blank tag and with X for continuation pieces."""

    def __init__(self, names: Sequence[str], *, blank: bool = False, continuation: bool = False) -> None:
        self.labels = bio_labels(names)
        self.continuation = len(self.labels) if continuation else None
        self.labels += [CONTINUATION] * continuation
        self.blank = len(self.labels) if blank else 0
        self.labels += [BLANK] * blank
        self._ids = {label: number for number, label in enumerate(self.labels)}

    def __len__(self) -> int:
        return len(self.labels)

    def ids(self, spans: Iterable[Span], tokens: Sequence[tuple[int, int]]) -> list[int]:
        """Return one tag per unit; a span of an unknown name is tagged O."""
        tags, _ = spans_to_tags(spans, tokens)
        return [self._ids.get(tag, 0) for tag in tags]

    def following(self, tag: int) -> int:
        """Return the tag of a unit's later pieces: O behind O, else X or the inside tag of the same name."""
        if tag == 0 or self.continuation is None:
            return tag + tag % 2  # B stands at odd numbers, its I behind it.
        return self.continuation

    def plain(self, tags: Iterable[int]) -> list[str]:
        """Return BIO tags: X continues the value before it, blank is O."""
        found: list[str] = []
        for tag in tags:
            label = self.labels[tag]
            if label == CONTINUATION and tag == self.continuation:
                before = found[-1] if found else "O"
                label = "O" if before == "O" else f"I-{before[2:]}"
            found.append("O" if label == BLANK and tag == self.blank else label)
        return found


class Labeller:
    """Turns examples into texts, gold spans into tags of positions, and tags of positions into spans.

    Where padding can be seen (`width` is given), every batch is as wide, so that predictions do not depend on the rest
    of the batch; longer texts are cut.
    """

    def __init__(self, encoder: TextEncoder, labelling: Labelling, width: int | None) -> None:
        self.encoder = encoder
        self.shifted = labelling == "pieces" and encoder.units == "character"
        self.pieces = labelling == "pieces"
        self.width = None if width is None else min(width, encoder.limit)
        encoder.limit = encoder.limit if self.width is None else self.width

    def encode(self, example: Example) -> Text:
        """Return the text of an example."""
        if not self.pieces:
            pieces = self.encoder.encode(example)
            return Text(pieces, len(pieces.first), example.tokens)
        if not self.shifted:
            pieces = self.encoder.encode(example)
            return Text(pieces, len(pieces.ids), example.tokens)
        ids = whole(self.encoder, example.text.lower())
        units = min(len(example.tokens), self.encoder.limit - 1)
        first = np.arange(1, units + 1, dtype=np.int32)
        pieces = EncodedText(ids, first, np.ones_like(first), len(example.tokens) - units)
        return Text(pieces, units + 1, example.tokens)

    def tags(self, text: Text, spans: Iterable[Span], tags: TagSet) -> Tags:
        """Return the gold tags (scored,) of the positions."""
        units = tags.ids(spans, text.tokens)[: len(text.pieces.first)]
        if not self.pieces:
            return np.array(units, dtype=np.int32)
        row = np.full(text.scored, tags.blank, dtype=np.int32)
        for unit, start, count in zip(units, text.pieces.first, text.pieces.counts, strict=True):
            row[start] = unit
            row[start + 1 : start + count] = tags.following(unit)
        return row

    def spans(self, text: Text, path: Sequence[int], tags: TagSet, scheme: ChunkScheme) -> list[Span]:
        """Return the spans of the tags of the positions; units that did not fit are O."""
        chosen = [path[start] for start in text.pieces.first.tolist()] if self.pieces else path
        plain = tags.plain(chosen) + ["O"] * text.pieces.truncated
        return tags_to_spans(plain, text.tokens, scheme)

    def of_units(self, rows: Tensor, text: Text) -> Figures:
        """Return the rows (U, K) of the units that fit, out of those (S, K) of the decoder's positions."""
        first = torch.from_numpy(text.pieces.first).to(rows.device).long()
        places = first if self.pieces else torch.arange(len(first), device=rows.device)
        found: Figures = rows[places].float().cpu().numpy()
        return found

    def collate(self, texts: Sequence[Text]) -> Batch:
        """Return the encoder's batch, `scored` positions, and `lengths`, the positions that the BiLSTM reads."""
        batch = self.encoder.collate([text.pieces for text in texts])
        if self.width is not None:
            missing = self.width - batch["ids"].size(1)
            batch["ids"] = functional.pad(batch["ids"], (0, missing), value=self.encoder.tokenizer.pad_token_id)
            batch["mask"] = functional.pad(batch["mask"], (0, missing))
        scored = [text.scored for text in texts]
        lengths = [batch["ids"].size(1)] * len(texts) if self.pieces else scored
        return {**batch, "scored": scored, "lengths": lengths, "width": self._positions(batch)}

    def _positions(self, batch: Mapping[str, Tensor]) -> int:
        """Return S, the number of positions of the decoder."""
        return batch["ids"].size(1) if self.pieces else batch["first"].size(1)


def whole(encoder: TextEncoder, text: str) -> Tags:
    """Return [CLS], the pieces of the whole text and [SEP], as many pieces as fit into the encoder."""
    tokenizer = encoder.tokenizer
    found = tokenizer(text, add_special_tokens=False, split_special_tokens=True, truncation=False, verbose=False)
    kept = found["input_ids"][: encoder.limit - 2]
    return np.array([tokenizer.cls_token_id, *kept, tokenizer.sep_token_id], dtype=np.int32)
