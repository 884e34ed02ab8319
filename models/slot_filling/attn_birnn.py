"""Attn-BiRNN (Liu and Lane, Interspeech 2016; arXiv 1609.01454): attention over a BiLSTM for slots and intents.

E = 128 and H = 128 per direction, states of 2H; [;] is concatenation:

    h_j = BiLSTM(x)_j  (2H)                                   s = [c_fw ; h_fw ; c_bw ; h_bw]  (4H)
    c_i = sum_j softmax_j(v . tanh(W h_j + U q_i + b)) h_j    q_i = h_i, but q_0 = Linear(s)
    slot logits_i = Linear([c_i ; h_i])
    d   = sum_j softmax_j(v'. tanh(W' h_j + U' s + b')) h_j   intent logits = Linear(d)

Dropout 0.5 on input and output of each direction. The loss is the mean over sentences of their mean cross-entropy over
tags, plus the mean cross-entropy of the intents; one update, clipped to norm 5. Every digit becomes 0, the vocabulary
has at most 10,000 words. The authors' code pads every sentence to 50 positions, all of which the softmax sees
(`padded_length`); longer sentences are not cut here and see no padding. As in that code, no tag depends on the tag
before it. Batches are drawn with replacement (`training.order` "sampled").

The preset `snips` has the data treatment, sizes and loop of Slot-Gated's table. Departures: weights start as those of
`avebench.nn.lstm`; text is lower-cased; `_PAD` and `_UNK` are never predicted.
On product data the intents' softmax is one sigmoid per attribute (see `avebench.models.slot_filling.labels`).
"""

from __future__ import annotations

from typing import Any, ClassVar

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
    SNIPS_SIZES,
    Digits,
    WordConfig,
    WordModel,
    word_embedding,
)
from avebench.nn.lstm import BiLSTM
from avebench.nn.neural import Batch

__all__ = ["CARD", "AttentionBiRNN", "Config", "Model"]

CARD = ModelCard(
    name="attn-birnn",
    summary="BiLSTM with an attention for every slot and one for the intent",
    paper=(
        "Attention-Based Recurrent Neural Network Models for Joint Intent Detection and Slot Filling, Interspeech 2016"
    ),
    year=2016,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    code="https://github.com/HadoopIt/rnn-nlu",
)


class Config(WordConfig):
    """Options of Attn-BiRNN; the defaults are the paper's code, with the best validation step by slot F1."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "snips": {
            **SNIPS_SIZES,
            "padded_length": None,
            "max_words": None,
            "training": {**SNIPS_LOOP, "steps": None, "validate_every": None},
        },
        "products": {
            "digits": "keep",
            "max_words": None,
            "padded_length": None,
            "training": {**PRODUCTS_LOOP, "steps": None, "validate_every": None},
        },
    }

    embedding_size: int = Field(default=128, ge=1)
    hidden_size: int = Field(default=128, ge=1)
    """H, units of each direction."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """On input and output of each direction of the BiLSTM."""
    padded_length: int | None = Field(default=50, ge=1)
    """Positions to which sentences are padded where attention sees padding; None: it sees none."""
    digits: Digits = "characters"
    max_words: int | None = Field(default=10_000, ge=1)
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 1e-3},
        clip_norm=5.0,
        batch_size=16,
        steps=30_000,
        validate_every=100,
        order="sampled",
        selection="tag_f1",
    )


class AttentionBiRNN(nn.Module):
    """Attn-BiRNN apart from the embedding look-up: E inputs, H units per direction, T tags, L intents."""

    def __init__(self, inputs: int, hidden: int, tags: int, intents: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.encoder = BiLSTM(inputs, hidden, dropout)
        self.slot_start = glorot(nn.Linear(4 * hidden, 2 * hidden))
        self.slot_attention = AdditiveAttention(2 * hidden, 2 * hidden)
        self.slot_output = glorot(nn.Linear(4 * hidden, tags))
        self.intent_attention = AdditiveAttention(2 * hidden, 4 * hidden)
        self.intent_output = glorot(nn.Linear(2 * hidden, intents))

    def forward(self, embedded: Tensor, lengths: Tensor, padded_length: int | None = None) -> Scores:
        """Return slot logits (B, S, T) and intent logits (B, L) of embedded tokens (B, S, E) with `lengths` (B,).

        The softmax sees zero states up to `padded_length` positions behind a row's own; None: none.
        """
        states, final = self.encoder(embedded, lengths)  # (B, S, 2H), (B, 4H)
        padding = ((padded_length or 0) - lengths).clamp(min=0)
        queries = torch.cat([self.slot_start(final).unsqueeze(1), states[:, 1:]], 1)
        contexts = self.slot_attention(states, queries, lengths, padding)  # (B, S, 2H)
        sentence = self.intent_attention(states, final.unsqueeze(1), lengths, padding).squeeze(1)  # (B, 2H)
        return Scores(self.slot_output(torch.cat([contexts, states], 2)), self.intent_output(sentence))


class Model(WordModel):
    """Attn-BiRNN over learnt word embeddings."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.embedding = word_embedding(len(vocabulary["words"]), config.embedding_size)
        self.network = AttentionBiRNN(
            config.embedding_size,
            config.hidden_size,
            len(self.labels.tags),
            len(self.labels.names),
            dropout=config.dropout,
        )

    def scores(self, batch: Batch) -> Scores:
        """Return the scores of a batch."""
        scores: Scores = self.network(
            self.embedding(batch["words"]), batch["lengths"], padded_length=self.config.padded_length
        )
        return scores
