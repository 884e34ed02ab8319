"""Slot-Gated (Goo et al., NAACL 2018): joint slot filling and intent detection with a gate from the intent.

`H` units (64, also the embedding size), states of 2H; c, h are LSTM states, [;] is concatenation:

    h_j = BiLSTM(x)_j  (2H)                                  f = [c_fw ; h_fw ; c_bw ; h_bw]  (4H)
    c_i = sum_j softmax_j(v . tanh(K h_j + Q h_i + b)) h_j   slot attention, full attention only
    d   = sum_j softmax_j(v'. tanh(K' h_j + Q' f + b')) h_j  intent attention
    z   = [d ; f]  (6H)                                      intent logits = Linear(z)
    g_i = sum_k p_k tanh(r_i + U z + b_u)_k                  slot gate; r_i = c_i (full), h_i (intent attention)
    slot logits_i = Linear([g_i r_i ; h_i])                  g_i is a scalar without sigmoid, unbounded

Dropout 0.5 (keep 0.5) on input and output of each direction of the BiLSTM. Loss, with B the batch size: the sum over
the sentences of their mean cross-entropy over tags, and the sum of the intents' cross-entropies divided by B. Each has
a gradient of its own, over embedding, BiLSTM and the layers of its name, clipped to norm 5; one Adam applies first
that of the slots, then that of the intents. Training data are read in order and never shuffled. The preset `plain`
has one update of the mean losses and shuffles; the preset `products` suits product data. The best validation epoch is
that of the best sentence accuracy.

Departures from the authors' TensorFlow code. Its attention has no mask: padding up to the longest sentence of a batch
takes weight. Here that is so in training; a prediction is that of the sentence alone, whatever stands beside it in the
batch. `_PAD` and `_UNK` are never predicted. Gold tags and intents that training data do not have stay what they are in
the scores, where the code makes them `_UNK` (SNIPS has none). Text is lower-cased. The order of the two updates, which
its graph leaves open, is fixed. The norm of the embedding's gradient is that of its rows, not of every occurrence of a
word. Early stopping begins after half of the epochs; the code may stop before.
On product data the intents' softmax is one sigmoid per attribute (see `avebench.models.slot_filling.labels`).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.slot_filling.attention import AdditiveAttention, glorot
from avebench.models.slot_filling.labels import Scores
from avebench.models.slot_filling.words import (
    PRODUCTS_LOOP,
    SNIPS_LOOP,
    Digits,
    Reduction,
    WordConfig,
    WordModel,
    word_embedding,
)
from avebench.nn.lstm import BiLSTM
from avebench.nn.neural import Batch

__all__ = ["CARD", "Config", "Model", "SlotGate", "SlotGatedNetwork"]

CARD = ModelCard(
    name="slot-gated",
    summary="BiLSTM with slot and intent attention; the intent's context gates the slots",
    paper="Slot-Gated Modeling for Joint Slot Filling and Intent Prediction, NAACL 2018",
    year=2018,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    code="https://github.com/MiuLab/SlotGated-SLU",
)


class Config(WordConfig):
    """Options of Slot-Gated; the defaults are the paper's code (product data: best validation epoch by tag F1)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "plain": {
            "reduction": "sentence",
            "update": "joint",
            "masked": True,
            "training": {"order": "shuffled"},
        },
        "products": {
            "digits": "keep",
            "reduction": "sentence",
            "update": "joint",
            "masked": True,
            "training": {**PRODUCTS_LOOP, "patience": None},
        },
    }

    attention: Literal["full", "intent"] = "full"
    """Slot and intent attention, or intent attention alone."""
    hidden_size: int = Field(default=64, ge=1)
    """H, units of each direction, and the size of word embeddings."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """On input and output of each direction of the BiLSTM."""
    masked: bool = False
    """Whether attention in training does not see the padding of the batch."""
    digits: Digits = "words"
    reduction: Reduction = "sum"
    update: Literal["joint", "separate"] = "separate"
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 1e-3},
        clip_norm=5.0,
        batch_size=16,
        **SNIPS_LOOP,
    )


class SlotGate(nn.Module):
    """g_i = sum_k p_k tanh(r_i + U z + b_u)_k: one number per position, from D = 2H of it and Z of the sentence."""

    def __init__(self, states: int, sentence: int) -> None:
        super().__init__()
        self.sentence = glorot(nn.Linear(sentence, states))
        self.vector = nn.Parameter(torch.empty(states))
        nn.init.uniform_(self.vector, -math.sqrt(3 / states), math.sqrt(3 / states))

    def forward(self, slots: Tensor, sentence: Tensor) -> Tensor:
        """Return the gate (B, S) of slot contexts (B, S, D) and sentence vectors (B, Z)."""
        gate: Tensor = torch.tanh(slots + self.sentence(sentence).unsqueeze(1)) @ self.vector
        return gate


class SlotGatedNetwork(nn.Module):
    """Slot-Gated apart from the embedding look-up: E inputs, H units per direction, T tags, L intents.

    939,923 parameters on SNIPS with the embedding of 11,243 words (E = H = 64, T = 74, L = 9).
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        tags: int,
        intents: int,
        *,
        full_attention: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.encoder = BiLSTM(inputs, hidden, dropout)
        self.slot_attention = AdditiveAttention(2 * hidden, 2 * hidden) if full_attention else None
        self.intent_attention = AdditiveAttention(2 * hidden, 4 * hidden)
        self.slot_gate = SlotGate(2 * hidden, 6 * hidden)
        self.slot_output = glorot(nn.Linear(4 * hidden, tags))
        self.intent_output = glorot(nn.Linear(6 * hidden, intents))

    def forward(self, embedded: Tensor, lengths: Tensor, *, masked: bool = False) -> Scores:
        """Return slot logits (B, S, T) and intent logits (B, L) of embedded tokens (B, S, E) with `lengths` (B,).

        Unless `masked`, the softmax of both attentions runs over all S positions, padding included, as in the authors'
        code.
        """
        states, final = self.encoder(embedded, lengths)  # (B, S, 2H), (B, 4H)
        padding = torch.zeros_like(lengths) if masked else embedded.size(1) - lengths
        context = self.intent_attention(states, final.unsqueeze(1), lengths, padding).squeeze(1)  # (B, 2H)
        sentence = torch.cat([context, final], 1)  # (B, 6H)
        slots = states if self.slot_attention is None else self.slot_attention(states, states, lengths, padding)
        gate = self.slot_gate(slots, sentence).unsqueeze(2)  # (B, S, 1)
        logits = self.slot_output(torch.cat([gate * slots, states], 2))
        return Scores(logits, self.intent_output(sentence))


class Model(WordModel):
    """Slot-Gated over learnt word embeddings."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.embedding = word_embedding(len(vocabulary["words"]), config.hidden_size)
        self.network = SlotGatedNetwork(
            config.hidden_size,
            config.hidden_size,
            len(self.labels.tags),
            len(self.labels.names),
            full_attention=config.attention == "full",
            dropout=config.dropout,
        )

    def scores(self, batch: Batch) -> Scores:
        """Return the scores of a batch."""
        masked = self.config.masked or not self.training
        scores: Scores = self.network(self.embedding(batch["words"]), batch["lengths"], masked=masked)
        return scores
