"""What flows through the harness: examples, spans, predictions and the attribute schema.

All offsets are Unicode code points of the text as stored, end exclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from PIL.Image import Image

Units = Literal["character", "word", "fine"]
"""Code points; words and punctuation marks; or words cut between letters and digits as well."""

PAD = "[PAD]"
"""The released code's label for "no attribute"; never an attribute of its own."""
INTENT = "[INTENT]"
"""Name under which `pairs` carries an utterance's intent (SNIPS); no metric but the two of intents counts it."""
UNKNOWN = "_UNK"
"""What Slot-Gated's protocol makes of an intent or a tag that training does not have, in the gold annotation as well.

As a tag it has the empty type, like `[PAD]`: a chunk of it is a span of the attribute "", which is no attribute.
"""
RANKED = 20
"""The worst rank that a metric of rankings looks at; of longer lists of values no more need be kept."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A value of one attribute in the text: characters `start` to `end`, end exclusive."""

    attribute: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Picture:
    """A product photo that is opened only when it is asked for.

    `source` is a file, or a function that draws the picture (generated data); `name` identifies it in messages.
    """

    name: str
    source: Path | Callable[[], Image]

    def open(self) -> Image:
        """Return the decoded picture in RGB; DataError if the file is missing or cannot be decoded."""
        if not isinstance(self.source, Path):
            return self.source()
        from avebench.files.photos import decoded

        return decoded(self.source)


def _dot() -> Image:
    from PIL import Image

    return Image.new("RGB", (1, 1))


ZERO_PICTURE = Picture("zero", _dot)
"""Stands for an input of a picture encoder that is zero after normalisation (a control); a black dot elsewhere."""


@dataclass(frozen=True, slots=True)
class Example:
    """One product sentence with its gold annotation.

    `tokens` are the character ranges of the units that a tagger labels (characters for Chinese, words for English).
    `pairs` maps an annotated attribute to its set of value strings; the intent of an utterance stands there too, under
    `contracts.examples.INTENT`. `absent` are the attributes that the product is known not to have; any other attribute
    without a pair is unknown. `picture` is the product's first and None where it has none; `further_pictures` are the
    others in order, which count only beside a first. `asked` are the attributes that a query system is to answer for,
    set by the harness from the row's protocol; None for systems that are told nothing. `paragraphs` are the parts of a
    text that was put together of several, in order: (start, end, source), the source being a name such as "title" or
    "description"; a part may be empty. None are given where the text is one.
    """

    id: str
    text: str
    tokens: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...] = ()
    pairs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    product_id: str = ""
    picture: Picture | None = None
    category: str | None = None
    absent: frozenset[str] = frozenset()
    asked: tuple[str, ...] | None = None
    paragraphs: tuple[tuple[int, int, str], ...] = ()
    further_pictures: tuple[Picture, ...] = ()

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """Return all pictures of the product in order, the first of which is `picture`."""
        return () if self.picture is None else (self.picture, *self.further_pictures)


def blind(example: Example) -> Example:
    """Return an example without its gold annotation: all that a system is handed when it predicts or explains."""
    return replace(example, spans=(), pairs={}, absent=frozenset())


