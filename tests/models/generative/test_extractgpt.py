"""ExtractGPT's questions and how it reads answers, against prompts, similarities and votes worked out by hand."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from avebench.contracts.examples import AttributeSchema, Example, Span, Written, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.generative.codec import Answer
from avebench.models.generative.extractgpt import Config, Model, voted
from avebench.nn.completions.contract import Completion, Question

SCHEMA = AttributeSchema(("color", "kind", "size"))


def example(name: str, text: str, category: str | None = None, absent: tuple[str, ...] = (), **values: Any) -> Example:
    strings = {name: [one] if isinstance(one, str) else one for name, one in values.items()}
    spans = tuple(Span(a, text.index(v), text.index(v) + len(v)) for a, own in strings.items() for v in own)
    pairs = pairs_from_spans(text, spans)
    return Example(name, text, word_units(text), spans, pairs, category=category, absent=frozenset(absent))


TRAIN = [
    example("1", "red cotton dress", "tops", ("size",), color="red", kind="dress"),
    example("2", "blue dress XL", "tops", color="blue", kind="dress", size="XL"),
    example("3", "red and white shirt", "tops", color=["red", "white"], kind="shirt"),
    example("4", "red boots 42", "shoes", color="red", kind="boots", size="42"),
    example("5", "black boots", "shoes", color="black", kind="boots"),
]


class Scripted:
    """Answers in turn, and keeps the questions."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.questions = list(answers), []  # type: ignore[var-annotated]

    def ask(self, questions: Sequence[Question]) -> list[Completion]:
        self.questions += questions
        return [Completion(text, 1, 1, 0.0, cut=text == "sorry") for text in (self.answers.pop(0) for _ in questions)]


def model(*answers: str, **options: Any) -> tuple[Model, Scripted]:
    config = Config(**options)
    vocabulary = json.loads(json.dumps(Model.learn_vocabulary(config, SCHEMA, TRAIN)))
    made = Model(config, SCHEMA, vocabulary)
    made.asker = asked = Scripted(*answers)
    return made, asked


def turns(question: Question) -> list[tuple[str, str]]:
    return [(one["role"], one["content"]) for one in question.messages]


def test_a_list_prompt_has_the_asked_attributes_and_alternating_turns() -> None:
    asks, asked = model("{}", prompt="list", shots=2, max_tokens=9)
    one = replace(example("t", "white cotton dress", "tops"), asked=("color", "size"))
    asks.predict([one])
    (question,) = asked.questions
    assert question.parameters.max_tokens == 9 and question.parameters.temperature == 0
    (role, instruction), *shown = turns(question)
    assert role == "system" and instruction.endswith("The valid attributes are: color, size.")
    assert shown == [
        ("user", "red and white shirt"),
        ("assistant", '{"color": ["red", "white"]}'),
        ("user", "red cotton dress"),
        ("assistant", '{"color": "red", "size": "n/a"}'),
        ("user", "white cotton dress"),
    ]


def test_a_schema_shows_the_most_frequent_values_of_the_category_and_descriptions(tmp_path: Path) -> None:
    file = tmp_path / "said.json"
    file.write_text(json.dumps({"tops": {"color": "What it looks like."}}))
    asks, asked = model("{}", "{}", "{}", shots=0, example_values=2, descriptions=str(file))
    for category in ("tops", "shoes", "hats"):
        asks.predict([replace(example("t", "a dress", category), asked=("kind", "color"))])
    found = [json.loads(turns(question)[0][1].rpartition("\n")[2])["properties"] for question in asked.questions]
    assert list(found[0]) == ["kind", "color"]
    assert found[0]["kind"] == {"type": "string", "examples": ["dress", "shirt"]}
    # red has two in tops, blue and white one each: the alphabet decides.
    assert found[0]["color"] == {
        "type": "string",
        "description": "What it looks like.",
        "examples": ["red", "blue"],
    }
    assert found[1]["color"] == {"type": "string", "examples": ["black", "red"]}
    assert found[2]["color"] == {"type": "string", "examples": ["red", "black"]}  # A category that training lacks.
    assert Config(descriptions=str(file), llm="x").pretrained() == {"llm": "x", "descriptions": str(file)}


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": {"b": 1}}', '{"a": "b", "c": {}}'])
def test_descriptions_that_are_none_are_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "said.json").write_text(content)
    with pytest.raises(AvebenchError, match=r"said\.json .*JSON object"):
        model(descriptions=str(tmp_path / "said.json"))


