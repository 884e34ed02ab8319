"""Systems that read a text anew for every attribute: `[CLS] name [SEP] text [SEP]`, batches of such pairs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span
from avebench.contracts.explanation import Explanation, Figures
from avebench.contracts.model import QueryConfig, Vocabulary
from avebench.models.query.explaining import at_test, by_name
from avebench.models.query.questions import Names, answered, tags_for
from avebench.models.shared.asking import asked_of
from avebench.models.shared.encoder_model import EncoderModel
from avebench.nn.neural import Batch, move
from avebench.nn.text_encoder import Pooling, TextEncoder
from avebench.nn.unit_pieces import EncodedText

Pieces = NDArray[np.int32]
LONGEST_SHARE = 3
"""A name has at most this part of what the encoder reads at once; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class Question:
    """One pair: the joined pieces of name and text, how many are the name's, and the gold tags (S,) of the units.

    Of the `named` pieces `preceding` stand between [CLS] and the name.
    """

    name: str
    joined: EncodedText
    named: int
    preceding: int
    tags: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text with the questions that are asked of it."""

    example: Example
    text: EncodedText
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """What is found for the Q pairs of a batch, and what decided.

    `values` holds first and last unit of every value of a pair, `has_value` (Q,) the probability that there is one,
    and `units` what is said of every unit (Q, S), by what it is (`Explanation.probabilities`).
    """

    values: list[list[tuple[int, int]]]
    has_value: Tensor
    units: Mapping[str, Tensor]


class PairModel(EncoderModel):
    """A system over pairs. At test the pairs of all texts go through it in batches of similar length.

    `limit` are the pieces that are read at once, by default those of the encoder. `decides` says in words what decides
    that a pair has a value, and where; it has none below the `threshold`.
    """

    decides: str = ""
    threshold: float | None = 0.5

    def __init__(
        self,
        config: QueryConfig,
        schema: AttributeSchema,
        vocabulary: Vocabulary,
        pooling: Pooling,
        limit: int | None = None,
    ) -> None:
        super().__init__(config, schema, vocabulary)
        encoder = TextEncoder(config.text_encoder, schema.units, pooling, long_texts=config.long_texts)
        self.text_encoder = encoder
        encoder.limit = limit or encoder.limit
        self._names = Names(encoder)
        longest = max([2, *(len(self._names[name].ids) for name in schema.attributes)])
        self._room = min(longest, max(3, encoder.limit // LONGEST_SHARE))
        encoder.limit -= self._room - 1  # [CLS] is the pair's.

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return nothing: names are read as texts, so that any can be asked for."""
        return {}

    def encode(self, example: Example) -> Encoded:
        """Return the pairs of an example and what it is asked for."""
        text = self.text_encoder.encode(example)
        units, preceding = len(text.first), self.preceding(example)
        questions = []
        for name in asked_of(example, self.schema):
            ids = self._names[name].ids
            ids = ids if len(ids) <= self._room else np.concatenate([ids[: self._room - 1], ids[-1:]])
            ids = np.concatenate([ids[:1], preceding, ids[1:]])
            tags = tuple(tags_for(example, name)[:units])
            questions.append(Question(name, _joined(ids, text), len(ids), len(preceding), tags))
        return Encoded(example, text, tuple(questions))

    def preceding(self, example: Example) -> Pieces:
        """Return the pieces between [CLS] and the name of what is asked: none."""
        return np.zeros(0, dtype=np.int32)

    def pieces(self, encoded: Encoded) -> EncodedText:
        """Return the pieces of the longest pair, of a text that is asked nothing its own."""
        return max((one.joined for one in encoded.questions), key=lambda text: text.pieces, default=encoded.text)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of all Q pairs as `TextEncoder.collate` makes it, with `types` (W, P): 1 on the text.

        `questions` and `texts` are lists of Q and B. The batch of no pair has no tensors of pieces.
        """
        questions = [question for one in encoded for question in one.questions]
        batch: Batch = {"questions": questions, "texts": list(encoded), "number": torch.tensor(len(questions))}
        if not questions:
            return batch
        batch |= self.text_encoder.collate([question.joined for question in questions])
        rows = batch["ids"].size(0)
        owner = batch.get("owner", torch.arange(rows))
        named = torch.tensor([question.named for question in questions])[owner]
        places = torch.arange(batch["ids"].size(1))
        return batch | {"types": ((places >= named.unsqueeze(1)) & batch["mask"]).long()}

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the states of the units (Q, S, H) and of [CLS] (Q, H), the mean over a text's windows."""
        last = self.text_encoder.layers(self.text_encoder.embed(batch["ids"], batch["types"]), batch["mask"], batch)[-1]
        return self.text_encoder.states_of(last, batch)

    @abstractmethod
    def answers(self, batch: Batch) -> Answers:
        """Return what is found for the pairs of a batch that has some."""

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return one prediction per text of the batch."""
        found = iter(self.answers(batch).values if batch["questions"] else [])
        return [self._prediction(one, found) for one in batch["texts"]]

    def _prediction(self, encoded: Encoded, found: Iterator[list[tuple[int, int]]]) -> Prediction:
        """Return the prediction of a text; the values of its questions come next in `found`."""
        tokens = encoded.example.tokens
        values = {
            question.name: [Span(question.name, tokens[first][0], tokens[last][1]) for first, last in next(found)]
            for question in encoded.questions
        }
        return answered(encoded.example, values)

    def predict_encoded(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return one prediction per text; the pairs of all of them are batched by their own lengths."""
        single = [replace(one, questions=(question,)) for one in encoded for question in one.questions]
        found = iter(super().predict_encoded(single))
        return [
            answered(one.example, {question.name: next(found).spans or () for question in one.questions})
            for one in encoded
        ]

    def explain(self, example: Example) -> Explanation:
        """Return the prediction of an example, and for every attribute asked for what decided."""
        encoded = self.encode(example)
        single = [replace(encoded, questions=(question,)) for question in encoded.questions]
        size, device = self.config.training.prediction_batch_size, next(self.parameters()).device
        found: list[list[tuple[int, int]]] = []
        ranges: dict[str, float] = {}
        units: dict[str, dict[str, Figures]] = {}
        with at_test(self):
            for start in range(0, len(single), size):
                some = single[start : start + size]
                names = [one.questions[0].name for one in some]
                answers = self.answers(move(self.collate(some), device))
                found += answers.values
                ranges |= dict(zip(names, answers.has_value.tolist(), strict=True))
                for kind, rows in answers.units.items():
                    units.setdefault(kind, {}).update(by_name(names, rows, len(encoded.text.first)))
        return Explanation(
            example,
            self._prediction(encoded, iter(found)),
            ranges=ranges,
            threshold=self.threshold,
            decides=self.decides,
            probabilities=units,
        )


def _joined(name: Any, text: EncodedText) -> EncodedText:
    """Return the pieces of a name, with [CLS] and [SEP], in front of every window of a text, whose [CLS] goes."""
    return replace(
        text,
        ids=np.concatenate([name, text.ids[1:]]),
        first=text.first + (len(name) - 1),
        further=tuple(np.concatenate([name, window[1:]]) for window in text.further),
    )
