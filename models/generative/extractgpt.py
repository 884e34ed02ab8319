"""ExtractGPT: a language model is asked for the values of a list of attributes (Brinkmann, Shraga, Bizer, iiWAS 2024).

arXiv 2310.12537; code: wbsg-uni-mannheim/ExtractGPT. Nothing is trained. A question is an instruction with the list of
attributes that the protocol gives (published: those of the product's category), `shots` training texts of the same
category with their answers as turns of a chat, the most similar one last, and the text. The answer is a JSON object of
attribute -> value or "n/a".

* Prompt `list` names the attributes; `schema` is a JSON schema with up to `example_values` values of training per
  attribute (the most frequent of the category, ties in alphabetical order), and descriptions, where a file has them.
* `ensemble` = 3 asks three times, with the attributes in their order and twice shuffled. Per attribute the value with
  most votes wins, of equally many the shortest, then that of the earlier answer; "n/a" has no vote.
* `repair` asks once more where an answer cannot be read or a value is no part of the text; off in the published runs.

Ours: the wording (the paper's descriptions were written by GPT-3.5; without a file there are none); similarity by
TF-IDF or a text encoder instead of OpenAI's embeddings; an attribute whose values are several has a list of them, which
votes as one. A demonstration answers what its annotation says: values, and "n/a" where an absence is known. Values that
do not stand in the text are kept as strings (`mode` = free), as the published score counts them, or dropped
(`constrained`).
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Written
from avebench.contracts.model import ModelCard, Vocabulary
from avebench.contracts.seeds import derive_seed
from avebench.files.errors import AvebenchError
from avebench.models.generative.codec import Answer, Mode, Pair, parse, placed
from avebench.models.generative.demonstrations import TF_IDF, Nearest, demonstrated, demonstration_of
from avebench.models.generative.prompts import Form, Knowledge, messages, repairing
from avebench.models.shared.asking import asked_of
from avebench.nn.completions.asking_model import AskingConfig, AskingModel
from avebench.nn.completions.contract import Completion, Question

CARD = ModelCard(
    name="extractgpt",
    summary="A language model that is asked, with attributes and similar training texts; nothing is trained",
    paper="Brinkmann, Shraga, Bizer. ExtractGPT: Exploring the Potential of Large Language Models for Product "
    "Attribute Value Extraction. iiWAS 2024",
    year=2024,
    modality="T",
    family="generative",
    implementation=1,
    protocol="category",
    protocols=("all", "predicted", "annotated", "oracle"),
    open_attributes=True,
    needs=("language model",),
    needs_spans=False,
    published_with="GPT-3.5, GPT-4, Llama-3-70B and others",
    code="https://github.com/wbsg-uni-mannheim/ExtractGPT",
)


class Config(AskingConfig):
    """Defaults are the paper's best single call: schema, example values, 10 demonstrations, greedy."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "zero-shot": {"shots": 0},
        "ensemble": {"ensemble": 3},
    }

    prompt: Form = "schema"
    shots: int = Field(default=10, ge=0)
    """Demonstrations per question."""
    similarity: str = TF_IDF
    """How near texts are found: `tfidf`, or the name of a text encoder (minilm, demo, folder, hub id)."""
    example_values: int = Field(default=10, ge=0)
    """Values of training that a schema shows per attribute."""
    descriptions: str = ""
    """JSON file of {attribute: description}, or of {category: {attribute: description}}."""
    ensemble: int = Field(default=1, ge=1)
    """Questions per text, all but the first with the attributes in another order."""
    repair: bool = False
    """Whether is asked once more where an answer is at fault."""
    mode: Mode = "free"
    """Whether values that do not stand in the text are kept as strings, or dropped."""

    def asks_again(self) -> bool:
        """Return whether answers at fault are repaired."""
        return self.repair

    def pretrained(self) -> dict[str, str]:
        """Return the local model, the descriptions and the encoder of similarity, which count by their content."""
        named = {"descriptions": self.descriptions} if self.descriptions else {}
        if self.shots and self.similarity != TF_IDF:
            named["similarity"] = self.similarity
        return super().pretrained() | named