def by_hand(query: str, texts: Sequence[str]) -> list[float]:
    """Return cosines of TF-IDF vectors as the module states them."""
    documents = [text.lower().split() for text in texts]
    frequency = Counter(unit for units in documents for unit in set(units))
    weight = {unit: math.log((1 + len(texts)) / (1 + number)) + 1 for unit, number in frequency.items()}

    def vector(units: list[str]) -> dict[str, float]:
        counts = Counter(unit for unit in units if unit in weight)
        raw = {unit: number * weight[unit] for unit, number in counts.items()}
        length = math.sqrt(sum(one**2 for one in raw.values())) or 1.0
        return {unit: one / length for unit, one in raw.items()}

    own = vector(query.lower().split())
    return [sum(own.get(unit, 0.0) * one for unit, one in vector(units).items()) for units in documents]


@pytest.mark.parametrize("query", ["Red dress XL", "boots and shirt", "red red white", "nothing known", "blue Cotton"])
def test_demonstrations_are_the_nearest_of_the_category_the_nearest_last(query: str) -> None:
    similarity = by_hand(query, [one.text for one in TRAIN])
    for category, places in (
        ("tops", [0, 1, 2]),
        ("shoes", [3, 4]),
        (None, [0, 1, 2, 3, 4]),
        ("hats", [0, 1, 2, 3, 4]),
    ):
        for shots in (1, 3, 10):
            asks, asked = model("{}", prompt="list", shots=shots)
            asks.predict([example("t", query, category)])
            shown = [text for role, text in turns(asked.questions[0])[1:-1] if role == "user"]
            nearest = sorted(places, key=lambda place: (-round(similarity[place], 9), place))[:shots]
            assert shown == [TRAIN[place].text for place in reversed(nearest)], (category, shots)