@dataclass(frozen=True, slots=True)
class Written:
    """What became of what a language model wrote for an example, or for several.

    Of `answers`, `unparsable` ones could not be read at all, and `cut` ones ended at the longest that may be written
    (they are read as far as they go). They hold `values` of attributes that may be
    predicted, of which `dropped` ones have no place in the text, and `unknown` ones of others, which are left out.
    """

    answers: int = 0
    unparsable: int = 0
    values: int = 0
    dropped: int = 0
    unknown: int = 0
    cut: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(
            self.answers + other.answers,
            self.unparsable + other.unparsable,
            self.values + other.values,
            self.dropped + other.dropped,
            self.unknown + other.unknown,
            self.cut + other.cut,
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What every kind of system returns for one example; metrics see nothing else.

    `attributes` maps each predicted attribute to its score in [0, 1]. `spans` is None when the system cannot point at
    the text. `span_scores`, where present, run parallel to `spans`. `candidates` holds what a threshold sweep needs:
    (attribute, range score, decoded spans) for attributes below the threshold as well. `rankings`, of systems that rank
    a closed list of values, maps an attribute to the best of them with their ranks, as `ranked` gives them. `written`
    is of a system that writes; it goes into results, not into files of predictions.
    """

    id: str
    attributes: Mapping[str, float]
    pairs: Mapping[str, frozenset[str]]
    spans: tuple[Span, ...] | None = None
    span_scores: tuple[float, ...] | None = None
    candidates: tuple[tuple[str, float, tuple[Span, ...]], ...] | None = None
    rankings: Mapping[str, Mapping[str, int]] | None = None
    written: Written | None = None


@dataclass(frozen=True, slots=True)
class AttributeSchema:
    """The attributes of a data set in their fixed order, the units that its taggers label, and its intents.

    `intents` decides which head the joint systems have: where there are any, each example has exactly one, and the head
    is a single-label classifier over them, in this order (utterances: SNIPS); where there are none, it is a multi-label
    classifier over `attributes` (products). An intent is never one of `attributes`.
    """

    attributes: tuple[str, ...]
    units: Units = "word"
    intents: tuple[str, ...] = ()

    def index(self) -> dict[str, int]:
        """Return attribute -> position."""
        return {attribute: position for position, attribute in enumerate(self.attributes)}


def printable(text: str) -> str:
    """Return a text of a data set without the control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def pairs_from_spans(text: str, spans: Sequence[Span]) -> dict[str, frozenset[str]]:
    """Return attribute -> set of the strings that its spans cover, as they stand in the text."""
    found: dict[str, set[str]] = {}
    for span in spans:
        found.setdefault(span.attribute, set()).add(text[span.start : span.end])
    return {attribute: frozenset(values) for attribute, values in found.items()}


def prediction_of(example: Example, spans: Iterable[Span]) -> Prediction:
    """Return the prediction of a system that only finds spans: the attributes that have one, each with score 1."""
    found = tuple(spans)
    return Prediction(
        id=example.id,
        attributes={span.attribute: 1.0 for span in found},
        pairs=pairs_from_spans(example.text, found),
        spans=found,
    )


def ranked(scores: Mapping[str, float], worst: int = RANKED) -> dict[str, int]:
    """Return the values of a list and their ranks, from 1, the highest score first; no rank is above `worst`.

    A rank is the number of values that are scored as high or higher: those that are scored alike all take the worst of
    their ranks. Of more than `worst` scores, those that are no higher than any of them may have been left out.
    """
    ordered = sorted(scores, key=lambda value: (-scores[value], value))
    ranks: dict[str, int] = {}
    for place in range(len(ordered), 0, -1):
        value = ordered[place - 1]
        behind = ordered[place] if place < len(ordered) else None
        ranks[value] = ranks[behind] if behind is not None and scores[behind] == scores[value] else place
    return {value: ranks[value] for value in ordered if ranks[value] <= worst}


def gold_attributes(gold: Example) -> frozenset[str]:
    """Return the attributes that are annotated with a value, by span or by pair."""
    annotated = {attribute for attribute, values in gold.pairs.items() if values}
    return frozenset(annotated | {span.attribute for span in gold.spans}) - {INTENT, PAD, ""}


def product_of(example: Example) -> str:
    """Return the product that an example belongs to: its `product_id`, or its own id where it has none."""
    return example.product_id or example.id


def example_record(example: Example) -> dict[str, Any]:
    """Return an example as the object of its line in gold JSON Lines.

    `image` is its picture's file, or a list of files where it has several; it is missing where there is no file.
    """
    record: dict[str, Any] = {
        "id": example.id,
        "text": example.text,
        "tokens": [list(token) for token in example.tokens],
        "spans": [{"attribute": span.attribute, "start": span.start, "end": span.end} for span in example.spans],
        "pairs": {attribute: sorted(values) for attribute, values in example.pairs.items()},
        "absent": sorted(example.absent),
        "product_id": example.product_id or example.id,
    }
    if example.category is not None:
        record["category"] = example.category
    if example.paragraphs:
        named = example.paragraphs
        record["paragraphs"] = [{"start": start, "end": end, "source": source} for start, end, source in named]
    files = [str(picture.source) for picture in example.pictures if isinstance(picture.source, Path)]
    if files:
        record["image"] = files if len(files) > 1 else files[0]
    return record