class Model(AskingModel):
    """Asks, reads the answers, and places their values in the text."""

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        shown = [demonstration_of(record) for record in vocabulary["demonstrations"]]
        useful = any(one.example.tokens for one in shown)
        self._nearest = Nearest(shown, config.similarity, schema.units) if useful else None

    @classmethod
    def learn_vocabulary(cls, config: Config, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `demonstrations`, example `values` per category ("" is all of them), and `descriptions`, as JSON.

        AvebenchError if the file of descriptions is none.
        """
        shown = [demonstrated(example) for example in train]
        counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
        for one in shown:
            for name, values in one.answers.items():
                for category in {"", one.example.category or ""}:
                    counts[category][name].update(values)
        most = config.example_values if config.prompt == "schema" else 0
        return {
            "demonstrations": [one.record() for one in shown] if config.shots else [],
            "values": {
                category: {name: _most_frequent(found, most) for name, found in by_name.items()}
                for category, by_name in counts.items()
                if most
            },
            "descriptions": _descriptions(config.descriptions) if config.prompt == "schema" else {},
        }

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return what the answers say of each text; CellFailedError if questions stay without an answer.

        A text without a unit, and one that is asked for no attribute, has no question and no value.
        """
        orders = [self._orders(example) for example in examples]
        questions = [
            Question(self._messages(example, order), self.config.parameters())
            for example, several in zip(examples, orders, strict=True)
            for order in several
        ]
        written = iter(self.ask(questions))
        found = [[next(written) for _ in several] for several in orders]
        answers = [[_read(one, several[0]) for one in some] for some, several in zip(found, orders, strict=True)]
        if self.config.repair:
            self._repair(examples, orders, found, answers)
        return [self._predicted(example, some) for example, some in zip(examples, answers, strict=True)]

    def _orders(self, example: Example) -> list[tuple[str, ...]]:
        """Return the attributes that a text is asked for, in the order of each of its questions."""
        attributes = asked_of(example, self.schema)
        if not attributes or not example.tokens:
            return []
        shuffled = [
            tuple(random.Random(derive_seed("attributes", number)).sample(attributes, len(attributes)))
            for number in range(1, self.config.ensemble)
        ]
        return [attributes, *shuffled]

    def _messages(self, example: Example, attributes: Sequence[str]) -> Any:
        category = example.category or ""
        values, said = self.vocabulary["values"], self.vocabulary["descriptions"]
        knowledge = Knowledge(said.get(category, said.get("", {})), values.get(category, values.get("", {})))
        nearest = self._nearest.to(example, self.config.shots) if self._nearest else []
        return messages(self.config.prompt, attributes, knowledge, nearest, example.text)

    def _repair(
        self,
        examples: Sequence[Example],
        orders: Sequence[Sequence[tuple[str, ...]]],
        found: Sequence[Sequence[Completion]],
        answers: list[list[Answer]],
    ) -> None:
        """Ask again where an answer is at fault, and put what can be read of the new answers in its place."""
        faulty: list[tuple[int, int]] = []
        questions: list[Question] = []
        for place, example in enumerate(examples):
            for number, order in enumerate(orders[place]):
                fault = _fault(example, answers[place][number])
                if fault is not None:
                    asked = repairing(self._messages(example, order), found[place][number].text, fault)
                    faulty.append((place, number))
                    questions.append(Question(asked, self.config.parameters()))
        for (place, number), one in zip(faulty, self.ask(questions), strict=True):
            again = _read(one, orders[place][number])
            if not again.unparsable:
                answers[place][number] = again

    def _predicted(self, example: Example, answers: Sequence[Answer]) -> Prediction:
        """Return the prediction of all answers to one text; what is counted of them is the sum."""
        if not answers:
            return Prediction(id=example.id, attributes={}, pairs={}, spans=(), written=Written())
        prediction = placed(example, answers[0] if len(answers) == 1 else voted(answers), self.config.mode)
        assert prediction.written is not None
        counted = replace(
            prediction.written,
            answers=len(answers),
            unparsable=sum(one.unparsable for one in answers),
            unknown=sum(one.unknown for one in answers),
            cut=sum(one.cut for one in answers),
        )
        return replace(prediction, written=counted)


def _read(completion: Completion, attributes: Sequence[str]) -> Answer:
    return replace(parse(completion.text, "json", attributes), cut=completion.cut)


def voted(answers: Sequence[Answer]) -> Answer:
    """Return the values that most answers give each attribute; an answer without a value for it has no vote.

    Of equally many votes the shortest values win, of equally long ones those of the earlier answer.
    """
    votes: dict[str, Counter[tuple[str, ...]]] = {}
    for one in answers:
        values: dict[str, dict[str, None]] = {}
        for name, value in one.pairs:
            values.setdefault(name, {})[value] = None
        for name, own in values.items():
            votes.setdefault(name, Counter())[tuple(sorted(own))] += 1
    pairs: list[Pair] = []
    for name, counts in votes.items():
        # Counters keep the order of the first votes, and min takes the first of equals.
        chosen = min(counts, key=lambda values: (-counts[values], sum(map(len, values))))
        pairs += [(name, value) for value in chosen]
    return Answer(tuple(pairs))


def _fault(example: Example, answer: Answer) -> str | None:
    """Return what is wrong with an answer, None for a good one."""
    if answer.unparsable:
        return "it is no JSON object"
    strange = [value for _, value in answer.pairs if value not in example.text]
    return f'"{strange[0]}" does not stand in the text' if strange else None


def _most_frequent(counts: Counter[str], number: int) -> list[str]:
    return sorted(counts, key=lambda value: (-counts[value], value))[:number]


def _descriptions(file: str) -> dict[str, dict[str, str]]:
    """Return category -> attribute -> description, of no category under ""; AvebenchError if the file is no such."""
    if not file:
        return {}
    advice = "It holds a JSON object of {attribute: description} or {category: {attribute: description}}."
    try:
        content = json.loads(Path(file).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise AvebenchError(f"The descriptions in {file} cannot be read: {error}. {advice}") from None
    if isinstance(content, dict) and all(isinstance(said, str) for said in content.values()):
        content = {"": content}
    objects = isinstance(content, dict) and all(isinstance(said, dict) for said in content.values())
    if not objects or not all(isinstance(one, str) for said in content.values() for one in said.values()):
        raise AvebenchError(f"The descriptions in {file} are not of the right form. {advice}")
    return dict(content)
