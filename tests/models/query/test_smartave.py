"""SMARTAVE against its structure, pair by pair, its tagger against every path, and texts beyond the positions."""

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch
from structured_attention import Token, states

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.query.smartave import Config, Model

SCHEMA = AttributeSchema(("color", "kind", "long sun"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}
SIZES: dict[str, Any] = {"long_length": 60, "radius": 2, "distance": 2}


def example(text: str, *spans: tuple[str, int, int], asked: tuple[str, ...] = ()) -> Example:
    found = tuple(Span(*span) for span in spans)
    return Example(text, text, word_units(text), found, pairs_from_spans(text, found), asked=asked)


TEXTS = [
    example("a red dress", ("color", 2, 5), asked=("color", "kind")),
    example("long sundress blue 12", ("kind", 5, 13), ("long sun", 14, 21), asked=("kind", "long sun")),
]
GOLD = {(0, "color"): [0, 1, 0], (0, "kind"): [0] * 3, (1, "kind"): [0, 1, 0, 0], (1, "long sun"): [0, 0, 1, 2]}


def build(folder: Path, **options: Any) -> Model:
    torch.manual_seed(0)
    model = Model(Config(text_encoder=str(folder), training=TRAINING, **{**SIZES, **options}), SCHEMA, {})
    for vectors in (model.global_local.of_global, model.global_local.of_long):
        torch.nn.init.normal_(vectors, std=0.5)
    return model.double().eval()


def emissions_by_hand(model: Model, one: Example, name: str) -> torch.Tensor:
    """Return the scores (S, 3) of the units from the hyper-tokens and local tokens, written out one by one."""
    tokenizer = model.text_encoder.tokenizer

    def pieces(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    named, text, first = [*pieces(name), tokenizer.sep_token_id], list[int](), list[int]()
    for start, end in one.tokens:
        first.append(2 + len(named) + len(text))
        text += pieces(one.text[start:end])
    text.append(tokenizer.sep_token_id)
    tokens = [Token(0, 0, 0, kind=0), Token(1, 1, 1, kind=1)]
    tokens += [Token(0, place, 0, piece=piece) for place, piece in enumerate(named)]
    tokens += [Token(1, len(named) + place, 1, piece=piece) for place, piece in enumerate(text)]
    found: torch.Tensor = model.linear(states(model.text_encoder, model.global_local, tokens)[first])
    return found


def path_score(model: Model, emissions: torch.Tensor, path: tuple[int, ...]) -> float:
    crf = model.crf
    score = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]]
    score = score + torch.stack([emissions[place, tag] for place, tag in enumerate(path)]).sum()
    return sum((crf.transitions[one, other].item() for one, other in pairwise(path)), score.item())


def test_the_loss_is_that_of_all_paths(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    losses = []
    for (number, name), tags in GOLD.items():
        emissions = emissions_by_hand(model, TEXTS[number], name)
        scores = {path: path_score(model, emissions, path) for path in product(range(3), repeat=len(tags))}
        losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[tuple(tags)])
        (found,) = model.predict([replace(TEXTS[number], asked=(name,))])
        tokens, values = TEXTS[number].tokens, list[tuple[int, int]]()
        before = 0
        for (start, end), tag in zip(tokens, max(scores, key=scores.__getitem__), strict=True):
            if tag:
                goes_on = tag == 2 and before != 0
                values = [*values[:-1], (values[-1][0], end)] if goes_on else [*values, (start, end)]
            before = tag
        assert [(span.start, span.end) for span in found.spans or ()] == values
    found_loss = model(model.collate([model.encode(one) for one in TEXTS]))["crf"].item()
    assert found_loss == pytest.approx(sum(losses) / 4, rel=1e-9)


def test_a_text_beyond_the_positions_is_read_at_once(tiny_bert: Path) -> None:
    model = build(tiny_bert)
    one = example(" ".join(["red", "dress", "long"] * 12), asked=("color",))
    encoded = model.encode(one)
    assert (
        encoded.text.further == () and len(encoded.text.ids) > model.text_encoder.model.config.max_position_embeddings
    )
    emissions, mask = model.emissions(model.collate([encoded]))
    assert mask.all() and torch.allclose(emissions[0], emissions_by_hand(model, one, "color"), atol=1e-9)


def test_windows_long_names_and_odd_texts(tiny_bert: Path) -> None:
    model = build(tiny_bert, long_length=24)
    long = example(" ".join(["red", "dress", "long"] * 20), ("color", 4, 9), asked=("kind", "color " * 40))
    encoded = model.encode(long)
    assert len(encoded.text.further) > 1
    assert all(len(ids) <= 25 for one in encoded.questions for ids in (one.joined.ids, *one.joined.further))
    texts = [replace(one, asked=SCHEMA.attributes) for one in (*TEXTS, example(""), example("a"), long)]
    for one, found in zip(texts, model.predict(texts), strict=True):
        alone = [model.predict([replace(one, asked=(name,))])[0].spans or () for name in SCHEMA.attributes]
        assert sorted(found.spans or ()) == sorted(span for spans in alone for span in spans)
    nothing = [replace(one, asked=()) for one in texts]
    assert all(found.spans == () for found in model.predict(nothing))
    assert model(model.collate([model.encode(one) for one in nothing]))["crf"].item() == 0
