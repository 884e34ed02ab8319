"""Dictionary: the values of the training set, matched in the text. The floor of every table; in no paper.

A value is the sequence of lower-cased labelling units that a gold span covers. It belongs to the attribute that it is
annotated with most often (ties: first in the schema), and it enters the dictionary iff more than half of its training
occurrences are annotated. An occurrence is every place where its units stand in a training text, except inside a longer
annotated span ("blue" in the value "dark blue" speaks neither for nor against "blue").

A text is read from left to right; at each unit the longest value of the dictionary is predicted and reading goes on
behind it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span, prediction_of
from avebench.contracts.model import Model as BaseModel
from avebench.contracts.model import ModelCard, ModelConfig, Vocabulary

CARD = ModelCard(
    name="dictionary",
    summary="Values of the training set, longest match on unit boundaries; reference row, nothing is trained",
    paper="none (reference row)",
    year=2026,
    modality="T",
    family="dictionary",
    implementation=1,
    protocol="native",
)

Value = tuple[str, ...]
_END = ""
"""The key of a trie node that holds the value ending there; no unit is empty."""


class Config(ModelConfig):
    """The dictionary has no options of its own."""


class Model(BaseModel):
    """Longest match of training values."""

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self._trie = _trie({tuple(units): attribute for units, attribute in vocabulary["values"]})

    @classmethod
    def learn_vocabulary(cls, config: Config, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `values`, a sorted list of [units, attribute]."""
        order = schema.index()
        annotated: dict[Value, Counter[str]] = defaultdict(Counter)
        for example in train:
            units = _units(example)
            for attribute, start, end in _gold_ranges(example):
                if attribute in order:
                    annotated[units[start:end]][attribute] += 1
        occurrences, hits = _count_occurrences(train, _trie({value: value for value in annotated}), order)
        values = [
            [list(value), _majority(counts, order)]
            for value, counts in sorted(annotated.items())
            if 2 * hits[value] > occurrences[value]
        ]
        return {"values": values}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return the dictionary's values in each text; an attribute is predicted, with score 1, iff it has a span."""
        return [self._predict_one(example) for example in examples]

    def _predict_one(self, example: Example) -> Prediction:
        units = _units(example)
        spans: list[Span] = []
        position = 0
        while position < len(units):
            matches = list(_matches(self._trie, units, position))
            if not matches:
                position += 1
                continue
            end, attribute = matches[-1]
            spans.append(Span(attribute, example.tokens[position][0], example.tokens[end - 1][1]))
            position = end
        return prediction_of(example, spans)


def _majority(counts: Counter[str], order: dict[str, int]) -> str:
    return min(counts, key=lambda attribute: (-counts[attribute], order[attribute]))


def _units(example: Example) -> Value:
    return tuple(example.text[start:end].lower() for start, end in example.tokens)


def _gold_ranges(example: Example) -> Iterator[tuple[str, int, int]]:
    """Yield (attribute, first unit, unit after the last) of the gold spans that stand on unit boundaries."""
    first = {start: position for position, (start, _) in enumerate(example.tokens)}
    last = {end: position + 1 for position, (_, end) in enumerate(example.tokens)}
    for span in example.spans:
        start, end = first.get(span.start), last.get(span.end)
        if start is not None and end is not None and start < end:
            yield span.attribute, start, end


def _count_occurrences(
    train: Sequence[Example], trie: dict[str, Any], known: dict[str, int]
) -> tuple[Counter[Value], Counter[Value]]:
    """Return how often each value of the trie stands in the training texts, and at how many places it is annotated."""
    occurrences: Counter[Value] = Counter()
    hits: Counter[Value] = Counter()
    for example in train:
        units = _units(example)
        gold = {(start, end) for attribute, start, end in _gold_ranges(example) if attribute in known}
        for start in range(len(units)):
            for end, value in _matches(trie, units, start):
                if (start, end) in gold:
                    hits[value] += 1
                elif any(begin <= start and end <= stop for begin, stop in gold):
                    continue
                occurrences[value] += 1
    return occurrences, hits


def _trie(entries: dict[Value, Any]) -> dict[str, Any]:
    """Return nested dictionaries, one level per unit, with the entry of a value under `_END`."""
    root: dict[str, Any] = {}
    for value, entry in entries.items():
        node = root
        for unit in value:
            node = node.setdefault(unit, {})
        node[_END] = entry
    return root


def _matches(trie: dict[str, Any], units: Value, start: int) -> Iterator[tuple[int, Any]]:
    """Yield (unit after the last, entry) of the values that begin at `start`, shortest first."""
    node = trie
    for position in range(start, len(units)):
        if units[position] not in node:
            return
        node = node[units[position]]
        if _END in node:
            yield position + 1, node[_END]
