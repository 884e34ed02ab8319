"""What a constrained generator may write, against the language as a regular expression and partial matches of it."""

from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import regex
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.generative.codec import encode, encode_values, parse, parse_values, written_name
from avebench.models.generative.constraint import Constraint, piece_bytes
from avebench.models.generative.encoder_decoder import EncoderDecoder
from avebench.models.generative.joint_ave import PROMPT, Config, Model

NAMES = ("x", "x:y")
PIECES = [
    "</s>",
    "a",
    "b",
    "ab",
    ";",
    "▁",
    "▁;",
    "▁x",
    "x",
    "x:",
    "\\",
    "\\;",
    ":",
    "y",
    ":▁",
    "none",
    "▁no",
    "ne",
    "é",
]


def language(text: str, names: tuple[str, ...]) -> regex.Pattern[str]:
    """Return the pair lists of a text: every part of it that begins and ends with no white space is a value."""
    parts = {text[start:stop] for start, stop in combinations(range(len(text) + 1), 2)}
    values = {part for part in parts if part == part.strip()}
    pair = "|".join(regex.escape(encode([(name, value)], "list")) for name in names for value in values)
    pairs = f"(?:{pair})(?: ; (?:{pair}))*" if values else "(?!)"
    return regex.compile(f" ?(?:none|{pairs})")


def fake(decoder: Any) -> Any:
    model = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(PIECES)}, unk_token="a"))
    model.decoder = decoder
    wrapped = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>")
    return SimpleNamespace(tokenizer=wrapped, eos=0, pad=0, opening=(), place="the generator here")


@pytest.mark.parametrize("text", ["a b;a", "a", "", " ", "é\\a  b"])
def test_the_pieces_that_may_come_next_are_those_of_the_language(text: str) -> None:
    constraint = Constraint(fake(decoders.Metaspace()), [written_name(name) for name in NAMES])
    batch, pattern = constraint.of([text]), language(text, NAMES)
    spelled = [piece.replace("▁", " ") for piece in PIECES]
    waiting: list[tuple[int, ...]] = [()]
    checked = 0
    while waiting:
        written = waiting.pop()
        before = "".join(spelled[piece] for piece in written)
        expected = [n for n in range(1, len(PIECES)) if pattern.fullmatch(before + spelled[n], partial=True)]
        whole = pattern.fullmatch(before) is not None
        assert batch(0, torch.tensor([0, *written])) == ([0] if whole or not expected else []) + expected
        checked += 1
        if len(before) < 9:
            waiting += [(*written, piece) for piece in expected]
    assert checked > (5 if not text.strip() else 50)


def test_an_unknown_kind_of_tokenizer_is_refused() -> None:
    with pytest.raises(AvebenchError, match="neither spells bytes nor marks"):
        piece_bytes(fake(decoders.WordPiece()))


@pytest.mark.parametrize("generator", ["tiny_t5", "tiny_bart"])
def test_the_bytes_of_pieces_are_what_they_write(generator: str, request: pytest.FixtureRequest) -> None:
    loaded = EncoderDecoder(str(request.getfixturevalue(generator)), 64)
    pieces = piece_bytes(loaded)
    for text in ("color: red ; kind: sun dress", "a ; a"):
        ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert b"".join(pieces[piece] for piece in ids).decode().strip() == text


@pytest.mark.parametrize("generator", ["tiny_t5", "tiny_bart"])
def test_greedy_writing_takes_the_best_piece_of_the_language(generator: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(generator)
    schema = AttributeSchema(("color", "kind"))
    torch.manual_seed(0)
    config = Config(generator=str(folder), constrained=True, longest_answer=24)
    model = Model(config, schema, {}).eval()
    writer = model.generator
    pieces = piece_bytes(writer)
    for text in ("red", "a - es;2", "dress dress"):
        example = Example("e", text, word_units(text))
        pattern = language(text, schema.attributes)
        written = list(writer.opening)
        batch = writer.collate([writer.read(PROMPT, example)])
        while len(written) < 24 and writer.eos not in written:
            decoded = torch.tensor([[writer.start, *written]])
            with torch.no_grad():
                scores = writer.model(input_ids=batch["ids"], decoder_input_ids=decoded, use_cache=False).logits[0, -1]
            before = b"".join(pieces[piece] for piece in written[len(writer.opening) :]).decode()
            may = [p for p, one in pieces.items() if pattern.fullmatch(before + one.decode("latin1"), partial=True)]
            may += [writer.eos] if pattern.fullmatch(before) else []
            written.append(max(may, key=lambda piece: float(scores[piece])))
        expected = writer.tokenizer.decode(written, skip_special_tokens=True)
        (found,) = writer.write(batch, 1, 24, model._constraint.of([text]) if model._constraint else None)
        assert found == (expected, writer.eos not in written)
        (prediction,) = model.predict([example])
        assert prediction.written is not None and prediction.written.dropped == prediction.written.unknown == 0


@settings(max_examples=40)
@given(st.text(alphabet="ab ;:\\é", min_size=1, max_size=6))
def test_every_pair_list_of_a_text_may_be_written(text: str) -> None:
    constraint = Constraint(fake(decoders.Metaspace()), [written_name(name) for name in NAMES])
    (lists,) = constraint.of([text]).lists
    for start, stop in combinations(range(len(text) + 1), 2):
        value = text[start:stop]
        if not value.strip():
            continue
        states = lists.start
        written = encode([("x:y", value), ("x", value)], "list")
        for byte in written.encode():
            states = lists.after(states, byte)
        assert lists.whole(states) == (value == value.strip())
        (listed,) = Constraint(fake(decoders.Metaspace()), [""]).of([text]).lists
        states = listed.start
        for byte in encode_values([value, value]).encode():
            states = listed.after(states, byte)
        assert listed.whole(states) == (value == value.strip())
        if value == value.strip():
            assert parse_values(encode_values([value, value]), "x").pairs == (("x", value), ("x", value))
            assert parse(written, "list", NAMES).pairs == (("x:y", value), ("x", value))
