"""What slot-filling systems predict: tags beside an intent or attributes, their losses, under the SNIPS protocol.

One property of the data decides what stands beside the slots, never a model's name. Data with intents (a slot-filling
set) have one intent per sentence: a softmax over the intents of the training data. Product data have none: N
independent sigmoids say which of the N attributes the text gives a value of (binary cross-entropy, mean over N,
threshold 0.5), and the tags are those of the schema.

On data with intents, words, tags and intents are those of the training examples, `_PAD` and `_UNK` in front, then by
frequency (Goo et al., 2018, their code). `_PAD` and `_UNK` are outputs, so that sizes are those of the reference, but
no training example has them as a target, and they are never predicted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avebench.contracts.examples import (
    INTENT,
    UNKNOWN,
    AttributeSchema,
    Example,
    Prediction,
    gold_attributes,
    pairs_from_spans,
)
from avebench.contracts.model import ChunkScheme, Vocabulary
from avebench.contracts.tagging import bio_labels, spans_to_tags, tags_to_spans
from avebench.files.errors import DataError

PAD = "_PAD"
SPECIAL = [PAD, UNKNOWN]
IGNORED = -100
"""Target of a position that has no tag."""
THRESHOLD = 0.5
"""An attribute is predicted if its sigmoid is above this."""


def by_frequency(symbols: Iterable[str], limit: int | None = None) -> list[str]:
    """Return `_PAD`, `_UNK` and the different symbols, the commonest first (ties: in order of occurrence)."""
    counted = Counter(symbol for symbol in symbols if symbol not in SPECIAL)
    return [*SPECIAL, *(symbol for symbol, _ in counted.most_common(limit))]


class Scores(NamedTuple):
    """Logits of tags (B, S, T) and of intents or attributes (B, L); those behind a row's end mean nothing."""

    slots: Tensor
    labels: Tensor


class Labels:
    """The tags, and the intents or attributes, of one data set."""

    def __init__(self, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        self.has_intents = bool(schema.intents)
        self.tags: list[str] = vocabulary["tags"] if self.has_intents else bio_labels(schema.attributes)
        self.names: list[str] = vocabulary["intents"] if self.has_intents else list(schema.attributes)
        """Intents, or attributes."""
        self.special = len(SPECIAL) if self.has_intents else 0
        """Tags and intents before this one are never predicted."""
        self._tag_ids = {tag: number for number, tag in enumerate(self.tags)}
        self._name_ids = {name: number for number, name in enumerate(self.names)}
        self.outside = self._tag_ids.get("O", 0)
        """The tag O; where no training example has it, `_PAD`."""
        self._unknown_tag = self._tag_ids[UNKNOWN] if self.has_intents else self.outside

    @staticmethod
    def learn(schema: AttributeSchema, train: Sequence[Example]) -> dict[str, list[str]]:
        """Return `tags` and `intents` of the training examples where the data have intents, else nothing."""
        if not schema.intents:
            return {}
        tags = by_frequency(tag for example in train for tag in spans_to_tags(example.spans, example.tokens)[0])
        return {"tags": tags, "intents": by_frequency(intent for example in train for intent in _intent(example))}

    def tag_ids(self, example: Example) -> NDArray[np.int64]:
        """Return one tag per unit (S,); tags that the training data do not have are `_UNK`, or O on product data."""
        tags, _ = spans_to_tags(example.spans, example.tokens)
        return np.array([self._tag_ids.get(tag, self._unknown_tag) for tag in tags], dtype=np.int64)

    def target(self, example: Example) -> NDArray[Any]:
        """Return the number of the intent (), or which attributes have a value (N,), as 0 and 1."""
        if self.has_intents:
            intent = next(iter(_intent(example)), UNKNOWN)
            return np.array(self._name_ids.get(intent, self._name_ids[UNKNOWN]), dtype=np.int64)
        found = np.zeros(len(self.names), dtype=np.float32)
        found[[self._name_ids[name] for name in gold_attributes(example) if name in self._name_ids]] = 1.0
        return found

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss (B,) of each row of `logits` (B, L): cross-entropy, or mean binary cross-entropy over N."""
        if self.has_intents:
            return functional.cross_entropy(logits.float(), targets, reduction="none")
        return functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(1)

    def possible(self, logits: Tensor) -> Tensor:
        """Return logits of tags or intents (..., L) with those that are never predicted far below all others."""
        if not self.special:
            return logits
        return torch.cat([torch.full_like(logits[..., : self.special], -1e4), logits[..., self.special :]], -1)

    def predictions(
        self, examples: Sequence[Example], paths: Sequence[Sequence[int]], logits: Tensor, scheme: ChunkScheme
    ) -> list[Prediction]:
        """Return the predictions from the tags of every unit and the logits (B, L) of intents or attributes.

        With intents an attribute is predicted, with score 1, iff it has a span; the intent stands in `pairs` under
        `avebench.contracts.examples.INTENT`.
        """
        labels = self._chosen(logits)
        found = []
        for example, path, chosen in zip(examples, paths, labels, strict=True):
            spans = tuple(tags_to_spans([self.tags[tag] for tag in path], example.tokens, scheme))
            pairs = pairs_from_spans(example.text, spans)
            attributes = dict.fromkeys((span.attribute for span in spans), 1.0) if self.has_intents else chosen
            intent = {INTENT: frozenset(chosen)} if self.has_intents else {}
            found.append(Prediction(example.id, attributes, {**pairs, **intent}, spans))
        return found

    def _chosen(self, logits: Tensor) -> list[dict[str, float]]:
        """Return the intent, or the attributes above the threshold, with their probabilities, of every row."""
        if self.has_intents:
            best = self.possible(logits.float()).softmax(1).max(1)
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            return [{self.names[number]: score} for number, score in pairs]
        return [
            {name: score for name, score in zip(self.names, row, strict=True) if score > THRESHOLD}
            for row in logits.float().sigmoid().tolist()
        ]


def _intent(example: Example) -> frozenset[str]:
    """Return the gold intent, none where it is not known; DataError if there are several."""
    intents = example.pairs.get(INTENT, frozenset())
    if len(intents) > 1:
        raise DataError(
            f"The example '{example.id}' has {len(intents)} intents ({', '.join(sorted(intents))}); give it one."
        )
    return frozenset(intents)


def slot_losses(logits: Tensor, tags: Tensor) -> Tensor:
    """Return the cross-entropy (B, S) of `logits` (B, S, T) at `tags` (B, S), 0 where the target is `IGNORED`."""
    found = functional.cross_entropy(
        logits.float().flatten(0, 1), tags.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return found.view(tags.shape)
