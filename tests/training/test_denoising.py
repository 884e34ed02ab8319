"""The small encoder-decoder: what is cut out of texts, with which pieces, and what the shipped one fills in."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, T5ForConditionalGeneration

from avebench.data.opening import open_dataset
from avebench.nn.weights import ENCODERS, encoder_folder
from avebench.training.denoising import (
    IGNORED,
    SPECIAL,
    DenoisingRecipe,
    SpanCutter,
    build,
    denoising_accuracy,
    guess,
    marks,
)
from avebench.training.encoder_folders import CARD
from avebench.training.generator_pretraining import GeneratorPlan, byte_pair_tokenizer, pretrain_generator
from avebench.training.wordpieces import learn_byte_pairs

TINY = GeneratorPlan(
    60, 10, 300, 2, DenoisingRecipe(steps=3, layers=1, width=32, heads=2, feed_forward=64, batch_size=8)
)
MARKS = [90, 91, 92, 93]
TEXTS = ["a red dress", "red dresses, red  dress", "Rote Kleider"]


@given(st.integers(0, 40), st.integers(0, 99), st.floats(0.05, 0.9), st.floats(1, 6))
def test_what_is_cut_out_goes_back_where_it_was(length: int, seed: int, share: float, mean: float) -> None:
    row = list(range(3, 3 + length))
    read, written = SpanCutter(MARKS, share, mean)(row, torch.Generator().manual_seed(seed))
    assert read.pop() == written.pop() == SPECIAL.index("</s>")
    spans: dict[int, list[int]] = {}
    for piece in written:
        spans.setdefault(piece, []) if piece in MARKS else spans[list(spans)[-1]].append(piece)
    assert [piece for one in read for piece in spans.get(one, [one])] == row
    assert list(spans) == MARKS[: len(spans)] and all(spans.values())
    assert all(not {one, other} <= set(MARKS) for one, other in pairwise(read))
    hidden = sum(map(len, spans.values()))
    assert hidden == (0 if length < 2 else min(max(1, round(length * share)), length - 1))
    wanted = max(1, round(hidden / mean)) if hidden else 0
    assert len(spans) == min(wanted, length - hidden + 1, hidden, len(MARKS))


def test_any_piece_may_be_hidden() -> None:
    cutter, generator, hidden = SpanCutter(MARKS, 0.2, 2.0), torch.Generator().manual_seed(0), Counter[int]()
    for _ in range(4000):
        hidden.update(piece for piece in cutter(list(range(3, 13)), generator)[1] if 3 <= piece < 13)
    assert sum(hidden.values()) == 8000
    # One span of two pieces has nine places: it reaches the outer pieces from one of them, the others from two.
    assert [hidden[piece] / 4000 for piece in range(3, 13)] == pytest.approx([1 / 9, *[2 / 9] * 8, 1 / 9], abs=0.02)


@given(st.one_of(st.text(), st.sampled_from(TEXTS)))
def test_any_text_comes_back_from_its_pieces(text: str) -> None:
    tokenizer = byte_pair_tokenizer(TEXTS, TINY)
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id == 1 and tokenizer.pad_token_id == 0
    decoded = tokenizer.decode(ids[:-1], clean_up_tokenization_spaces=False)
    assert decoded == text or decoded == f" {text}"


def test_merges_of_bytes_worked_by_hand() -> None:
    pieces, merges = learn_byte_pairs(["ab ab", "ab b", "é"], ["<pad>"], 300)
    # With the space before it "ab" stands three times; the two bytes of é stand once.
    assert merges == [("a", "b"), ("Ġ", "ab")]
    assert pieces[0] == "<pad>" and pieces[257:] == ["ab", "Ġab"] and len(set(pieces[1:257])) == 256
    assert learn_byte_pairs(["ab ab"] * 3, [], 257)[1] == [("a", "b")]


def test_the_loss_and_the_accuracy_are_those_of_their_definitions() -> None:
    tokenizer = byte_pair_tokenizer(TEXTS, TINY)
    torch.manual_seed(0)
    model = build(replace(TINY.recipe, dropout=0.0), len(tokenizer)).eval()
    cutter = SpanCutter(tokenizer.convert_tokens_to_ids(marks(16)), 0.4, 2.0)
    rows = tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    read, written = cutter.batch(rows, torch.Generator().manual_seed(0))
    logits = guess(model, read, written)
    theirs = model(input_ids=read, attention_mask=(read != 0).long(), labels=written)
    assert torch.allclose(logits, theirs.logits, atol=1e-6)
    right = frequent = pieces = 0
    favourite = rows[0][0]
    for row, wanted in zip(logits.argmax(2).tolist(), written.tolist(), strict=True):
        for guessed, piece in zip(row, wanted, strict=True):
            if piece not in {IGNORED, 1, *cutter.marks}:
                right, frequent, pieces = right + (guessed == piece), frequent + (piece == favourite), pieces + 1
    found = denoising_accuracy(model, cutter, rows, favourite)
    assert (found.model, found.most_frequent) == pytest.approx((100 * right / pieces, 100 * frequent / pieces))
    assert found.pieces == pieces
    assert denoising_accuracy(model, cutter, [[], [5]], 0).pieces == 0


def test_the_same_call_gives_the_same_bytes(tmp_path: Path) -> None:
    one, _ = pretrain_generator("demo", tmp_path / "one", TINY)
    torch.rand(7)
    two, _ = pretrain_generator("demo", tmp_path / "two", TINY)
    names = {path.name for path in one.iterdir()}
    assert one == tmp_path / "one" / "demo-generator"
    assert {"config.json", "model.safetensors", "tokenizer.json", CARD} <= names
    for name in names - {CARD}:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    lines: list[str] = []
    plan = replace(TINY, recipe=replace(TINY.recipe, steps=120, learning_rate=3e-3))
    pretrain_generator("demo", tmp_path, plan, report=lines.append)
    losses = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("step")]
    assert losses[-1] < losses[0] - 0.5


def test_the_shipped_generator_fills_in_what_was_cut_out() -> None:
    folder = encoder_folder("demo", "generator")
    assert folder == ENCODERS / "demo-generator"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000
    tokenizer, model = AutoTokenizer.from_pretrained(folder), T5ForConditionalGeneration.from_pretrained(folder)
    model = model.float().eval()
    texts = [example.text for example in open_dataset("demo", None, {}).read("test")][:400]
    rows = tokenizer(texts, add_special_tokens=False)["input_ids"]
    cutter = SpanCutter(tokenizer.convert_tokens_to_ids(marks(16)), 0.15, 3.0)
    found = denoising_accuracy(model, cutter, rows, 0)
    card = json.loads((folder / CARD).read_text())["held_out"]
    assert found.model == pytest.approx(card["denoising_accuracy"], abs=5)
    assert found.model > 3 * card["most_frequent_piece"]
