"""AVEQA against its formulas, position by position in float64, and its pairs: windows, long names, several values."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.query.aveqa import Config, Model
from avebench.models.query.questions import runs

SCHEMA = AttributeSchema(("color", "kind", "long sun"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}


def example(text: str, *spans: tuple[str, int, int], asked: tuple[str, ...] | None = None) -> Example:
    found = tuple(Span(*span) for span in spans)
    return Example(text, text, word_units(text), found, pairs_from_spans(text, found), asked=asked)


def build(folder: Path, **options: Any) -> Model:
    torch.manual_seed(0)
    return Model(Config(text_encoder=str(folder), training=TRAINING, **options), SCHEMA, {}).double().eval()


TEXTS = [
    example("a red dress", ("color", 2, 5), asked=("color", "kind")),
    example("long sundress blue 12", ("kind", 5, 13), ("long sun", 14, 21), asked=("kind", "long sun")),
]
GOLD = {(0, "color"): (1, 1), (0, "kind"): None, (1, "kind"): (1, 1), (1, "long sun"): (2, 3)}


def states_by_hand(model: Model, one: Example, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states of the units and of [CLS] of `[CLS] name [SEP] text [SEP]`, written out piece by piece."""
    tokenizer = model.text_encoder.tokenizer
    named = tokenizer(name, add_special_tokens=False)["input_ids"]
    units = [tokenizer(one.text[slice(*unit)], add_special_tokens=False)["input_ids"] for unit in one.tokens]
    ids = [tokenizer.cls_token_id, *named, tokenizer.sep_token_id]
    types, first = [0] * len(ids), []
    for pieces in units:
        first.append(len(ids))
        ids += pieces
    ids.append(tokenizer.sep_token_id)
    types += [1] * (len(ids) - len(types))
    found = model.text_encoder.model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
    return found.last_hidden_state[0, first], found.last_hidden_state[0, 0]


def test_losses_are_those_of_the_formulas(tiny_bert: Path) -> None:
    model = build(tiny_bert, distillation=0.0, no_answer_weight=0.7)
    losses = model(model.collate([model.encode(one) for one in TEXTS]))
    begin, end, none = [], [], []
    for (number, name), span in GOLD.items():
        states, cls = states_by_hand(model, TEXTS[number], name)
        chance = 1 / (1 + math.exp(-(model.none.weight[0] @ cls + model.none.bias[0]).item()))
        none.append(-math.log(chance if span is None else 1 - chance))
        if span is None:
            continue
        scores = [math.exp((model.begin.weight[0] @ state).item()) for state in states]
        begin.append(-math.log(scores[span[0]] / sum(scores)))
        after = {
            place: math.exp((model.end.weight[0] @ torch.cat([states[span[0]], states[place]])).item())
            for place in range(span[0], len(states))
        }
        end.append(-math.log(after[span[1]] / sum(after.values())))
    expected = {"begin": sum(begin) / 3, "end": sum(end) / 3, "no_answer": 0.7 * sum(none) / 4}
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-9)


def test_distillation_is_the_distance_of_two_distributions_over_pieces(tiny_bert: Path) -> None:
    model = build(tiny_bert, distillation=0.5, temperature=3.0, masked=0.9)
    batch = model.collate([model.encode(one) for one in TEXTS])
    with torch.no_grad():
        assert model(batch)["distillation"].item() == pytest.approx(0.0, abs=1e-12)  # It is its own copy still.
        for parameter in model.text_encoder.model.encoder.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    torch.manual_seed(5)
    found = model(batch)["distillation"].item()
    torch.manual_seed(5)
    encoder, tokenizer = model.text_encoder, model.text_encoder.tokenizer
    chosen = torch.rand(batch["ids"].shape) < 0.9
    chosen &= (batch["types"] == 1) & (batch["ids"] != tokenizer.sep_token_id)
    ids = batch["ids"].where(~chosen, torch.tensor(tokenizer.mask_token_id))
    places = []
    for some in (encoder, model._frozen[0]):
        states = some.model(input_ids=ids, token_type_ids=batch["types"], attention_mask=batch["mask"].long())
        logits = states.last_hidden_state[chosen] @ some.model.get_input_embeddings().weight.t() / 3.0
        places.append(functional.softmax(logits, dim=1))
    tuned, frozen = places
    distances = (frozen * (frozen.log() - tuned.log())).sum(dim=1)
    assert found == pytest.approx(0.5 * 9.0 * distances.mean().item(), rel=1e-9) and found > 1e-4
    assert not any("_frozen" in name for name in model.state_dict())


