"""MAVEQA against its formulas in float64: segments, the two heads, what gates what, and texts that are very long."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from structured_attention import Token, states

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.query import segments
from avebench.models.query.maveqa import Config, Model
from avebench.nn import text_encoder

SCHEMA = AttributeSchema(("color", "kind", "long sun"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}
SIZES: dict[str, Any] = {"long_length": 60, "radius": 3, "distance": 2}


def example(
    text: str, *spans: tuple[str, int, int], asked: tuple[str, ...] = (), category: str | None = None
) -> Example:
    found = tuple(Span(*span) for span in spans)
    return Example(text, text, word_units(text), found, pairs_from_spans(text, found), asked=asked, category=category)


TEXTS = [
    example("a red dress", ("color", 2, 5), asked=("color", "kind"), category="long dress"),
    example("long sundress blue 12", ("kind", 5, 13), ("long sun", 14, 21), asked=("kind", "long sun")),
]
GOLD = {(0, "color"): [0, 1, 0], (0, "kind"): [0] * 3, (1, "kind"): [0, 1, 0, 0], (1, "long sun"): [0, 0, 1, 1]}


def build(folder: Path, train: list[Example] = TEXTS, **options: Any) -> Model:
    torch.manual_seed(0)
    config = Config(text_encoder=str(folder), training=TRAINING, **{**SIZES, **options})
    model = Model(config, SCHEMA, Model.learn_vocabulary(config, SCHEMA, train))
    for vectors in (model.global_local.of_global, model.global_local.of_long) if model.global_local else ():
        torch.nn.init.normal_(vectors, std=0.5)
    return model.double().eval()


def pieces_of(model: Model, text: str) -> list[int]:
    found: list[int] = model.text_encoder.tokenizer(text, add_special_tokens=False)["input_ids"]
    return found


def row_by_hand(model: Model, one: Example, name: str, starts: list[int]) -> tuple[list[Token], list[int]]:
    """Return the tokens of `category [SEP] name [SEP] text [SEP]` and its segments, and where the units begin."""
    end, sources = [model.text_encoder.tokenizer.sep_token_id], [3, 4, 5]
    parts, first = [], []
    if one.category is not None:
        parts.append((1, 1, pieces_of(model, one.category) + end))
    parts.append((2, 2, pieces_of(model, name) + end))
    before = sum(len(part[2]) for part in parts)
    texts: list[list[int]] = [[] for _ in starts]
    for start, stop in one.tokens:
        first.append(before + sum(map(len, texts)))
        texts[max(number for number, begin in enumerate(starts) if begin <= start)] += pieces_of(
            model, one.text[start:stop]
        )
    texts[-1] += end
    kinds = sources if len(starts) > 1 else [5]
    parts += [(3 + number, kinds[number], ids) for number, ids in enumerate(texts)]
    tops = [Token(0, 0, 0, kind=0)] + [Token(part, part, 0, kind=min(part, 3)) for part, _, _ in parts]
    longs, place = [], 0
    for part, type_, ids in parts:
        for piece in ids:
            longs.append(Token(part, place, type_, piece=piece))
            place += 1
    return [*tops, *longs], first


def logits_by_hand(model: Model, one: Example, name: str, starts: list[int]) -> tuple[list[float], dict[int, float]]:
    """Return the logits of the units, and those of the segments by their number."""
    assert model.global_local is not None
    tokens, first = row_by_hand(model, one, name, starts)
    found = states(model.text_encoder, model.global_local, tokens)
    tops = [(token.segment, place) for place, token in enumerate(tokens) if token.kind]
    inside = [model.unit(found[1 + len(tops) + place]).item() for place in first]
    return inside, {segment: model.segment(found[place]).item() for segment, place in tops}


def cross_entropy(logit: float, gold: float) -> float:
    return math.log(1 + math.exp(-logit if gold else logit))


@pytest.mark.parametrize("hard", [False, True])
def test_losses_are_those_of_the_formulas(tiny_bert: Path, hard: bool) -> None:
    model = build(tiny_bert, hard=hard)
    losses = model(model.collate([model.encode(one) for one in TEXTS]))
    units, parts = 0.0, 0.0
    for (number, name), tags in GOLD.items():
        inside, has = logits_by_hand(model, TEXTS[number], name, [0])
        assert set(has) == ({1, 2, 3} if number == 0 else {2, 3})
        units += sum(cross_entropy(logit, tag) for logit, tag in zip(inside, tags, strict=True))
        parts += sum(cross_entropy(logit, segment == 3 and any(tags)) for segment, logit in has.items())
    assert losses["units"].item() == pytest.approx(units / 4, rel=1e-9)
    assert losses["segments"].item() == pytest.approx(parts / 4, rel=1e-9)


def test_losses_over_one_pair_of_bert(tiny_bert: Path) -> None:
    model = build(tiny_bert, encoder="bert")
    losses = model(model.collate([model.encode(one) for one in TEXTS]))
    tokenizer, units, parts = model.text_encoder.tokenizer, 0.0, 0.0
    for (number, name), tags in GOLD.items():
        ids = [tokenizer.cls_token_id, *pieces_of(model, name), tokenizer.sep_token_id]
        types, first = [0] * len(ids), []
        for start, end in TEXTS[number].tokens:
            first.append(len(ids))
            ids += pieces_of(model, TEXTS[number].text[start:end])
        ids.append(tokenizer.sep_token_id)
        types += [1] * (len(ids) - len(types))
        found = model.text_encoder.model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        last = found.last_hidden_state[0]
        units += sum(cross_entropy(model.unit(last[at]).item(), tag) for at, tag in zip(first, tags, strict=True))
        parts += cross_entropy(model.segment(last[0]).item(), any(tags))
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(
        {"units": units / 4, "segments": parts / 4}, rel=1e-9
    )


def test_paragraphs_have_segments_of_their_own(tiny_bert: Path) -> None:
    text = example("a red dress blue 12 long sun red", ("color", 12, 16), asked=("color", "kind"), category="dress")
    starts = [0, 12, 20]
    sources = ((0, 11, "title"), (12, 19, "description"), (20, 32, "feature"))
    text = replace(text, paragraphs=sources)
    model = build(tiny_bert)
    losses = model(model.collate([model.encode(text)]))
    units, parts = 0.0, 0.0
    for name in text.asked or ():
        inside, has = logits_by_hand(model, text, name, starts)
        tags = [name == "color" and start == 12 for start, _ in text.tokens]
        units += sum(cross_entropy(logit, tag) for logit, tag in zip(inside, tags, strict=True))
        parts += sum(cross_entropy(logit, segment == 4 and any(tags)) for segment, logit in has.items())
    assert losses["units"].item() == pytest.approx(units / 2, rel=1e-9)
    assert losses["segments"].item() == pytest.approx(parts / 2, rel=1e-9)


def test_more_paragraphs_than_global_tokens_share_the_last(tiny_bert: Path) -> None:
    text = example("a red dress blue 12 long sun red", asked=("color",), category="dress")
    text = replace(text, paragraphs=tuple((start, end, "") for start, end in text.tokens))
    model = build(tiny_bert, global_length=6)
    batch = model.collate([model.encode(text)])
    assert batch["kinds"].tolist() == [0, 1, 2, 3, 3, 3]
    assert batch["unit_segments"].tolist() == [[2, 3, 4, 4, 4, 4, 4, 4]]
    assert model.predict([text])[0].id == text.id


@pytest.mark.parametrize("values", ["top", "all"])
def test_units_count_in_paragraphs_that_have_a_value(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, values: str
) -> None:
    text = example("a red dress blue 12 long sun red", asked=("color",))
    text = replace(text, paragraphs=((0, 11, ""), (12, 32, "")))
    model = build(tiny_bert, [text], values=values)
    inside = torch.tensor([[-1.0, 0.5, 2.0, 0.3, -0.1, -2.0, 1.5, 1.0]])

    def found(first: float, second: float) -> list[str]:
        monkeypatch.setattr(model, "scores", lambda _: (inside, torch.tensor([[9.0, first, second]])))
        (prediction,) = model.predict([text])
        return [text.text[span.start : span.end] for span in prediction.spans or ()]

    assert found(1.0, 1.0) == (["red dress"] if values == "top" else ["red dress", "blue", "sun red"])
    assert found(-1.0, 1.0) == (["sun red"] if values == "top" else ["blue", "sun red"])
    assert found(-1.0, -1.0) == []


def test_pieces_are_of_the_paragraph_that_is_read_last_in_their_window() -> None:
    batch = {"ids": torch.zeros(3, 9), "first": torch.tensor([[3, 5, 4, 5], [3, 0, 0, 0]])}
    batch |= {
        "counts": torch.tensor([[1, 1, 1, 1], [2, 0, 0, 0]]),
        "window": torch.tensor([[0, 0, 2, 2], [1, 1, 1, 1]]),
    }
    found = segments.piece_paragraphs(batch, torch.tensor([[0, 1, 1, 2], [0, 0, 0, 0]]))
    assert found.tolist() == [[0, 0, 0, 0, 0, 1, 1, 1, 1], [0] * 9, [1, 1, 1, 1, 1, 2, 2, 2, 2]]


def test_a_text_beyond_the_positions_is_read_at_once(tiny_bert: Path) -> None:
    model = build(tiny_bert, values="all")
    one = example(" ".join(["red", "dress", "long"] * 11), ("color", 4, 9), asked=("color",))
    encoded = model.encode(one)
    assert (
        encoded.text.further == () and len(encoded.text.ids) > model.text_encoder.model.config.max_position_embeddings
    )
    inside, has = model.scores(model.collate([encoded]))
    by_hand = logits_by_hand(model, one, "color", [0])
    assert inside[0].tolist() == pytest.approx(by_hand[0], abs=1e-9)
    assert has[0].tolist()[1:] == pytest.approx([by_hand[1][2], by_hand[1][3]], abs=1e-9)


def test_windows_that_pass_in_parts_give_the_same(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(tiny_bert, long_length=24)
    one = example(" ".join(["red", "dress", "long"] * 20), ("color", 4, 9), asked=("color", "kind"))
    batch = model.collate([model.encode(one)])
    results = []
    for at_once in (99, 1):
        monkeypatch.setattr(text_encoder, "WINDOWS_AT_ONCE", at_once)
        model.zero_grad()
        losses = model(batch)
        sum(losses.values()).backward()
        gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        results.append([*losses.values(), *gradients])
    for whole, parts in zip(*results, strict=True):
        assert torch.allclose(whole, parts, atol=1e-10)


def test_a_text_of_several_windows_has_the_highest_of_its_segments(tiny_bert: Path) -> None:
    model = build(tiny_bert, long_length=24, values="all")
    one = example(" ".join(["red", "dress", "long"] * 20), ("color", 4, 9), asked=("color", "kind"), category="dress")
    encoded = model.encode(one)
    batch = model.collate([encoded])
    assert len(encoded.text.further) > 2 and batch["ids"].size(1) <= 1 + 24
    inside, has = model.scores(batch)
    assert inside.shape == (2, 60)
    window = encoded.text.window
    assert window is not None and model.global_local is not None
    tops, _ = model.global_local(model.text_encoder, batch)
    logits = model.segment(tops[:, 3]).squeeze(1)
    for question in range(2):
        own = [row for row, owner in enumerate(batch["owner"].tolist()) if owner == question]
        assert has[question, 2].item() == pytest.approx(logits[own].max().item())
    losses = model(batch)
    gold = torch.zeros(2, 60)
    gold[0, 1] = 1
    expected = sum(
        cross_entropy(logit, tag) for logit, tag in zip(inside.flatten().tolist(), gold.flatten(), strict=True)
    )
    assert losses["units"].item() == pytest.approx(expected / 2, rel=1e-9)


def test_names_and_categories_beyond_their_room_are_cut(tiny_bert: Path) -> None:
    model = build(tiny_bert, [example("a", category="dress " * 40)])
    one = example("a red dress", asked=("color " * 40, "kind"), category="long " * 50)
    encoded = model.encode(one)
    end = model.text_encoder.tokenizer.sep_token_id
    for question in encoded.questions:
        ids = question.joined.ids.tolist()
        assert len(ids) <= 1 + 60 and ids[question.preceding] == ids[question.named - 1] == ids[-1] == end
    assert encoded.questions[0].preceding == (61 - 3) // 3  # A third of what the longest name leaves.
    assert set(model.predict([one])[0].attributes) <= {"color " * 40, "kind"}


def test_a_category_that_training_has_none_of_is_no_segment(tiny_bert: Path) -> None:
    model = build(tiny_bert, [TEXTS[1]])
    batch = model.collate([model.encode(TEXTS[0])])
    assert batch["kinds"].tolist() == [0, 2, 3] and batch["segments"][0].tolist() == [1, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("encoder", ["bert", "global-local"])
def test_pairs_of_all_texts_are_answered_as_each_alone(tiny_bert: Path, encoder: str) -> None:
    model = build(tiny_bert, encoder=encoder, values="all")
    with torch.no_grad():
        model.segment.bias.fill_(99.0)
    texts = [replace(one, asked=SCHEMA.attributes) for one in (*TEXTS, example(""), example("a"), example("a " * 70))]
    for one, found in zip(texts, model.predict(texts), strict=True):
        alone = [model.predict([replace(one, asked=(name,))])[0].spans or () for name in SCHEMA.attributes]
        assert sorted(found.spans or ()) == sorted(span for spans in alone for span in spans)
    nothing = [replace(one, asked=()) for one in texts]
    assert all(found.spans == () for found in model.predict(nothing))
    losses = model(model.collate([model.encode(one) for one in nothing]))
    assert {name: loss.item() for name, loss in losses.items()} == {"units": 0.0, "segments": 0.0}
