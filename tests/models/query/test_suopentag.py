"""SUOpenTag against its formulas in float64, unit by unit, and what it makes of what it is asked for."""

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.query.suopentag import Config, Model
from avebench.nn.neural import move

SCHEMA = AttributeSchema(("color", "kind", "long sun"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}


def example(text: str, *spans: tuple[str, int, int], asked: tuple[str, ...] | None = None) -> Example:
    found = tuple(Span(*span) for span in spans)
    return Example(text, text, word_units(text), found, pairs_from_spans(text, found), asked=asked)


def build(folder: Path, **options: Any) -> Model:
    torch.manual_seed(0)
    config = Config(text_encoder=str(folder), hidden=5, training=TRAINING, **options)
    model = Model(config, SCHEMA, {}).double()
    with torch.no_grad():
        for parameter in model.crf.parameters():
            parameter.normal_()
    return model.eval()


def lstm_by_hand(lstm: nn.LSTM, inputs: list[torch.Tensor], back: bool) -> list[torch.Tensor]:
    """Return the states of one direction, gate by gate."""
    end = "_reverse" if back else ""
    w, u = getattr(lstm, f"weight_ih_l0{end}"), getattr(lstm, f"weight_hh_l0{end}")
    bias = getattr(lstm, f"bias_ih_l0{end}") + getattr(lstm, f"bias_hh_l0{end}")
    h = c = inputs[0].new_zeros(lstm.hidden_size)
    states = []
    for x in reversed(inputs) if back else inputs:
        i, f, g, o = (w @ x + u @ h + bias).chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        states.append(h)
    return states[::-1] if back else states


@pytest.mark.parametrize("names_lstm", [False, True])
def test_loss_and_gradient_are_those_of_the_formulas(tiny_bert: Path, names_lstm: bool) -> None:
    model = build(tiny_bert, names_lstm=names_lstm)
    texts = [
        example("a red dress", ("color", 2, 5), asked=("color", "kind")),
        example("long sundress blue 12", ("kind", 5, 13), ("long sun", 14, 21), asked=("kind", "long sun")),
    ]
    gold = {("color", 0): [0, 1, 0], ("kind", 0): [0, 0, 0], ("kind", 1): [0, 1, 0, 0], ("long sun", 1): [0, 0, 1, 2]}
    batch = model.collate([model.encode(one) for one in texts])
    loss = model(batch)["crf"]
    mine = []
    encode = model.text_encoder.encode
    for number, one in enumerate(texts):
        units = model.text_encoder(model.text_encoder.collate([encode(one)])).units[0]
        states = list(
            map(torch.cat, zip(*(lstm_by_hand(model.lstm, list(units), back) for back in (False, True)), strict=True))
        )
        for name in one.asked or ():
            words = Example(name, name, word_units(name))
            vectors = list(model.text_encoder(model.text_encoder.collate([encode(words)])).units[0])
            reader = model.names_lstm if model.names_lstm is not None else model.lstm
            attribute = torch.cat([lstm_by_hand(reader, vectors, False)[-1], lstm_by_hand(reader, vectors, True)[0]])
            emissions = []
            for state in states:
                cosine = (state @ attribute) / (state.norm() * attribute.norm())
                emissions.append(model.linear.weight @ torch.cat([state, cosine * state]) + model.linear.bias)
            mine.append(path_loss(model, emissions, gold[name, number]))
    by_hand = sum(mine) / len(mine)
    assert math.isclose(loss.item(), by_hand.item(), rel_tol=1e-10)
    ours = torch.autograd.grad(loss, [model.linear.weight, model.lstm.weight_hh_l0])
    theirs = torch.autograd.grad(by_hand, [model.linear.weight, model.lstm.weight_hh_l0])
    assert all(torch.allclose(a, b, atol=1e-11) for a, b in zip(ours, theirs, strict=True))


def path_loss(model: Model, emissions: list[torch.Tensor], tags: list[int]) -> torch.Tensor:
    """Return minus the log-likelihood of a path, by enumeration of all paths."""

    def score(path: tuple[int, ...]) -> torch.Tensor:
        total = model.crf.start_transitions[path[0]] + model.crf.end_transitions[path[-1]]
        total = total + sum(emission[tag] for emission, tag in zip(emissions, path, strict=True))
        return total + sum(model.crf.transitions[one, other] for one, other in pairwise(path))

    every = torch.stack([score(path) for path in product(range(3), repeat=len(tags))])
    return torch.logsumexp(every, 0) - score(tuple(tags))


def test_what_is_asked_is_answered_and_nothing_else(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    with torch.no_grad():  # Every unit is a value of whatever is asked for.
        model.linear.weight.zero_()
        model.linear.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    text = example("a red dress")
    found = model.predict([replace(text, asked=asked) for asked in (("kind",), (), None, ("never seen", "color"))])
    assert [set(one.attributes) for one in found] == [
        {"kind"},
        set(),
        set(SCHEMA.attributes),
        {"never seen", "color"},
    ]
    assert found[0].spans == tuple(Span("kind", start, end) for start, end in text.tokens)


def test_answers_do_not_depend_on_what_else_is_asked(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    texts = [example("a red dress"), example("long blue sundress 12"), example("")]
    alone = {
        (one.id, name): model.predict([replace(one, asked=(name,))])[0].spans
        for one in texts
        for name in SCHEMA.attributes
    }
    for one, found in zip(texts, model.predict([replace(one, asked=SCHEMA.attributes) for one in texts]), strict=True):
        assert sorted(found.spans or ()) == sorted(
            span for name in SCHEMA.attributes for span in alone[one.id, name] or ()
        )


def test_an_explanation_holds_cosines_and_shares_of_all_paths(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    text = example("a long sundress", asked=("never seen", "kind"))
    found = model.explain(text)
    (expected,) = model.predict([text])
    assert found.prediction == expected and found.threshold is None and "best path" in found.decides
    assert (
        list(found.ranges) == list(found.similarities) == list(found.probabilities["inside"]) == list(text.asked or ())
    )
    batch = model.collate([model.encode(text)])
    states, names = model._texts(batch)[0], model._attributes(batch["names"])
    start, end, moves = model.crf.start_transitions, model.crf.end_transitions, model.crf.transitions
    for name, vector in zip(batch["names"], names, strict=True):
        cosines = [(state @ vector / (state.norm() * vector.norm())).item() for state in states]
        assert found.similarities[name].tolist() == pytest.approx(cosines, abs=1e-6)
        rows = [model.linear(torch.cat([h, a * h])) for h, a in zip(states, cosines, strict=True)]
        shares = {
            path: math.exp(
                (start[path[0]] + end[path[-1]] + sum(moves[step] for step in pairwise(path))).item()
                + sum(row[tag].item() for row, tag in zip(rows, path, strict=True))
            )
            for path in product(range(3), repeat=3)
        }
        total = sum(shares.values())
        assert found.ranges[name] == pytest.approx(1 - shares[0, 0, 0] / total, abs=1e-6)
        inside = [sum(share for path, share in shares.items() if path[place]) / total for place in range(3)]
        assert found.probabilities["inside"][name].tolist() == pytest.approx(inside, abs=1e-6)
    assert model.explain(replace(text, asked=())).ranges == {}
    assert list(model.explain(replace(text, asked=None)).ranges) == list(SCHEMA.attributes)


def test_a_frozen_encoder_stays_as_it_is(tiny_bert: Path) -> None:
    model = build(tiny_bert, text_tuned=False).train()
    assert not model.text_encoder.training and model.lstm.training
    batch = model.collate([model.encode(example("a red dress", ("color", 2, 5)))])
    model(move(batch, torch.device("cpu")))["crf"].backward()
    assert all(parameter.grad is None for parameter in model.text_encoder.parameters())
    assert model.lstm.weight_ih_l0.grad is not None


def test_scores_of_all_attributes_at_once_are_those_of_the_pairs(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    states, attributes = torch.randn(2, 4, 10).double(), torch.randn(3, 10).double()
    near, every = model.emissions_of_all(states, attributes)
    for text in range(2):
        for attribute in range(3):
            pair = model.emissions(states[text : text + 1], attributes[attribute : attribute + 1])
            assert torch.allclose(every[text, attribute], pair[0], atol=1e-12)
            sizes = states[text].norm(dim=1) * attributes[attribute].norm()
            assert torch.allclose(near[text, :, attribute], states[text] @ attributes[attribute] / sizes, atol=1e-12)