def test_the_best_end_follows_the_best_begin(tiny_bert: Path) -> None:
    model = build(tiny_bert, distillation=0.0)
    with torch.no_grad():
        model.none.bias.fill_(-99.0)
    for one in TEXTS:
        for name in SCHEMA.attributes:
            states, _ = states_by_hand(model, one, name)
            begin = max(range(len(states)), key=lambda place: (model.begin.weight[0] @ states[place]).item())
            scores = {
                place: (model.end.weight[0] @ torch.cat([states[begin], states[place]])).item()
                for place in range(begin, len(states))
            }
            end = max(scores, key=scores.__getitem__)
            (found,) = model.predict([replace(one, asked=(name,))])
            assert found.spans == (Span(name, one.tokens[begin][0], one.tokens[end][1]),)
        with torch.no_grad():
            model.none.bias.neg_()
        assert model.predict([one])[0].spans == ()
        with torch.no_grad():
            model.none.bias.neg_()


def test_an_explanation_holds_what_the_heads_say(tiny_bert: Path) -> None:
    model = build(tiny_bert, distillation=0.0).train()
    text = replace(TEXTS[1], asked=("never seen", "kind"))
    found = model.explain(text)
    assert model.training and found.threshold == 0.5 and list(found.ranges) == list(text.asked or ())
    model.eval()
    assert found.prediction == model.predict([text])[0]
    for name in text.asked or ():
        states, cls = states_by_hand(model, text, name)
        none = 1 / (1 + math.exp(-(model.none.weight[0] @ cls + model.none.bias[0]).item()))
        assert found.ranges[name] == pytest.approx(1 - none, abs=1e-6)
        scores = [math.exp((model.begin.weight[0] @ state).item()) for state in states]
        begin = scores.index(max(scores))
        expected = [one / sum(scores) for one in scores]
        assert found.probabilities["begin"][name].tolist() == pytest.approx(expected, abs=1e-6)
        after = [
            math.exp((model.end.weight[0] @ torch.cat([states[begin], state])).item()) * (place >= begin)
            for place, state in enumerate(states)
        ]
        expected = [one / sum(after) for one in after]
        assert found.probabilities["end"][name].tolist() == pytest.approx(expected, abs=1e-6)
    model = build(tiny_bert, distillation=0.0, head="sigmoid")
    found = model.explain(text)
    states, _ = states_by_hand(model, text, "kind")
    inside = [1 / (1 + math.exp(-(model.unit.weight[0] @ state + model.unit.bias[0]).item())) for state in states]
    assert list(found.probabilities) == ["inside"]
    assert found.probabilities["inside"]["kind"].tolist() == pytest.approx(inside, abs=1e-6)
    assert found.prediction == model.predict([text])[0]


def test_many_attributes_are_explained_in_batches(tiny_bert: Path) -> None:
    model = build(tiny_bert, distillation=0.0)
    text = replace(TEXTS[0], asked=tuple(f"name {number}" for number in range(300)))
    assert model.config.training.prediction_batch_size < 300
    found = model.explain(text)
    assert list(found.ranges) == list(found.probabilities["begin"]) == list(text.asked or ())
    alone = model.explain(replace(text, asked=("name 290",)))
    assert found.ranges["name 290"] == pytest.approx(alone.ranges["name 290"], abs=1e-9)
    assert found.prediction == model.predict([text])[0]


def test_runs_of_units_are_values() -> None:
    assert list(runs([0, 2, 2, 0, 2])) == [(1, 2), (4, 4)]
    assert list(runs([1, 1, 2, 0, 1])) == [(0, 0), (1, 2), (4, 4)]
    assert list(runs([])) == []


@pytest.mark.parametrize("head", ["span", "sigmoid"])
def test_long_texts_and_long_names_are_read(tiny_bert: Path, head: str) -> None:
    model = build(tiny_bert, head=head, distillation=0.0)
    long = example(" ".join(["red", "dress", "long"] * 12))
    name = "color " * 40
    encoded = model.encode(replace(long, asked=("kind", name)))
    limit = model.text_encoder.model.config.max_position_embeddings
    for question in encoded.questions:
        assert max(len(window) for window in (question.joined.ids, *question.joined.further)) <= limit
    batch = model.collate([encoded])
    states, _ = model.read(batch)
    assert states.shape[:2] == (2, 36) and torch.isfinite(states).all()
    model(batch)
    (found,) = model.predict([replace(long, asked=("kind", name))])
    assert set(found.attributes) <= {"kind", name}


def test_pairs_of_all_texts_are_answered_as_each_alone(tiny_bert: Path) -> None:
    model = build(tiny_bert, head="sigmoid", distillation=0.0)
    with torch.no_grad():
        model.none.bias.fill_(-99.0)
    texts = [replace(one, asked=SCHEMA.attributes) for one in (*TEXTS, example(""), example("a " * 30))]
    for one, found in zip(texts, model.predict(texts), strict=True):
        alone = [model.predict([replace(one, asked=(name,))])[0].spans or () for name in SCHEMA.attributes]
        assert sorted(found.spans or ()) == sorted(span for spans in alone for span in spans)
