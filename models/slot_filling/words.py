"""The slot-filling systems over learnt word embeddings: their options, vocabulary, batches, losses and predictions."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from avebench.contracts.examples import UNKNOWN, AttributeSchema, Example, Prediction
from avebench.contracts.model import TrainedConfig, Vocabulary
from avebench.models.slot_filling.labels import IGNORED, PAD, SPECIAL, Labels, Scores, by_frequency, slot_losses
from avebench.nn.neural import Batch, NeuralModel, Update
from avebench.nn.ragged import padded

Digits = Literal["keep", "words", "characters"]
Reduction = Literal["sum", "sentence", "token"]
SNIPS_LOOP: Mapping[str, Any] = {
    "epochs": 20,
    "patience": 6,
    "order": "sequential",
    "selection": "sentence_accuracy or tag_f1",
}
"""How Slot-Gated's authors train, and so every row of their table."""
SNIPS_SIZES: Mapping[str, Any] = {
    "embedding_size": 64,
    "hidden_size": 64,
    "digits": "words",
    "reduction": "sum",
    "update": "separate",
}
"""Sizes and data treatment of that table, for the other systems in it."""
PRODUCTS_LOOP: Mapping[str, Any] = {"batch_size": 128, "epochs": 50, "order": "bucketed"}
"""Training on product data (ours)."""


class WordConfig(TrainedConfig):
    """Options of the systems that learn word embeddings from nothing."""

    digits: Digits = "keep"
    """What becomes 0: nothing, words of digits only, or every digit character."""
    max_words: int | None = Field(default=None, ge=1)
    """Most words of the vocabulary, the commonest ones; all others are unknown. None: all of the training data."""
    reduction: Reduction = "sentence"
    """Slot loss: mean over sentences of their mean over tags, its sum (Goo et al.), or the mean over all tags."""
    update: Literal["joint", "separate"] = "joint"
    """One update of the sum of losses, or slots and intents each with a clipped gradient of its own, by one Adam."""

    @model_validator(mode="after")
    def _sums_are_whole(self) -> WordConfig:
        if self.reduction == "sum" and self.training.accumulation > 1:
            raise ValueError("reduction 'sum' is over the whole batch; it needs training.accumulation 1")
        return self


def normalised(word: str, digits: Digits) -> str:
    """Return a word as the vocabulary holds it: lower-cased, digits replaced as told."""
    word = word.lower()
    if digits == "characters":
        return re.sub(r"\d", "0", word)
    return "0" if digits == "words" and word.isdigit() else word


@dataclass(frozen=True, slots=True)
class Sentence:
    """One example as ids: words (S,), tags (S,), and the number of its intent () or its attributes (N,)."""

    example: Example
    words: NDArray[np.int64]
    tags: NDArray[np.int64]
    target: NDArray[Any]


class WordModel(NeuralModel):
    """A slot-filling system over words (characters in Chinese) with learnt embeddings.

    A subclass builds its network and gives the `scores` of a batch. Parameters with a name part that starts with
    `slot_` learn from the slot loss alone, with `intent_` from the other one, in separate updates.
    """

    config: WordConfig

    def __init__(self, config: Any, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.labels = Labels(schema, vocabulary)
        self._word_ids = {word: number for number, word in enumerate(vocabulary["words"])}

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `words` and, on data with intents, `tags` and `intents`: the symbols of the training examples."""
        words = (
            normalised(example.text[start:end], config.digits) for example in train for start, end in example.tokens
        )
        return {"words": by_frequency(words, config.max_words), **Labels.learn(schema, train)}

    @abstractmethod
    def scores(self, batch: Batch) -> Scores:
        """Return the scores of a batch, the tags at the positions of `batch["tags"]`."""

    def encode(self, example: Example) -> Sentence:
        """Return ids and targets; a word that the training data do not have is `_UNK`."""
        unknown = SPECIAL.index(UNKNOWN)
        words = (normalised(example.text[start:end], self.config.digits) for start, end in example.tokens)
        ids = np.array([self._word_ids.get(word, unknown) for word in words], dtype=np.int64)
        return Sentence(example, ids, self.labels.tag_ids(example), self.labels.target(example))

    def length(self, encoded: Sentence) -> int:
        """Return the number of units."""
        return len(encoded.words)

    def collate(self, encoded: Sequence[Sentence]) -> Batch:
        """Return `words` and `tags` (B, S), `lengths` (B,), `targets` (B,) or (B, N), and the `examples`."""
        return {
            "words": padded([sentence.words for sentence in encoded], SPECIAL.index(PAD)),
            "tags": padded([sentence.tags for sentence in encoded], IGNORED),
            "lengths": torch.tensor([len(sentence.words) for sentence in encoded]),
            "targets": torch.from_numpy(np.stack([sentence.target for sentence in encoded])),
            "examples": [sentence.example for sentence in encoded],
        }

    def example_losses(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the losses (B, S) of tags, 0 at padding, the numbers of tags (B,), and the losses (B,) of intents."""
        scores = self.scores(batch)
        return (
            slot_losses(scores.slots, batch["tags"]),
            batch["lengths"],
            self.labels.losses(scores.labels, batch["targets"]),
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses `slots` and `intent` (of the attributes, on product data).

        With the reduction `sum` the slot loss is the sum over the batch, the other one the sum over the batch divided
        by `training.batch_size`, for a short last batch too (Goo et al., their code).
        """
        slots, counts, labels = self.example_losses(batch)
        if self.config.reduction == "token":
            return {"slots": slots.sum() / counts.sum().clamp(min=1), "intent": labels.mean()}
        sentences = slots.sum(1) / counts.clamp(min=1)
        if self.config.reduction == "sentence":
            return {"slots": sentences.mean(), "intent": labels.mean()}
        return {"slots": sentences.sum(), "intent": labels.sum() / self.config.training.batch_size}

    def updates(self) -> tuple[Update, ...]:
        """Return slots and intents apart where the config says so: each with what it shares and what is its own."""
        if self.config.update == "joint":
            return ()
        return tuple(
            Update(
                (loss,), tuple(parameter for name, parameter in self.named_parameters() if not _belongs(name, other))
            )
            for loss, other in (("slots", "intent_"), ("intent", "slot_"))
        )

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch: the best tag of every unit, and intent or attributes."""
        scores = self.scores(batch)
        rows = self.labels.possible(scores.slots).argmax(2).tolist()
        paths = [row[:length] for row, length in zip(rows, batch["lengths"].tolist(), strict=True)]
        return self.labels.predictions(batch["examples"], paths, scores.labels, self.config.chunk_scheme)


def _belongs(name: str, prefix: str) -> bool:
    return any(part.startswith(prefix) for part in name.split("."))


def word_embedding(words: int, size: int) -> nn.Embedding:
    """Return an embedding that starts Glorot-uniform."""
    embedding = nn.Embedding(words, size)
    nn.init.xavier_uniform_(embedding.weight)
    return embedding
