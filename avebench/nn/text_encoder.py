"""Any Hugging Face BERT or RoBERTa as an encoder of labelling units: one vector per unit, exactly aligned.

Units are tokenised one by one, so no word piece ever spans two of them; word pieces, [CLS], [SEP] and padding stay in
this module. Nothing is ever fetched: an encoder is a folder on this machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.masking_utils import create_bidirectional_mask

from avebench.errors import AvebenchError
from avebench.examples import Example, Units
from avebench.nn.neural import padded
from avebench.nn.pretrained import first_line, load_pretrained, quiet
from avebench.weights import encoder_folder

Pooling = Literal["first", "mean"]
ARCHITECTURES = ("bert", "roberta")
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
_MEMO_LIMIT = 1 << 18
"""Different units whose pieces are remembered before the memory starts anew: some 50 MB."""
_Ids = np.ndarray[tuple[int], np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as word-piece ids (P,), with [CLS] in front and [SEP] behind, and where its U units stand in them.

    Unit u owns `counts[u]` pieces from position `first[u]` on. The last `truncated` units of the example did not fit
    into the encoder; they are not among the U and get no vector.
    """

    ids: _Ids
    first: _Ids
    counts: _Ids
    truncated: int


class TextStates(NamedTuple):
    """What leaves the encoder: unit states (B, S, H), zero behind a row's last unit, and the [CLS] states (B, H)."""

    units: Tensor
    cls: Tensor