def test_an_encoder_finds_what_its_mean_states_are_near_to(tiny_bert: Path) -> None:
    import torch
    from transformers import BertModel, BertTokenizerFast

    bert, pieces = BertModel.from_pretrained(tiny_bert).eval(), BertTokenizerFast(str(tiny_bert / "vocab.txt"))

    def mean(text: str) -> torch.Tensor:
        with torch.inference_mode():
            states = bert(**pieces(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        found: torch.Tensor = states.mean(0)
        return found / found.norm()

    train = ["red dress", "blue dress", "long", "a long red dress", "12 - 2"]  # One piece per unit.
    config = Config(prompt="list", shots=5, similarity=str(tiny_bert))
    assert config.pretrained()["similarity"] == str(tiny_bert)
    vocabulary = Model.learn_vocabulary(config, SCHEMA, [example(str(n), text) for n, text in enumerate(train)])
    asks = Model(config, SCHEMA, vocabulary)
    for query in ("long blue dress", "2 red", "12"):
        asks.asker = asked = Scripted("{}")
        asks.predict([example("t", query)])
        shown = [text for role, text in turns(asked.questions[0])[1:-1] if role == "user"]
        assert shown == sorted(train, key=lambda text: float(mean(text) @ mean(query)))


def test_an_answer_becomes_a_prediction_and_what_is_wrong_with_it_is_counted() -> None:
    written = '```json\n{"color": "red", "kind": "n/a", "size": "42", "brand": "Acme", "Color": "red"}\n```'
    for mode, pairs in (("free", {"color": {"red"}, "size": {"42"}}), ("constrained", {"color": {"red"}})):
        asks, _ = model(written, "sorry", "", shots=0, mode=mode)
        found = asks.predict([example(str(n), "a red dress") for n in range(3)])
        assert {name: set(values) for name, values in found[0].pairs.items()} == pairs
        assert found[0].spans == (Span("color", 2, 5),)
        assert found[0].written == Written(answers=1, values=3, dropped=1, unknown=1)
        assert [one.written and (one.written.unparsable, one.written.cut) for one in found] == [(0, 0), (1, 1), (1, 0)]
        assert found[1].pairs == {} == found[2].attributes


def test_nothing_is_asked_for_no_attribute_or_without_a_text() -> None:
    asks, asked = model("{}")
    found = asks.predict([replace(example("a", "red"), asked=()), example("b", ""), example("c", "red")])
    assert len(asked.questions) == 1 and [one.id for one in found] == ["a", "b", "c"]
    assert found[0].pairs == {} and found[0].written == Written()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([{"color": "red"}, {"color": "red"}, {"color": "dark red"}], {"color": ["red"]}),
        ([{"color": "dark red"}, {"color": "dark red"}, {"color": "red"}], {"color": ["dark red"]}),
        ([{"color": "dark red"}, {"color": "red"}, {"color": "deep red"}], {"color": ["red"]}),  # A tie: the shortest.
        ([{"color": "blue"}, {"color": "pink"}, {}], {"color": ["blue"]}),  # As short: the earlier.
        ([{"color": "red"}, {}, {}], {"color": ["red"]}),  # n/a has no vote.
        ([{}, {}, {}], {}),
        ([{"color": ["a", "b"]}, {"color": ["b", "a"]}, {"color": "a"}], {"color": ["a", "b"]}),
        ([{"color": "red", "kind": "x"}, {"kind": "y"}, {"kind": "y"}], {"color": ["red"], "kind": ["y"]}),
    ],
)
def test_votes(answers: list[dict[str, Any]], expected: dict[str, list[str]]) -> None:
    given = [
        Answer(tuple((name, one) for name, v in said.items() for one in ([v] if isinstance(v, str) else v)))
        for said in answers
    ]
    found: dict[str, list[str]] = {}
    for name, value in voted(given).pairs:
        found.setdefault(name, []).append(value)
    assert found == expected


def test_an_ensemble_asks_with_shuffled_attributes_and_votes() -> None:
    asks, asked = model('{"color": "red"}', '{"color": "blue"}', '{"color": "blue"}', shots=1, ensemble=3)
    one = replace(example("t", "red blue dress", "tops"), asked=(*tuple("abcdefgh"), "color"))
    found = asks.predict([one])[0]
    orders = [list(json.loads(turns(question)[0][1].rpartition("\n")[2])["properties"]) for question in asked.questions]
    assert orders[0] == list(one.asked or ()) and len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert found.pairs == {"color": frozenset({"blue"})}
    assert found.written == Written(answers=3, values=1)
    again, same = model("{}", "{}", "{}", shots=1, ensemble=3)
    again.predict([one])
    assert same.questions == asked.questions


def test_a_repair_is_asked_for_where_an_answer_is_at_fault() -> None:
    first = ['{"color": "red"}', "sorry", '{"color": "green"}', "sorry"]
    asks, asked = model(*first, '{"color": "red"}', '{"color": "dress"}', "sorry again", shots=0, repair=True)
    found = asks.predict([example(str(n), "a red dress") for n in range(4)])
    assert [sorted(one.pairs.get("color", ())) for one in found] == [["red"], ["red"], ["dress"], []]
    assert len(asked.questions) == 7
    assert turns(asked.questions[5])[-2] == ("assistant", '{"color": "green"}')
    assert '"green" does not stand in the text' in turns(asked.questions[5])[-1][1]
    assert [one.written and one.written.unparsable for one in found] == [0, 0, 0, 1]


def test_options_that_no_model_can_have() -> None:
    with pytest.raises(ValueError, match="greedily"):
        Config(llm="x", temperature=0.5)
    with pytest.raises(ValueError, match="needs llm"):
        Config(backend="endpoint")
    assert Config(backend="endpoint", llm="gpt", temperature=0.5).pretrained() == {}
