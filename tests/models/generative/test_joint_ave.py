"""Joint-AVE's formulas, each against another way of computing it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.generative.joint_ave import PROMPT, Config, Model

SCHEMA = AttributeSchema(("color", "kind", "length"))
TEXTS = {
    "a red sundress": (("color", "red"), ("kind", "sundress")),
    "long blue dress": (("length", "long"), ("color", "blue"), ("kind", "dress")),
    "a a": (),
}
GENERATORS = ("tiny_t5", "tiny_bart")


def marked(text: str, values: tuple[tuple[str, str], ...]) -> Example:
    spans = tuple(Span(name, text.index(value), text.index(value) + len(value)) for name, value in values)
    return Example(text, text, word_units(text), spans, pairs_from_spans(text, spans))


EXAMPLES = [marked(text, values) for text, values in TEXTS.items()]
GOLD = {
    "a red sundress": "color: red ; kind: sundress",
    "long blue dress": "length: long ; color: blue ; kind: dress",
    "a a": "none",
}


@pytest.fixture(params=GENERATORS)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def built(folder: Path, **options: Any) -> Model:
    torch.manual_seed(4)
    model = Model(Config(generator=str(folder), **options), SCHEMA, {})
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # So that decisions are no ties.
    return model.double().eval()


def next_scores(model: Model, example: Example, written: list[int]) -> Tensor:
    """Return the log-probabilities of the next piece, of one text, computed from the start."""
    generator = model.generator
    read = torch.tensor([generator.tokenizer(PROMPT + example.text)["input_ids"]])
    before = torch.tensor([[generator.model.config.decoder_start_token_id, *written]])
    logits = generator.model(input_ids=read, decoder_input_ids=before, use_cache=False).logits
    found: Tensor = logits[0, -1].log_softmax(0)
    return found


def test_the_loss_is_that_of_each_piece_after_the_gold_ones(folder: Path) -> None:
    model = built(folder)
    total, pieces = 0.0, 0
    for example in EXAMPLES:
        ids = model.generator.tokenizer(GOLD[example.text])["input_ids"]
        for place, piece in enumerate(ids):
            total -= next_scores(model, example, ids[:place])[piece].item()
            pieces += 1
    batch = model.collate([model.encode(example) for example in EXAMPLES])
    # The loss is computed in float32 whatever the model's precision.
    assert model(batch)["words"].item() == pytest.approx(total / pieces, rel=1e-6)


def test_greedy_writing_is_the_best_piece_step_by_step(folder: Path) -> None:
    model = built(folder, longest_answer=20)
    batch = model.collate([model.encode(example) for example in EXAMPLES])
    for example, (text, cut) in zip(EXAMPLES, model.generator.write(batch, 1, 20), strict=True):
        written: list[int] = []
        while len(written) < 20 and model.generator.eos not in written:
            written.append(int(next_scores(model, example, written).argmax()))
        assert text == model.generator.tokenizer.decode(written, skip_special_tokens=True)
        assert cut == (model.generator.eos not in written)


def test_what_is_written_in_vain_is_counted(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(tiny_t5)
    texts = [("color: red ; color: green ; brand: a", False), ("long", True), ("none", False)]
    monkeypatch.setattr(model.generator, "write", lambda *arguments: texts)
    found = model.predict_batch(model.collate([model.encode(example) for example in EXAMPLES]))
    counts = [prediction.written for prediction in found]
    assert [(c.values, c.dropped, c.unknown, c.unparsable, c.cut) for c in counts if c is not None] == [
        (2, 1, 1, 0, 0),
        (0, 0, 0, 1, 1),
        (0, 0, 0, 0, 0),
    ]
    assert found[0].spans == (Span("color", 2, 5),)


def pointed(model: Model, example: Example, gold: list[tuple[int, int, int]] | None) -> tuple[list[float], Any]:
    """Return the losses of each step after the gold places, and the best places, one text and step at a time."""
    generator, pointers = model.generator, model.pointers
    assert pointers is not None
    read = generator.tokenizer(PROMPT + example.text, return_offsets_mapping=True)
    states = generator.model.get_encoder()(input_ids=torch.tensor([read["input_ids"]])).last_hidden_state[0]
    units = [pointers.nothing]
    for start, _ in example.tokens:
        piece = next(n for n, (_, end) in enumerate(read["offset_mapping"]) if end > start + len(PROMPT))
        units.append(states[piece])
    keys, scale = torch.stack(units), len(units[0]) ** 0.5
    inputs, losses, found = [pointers.begin], list[float](), []
    for step in range(6):
        decoded = generator.model.get_decoder()(
            inputs_embeds=torch.stack(inputs)[None], encoder_hidden_states=states[None], use_cache=False
        ).last_hidden_state[0, -1]
        first = ((keys @ pointers.first(decoded)) / scale).log_softmax(0)
        wanted = None if gold is None else (gold[step] if step < len(gold) else (-1, -1, -1))
        i = int(first.argmax()) if wanted is None else wanted[0] + 1
        losses.append(-first[i].item())
        if i == 0:
            break
        last = ((keys[i:] @ pointers.last(torch.cat([decoded, keys[i]]))) / scale).log_softmax(0)
        j = i + int(last.argmax()) if wanted is None else wanted[1] + 1
        names = pointers.attribute(torch.cat([decoded, keys[i], keys[j]])).log_softmax(0)
        a = int(names.argmax()) if wanted is None else wanted[2]
        losses += [-last[j - i].item(), -names[a].item()]
        found.append((i - 1, j - 1, a))
        inputs.append(pointers.pair(torch.cat([keys[i], keys[j]])) + pointers.names.weight[a])
    return losses, found


def test_the_losses_of_places_are_those_of_each_step(folder: Path) -> None:
    model = built(folder, target="places")
    gold = {"a red sundress": [(1, 1, 0), (2, 2, 1)], "long blue dress": [(0, 0, 2), (1, 1, 0), (2, 2, 1)], "a a": []}
    steps = [pointed(model, example, gold[example.text])[0] for example in EXAMPLES]
    first = [loss for row in steps for loss in row[::3]]
    last, names = ([loss for row in steps for loss in row[part::3]] for part in (1, 2))
    found = model(model.collate([model.encode(example) for example in EXAMPLES]))
    for name, losses in (("first", first), ("last", last), ("attribute", names)):
        assert found[name].item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_places_are_the_best_ones_step_by_step(folder: Path) -> None:
    model = built(folder, target="places", longest_answer=6)
    found = model.predict(EXAMPLES)
    for example, prediction in zip(EXAMPLES, found, strict=True):
        _, places = pointed(model, example, None)
        spans = {Span(SCHEMA.attributes[a], example.tokens[i][0], example.tokens[j][1]) for i, j, a in places}
        assert set(prediction.spans or ()) == spans and prediction.written is None
    assert any(prediction.spans for prediction in found)


def test_values_without_spans_are_learnt_at_their_left_most_places(tiny_t5: Path) -> None:
    model = built(tiny_t5, target="places")
    text = "red dress, red"
    example = Example("e", text, word_units(text), (), {"color": frozenset({"red"}), "kind": frozenset({"gown"})})
    assert model.encode(example).places == ((0, 0, 0),)


def test_a_long_text_is_cut_behind_the_last_piece_that_is_read(folder: Path) -> None:
    model = built(folder, longest_text=16)
    text = "red " * 40
    example = Example("e", text, word_units(text))
    encoded = model.encode(example)
    assert model.length(encoded) == 16 == model.text_limit()
    read = model.generator.tokenizer.decode(encoded.source.ids, skip_special_tokens=True)
    units = len(read.removeprefix(PROMPT).split())
    assert model.truncated(encoded) == 40 - units and len(encoded.source.first) == units
    assert encoded.source.ids[-1] == model.generator.eos
    short = replace(example, text="red", tokens=((0, 3),))
    assert model.truncated(model.encode(short)) == 0


def test_places_have_no_options_of_words() -> None:
    for options in ({"beams": 2}, {"constrained": True}, {"values": "free"}):
        with pytest.raises(ValueError, match="points at the text greedily"):
            Config(target="places", **options)


def test_free_values_are_kept_as_strings(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = built(tiny_t5, values="free")
    monkeypatch.setattr(model.generator, "write", lambda *arguments: [("color: green", False)])
    found: list[Prediction] = model.predict(EXAMPLES[:1])
    assert dict(found[0].pairs) == {"color": frozenset({"green"})} and found[0].spans == ()