class TextEncoder(nn.Module):
    """The pretrained encoder `name` (`demo`, `minilm`, folder, hub id in the local cache) over units of one kind.

    A unit's vector is the last-layer state of its first word piece, or the `mean` over its pieces. A character unit is
    tokenised by itself. A word is tokenised with the white space before it, as a tokenizer that marks word starts
    (RoBERTa) saw it in pretraining. A unit without any piece (a control character) is read as the unknown piece.
    With `pooler` the encoder has BERT's layer over [CLS], pretrained or, where the weights have none, new.
    AvebenchError if tokenizer or weights are missing, broken, or of another architecture.
    """

    def __init__(self, name: str, units: Units, pooling: Pooling = "first", *, pooler: bool = False) -> None:
        super().__init__()
        self.units = units
        self.pooling = pooling
        folder = encoder_folder(name)
        place = f"the encoder {folder}" if name == str(folder) else f"the encoder '{name}' ({folder})"
        _check_architecture(place, folder)
        with quiet():
            self.tokenizer = _load_tokenizer(place, folder)
            self.model = load_pretrained(place, folder, "pooler.", add_pooling_layer=pooler)
        config = self.model.config
        if len(self.tokenizer) > config.vocab_size:
            raise AvebenchError(
                f"The tokenizer of {place} has {len(self.tokenizer)} pieces, its weights only {config.vocab_size}. "
                "They belong to different models; copy both from the same place."
            )
        self.hidden: int = config.hidden_size
        # RoBERTa numbers positions from the padding id + 1 on.
        reserved = config.pad_token_id + 1 if config.model_type == "roberta" else 0
        self.limit: int = config.max_position_embeddings - reserved
        """Word pieces that fit in, [CLS] and [SEP] included."""
        self._pieces: dict[str, tuple[int, ...]] = {}

    def encode(self, example: Example) -> EncodedText:
        """Return the ids and the alignment of the example's units, as many of them as fit into the encoder."""
        texts = [self._unit_text(example.text, start, end) for start, end in example.tokens]
        self._tokenise(texts)
        ids = [self.tokenizer.cls_token_id]
        first: list[int] = []
        counts: list[int] = []
        for text in texts:
            pieces = self._pieces[text]
            if len(ids) + len(pieces) + 1 > self.limit:
                break
            first.append(len(ids))
            counts.append(len(pieces))
            ids.extend(pieces)
        ids.append(self.tokenizer.sep_token_id)
        return EncodedText(_array(ids), _array(first), _array(counts), truncated=len(texts) - len(first))

    def _unit_text(self, text: str, start: int, end: int) -> str:
        follows_space = self.units != "character" and start > 0 and text[start - 1].isspace()
        return (" " if follows_space else "") + text[start:end]

    def _tokenise(self, texts: Sequence[str]) -> None:
        """Remember the pieces of `texts`; text that spells a special symbol ("[SEP]") is taken as ordinary text."""
        if len(self._pieces) > _MEMO_LIMIT:
            self._pieces = {}
        missing = [text for text in texts if text not in self._pieces]
        if not missing:
            return
        unknown = (self.tokenizer.unk_token_id,)
        found = self.tokenizer(
            missing, add_special_tokens=False, split_special_tokens=True, truncation=False, verbose=False
        )["input_ids"]
        self._pieces.update((text, tuple(pieces) or unknown) for text, pieces in zip(missing, found, strict=True))

    def collate(self, encoded: Sequence[EncodedText]) -> dict[str, Any]:
        """Return a padded batch: `ids` and `mask` (B, P), `first` and `counts` (B, S), and `lengths`, a list of B.

        S is at least 1, so that a batch of empty texts has tensors too.
        """
        ids = padded([text.ids for text in encoded], self.tokenizer.pad_token_id)
        pieces = torch.tensor([len(text.ids) for text in encoded])
        return {
            "ids": ids,
            "mask": torch.arange(ids.size(1)) < pieces.unsqueeze(1),
            "first": padded([text.first for text in encoded], 0),
            "counts": padded([text.counts for text in encoded], 0),
            "lengths": [len(text.first) for text in encoded],
        }

    def embed(self, ids: Tensor) -> Tensor:
        """Return E (B, P, H) of `ids` (B, P): word, position and type embeddings after LayerNorm and dropout."""
        embeddings: Tensor = self.model.embeddings(input_ids=ids)
        return embeddings

    def layers(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Return the output (B, P, H) of every Transformer layer over E (B, P, H); `mask` (B, P) cuts keys."""
        attention = create_bidirectional_mask(
            config=self.model.config, inputs_embeds=embeddings, attention_mask=mask.long()
        )
        states: list[Tensor] = []
        for layer in self.model.encoder.layer:
            embeddings = layer(embeddings, attention)
            states.append(embeddings)
        return tuple(states)

    def pool(self, states: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the unit vectors (B, S, H) of piece states (B, P, H), zero where a row has no unit."""
        first, counts = batch["first"], batch["counts"]  # (B, S)
        if self.pooling == "first":
            units = states.gather(1, first.unsqueeze(2).expand(-1, -1, states.size(2)))
            return units.masked_fill((counts == 0).unsqueeze(2), 0.0)
        positions = torch.arange(states.size(1), device=states.device)
        owned = (positions >= first.unsqueeze(2)) & (positions < (first + counts).unsqueeze(2))  # (B, S, P)
        shares = owned / counts.clamp(min=1).unsqueeze(2)
        means: Tensor = shares.to(states.dtype) @ states
        return means

    def pooled(self, states: TextStates) -> Tensor:
        """Return tanh(Linear([CLS])) (B, H) of an encoder with a pooler."""
        pooled: Tensor = self.model.pooler(states.cls.unsqueeze(1))
        return pooled

    def forward(self, batch: dict[str, Any]) -> TextStates:
        """Return the last-layer states of a batch that `collate` made."""
        last = self.layers(self.embed(batch["ids"]), batch["mask"])[-1]
        return TextStates(self.pool(last, batch), last[:, 0])


def _array(values: Sequence[int]) -> _Ids:
    return np.array(values, dtype=np.int32)


def _check_architecture(place: str, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AvebenchError(
            f"The config.json of {place} names no model_type ({first_line(error)}) Name a folder saved by "
            "save_pretrained."
        ) from None
    if kind not in ARCHITECTURES:
        raise AvebenchError(f"The type of {place} is '{kind}'; text encoders are of type {' or '.join(ARCHITECTURES)}.")
    _check_room(place, config, kind)


def _check_room(place: str, config: dict[str, Any], kind: str) -> None:
    """Raise AvebenchError unless [CLS], a piece of text and [SEP] fit in; what config.json leaves out has defaults."""
    reserved = 0
    if kind == "roberta":
        padding = config.get("pad_token_id", 1)
        if type(padding) is not int or padding < 0:
            raise AvebenchError(
                f"In config.json of {place}, pad_token_id is {json.dumps(padding)}; RoBERTa counts positions from it. "
                "Write the id of the tokenizer's padding symbol there, mostly 1."
            )
        reserved = padding + 1
    positions = config.get("max_position_embeddings", 512)
    if type(positions) is not int or positions < reserved + 3:
        counted = f", the first {reserved} of which RoBERTa leaves out" if reserved else ""
        raise AvebenchError(
            f"In config.json of {place}, max_position_embeddings is {json.dumps(positions)}{counted}: there is no room "
            "for a text between the two special symbols. Name an encoder that can read texts."
        )


def _load_tokenizer(place: str, folder: Path) -> Any:
    # Without its files transformers silently makes up a tokenizer of five symbols.
    if not any((folder / file).is_file() for file in VOCABULARY_FILES):
        raise AvebenchError(
            f"There is no tokenizer in {place}: none of {', '.join(VOCABULARY_FILES)} is there. Copy the tokenizer "
            "files of the model into that folder."
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # The Rust tokenizers raise bare Exception.
        raise AvebenchError(
            f"The tokenizer of {place} cannot be read: {first_line(error)} Copy its files again from where the "
            "model is."
        ) from None
    for symbol in ("cls_token", "sep_token", "pad_token", "unk_token"):
        if getattr(tokenizer, f"{symbol}_id") is None:
            raise AvebenchError(f"The tokenizer of {place} has no {symbol}; that of a BERT or RoBERTa has one.")
    return tokenizer
