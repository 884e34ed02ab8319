"""Labelling units as word pieces of a pretrained encoder: aligned, and in windows where a text is too long for one.

Reads config.json and the tokenizer of an encoder's folder, never its weights. Nothing is ever fetched.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avebench.contracts.examples import Example, Units
from avebench.contracts.model import LongTexts
from avebench.files.errors import AvebenchError
from avebench.nn.pretrained import first_line, load_tokenizer, quiet
from avebench.nn.weights import encoder_folder
from avebench.nn.windows import cut_windows, nearest_windows

ARCHITECTURES = ("bert", "roberta")
VOCABULARY_FILES = ("tokenizer.json", "vocab.txt", "vocab.json")
SYMBOLS = ("cls", "sep", "pad", "unk")
_DEFAULTS = {"bert": {"pad_token_id": 0, "vocab_size": 30522}, "roberta": {"pad_token_id": 1, "vocab_size": 50265}}
"""What transformers takes where config.json leaves it out."""
_MEMO_LIMIT = 1 << 18
"""Different units whose pieces are remembered before the memory starts anew: some 50 MB."""
_Ids = np.ndarray[tuple[int], np.dtype[np.int32]]


@dataclass(frozen=True, slots=True)
class EncodedText:
    """One text as word-piece ids (P,), with [CLS] in front and [SEP] behind, and where its U units stand in them.

    Unit u owns `counts[u]` pieces from position `first[u]` on, in the window `window[u]`: of 0 the ids are `ids`, of k
    `further[k - 1]`. A text that fits has one window, and `window` is None. The last `truncated` units of the example
    were cut off; they are not among the U and get no vector. Without further windows `windowed` units more would be.
    """

    ids: _Ids
    first: _Ids
    counts: _Ids
    truncated: int
    windowed: int = 0
    further: tuple[_Ids, ...] = ()
    window: _Ids | None = None

    @property
    def beyond(self) -> int:
        """Units that lie beyond what the encoder reads at once."""
        return self.truncated + self.windowed

    @property
    def pieces(self) -> int:
        """Word pieces of all windows, special symbols included."""
        return len(self.ids) + sum(map(len, self.further))


class UnitPieces:
    """Turns the units of one kind of a text into word pieces of the encoder `name`.

    A character unit is tokenised by itself. A word is tokenised with the white space before it, as a tokenizer that
    marks word starts (RoBERTa) saw it in pretraining. A unit without any piece (a control character) is read as the
    unknown piece. AvebenchError if the folder is not here, or tokenizer or config.json are missing or broken.
    """

    def __init__(self, name: str, units: Units, long_texts: LongTexts = "cut") -> None:
        self.units = units
        self.long_texts = long_texts
        self.folder = encoder_folder(name)
        self.place = (
            f"the encoder {self.folder}" if name == str(self.folder) else f"the encoder '{name}' ({self.folder})"
        )
        config, kind = _checked_config(self.place, self.folder)
        with quiet():
            self.tokenizer = load_tokenizer(self.place, self.folder, VOCABULARY_FILES, SYMBOLS, "a BERT or RoBERTa")
        default = _DEFAULTS[kind]
        vocabulary = config.get("vocab_size", default["vocab_size"])
        if len(self.tokenizer) > vocabulary:
            raise AvebenchError(
                f"The tokenizer of {self.place} has {len(self.tokenizer)} pieces, its weights only {vocabulary}. "
                "They belong to different models; copy both from the same place."
            )
        # RoBERTa numbers positions from the padding id + 1 on.
        reserved = config.get("pad_token_id", default["pad_token_id"]) + 1 if kind == "roberta" else 0
        self.limit: int = config.get("max_position_embeddings", 512) - reserved
        """Word pieces that are read at once, [CLS] and [SEP] included."""
        self._pieces: dict[str, tuple[int, ...]] = {}

    def encode(self, example: Example) -> EncodedText:
        """Return the ids and the alignment of the example's units.

        With `long_texts` "cut" these are as many as the encoder reads at once, up to the first unit that does not fit.
        With "window" they are all, each in the window in which it stands furthest from where the text was cut
        (`avebench.nn.windows`); of a unit that is longer than a window the first pieces are read.
        """
        texts = [self._unit_text(example.text, start, end) for start, end in example.tokens]
        self._tokenise(texts)
        units = [self._pieces[text] for text in texts]
        room = self.limit - 2
        fitting = int(np.searchsorted(np.cumsum([len(pieces) for pieces in units]), room, side="right"))
        if fitting == len(units) or self.long_texts == "cut":
            return self._one_window(units[:fitting], len(units) - fitting)
        return self._windows([pieces[:room] for pieces in units], len(units) - fitting)

    def _one_window(self, units: Sequence[tuple[int, ...]], truncated: int) -> EncodedText:
        """Return a text of which all units fit."""
        counts = np.array([len(pieces) for pieces in units], dtype=np.int32)
        first = (1 + np.cumsum(counts) - counts).astype(np.int32)
        return EncodedText(self._framed(units), first, counts, truncated)

    def _windows(self, units: Sequence[tuple[int, ...]], beyond: int) -> EncodedText:
        """Return a text of several windows, whose last `beyond` units do not fit into the first."""
        counts = np.array([len(pieces) for pieces in units], dtype=np.int32)
        windows = cut_windows(counts.tolist(), self.limit - 2)
        window = nearest_windows(windows, counts.tolist())
        before = np.cumsum(counts) - counts
        origins = before[[start for start, _ in windows]]
        ids, *further = (self._framed(units[start:stop]) for start, stop in windows)
        first = (1 + before - origins[window]).astype(np.int32)
        return EncodedText(ids, first, counts, 0, beyond, tuple(further), window.astype(np.int32))

    def _framed(self, units: Sequence[tuple[int, ...]]) -> _Ids:
        """Return the pieces of units between [CLS] and [SEP]."""
        pieces = [piece for unit in units for piece in unit]
        return np.array([self.tokenizer.cls_token_id, *pieces, self.tokenizer.sep_token_id], dtype=np.int32)

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


def _checked_config(place: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return config.json and its model type; AvebenchError if no text can be read with it."""
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
    _check_padding(place, config, kind)
    _check_room(place, config, kind)
    return config, kind


