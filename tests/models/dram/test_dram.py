"""What is DRAM's own: tags, groups, defaults of the paper, units beyond the encoder's limit."""

from pathlib import Path

import torch
import torchcrf
from torchvision.models import resnet152
from transformers import BertConfig, BertModel

from avebench.contracts.examples import AttributeSchema, Example, Span
from avebench.contracts.tagging import character_units, word_units
from avebench.models.dram.dram import Config, Model

SCHEMA = AttributeSchema(("color", "kind"))


def model(folder: Path, **options: object) -> Model:
    torch.manual_seed(0)
    return Model(Config.model_validate({"text_encoder": str(folder), **options}), SCHEMA, {})


def test_defaults_are_the_journals() -> None:
    config = Config()
    assert config.pretrained() == {"text_encoder": "uer/chinese_roberta_L-4_H-512"}
    training = config.training
    assert (training.optimizer, training.learning_rates, training.schedule) == ("adam", {"default": 5e-5}, "constant")
    assert (training.batch_size, training.epochs, training.clip_norm, config.dropout) == (70, 45, 5.0, 0.2)


def test_architecture_and_loss_equal_the_formula(tiny_bert: Path) -> None:
    """BERT, BiLSTM, Linear and CRF put together by hand, sentence by sentence, with pytorch-crf's likelihood."""
    tagger = model(tiny_bert).eval()
    assert tagger.labels == ["O", "B-color", "I-color", "B-kind", "I-kind"]
    examples = [
        Example("1", "a red sundress", word_units("a red sundress"), (Span("color", 2, 5), Span("kind", 6, 14))),
        Example("2", "sundresses", word_units("sundresses"), (Span("kind", 0, 10),)),
        Example("3", "long long dress . a", word_units("long long dress . a"), (Span("kind", 0, 15),)),
    ]
    tags = [[0, 1, 3], [3], [3, 4, 4, 0, 0]]
    crf = torchcrf.CRF(5, batch_first=True)
    crf.load_state_dict(tagger.decoder.crf.state_dict())
    losses = []
    for example, gold in zip(examples, tags, strict=True):
        encoded = tagger.text_encoder.encode(example)
        with torch.no_grad():
            states = tagger.text_encoder.model(torch.tensor([encoded.ids.tolist()])).last_hidden_state
            units = states[:, encoded.first.tolist()]
            emissions = tagger.decoder.linear(tagger.decoder.lstm(units)[0])
            losses.append(-crf(emissions, torch.tensor([gold]), torch.ones(1, len(gold), dtype=torch.bool)))
    with torch.no_grad():
        found = tagger(tagger.collate([tagger.encode(example) for example in examples]))
    torch.testing.assert_close(found["crf"], torch.stack(losses).mean())


def test_units_beyond_the_limit_are_tagged_outside(tiny_bert: Path) -> None:
    schema = AttributeSchema(("color",), "character")
    tagger = Model(Config(text_encoder=str(tiny_bert), long_texts="cut"), schema, {})
    with torch.no_grad():
        tagger.decoder.crf.end_transitions.zero_()
        tagger.decoder.linear.bias[1] = 1e3  # Every unit that is tagged at all becomes a value of its own.
    example = Example("1", "a" * 40, character_units("a" * 40), (Span("color", 30, 35),))
    assert tagger.truncated(tagger.encode(example)) == 18
    (prediction,) = tagger.predict([example])
    assert prediction.spans == tuple(Span("color", place, place + 1) for place in range(22))


def test_chunk_scheme_decides_what_an_orphan_inside_tag_is(tiny_bert: Path) -> None:
    text = "red dress"
    example = Example("1", text, word_units(text))
    for scheme, expected in (("lenient", (Span("color", 0, 9),)), ("strict", ())):
        tagger = model(tiny_bert, chunk_scheme=scheme)
        with torch.no_grad():
            tagger.decoder.linear.bias[2] = 1e3  # I-color everywhere.
        assert tagger.predict([example])[0].spans == expected


def test_two_learning_rates_reach_the_encoder_and_the_new_layers(tiny_bert: Path) -> None:
    groups = model(tiny_bert).parameter_groups()
    assert {name for name, group in groups.items() if group} == {"text_encoder", "default"}
    hidden, tags = 16, 5
    lstm = 2 * (4 * 8 * (16 + 8) + 2 * 4 * 8)
    new = lstm + hidden * tags + tags + tags * tags + 2 * tags
    assert sum(parameter.numel() for parameter in groups["default"]) == new
    assert Config.presets["lr-b"]["training"]["learning_rates"]["text_encoder"] == 5e-5


def test_total_of_the_released_mepave_model(tmp_path: Path) -> None:
    """90,437,111 values, as the size of the released checkpoint says: with BERT's pooler and BatchNorm's statistics."""
    shape = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
    BertModel(BertConfig(vocab_size=21_128, **shape)).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    torch.save(resnet152().state_dict(), tmp_path / "resnet152.pth")
    options = {
        **{name: value for name, value in Config.presets["released"].items() if name != "training"},
        "continuation_tag": False,  # X is MAE's.
        "fusion": "tem",
        "arm": "prototype",
        "text_encoder": str(tmp_path),
        "image_encoder": str(tmp_path / "resnet152.pth"),
        "image_size": 32,
    }
    schema = AttributeSchema(tuple(f"a{number}" for number in range(26)), "character")
    released = Model(Config.model_validate(options), schema, {"train_examples": 70, "mean_range": 2.0, "width": 48})
    buffers = released.named_buffers()
    statistics = sum(len(buffer) for name, buffer in buffers if name.endswith(("running_mean", "running_var")))
    pooler = 512 * 512 + 512  # Ours has none: nothing reads it.
    assert statistics == 151_424
    assert sum(parameter.numel() for parameter in released.parameters()) + pooler + statistics == 90_437_111
