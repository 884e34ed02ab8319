"""Joint-AVE's other task: an encoder-decoder writes the values of an attribute that is given.

Roy, Goyal and Pandey, Exploring Generative Models for Joint Attribute Value Extraction from Product Titles, Expert
Systems with Applications 243 (2024); their task 1 as answer generation, title as context, attribute as question:

    source   question: color context: x
    target   dark blue ; red, the values in the order of the text, `none` where there is none (`codec`)
    L = mean over target pieces of -log p(piece | source, gold pieces before)

Prompt, layout of the target and training are ours, as in `joint_ave`; the paper's text infilling is not built. What is
asked of a product is the harness's decision, by the protocol of the row. Each attribute is answered by itself, so that
two may have the same place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import Field
from torch import Tensor

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Written
from avebench.contracts.model import ModelCard, QueryOptions, Vocabulary
from avebench.models.generative.codec import encode_values, pairs_of, parse_values, placed
from avebench.models.generative.constraint import Constraint
from avebench.models.generative.encoder_decoder import EncoderDecoder, Ids, Source
from avebench.models.generative.options import WriterOptions
from avebench.models.shared.asking import asked_of
from avebench.nn.neural import Batch, NeuralModel

CARD = ModelCard(
    name="joint-ave-given",
    summary="Encoder-decoder (T5, FLAN-T5, mT5, BART) that writes the values of an attribute it is asked for",
    paper="Exploring Generative Models for Joint Attribute Value Extraction from Product Titles, ESWA 243, 2024",
    year=2024,
    modality="T",
    family="generative",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    open_attributes=True,
    needs=("generator",),
    needs_spans=False,
    published_with="T5, FLAN-T5",
)


class Config(WriterOptions, QueryOptions):
    """Options of Joint-AVE with a given attribute."""

    longest_answer: int = Field(default=32, ge=2)
    """Word pieces of an answer at test."""


@dataclass(frozen=True, slots=True)
class Question:
    """An attribute that is asked for: what is read, and the pieces of the gold answer."""

    name: str
    source: Source
    answer: Ids


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text with the questions that are asked of it, and the text alone as it is read."""

    example: Example
    source: Source
    questions: tuple[Question, ...]


class Model(NeuralModel):
    """Joint-AVE with a given attribute. At test the questions of all texts are answered in batches of like length."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.generator = EncoderDecoder(config.generator, config.longest_text)
        self._constraint = Constraint(self.generator, [""]) if config.constrained else None

    def encode(self, example: Example) -> Encoded:
        """Return the questions that are asked of an example; where the harness asked nothing, all."""
        pairs = pairs_of(example)
        questions = [
            Question(
                name,
                self.generator.read(f"question: {name} context: ", example),
                self.generator.written(encode_values(value for attribute, value in pairs if attribute == name)),
            )
            for name in asked_of(example, self.schema)
        ]
        return Encoded(example, self.generator.read("", example), tuple(questions))

    def _sources(self, encoded: Encoded) -> list[Source]:
        return [question.source for question in encoded.questions] or [encoded.source]

    def length(self, encoded: Encoded) -> int:
        """Return the word pieces of the longest question."""
        return max(len(source.ids) for source in self._sources(encoded))

    def truncated(self, encoded: Encoded) -> int:
        """Return the units behind the last piece that is read with the longest question."""
        return max(source.truncated for source in self._sources(encoded))

    def text_limit(self) -> int:
        """Return the word pieces that are read, those of the question among them."""
        return self.generator.limit

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of all questions as `EncoderDecoder.collate` makes it; of none, without tensors."""
        questions = [question for one in encoded for question in one.questions]
        batch: Batch = {"texts": list(encoded), "questions": questions}
        if not questions:
            return batch
        sources, answers = ([getattr(one, part) for one in questions] for part in ("source", "answer"))
        return batch | self.generator.collate(sources, answers)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `words`."""
        if not batch["questions"]:
            return {"words": next(self.parameters()).sum() * 0}
        return {"words": self.generator.loss(batch)}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return one prediction per text of the batch."""
        texts: list[Encoded] = batch["texts"]
        asked = [(one.example, question.name) for one in texts for question in one.questions]
        allowed = self._constraint.of([example.text for example, _ in asked]) if self._constraint else None
        written = self.generator.write(batch, self.config.beams, self.config.longest_answer, allowed) if asked else []
        found = iter(
            placed(example, replace(parse_values(text, name), cut=cut), self.config.values)
            for (example, name), (text, cut) in zip(asked, written, strict=True)
        )
        return [_together(one.example, [next(found) for _ in one.questions]) for one in texts]

    def predict_encoded(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return one prediction per text; the questions of all of them are batched by their own lengths."""
        single = [replace(one, questions=(question,)) for one in encoded for question in one.questions]
        found = iter(super().predict_encoded(single))
        return [_together(one.example, [next(found) for _ in one.questions]) for one in encoded]


def _together(example: Example, answers: Sequence[Prediction]) -> Prediction:
    """Return one prediction of the answers for all attributes."""
    pairs = {name: values for answer in answers for name, values in answer.pairs.items()}
    spans = {span for answer in answers for span in answer.spans or ()}
    return Prediction(
        id=example.id,
        attributes=dict.fromkeys(pairs, 1.0),
        pairs=pairs,
        spans=tuple(sorted(spans, key=lambda span: (span.start, span.end, span.attribute))),
        written=sum((answer.written or Written() for answer in answers), Written()),
    )