def _check_padding(place: str, config: dict[str, Any], kind: str) -> None:
    """Raise AvebenchError unless the padding symbol is one of the word pieces; BERT may have none."""
    default = _DEFAULTS[kind]
    size, padding = (config.get(name, default[name]) for name in ("vocab_size", "pad_token_id"))
    if type(size) is not int or size < 1:
        raise AvebenchError(
            f"In config.json of {place}, vocab_size is {json.dumps(size)}. Write the number of the weights' word "
            "pieces there."
        )
    if padding is None and kind == "bert":
        return
    if type(padding) is int and 0 <= padding < size:
        return
    why = "RoBERTa counts positions from it" if kind == "roberta" else "it is the number of a word piece"
    raise AvebenchError(
        f"In config.json of {place}, pad_token_id is {json.dumps(padding)} of {size} word pieces; {why}. "
        f"Write the id of the tokenizer's padding symbol there, mostly {default['pad_token_id']}."
    )


def _check_room(place: str, config: dict[str, Any], kind: str) -> None:
    """Raise AvebenchError unless [CLS], a piece of text and [SEP] fit in; what config.json leaves out has defaults."""
    reserved = config.get("pad_token_id", 1) + 1 if kind == "roberta" else 0
    positions = config.get("max_position_embeddings", 512)
    if type(positions) is not int or positions < reserved + 3:
        counted = f", the first {reserved} of which RoBERTa leaves out" if reserved else ""
        raise AvebenchError(
            f"In config.json of {place}, max_position_embeddings is {json.dumps(positions)}{counted}: there is no room "
            "for a text between the two special symbols. Name an encoder that can read texts."
        )
