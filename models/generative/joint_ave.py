"""Joint-AVE: an encoder-decoder writes all attributes and values of a text at once.

Roy, Goyal and Pandey, Exploring Generative Models for Joint Attribute Value Extraction from Product Titles, Expert
Systems with Applications 243 (2024); their task 2, in which no attribute is given. Of a text x,

    source   extract attributes: x
    words    target: color: dark blue ; length: long, pairs in the order of the text (`codec`)
             L = mean over target pieces of -log p(piece | source, gold pieces before)
    places   target: first unit, last unit and attribute of each value, in the order of the text (`pointers`)
             L = CE(first) + CE(last) + CE(attribute)

Their task 1, in which the attribute is given, is `joint_ave_given`.
No code is public, and abstracts say little: prompt, layout of the target, pointers and training are ours. What is
written is read tolerantly, and each value is put at its left-most free occurrence. CLS-F1 is derived: an attribute is
predicted if it has a value. With `constrained`, only attributes of the data and values that stand in the text can be
written (ours as well). A text longer than `longest_text` pieces is cut, an answer ends after `longest_answer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import model_validator
from torch import Tensor

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span, prediction_of
from avebench.contracts.model import ModelCard, Vocabulary
from avebench.models.generative.codec import Answer, encode, pairs_of, parse, placed, written_name
from avebench.models.generative.constraint import Constraint
from avebench.models.generative.encoder_decoder import EncoderDecoder, Ids, Source
from avebench.models.generative.options import WriterOptions
from avebench.models.generative.pointers import Place, Pointers, collate_places
from avebench.nn.neural import Batch, NeuralModel
from avebench.nn.ragged import padded

CARD = ModelCard(
    name="joint-ave",
    summary="Encoder-decoder (T5, FLAN-T5, mT5, BART) that writes all attribute-value pairs, as words or as places",
    paper="Exploring Generative Models for Joint Attribute Value Extraction from Product Titles, ESWA 243, 2024",
    year=2024,
    modality="T",
    family="generative",
    implementation=1,
    protocol="native",
    needs=("generator",),
    needs_spans=False,
    published_with="T5, FLAN-T5",
)
PROMPT = "extract attributes: "


class Config(WriterOptions):
    """Options of Joint-AVE."""

    target: Literal["words", "places"] = "words"
    """What the decoder gives: the pairs as text, or units and attributes by pointers, greedily; then `longest_answer`
    is the most values of a text."""

    @model_validator(mode="after")
    def _places_are_not_written(self) -> Config:
        if self.target == "places" and (self.beams > 1 or self.constrained or self.values == "free"):
            raise ValueError(
                "target 'places' points at the text greedily: beams, constrained and values are of 'words'"
            )
        return self


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text as it is read, the pieces of its gold answer, and where its gold values stand, in units."""

    example: Example
    source: Source
    answer: Ids
    places: tuple[Place, ...]


class Model(NeuralModel):
    """Joint-AVE."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.generator = EncoderDecoder(config.generator, config.longest_text, head=config.target == "words")
        self.pointers: Pointers | None = None
        if config.target == "places":
            self.pointers = Pointers(self.generator.hidden, len(schema.attributes))
        names = [written_name(name) for name in schema.attributes]
        self._constraint = Constraint(self.generator, names) if config.constrained else None

    def encode(self, example: Example) -> Encoded:
        """Return what is read of an example, and what is to be written."""
        source = self.generator.read(PROMPT, example)
        answer = self.generator.written(encode(pairs_of(example), "list"))
        return Encoded(example, source, answer, self._places(example, len(source.first)))

    def _places(self, example: Example, units: int) -> tuple[Place, ...]:
        """Return the gold values among the first `units` in order; those on no boundary of units are left out."""
        spans = example.spans or placed(example, Answer(pairs_of(example)), "constrained").spans or ()
        first = {start: unit for unit, (start, _) in enumerate(example.tokens[:units])}
        last = {end: unit for unit, (_, end) in enumerate(example.tokens[:units])}
        names = self.schema.index()
        found = [
            (first[span.start], last[span.end], names[span.attribute])
            for span in spans
            if span.start in first and span.end in last and span.attribute in names
        ]
        return tuple(sorted(found))[: self.generator.at_most(len(found))]

    def length(self, encoded: Encoded) -> int:
        """Return the word pieces of the source."""
        return len(encoded.source.ids)

    def truncated(self, encoded: Encoded) -> int:
        """Return the units behind the last piece that is read."""
        return encoded.source.truncated

    def text_limit(self) -> int:
        """Return the word pieces that are read, those of the prompt among them."""
        return self.generator.limit

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of `EncoderDecoder.collate`; for places `first`, `lengths` and the gold places as well."""
        sources, examples = [one.source for one in encoded], [one.example for one in encoded]
        if self.pointers is None:
            return {**self.generator.collate(sources, [one.answer for one in encoded]), "examples": examples}
        batch = {**self.generator.collate(sources), "examples": examples}
        first = padded([source.first for source in sources], 0)
        batch |= {"first": first, "lengths": [len(source.first) for source in sources]}
        return batch | collate_places([one.places for one in encoded])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `words`, or `first`, `last` and `attribute`."""
        if self.pointers is None:
            return {"words": self.generator.loss(batch)}
        return self.pointers.losses(self.generator, batch)

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return what is written for each text, or found in it."""
        examples: list[Example] = batch["examples"]
        if self.pointers is not None:
            most = self.generator.at_most(self.config.longest_answer)
            found = self.pointers.find(self.generator, batch, most)
            return [self._found(example, places) for example, places in zip(examples, found, strict=True)]
        allowed = self._constraint.of([example.text for example in examples]) if self._constraint else None
        written = self.generator.write(batch, self.config.beams, self.config.longest_answer, allowed)
        answers = [replace(parse(text, "list", self.schema.attributes), cut=cut) for text, cut in written]
        return [placed(*pair, self.config.values) for pair in zip(examples, answers, strict=True)]

    def _found(self, example: Example, places: Sequence[Place]) -> Prediction:
        """Return the prediction of places; one that is found twice counts once."""
        tokens, names = example.tokens, self.schema.attributes
        spans = {Span(names[name], tokens[first][0], tokens[last][1]) for first, last, name in places}
        return prediction_of(example, sorted(spans, key=lambda span: (span.start, span.end, span.attribute)))
