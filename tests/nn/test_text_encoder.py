"""One vector per unit: alignment on cases worked by hand, and equality with the full model of transformers."""

import json
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from avebench.contracts.examples import Example
from avebench.contracts.tagging import character_units, word_units
from avebench.files.errors import AvebenchError
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.weights import minilm_folder


def words(text: str) -> Example:
    return Example("1", text, word_units(text))


def characters(text: str) -> Example:
    return Example("1", text, character_units(text))


def pieces(encoder: TextEncoder, example: Example) -> list[list[str]]:
    """Return the word pieces of every unit, as the alignment has them."""
    encoded = encoder.encode(example)
    symbols = encoder.tokenizer.convert_ids_to_tokens(encoded.ids.tolist())
    return [symbols[start : start + count] for start, count in zip(encoded.first, encoded.counts, strict=True)]


def states(encoder: TextEncoder, *examples: Example) -> tuple[torch.Tensor, torch.Tensor]:
    encoder.eval()
    with torch.no_grad():
        return encoder(encoder.collate([encoder.encode(example) for example in examples]))


def test_words_split_into_pieces_keep_their_place(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "word")
    encoded = encoder.encode(words("Red sundresses 12-blue"))
    assert encoder.tokenizer.convert_ids_to_tokens(encoded.ids.tolist()) == [
        *("[CLS]", "red", "sun", "##dress", "##es", "12", "-", "blue", "[SEP]")
    ]
    assert encoded.first.tolist() == [1, 2, 5, 6, 7]
    assert encoded.counts.tolist() == [1, 3, 1, 1, 1]
    assert encoded.truncated == 0


def test_characters_never_merge(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "character")
    assert pieces(encoder, characters("黑色12裙x ")) == [["黑"], ["色"], ["1"], ["2"], ["裙"], ["[UNK]"], ["[UNK]"]]


def test_text_that_spells_a_special_symbol_is_text(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "word")
    text = "a [SEP] [PAD]"
    encoded = encoder.encode(Example("1", text, ((0, 1), (2, 7), (8, 13))))
    special = {encoder.tokenizer.cls_token_id, encoder.tokenizer.sep_token_id, encoder.tokenizer.pad_token_id}
    assert not special & set(encoded.ids[1:-1].tolist())


def test_control_characters_get_a_vector(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "word")
    example = Example("1", "red \x00 \u200b dress", ((0, 3), (4, 5), (6, 7), (8, 13)))
    assert pieces(encoder, example) == [["red"], ["[UNK]"], ["[UNK]"], ["dress"]]


