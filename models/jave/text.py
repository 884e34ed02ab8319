"""Where JAVE's unit states and sentence vector come from: BERT (frozen or tuned), a BiLSTM, or the release's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from avebench.contracts.examples import Example, Units
from avebench.contracts.model import LongTexts
from avebench.models.jave.release import PrecomputedTexts
from avebench.nn.lstm import run_lstm
from avebench.nn.neural import Batch, move
from avebench.nn.ragged import padded
from avebench.nn.text_encoder import Pooling, TextEncoder, TextStates
from avebench.nn.weights import PRECOMPUTED_TEXT_IDS, text_weights
from avebench.nn.word_vectors import UnitEmbeddings

if TYPE_CHECKING:
    from avebench.models.jave.jave import Config


@dataclass(frozen=True, slots=True)
class Text:
    """One text: what its source made of it, and the number of its units that have a state.

    `truncated` units more have none, and `windowed` of those that have one have it from a further window.
    """

    content: Any
    units: int
    truncated: int = 0
    windowed: int = 0


class BertTexts(nn.Module):
    """States of a pretrained encoder that is tuned; the sentence vector is the state of [CLS], of windows the mean."""

    def __init__(self, name: str, units: Units, pooling: Pooling, long_texts: LongTexts) -> None:
        super().__init__()
        self.encoder = TextEncoder(name, units, pooling, long_texts=long_texts)
        self.hidden = self.sentence = self.encoder.hidden
        self.limit: int | None = self.encoder.limit

    def encode(self, example: Example) -> Text:
        """Return the word pieces of an example."""
        pieces = self.encoder.encode(example)
        return Text(pieces, len(pieces.first), pieces.truncated, pieces.windowed)

    def collate(self, texts: Sequence[Text]) -> Batch:
        """Return the encoder's batch."""
        return self.encoder.collate([text.content for text in texts])

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the states (B, S, D) and the sentence vectors (B, D)."""
        states: TextStates = self.encoder(batch)
        return states.units, states.cls


class FrozenBertTexts(nn.Module):
    """States of a frozen encoder, which stands outside the model: its weights are not stored with the model's.

    Each text is encoded once, by itself and in float32, and its states are kept in memory in half precision. So they
    never depend on what else is in a batch, and no epoch runs the encoder again. By itself, a title takes MiniLM 2.6
    times as long as in a batch of 16 (14 ms of one core): this pays from the third epoch on.
    """

    here: Tensor

    def __init__(self, name: str, units: Units, pooling: Pooling, long_texts: LongTexts) -> None:
        super().__init__()
        # Follows the model to its device, where the encoder has to follow.
        self.register_buffer("here", torch.empty(0), persistent=False)
        encoder = TextEncoder(name, units, pooling, long_texts=long_texts)
        self._outside = (encoder.requires_grad_(False).eval(),)  # In a tuple it is no sub-module.
        self.hidden = self.sentence = encoder.hidden
        self.limit: int | None = encoder.limit

    @torch.inference_mode()
    def encode(self, example: Example) -> Text:
        """Return the states (U, D) of the units that fit, and the sentence vector (D,), in float16."""
        device = self.here.device
        encoder = self._outside[0].to(device)
        pieces = encoder.encode(example)
        with torch.autocast(device.type, enabled=False):
            states = encoder(move(encoder.collate([pieces]), device))
        units, sentence = (tensor[0].half().cpu().numpy() for tensor in (states.units, states.cls))
        return Text((units[: len(pieces.first)], sentence), len(pieces.first), pieces.truncated, pieces.windowed)

    def collate(self, texts: Sequence[Text]) -> Batch:
        """Return `states` (B, S, D), `sentences` (B, D) and the list `lengths`."""
        lengths = [text.units for text in texts]
        states = np.zeros((len(texts), max([1, *lengths]), self.hidden), np.float32)
        for row, text in zip(states, texts, strict=True):
            row[: text.units] = text.content[0]
        sentences = np.stack([text.content[1] for text in texts]).astype(np.float32)
        return {"states": torch.from_numpy(states), "sentences": torch.from_numpy(sentences), "lengths": lengths}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the states (B, S, D) and the sentence vectors (B, D)."""
        return batch["states"], batch["sentences"]


class LSTMTexts(nn.Module):
    """States of a BiLSTM over vectors of units; there is no sentence vector (a port of the paper's has zeros)."""

    sentence = 0
    limit: int | None = None

    def __init__(self, units: Sequence[str], config: Config) -> None:
        super().__init__()
        self.hidden = 2 * config.lstm_hidden
        self.embeddings = UnitEmbeddings(units, config.embedding, config.vectors)
        dropout = config.lstm_dropout if config.lstm_layers > 1 else 0.0
        self.lstm = nn.LSTM(
            self.embeddings.size,
            config.lstm_hidden,
            config.lstm_layers,
            batch_first=True,
            dropout=dropout,
            bidirectional=True,
        )

    def encode(self, example: Example) -> Text:
        """Return the ids of an example's units."""
        return Text(self.embeddings.ids(example), len(example.tokens))

    def collate(self, texts: Sequence[Text]) -> Batch:
        """Return `ids` (B, S) and the list `lengths`."""
        return {"ids": padded([text.content for text in texts]), "lengths": [text.units for text in texts]}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the states (B, S, D) and None."""
        return run_lstm(self.lstm, self.embeddings(batch["ids"]), batch["lengths"]), None


class ReleasedTexts(nn.Module):
    """States that the authors of JAVE computed, from the files of their release."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.states = PrecomputedTexts(folder)
        self.hidden, self.sentence = self.states.hidden, self.states.sentence
        self.limit: int | None = self.states.limit

    def encode(self, example: Example) -> Text:
        """Return the row of an example; AvebenchError if the arrays have none."""
        units = min(len(example.tokens), self.states.limit)  # What they did not compute, no window can give.
        return Text(self.states.position(example), units, len(example.tokens) - units)

    def collate(self, texts: Sequence[Text]) -> Batch:
        """Return `states` (B, S, D), `sentences` (B, D) and the list `lengths`."""
        lengths = [text.units for text in texts]
        states, sentences = self.states.stack([text.content for text in texts], lengths)
        return {"states": states, "sentences": sentences, "lengths": lengths}

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the states (B, S, D) and the sentence vectors (B, D)."""
        return batch["states"], batch["sentences"]


Texts = BertTexts | FrozenBertTexts | LSTMTexts | ReleasedTexts


def texts_of(config: Config, units: Units, vocabulary: Sequence[str]) -> Texts:
    """Return the source of states that a config asks for; `vocabulary` holds the units that a BiLSTM knows."""
    if config.encoder == "lstm":
        return LSTMTexts(vocabulary, config)
    if (text_weights(config.text_encoder) / PRECOMPUTED_TEXT_IDS).is_file():
        return ReleasedTexts(config.text_encoder)
    if config.text_tuned:
        return BertTexts(config.text_encoder, units, config.pooling, config.long_texts)
    return FrozenBertTexts(config.text_encoder, units, config.pooling, config.long_texts)
