"""RNN-LSTM (Hakkani-Tür et al., Interspeech 2016): one BiLSTM whose steps are slots and, at the last, the intent.

    input       BOS w_1 .. w_n EOS            h_j = BiLSTM(x)_j  (2H), dropout on it
    output      y_j = softmax(W h_j + b) over slot tags and intents together
    target      O at BOS, the tags, and the intent at EOS

The loss is the mean cross-entropy over all steps of the batch; the intent is one more step. E = H = 100. At a word the
best tag is predicted, at EOS the best intent: outputs that a step never has as a target are left out.
The authors' code runs the backward LSTM without turning its states back, so that its half is reversed in time; here it
is the ordinary BiLSTM of the paper. Its Keras weights start otherwise in part; here they start as those of
`avebench.nn.lstm`. It has early stopping with a patience of 10 epochs on the validation loss, which within its 10
epochs never stops: the last weights are kept.

On product data (ours; there is no code) tags and attributes have output layers of their own, the one of attributes
(sigmoids, see `avebench.models.slot_filling.labels`) over the final states of both directions (`sentence` "final") or
over the state at EOS ("eos"). The preset `snips` has the data treatment, sizes and loop of Slot-Gated's table.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import AttributeSchema
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.slot_filling.attention import glorot
from avebench.models.slot_filling.labels import Scores, slot_losses
from avebench.models.slot_filling.words import (
    PRODUCTS_LOOP,
    SNIPS_LOOP,
    SNIPS_SIZES,
    Reduction,
    WordConfig,
    WordModel,
    word_embedding,
)
from avebench.nn.lstm import BiLSTM
from avebench.nn.neural import Batch

CARD = ModelCard(
    name="rnn-lstm",
    summary="BiLSTM that tags words and names the intent at the end of the sentence",
    paper="Multi-Domain Joint Semantic Frame Parsing using Bi-directional RNN-LSTM, Interspeech 2016",
    year=2016,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    code="https://github.com/yvchen/JointSLU",
)


class Config(WordConfig):
    """Options of RNN-LSTM; the defaults are the paper's."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "snips": {**SNIPS_SIZES, "training": {**SNIPS_LOOP, "batch_size": 16, "clip_norm": 5.0}},
        "products": {"training": {**PRODUCTS_LOOP, "selection": "tag_f1"}},
    }

    embedding_size: int = Field(default=100, ge=1)
    hidden_size: int = Field(default=100, ge=1)
    """H, units of each direction: 50, 100 or 150 in the paper."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """On the states of both directions: 0.25 or 0.5 in the paper."""
    sentence: Literal["final", "eos"] = "final"
    """What attributes of product data are read off: the final state of each direction, or the states at EOS."""
    reduction: Reduction = "token"
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 1e-3},
        clip_norm=None,
        batch_size=10,
        epochs=10,
        order="shuffled",
        selection="last",
    )


class Model(WordModel):
    """RNN-LSTM over learnt word embeddings."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        words, states = len(vocabulary["words"]), 2 * config.hidden_size
        self._bos, self._eos = words, words + 1
        self.embedding = word_embedding(words + 2, config.embedding_size)
        self.encoder = BiLSTM(config.embedding_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        tags, names = len(self.labels.tags), len(self.labels.names)
        if self.labels.has_intents:
            self.output = glorot(nn.Linear(states, tags + names))
        else:
            self.slot_output = glorot(nn.Linear(states, tags))
            self.intent_output = glorot(nn.Linear(states, names))

    def _states(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the states (B, S + 2, 2H) of BOS, words and EOS, and those of the whole sentence (B, 2H)."""
        lengths = batch["lengths"]
        words = functional.pad(functional.pad(batch["words"], (1, 0), value=self._bos), (0, 1))
        words = words.scatter(1, (lengths + 1).unsqueeze(1), self._eos)
        states, final = self.encoder(self.embedding(words), lengths + 2)
        if self.labels.has_intents or self.config.sentence == "eos":
            sentence = states[torch.arange(len(states), device=states.device), lengths + 1]
        else:
            _, ahead, _, back = final.chunk(4, 1)
            sentence = torch.cat([ahead, back], 1)
        return self.dropout(states), self.dropout(sentence)

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits (B, S + 1, T') of BOS and words, and (B, L') of the sentence.

        With intents both are over all tags and, behind them, all intents.
        """
        states, sentence = self._states(batch)
        if self.labels.has_intents:
            return self.output(states[:, :-1]), self.output(sentence)
        return self.slot_output(states[:, :-1]), self.intent_output(sentence)

    def scores(self, batch: Batch) -> Scores:
        """Return the scores of a batch."""
        steps, sentence = self._logits(batch)
        tags, names = len(self.labels.tags), len(self.labels.names)
        return Scores(steps[:, 1:, :tags], sentence[:, -names:])

    def example_losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses (B, S + 1) of BOS and tags, their numbers (B,), and those of intents or attributes (B,)."""
        steps, sentence = self._logits(batch)
        tags = functional.pad(batch["tags"], (1, 0), value=self.labels.outside)
        slots = slot_losses(steps, tags)
        if not self.labels.has_intents:
            return slots, batch["lengths"] + 1, self.labels.losses(sentence, batch["targets"])
        labels = functional.cross_entropy(sentence.float(), batch["targets"] + len(self.labels.tags), reduction="none")
        return slots, batch["lengths"] + 1, labels

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses `slots` and `intent`; with the reduction `token` the intent is one more step."""
        if not self.labels.has_intents or self.config.reduction != "token":
            return super().forward(batch)
        slots, counts, labels = self.example_losses(batch)
        steps = (counts + 1).sum()
        return {"slots": slots.sum() / steps, "intent": labels.sum() / steps}