def test_roberta_words_carry_the_space_before_them(tiny_roberta: Path) -> None:
    encoder = TextEncoder(str(tiny_roberta), "word")
    text = "dress a dress,blue"
    found = pieces(encoder, words(text))
    whole = encoder.tokenizer(text)["input_ids"]
    assert ["".join(unit) for unit in found] == ["dress", "Ġa", "Ġdress", ",", "blue"]
    assert encoder.encode(words(text)).ids.tolist() == whole


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("folder", ["tiny_bert", "tiny_roberta"])
def test_unit_states_equal_the_full_model(folder: str, pooling: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(folder)
    encoder = TextEncoder(str(path), "word", pooling)  # type: ignore[arg-type]
    examples = [words("a red sundress"), words(""), words("long dresses . blue dress")]
    units, cls = states(encoder, *examples)
    model = AutoModel.from_pretrained(path).eval()
    assert units.shape == (3, 5, 16) and cls.shape == (3, 16)
    for row, example in enumerate(examples):
        encoded = encoder.encode(example)
        with torch.no_grad():
            full = model(torch.tensor(encoded.ids[None].astype("int64"))).last_hidden_state[0]
        torch.testing.assert_close(cls[row], full[0])
        for unit, (start, count) in enumerate(zip(encoded.first, encoded.counts, strict=True)):
            expected = full[start] if pooling == "first" else full[start : start + count].mean(0)
            torch.testing.assert_close(units[row, unit], expected, atol=1e-5, rtol=1e-5)
        assert not units[row, len(example.tokens) :].any()


@pytest.mark.parametrize("folder", ["tiny_bert", "tiny_roberta"])
def test_embeddings_and_layers_equal_the_full_model(folder: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(folder)
    encoder = TextEncoder(str(path), "word").eval()
    batch = encoder.collate([encoder.encode(words(text)) for text in ("a red dress", "blue")])
    with torch.no_grad():
        embeddings = encoder.embed(batch["ids"])
        layers = encoder.layers(embeddings, batch["mask"])
        full = AutoModel.from_pretrained(path).eval()(
            batch["ids"], attention_mask=batch["mask"].long(), output_hidden_states=True
        )
    assert len(layers) == 2
    for ours, theirs in zip((embeddings, *layers), full.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("folder", "limit"), [("tiny_bert", 24), ("tiny_roberta", 22)])
def test_units_beyond_the_limit_are_reported(folder: str, limit: int, request: pytest.FixtureRequest) -> None:
    encoder = TextEncoder(str(request.getfixturevalue(folder)), "character")
    fits, longer = encoder.encode(characters("a" * (limit - 2))), encoder.encode(characters("a" * (limit + 3)))
    assert fits.truncated == 0 and len(fits.ids) == limit
    assert longer.truncated == 5 and len(longer.ids) == limit and len(longer.first) == limit - 2
    units, _ = states(encoder, characters("a" * (limit + 3)))
    assert units.shape[1] == limit - 2


def test_forgetting_pieces_changes_nothing(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a red dress", "a blue dress", "red sundresses", "a a a"]
    remembering, forgetful = TextEncoder(str(tiny_bert), "word"), TextEncoder(str(tiny_bert), "word")
    expected = [remembering.encode(words(text)).ids.tolist() for text in texts]
    monkeypatch.setattr("avebench.nn.unit_pieces._MEMO_LIMIT", 1)
    assert [forgetful.encode(words(text)).ids.tolist() for text in texts] == expected


def test_a_word_is_never_cut_in_two(tiny_bert: Path) -> None:
    encoder = TextEncoder(str(tiny_bert), "word")
    encoded = encoder.encode(words("a " * 20 + "sundresses a"))
    assert (len(encoded.first), encoded.truncated, len(encoded.ids)) == (20, 2, 22)


def test_minilm_alignment_on_its_own_word_pieces() -> None:
    try:
        folder = minilm_folder()
    except AvebenchError as error:
        pytest.skip(str(error))
    encoder = TextEncoder("minilm", "word")
    text = "Unbelievable crew-neck T-shirt, 100% cotton"
    assert encoder.encode(words(text)).ids.tolist() == AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert pieces(encoder, words("embellished neckline"))[0] == ["em", "##bell", "##ished"]
    assert pieces(TextEncoder("minilm", "character"), characters("12"))[0] == ["1"]
    units, cls = states(encoder, words(text))
    assert units.shape == (1, len(word_units(text)), 384) and cls.shape == (1, 384)


def test_nothing_is_fetched(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    TextEncoder(str(tiny_bert), "word")
    with pytest.raises(AvebenchError, match="neither a folder"):
        TextEncoder("nobody/nothing", "word")


def broken(tiny_bert: Path, folder: Path, fault: str) -> None:
    shutil.copytree(tiny_bert, folder, dirs_exist_ok=True)
    config, weights = folder / "config.json", folder / "model.safetensors"
    if fault == "no tokenizer":
        (folder / "vocab.txt").unlink()
    elif fault == "unreadable tokenizer":
        (folder / "tokenizer.json").write_text("{")
    elif fault == "no weights":
        weights.unlink()
    elif fault == "cut weights":
        weights.write_bytes(weights.read_bytes()[:999])
    elif fault == "pickle":
        weights.unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"embeddings": print}, protocol=2))
    elif fault == "longer vocabulary":
        with (folder / "vocab.txt").open("a", encoding="utf-8") as stream:
            stream.write("\nmore")
    else:
        changes = {"wrong shapes": {"intermediate_size": 8}, "too few layers": {"num_hidden_layers": 3}}
        changes |= {"another architecture": {"model_type": "distilbert"}, "unknown type": {"model_type": "nonsense"}}
        config.write_text(json.dumps(json.loads(config.read_text()) | changes[fault]))


FAULTS = ["no tokenizer", "unreadable tokenizer", "no weights", "cut weights", "pickle", "longer vocabulary"]
FAULTS += ["wrong shapes", "too few layers", "another architecture", "unknown type"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_encoder_is_one_clear_error(
    fault: str, tiny_bert: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken(tiny_bert, tmp_path, fault)
    with pytest.raises(AvebenchError) as caught:
        TextEncoder(str(tmp_path), "word")
    message = str(caught.value)
    assert str(tmp_path) in message and "\n" not in message and message.endswith(".") and "\x1b" not in message, message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("folder", "changes", "field"),
    [
        ("tiny_roberta", {"pad_token_id": None}, "pad_token_id is null"),
        ("tiny_roberta", {"pad_token_id": 1, "max_position_embeddings": 3}, "max_position_embeddings is 3"),
        ("tiny_roberta", {"pad_token_id": 1, "max_position_embeddings": 4}, "max_position_embeddings is 4"),
        ("tiny_bert", {"max_position_embeddings": 2}, "max_position_embeddings is 2"),
        ("tiny_bert", {"max_position_embeddings": "many"}, 'max_position_embeddings is "many"'),
    ],
)
def test_an_encoder_without_room_for_a_text_is_refused(
    folder: str,
    changes: dict[str, object],
    field: str,
    tmp_path: Path,
    refusal_of_config: Callable[[str, dict[str, object]], str],
) -> None:
    assert f"config.json of the encoder {tmp_path}, {field}" in refusal_of_config(folder, changes)
