"""Texts over an encoder's limit: in which window a unit is read, by brute force, and what systems make of it."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel

from avebench.contracts.examples import AttributeSchema, Example, Picture, Span, pairs_from_spans
from avebench.contracts.explanation import Explains
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.dram import dram
from avebench.models.jave import jave, m_jave
from avebench.models.slot_filling import joint_bert
from avebench.nn import text_encoder
from avebench.nn.neural import NeuralModel
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.windows import cut_windows, nearest_windows
from avebench.store.longtexts import LongTexts, values_behind

TRAINING = {"steps": 1, "epochs": None}
WORDS = ("blue", "red", "dress", "sundresses", "long", "a", "12", "-", ".", "色裙", "unknown")
SCHEMA = AttributeSchema(("color", "kind", "length"), "word")


def words(number: int, seed: int = 0, picture: Picture | None = None) -> Example:
    """Return a text of `number` words in which every "red" is a color."""
    chosen = random.Random(seed).choices(WORDS, k=number)
    text = " ".join(chosen)
    tokens = word_units(text)
    spans = tuple(Span("color", start, end) for start, end in tokens if text[start:end] == "red")
    return Example(f"e{seed}", text, tokens, spans, pairs_from_spans(text, spans), picture=picture)


# ---------------------------------------------------------------------------------------------------------------------
# Windows


def furthest(windows: list[tuple[int, int]], counts: list[int], unit: int) -> int:
    """Return the window in which a unit has most pieces between itself and the nearest place where the text is cut."""
    distances = {}
    for number, (start, stop) in enumerate(windows):
        if start <= unit < stop:
            before = sum(counts[start:unit]) if start > 0 else 10**9
            behind = sum(counts[unit + 1 : stop]) if stop < len(counts) else 10**9
            distances[number] = min(before, behind)
    best = max(distances.values())
    return next(number for number, distance in distances.items() if distance == best)


def test_windows_cover_every_unit_and_the_furthest_from_an_edge_is_chosen() -> None:
    draw = random.Random(0)
    for _ in range(300):
        room = draw.randint(1, 30)
        counts = [draw.randint(1, min(room, draw.choice((1, 3, 30)))) for _ in range(draw.randint(1, 90))]
        windows = cut_windows(counts, room)
        assert all(0 < sum(counts[start:stop]) <= room for start, stop in windows)
        assert windows[0][0] == 0 and windows[-1][1] == len(counts)
        assert {unit for start, stop in windows for unit in range(start, stop)} == set(range(len(counts)))
        assert windows == sorted(set(windows)) and len(windows) <= len(counts)
        if sum(counts) <= room:
            assert windows == [(0, len(counts))]
        expected = [furthest(windows, counts, unit) for unit in range(len(counts))]
        assert nearest_windows(windows, counts).tolist() == expected


def test_windows_of_single_pieces_overlap_by_half() -> None:
    assert cut_windows([1] * 22, 8) == [(0, 8), (4, 12), (8, 16), (12, 20), (14, 22)]
    with pytest.raises(ValueError, match="9 pieces"):
        cut_windows([1, 9], 8)


# ---------------------------------------------------------------------------------------------------------------------
# The encoder


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("folder", ["tiny_bert", "tiny_roberta"])
def test_unit_states_are_those_of_the_window_read_by_itself(
    folder: str, pooling: Any, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(folder)
    encoder = TextEncoder(str(path), "word", pooling, long_texts="window").eval()
    model = AutoModel.from_pretrained(path).eval()
    examples = [words(3), words(50, seed=1), Example("none", "", ()), words(130, seed=2)]
    encoded = [encoder.encode(example) for example in examples]
    batch = encoder.collate(encoded)
    with torch.no_grad():
        units, cls = encoder(batch)
    room = encoder.limit - 2
    for row, example in enumerate(examples):
        pieces = [encoder._pieces[encoder._unit_text(example.text, *token)] for token in example.tokens]
        counts = [len(unit) for unit in pieces]
        windows = cut_windows(counts, room) if sum(counts) > room else [(0, len(counts))]
        alone = []
        for start, stop in windows:
            inner = [piece for unit in pieces[start:stop] for piece in unit]
            ids = torch.tensor([[encoder.tokenizer.cls_token_id, *inner, encoder.tokenizer.sep_token_id]])
            with torch.no_grad():
                alone.append(model(ids).last_hidden_state[0])
        for unit in range(len(counts)):
            number = furthest(windows, counts, unit)
            first = 1 + sum(counts[windows[number][0] : unit])
            own = alone[number][first : first + counts[unit]]
            expected = own[0] if pooling == "first" else own.mean(dim=0)
            torch.testing.assert_close(units[row, unit], expected, atol=1e-5, rtol=1e-5)
        assert not units[row, len(counts) :].any()
        torch.testing.assert_close(cls[row], torch.stack([one[0] for one in alone]).mean(dim=0), atol=1e-5, rtol=1e-5)
    assert [one.truncated for one in encoded] == [0, 0, 0, 0]
    assert len(batch["ids"]) > 10, "the two long texts are read in several windows"


@pytest.mark.parametrize("folder", ["tiny_bert", "tiny_roberta"])
def test_texts_within_the_limit_are_read_as_ever_bit_for_bit(folder: str, request: pytest.FixtureRequest) -> None:
    path = str(request.getfixturevalue(folder))
    cut, windows = (TextEncoder(path, "word", long_texts=way).eval() for way in ("cut", "window"))  # type: ignore[arg-type]
    examples = [words(number, seed=number) for number in range(6)]
    batches = [encoder.collate([encoder.encode(one) for one in examples]) for encoder in (cut, windows)]
    assert batches[0].keys() == batches[1].keys() == {"ids", "mask", "first", "counts", "lengths"}
    with torch.no_grad():
        for one, other in zip(cut(batches[0]), windows(batches[1]), strict=True):
            assert torch.equal(one, other)


def test_a_long_text_has_the_units_of_the_cut_one_and_those_behind(tiny_bert: Path) -> None:
    cut, windows = (TextEncoder(str(tiny_bert), "word", long_texts=way) for way in ("cut", "window"))  # type: ignore[arg-type]
    example = words(60, seed=3)
    short, whole = cut.encode(example), windows.encode(example)
    assert len(short.first) + short.truncated == len(whole.first) == 60
    assert whole.truncated == 0 and whole.windowed == whole.beyond == short.truncated == short.beyond > 30
    assert whole.pieces == sum(map(len, (whole.ids, *whole.further))) and max(map(len, whole.further)) <= windows.limit


def test_of_a_unit_longer_than_a_window_the_first_pieces_are_read(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "word", long_texts="window").eval()
    encoder.limit = 4  # "sundresses" has three pieces, two fit.
    text = "red sundresses blue"
    encoded = encoder.encode(Example("1", text, word_units(text)))
    assert encoded.counts.tolist() == [1, 2, 1] and encoded.truncated == 0
    with torch.no_grad():
        assert encoder(encoder.collate([encoded])).units.abs().sum(dim=2).gt(0).all()


def test_gradients_do_not_depend_on_how_many_windows_pass_at_once(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = TextEncoder(str(tiny_bert), "word", long_texts="window").eval()  # Without dropout.
    batch = encoder.collate([encoder.encode(words(number, seed=number)) for number in (120, 4)])
    found = []
    for at_once in (2, 1000):
        monkeypatch.setattr(text_encoder, "WINDOWS_AT_ONCE", at_once)
        encoder.zero_grad()
        encoder(batch).units.square().sum().backward()
        found.append([parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------------------
# Systems

SEES = {"image_encoder": "tiny_resnet", "image_size": 8}
SYSTEMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "virc-text": (dram, {}),
    "V-IRC": (dram, {**SEES, "fusion": "concatenate", "visual_gamma": 1.0}),
    "V-IRC own positions, ARM": (
        dram,
        {**SEES, "fusion": "concatenate", "patch_position": "own", "visual_gamma": 1.0, "arm": "prototype"},
    ),
    "DRAM": (dram, {**SEES, "fusion": "tem", "arm": "bert", "pooling": "mean", "warmup_share": 0.0}),
    "jave": (jave, {}),
    "jave tuned": (jave, {"text_tuned": True}),
    "m-jave": (m_jave, SEES),
    "joint-bert": (joint_bert, {"crf": True}),
    "joint-bert 8 pieces": (joint_bert, {"max_pieces": 8}),
}


def build(name: str, request: pytest.FixtureRequest, **options: Any) -> NeuralModel:
    module, own = SYSTEMS[name]
    given = {"text_encoder": str(request.getfixturevalue("tiny_bert")), "training": TRAINING, **own, **options}
    if "image_encoder" in given:
        given["image_encoder"] = str(request.getfixturevalue("tiny_resnet"))
    defaults = module.Config().model_dump()["training"]
    config = module.Config(**{**given, "training": {**defaults, **TRAINING}})
    torch.manual_seed(0)
    model: NeuralModel = module.Model(config, SCHEMA, module.Model.learn_vocabulary(config, SCHEMA, [words(5)]))
    return model


def picture(grey: int) -> Picture:
    return Picture(f"p{grey}", lambda: Image.new("RGB", (8, 8), (grey, 255 - grey, 90)))


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_reads_long_texts_whole(name: str, request: pytest.FixtureRequest) -> None:
    examples = [words(number, number, picture(20 * number % 256)) for number in (4, 60, 90)]
    model = build(name, request).eval()
    encoded = [model.encode(example) for example in examples]
    assert [model.truncated(one) for one in encoded] == [0, 0, 0]
    beyond = [model.beyond(one) for one in encoded]
    assert beyond[0] == 0 and beyond[1] > 30 and beyond[2] > 60
    assert model.length(encoded[2]) > model.length(encoded[1]) > model.length(encoded[0])
    cut = build(name, request, long_texts="cut")
    assert [cut.truncated(cut.encode(example)) for example in examples] == beyond
    limit = model.text_limit()
    assert limit == cut.text_limit() and limit is not None and limit <= 24
    assert [one.id for one in model.predict_encoded(encoded)] == [one.id for one in examples]
    if isinstance(model, Explains):
        explained = model.explain(examples[1])
        figures = [
            *explained.similarities.values(),
            *([explained.attention] if explained.attention is not None else []),
        ]
        assert all(len(rows) == len(examples[1].tokens) for rows in figures)
        assert (explained.attention is not None) == (getattr(model, "pictures", None) is not None)
    losses = sum(model.train()(model.collate(encoded)).values())
    assert torch.isfinite(losses)
    losses.backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["virc-text", "V-IRC", "V-IRC own positions, ARM", "DRAM"])
def test_states_do_not_depend_on_the_rest_of_the_batch(name: str, request: pytest.FixtureRequest) -> None:
    examples = [words(number, number, picture(20 * number % 256)) for number in (70, 4, 90)]
    model: Any = build(name, request).eval()
    encoded = [model.encode(example) for example in examples]

    def read(some: list[Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch = model.collate(some)
        found = model._read(batch)
        scores = model._scores(found, batch) if model.config.arm != "none" else None
        return model._states(found, batch), scores

    with torch.no_grad():
        together, ranges = read(encoded)
        for row, one in enumerate(encoded):
            alone, its = read([one])
            units = len(one.example.tokens)
            torch.testing.assert_close(together[row, :units], alone[0, :units], atol=1e-5, rtol=1e-4)
            if ranges is not None and its is not None:
                torch.testing.assert_close(ranges[row], its[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["V-IRC", "DRAM"])
def test_every_window_sees_the_picture(name: str, request: pytest.FixtureRequest) -> None:
    model: Any = build(name, request).eval()
    with torch.no_grad():
        for parameter in model.stream.parameters():
            parameter.add_(0.1)  # At its small start TEM adds next to nothing.
        states = []
        for grey in (0, 255):
            batch = model.collate([model.encode(words(80, 1, picture(grey)))])
            states.append(model._states(model._read(batch), batch)[0])
    assert (states[0] - states[1]).abs().amax(dim=1).min() > 1e-6, "each of 80 units has another state"


def test_a_range_score_is_the_highest_of_the_windows(request: pytest.FixtureRequest) -> None:
    model: Any = build("V-IRC own positions, ARM", request).eval()
    batch = model.collate([model.encode(words(number, number, picture(9))) for number in (90, 3)])
    with torch.no_grad():
        read = model._read(batch)
        windows = model.classifier(read.cls_previous, read.last[:, 0]).sigmoid()  # (W, N)
        found = model._scores(read, batch)
    owner = batch["owner"].tolist()
    for text in range(2):
        own = windows[[row for row, one in enumerate(owner) if one == text]]
        torch.testing.assert_close(found[text], own.amax(dim=0))
    assert owner.count(0) > 5 and owner.count(1) == 1


@pytest.mark.parametrize("options", [{"labelling": "pieces"}, {"pad_mask": "never"}])
def test_where_padding_is_seen_texts_are_cut(options: dict[str, Any], request: pytest.FixtureRequest) -> None:
    model = build("virc-text", request, padded_length=20, **options)
    encoded = model.encode(words(60))
    assert model.truncated(encoded) == model.beyond(encoded) > 30 and model.text_limit() == 20
    assert model.predict([words(60)])[0].id == "e0"


def test_patches_that_leave_no_room_for_text_are_refused(request: pytest.FixtureRequest) -> None:
    with pytest.raises(AvebenchError, match="reads 24 positions at once; 25 patches of a picture leave no room"):
        build("V-IRC own positions, ARM", request, image_size=20)  # 5 x 5 patches.


def test_a_bilstm_has_no_limit() -> None:
    config = jave.Config(encoder="lstm", training={**jave.Config().training.model_dump(), **TRAINING})
    model = jave.Model(config, SCHEMA, jave.Model.learn_vocabulary(config, SCHEMA, [words(5)]))
    assert model.text_limit() is None and model.beyond(model.encode(words(900))) == 0


def test_values_are_found_behind_the_limit_as_well_as_before_it() -> None:
    """On texts of 130 words, of which the demo encoder reads 62 pieces at once, after 20 steps on texts of 30 words."""
    draw = random.Random(0)

    def example(number: int) -> Example:
        text = " ".join(draw.choices(("red", "blue", "black", "dress", "shirt", "with", "cotton", "women"), k=number))
        tokens = word_units(text)
        spans = tuple(Span("color", *token) for token in tokens if text[slice(*token)] in {"red", "blue", "black"})
        return Example("1", text, tokens, spans, pairs_from_spans(text, spans))

    torch.manual_seed(0)
    model = dram.Model(dram.Config(text_encoder="demo"), AttributeSchema(("color",), "word"), {}).train()
    groups = model.parameter_groups()
    rates = [{"params": groups[name], "lr": rate} for name, rate in (("text_encoder", 2e-4), ("default", 3e-3))]
    optimizer, batch = torch.optim.Adam(rates), model.collate([model.encode(example(30)) for _ in range(6)])
    for _ in range(20):
        optimizer.zero_grad()
        model(batch)["crf"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    tests = [example(130) for _ in range(3)]
    counts = {"before": [0, 0], "behind": [0, 0]}
    for one, prediction in zip(tests, model.predict(tests), strict=True):
        beyond = model.beyond(model.encode(one))
        assert 130 - 62 <= beyond < 100, "no word is less than a piece"
        limit = one.tokens[-beyond][0]
        for part, count in counts.items():
            gold, said = (
                {span for span in spans if (span.start >= limit) == (part == "behind")}
                for spans in (one.spans, prediction.spans)
            )
            count[0] += 2 * len(gold & said)
            count[1] += len(gold) + len(said)
    found = {part: 100 * right / both for part, (right, both) in counts.items()}
    assert counts["behind"][1] > 100 and found["before"] > 90 and abs(found["before"] - found["behind"]) < 5, found


# ---------------------------------------------------------------------------------------------------------------------
# Counting


def test_gold_values_behind_the_limit_are_counted_by_span_or_by_string() -> None:
    text = "red dress long blue red"
    tokens = word_units(text)
    spans = (Span("color", 0, 3), Span("color", 15, 19), Span("color", 20, 23), Span("kind", 4, 14))
    example = Example("1", text, tokens, spans, pairs_from_spans(text, spans))
    # "dress long" reaches into what lies behind from "long" on.
    assert [values_behind(example, beyond) for beyond in range(6)] == [0, 1, 2, 3, 3, 4]
    unmarked = Example("1", text, tokens, (), {"color": frozenset({"red", "blue"}), "size": frozenset({"XL"})})
    assert [values_behind(unmarked, beyond) for beyond in range(6)] == [0, 0, 1, 1, 1, 2]
    long = LongTexts(24)
    long.count(example, 2, cut=False)
    long.count(example, 0, cut=False)
    long.add(LongTexts(24, over=2, cut=2, values=1))
    assert (long.over, long.cut, long.values) == (3, 2, 3)
    assert long.said() == [
        "Texts that run over the encoder's limit of 24, read in overlapping windows: 1.",
        "Texts that run over the encoder's limit of 24, their ends tagged O: 2.",
    ]


# ---------------------------------------------------------------------------------------------------------------------
# Encoders that cannot read


@pytest.mark.parametrize(
    ("folder", "changes", "said"),
    [
        ("tiny_bert", {"pad_token_id": 24}, "pad_token_id is 24 of 24 word pieces"),
        ("tiny_bert", {"pad_token_id": -1}, "pad_token_id is -1"),
        ("tiny_bert", {"pad_token_id": "[PAD]"}, 'pad_token_id is "[PAD]"'),
        ("tiny_bert", {"vocab_size": 0}, "vocab_size is 0"),
        ("tiny_bert", {"vocab_size": None}, "vocab_size is null"),
        ("tiny_bert", {"num_attention_heads": 0}, "cannot be loaded"),
        ("tiny_bert", {"num_attention_heads": 3}, "cannot be loaded"),
        ("tiny_bert", {"hidden_act": "none"}, "cannot be loaded"),
        ("tiny_roberta", {"pad_token_id": 5000, "max_position_embeddings": 6000}, "pad_token_id is 5000"),
    ],
)
def test_a_config_that_no_encoder_can_be_built_from_is_refused(
    folder: str,
    changes: dict[str, object],
    said: str,
    tmp_path: Path,
    refusal_of_config: Callable[[str, dict[str, object]], str],
) -> None:
    message = refusal_of_config(folder, changes)
    assert said in message and str(tmp_path) in message and "\n" not in message


def test_a_bert_without_a_padding_symbol_is_read(tiny_bert: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_bert, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token_id": None}))
    encoder = TextEncoder(str(tmp_path), "word").eval()
    assert np.isfinite(encoder(encoder.collate([encoder.encode(words(4))])).units.detach().numpy()).all()
