"""Encoder-decoders as they lie on a disk: what is refused, and what of a folder tells cells apart."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig

from avebench.contracts.examples import Example
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.generative.encoder_decoder import EncoderDecoder
from avebench.models.generative.joint_ave import PROMPT
from avebench.nn.weights import weights_digest
from avebench.planning.cells import kind_of


def changed(folder: Path, target: Path, **options: object) -> str:
    shutil.copytree(folder, target)
    config = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(config | options))
    return str(target)


def test_what_is_no_generator_is_refused(tiny_bert: Path, tiny_t5: Path, tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="is 'bert'; generators are of type t5, mt5, bart"):
        EncoderDecoder(str(tiny_bert), 64)
    with pytest.raises(AvebenchError, match="do not fit its config"):
        EncoderDecoder(changed(tiny_t5, tmp_path / "wide", d_ff=48), 64)
    broken = changed(tiny_t5, tmp_path / "broken", model_type=None)
    with pytest.raises(AvebenchError, match="is 'None'"):
        EncoderDecoder(broken, 64)
    (Path(broken) / "config.json").write_text("{}")
    with pytest.raises(AvebenchError, match="names no model_type"):
        EncoderDecoder(broken, 64)
    with pytest.raises(AvebenchError, match="with --set generator=NAME"):
        EncoderDecoder("nobody/no-such-t5", 64)
    bare = changed(tiny_t5, tmp_path / "bare")
    (Path(bare) / "tokenizer.json").unlink()
    with pytest.raises(AvebenchError, match="There is no tokenizer in the generator"):
        EncoderDecoder(bare, 64)
    assert EncoderDecoder(changed(tiny_t5, tmp_path / "mt5", model_type="mt5"), 64).model.config.model_type == "mt5"


def test_weights_that_are_no_numbers_are_refused(tiny_t5: Path, tmp_path: Path) -> None:
    place = Path(changed(tiny_t5, tmp_path / "damaged"))
    weights = load_file(place / "model.safetensors")
    weights["shared.weight"][0, 0] = torch.nan
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(AvebenchError, match="damaged"):
        EncoderDecoder(str(place), 64)


def test_the_files_of_a_tokenizer_tell_generators_apart(tiny_bart: Path, tmp_path: Path) -> None:
    place = changed(tiny_bart, tmp_path / "copy")
    kind = kind_of("generator")
    whole = weights_digest(place, kind)
    assert kind == "generator" and whole == weights_digest(place, "text")
    for name in ("merges.txt", "spiece.model", "vocab.json"):
        (Path(place) / name).write_text("more")
        assert weights_digest(place, kind) != whole
        assert weights_digest(place, "text") == whole
        (Path(place) / name).unlink()


def test_writing_heeds_no_settings_of_the_folder(tiny_bart: Path, tmp_path: Path) -> None:
    place = Path(changed(tiny_bart, tmp_path / "strict"))
    GenerationConfig(no_repeat_ngram_size=1, min_length=9, num_beams=3, forced_bos_token_id=7).save_pretrained(place)
    example = Example("e", "red red dress", word_units("red red dress"))
    answers = []
    for folder in (tiny_bart, place):
        generator = EncoderDecoder(str(folder), 64).eval()
        answers.append(generator.write(generator.collate([generator.read(PROMPT, example)]), 1, 12))
    assert answers[0] == answers[1]


def test_units_begin_in_the_pieces_that_hold_their_first_character(tiny_bart: Path) -> None:
    generator = EncoderDecoder(str(tiny_bart), 48)
    text = "  red-dress \u200b é"
    example = Example("e", text, word_units(text))
    source = generator.read(PROMPT, example)
    found = generator.tokenizer(PROMPT + text, return_offsets_mapping=True)
    assert source.ids.tolist() == found["input_ids"] and source.truncated == 0
    for (start, _), piece in zip(example.tokens, source.first, strict=True):
        begin, end = found["offset_mapping"][piece]
        assert begin <= start + len(PROMPT) < end
