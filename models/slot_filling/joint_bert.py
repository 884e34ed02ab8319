"""Joint-BERT (Chen, Zhuo and Wang, 2019; arXiv 1902.10909): one BERT for slots and intent, with a CRF on request.

    X, x_cls = BERT([CLS] pieces [SEP])              tag logits_i = Linear(dropout(X at the first piece of word i))
    pooled = tanh(Linear(x_cls)), BERT's own pooler  intent logits = Linear(dropout(pooled))

The loss is the mean cross-entropy over all tags of the batch, or with `crf` the mean negative log-likelihood of the
sentences' tags, times `slot_weight`, plus the mean cross-entropy of the intents. Dropout 0.1; at most 50 word pieces
with [CLS] and [SEP]. The paper cuts longer texts there (`long_texts` "cut": words beyond are tagged O); by default they
are read in overlapping windows of as many pieces, and an intent or attribute scores what its best window gives it.

Batch 128 and rate 5e-5 are the paper's; its number of epochs is one of 1, 5, 10, 20, 30, 40. The preset `port` has the
settings of the usual port (monologg/JointBERT): batch 32, linear decay, norm 1, last weights. Departures from it: the
CRF runs over words, one state each; the port's sees further pieces, [CLS], [SEP] and padding as words with the tag PAD,
learns transitions through them, and decodes without a mask. `_PAD` and `_UNK` are never predicted. Its evaluation of
every 200 steps changes nothing (the last weights are kept). An encoder without a pretrained pooler starts a new one.
On product data the intents' softmax is one sigmoid per attribute (see `avebench.models.slot_filling.labels`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.model import EncoderConfig, ModelCard, TrainingConfig, Vocabulary
from avebench.models.shared.encoder_model import EncoderModel
from avebench.models.slot_filling.labels import IGNORED, Labels, Scores, slot_losses
from avebench.nn.crf import CRF
from avebench.nn.neural import Batch
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.unit_pieces import EncodedText

CARD = ModelCard(
    name="joint-bert",
    summary="BERT with a linear layer for slots and one for the intent; a CRF as an option",
    paper="BERT for Joint Intent Classification and Slot Filling, arXiv 1902.10909",
    year=2019,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    needs=("text encoder",),
    published_with="BERT-base uncased",
)


class Config(EncoderConfig):
    """Options of Joint-BERT; the defaults are the paper's where it gives them."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "port": {
            "training": {
                "optimizer": "adamw",
                "clip_norm": 1.0,
                "schedule": "linear",
                "batch_size": 32,
                "order": "shuffled",
                "selection": "last",
            },
        },
    }

    text_encoder: str = "bert-base-uncased"
    crf: bool = False
    """Whether a CRF stands over the tag logits."""
    max_pieces: int | None = Field(default=50, ge=3)
    """Most word pieces that are read at once, with [CLS] and [SEP]; None: as many as the encoder takes."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Before both output layers."""
    slot_weight: float = Field(default=1.0, ge=0)
    """Weight of the slot loss beside that of the intent."""
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 5e-5},
        clip_norm=1.0,
        batch_size=128,
        epochs=10,
        selection="sentence_accuracy or tag_f1",
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: its word pieces, the tags (S,) of the words that fit, and its intent () or attributes (N,)."""

    example: Example
    text: EncodedText
    tags: NDArray[np.int64]
    target: NDArray[Any]


class Model(EncoderModel):
    """Joint-BERT."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.labels = Labels(schema, vocabulary)
        self.text_encoder = TextEncoder(config.text_encoder, schema.units, pooler=True, long_texts=config.long_texts)
        if config.max_pieces is not None:
            self.text_encoder.limit = min(self.text_encoder.limit, config.max_pieces)
        self.dropout = nn.Dropout(config.dropout)
        self.slot_output = nn.Linear(self.text_encoder.hidden, len(self.labels.tags))
        self.intent_output = nn.Linear(self.text_encoder.hidden, len(self.labels.names))
        self.crf = CRF(len(self.labels.tags)) if config.crf else None

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return, on data with intents, `tags` and `intents` of the training examples."""
        return Labels.learn(schema, train)

    def encode(self, example: Example) -> Encoded:
        """Return ids and targets."""
        text = self.text_encoder.encode(example)
        return Encoded(example, text, self.labels.tag_ids(example)[: len(text.first)], self.labels.target(example))

    def pieces(self, encoded: Encoded) -> EncodedText:
        """Return the word pieces of an encoded example."""
        return encoded.text

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the encoder's batch with `tags` (B, S), `targets` (B,) or (B, N), and the encoded `examples`."""
        return {
            **self.text_encoder.collate([item.text for item in encoded]),
            "tags": padded([item.tags for item in encoded], IGNORED),
            "targets": torch.from_numpy(np.stack([item.target for item in encoded])),
            "examples": list(encoded),
        }

    def scores(self, batch: Batch) -> Scores:
        """Return the scores of a batch."""
        last = self.text_encoder.last(batch)
        units = self.text_encoder.pool(last, batch)
        pooled = self.text_encoder.pooled(last[:, 0])  # (W, H), of every window
        slots, labels = self.slot_output(self.dropout(units)), self.intent_output(self.dropout(pooled))
        return Scores(slots, self.text_encoder.highest(labels, batch))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses `slots`, weighted, and `intent` (of the attributes, on product data)."""
        scores = self.scores(batch)
        slots = self._slot_loss(scores.slots.float(), batch)
        labels = self.labels.losses(scores.labels, batch["targets"]).mean()
        return {"slots": self.config.slot_weight * slots, "intent": labels}

    def _slot_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        if self.crf is None:
            return slot_losses(logits, batch["tags"]).sum() / max(1, sum(batch["lengths"]))
        mask = prefix_mask(batch["lengths"], logits.size(1), logits.device)
        likelihood: Tensor = self.crf(logits, batch["tags"].clamp(min=0), mask, "mean")
        return -likelihood

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch: the best tags of every sentence, and intent or attributes."""
        scores = self.scores(batch)
        slots, lengths = self.labels.possible(scores.slots), batch["lengths"]
        if self.crf is None:
            paths = [row[:length] for row, length in zip(slots.argmax(2).tolist(), lengths, strict=True)]
        else:
            paths = self.crf.decode(slots, prefix_mask(lengths, slots.size(1), slots.device))
        outside = [self.labels.outside]
        return self.labels.predictions(
            [item.example for item in batch["examples"]],
            [path + outside * item.text.truncated for path, item in zip(paths, batch["examples"], strict=True)],
            scores.labels,
            self.config.chunk_scheme,
        )
