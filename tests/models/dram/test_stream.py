"""How text and picture become states and tags: joint sequence, TEM, attention maps, and the authors' labelling."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from avebench.contracts.examples import AttributeSchema, Example, Picture, Span
from avebench.contracts.tagging import character_units, word_units
from avebench.models.dram.dram import Config, Model
from avebench.models.dram.text import TagSet
from avebench.planning.settings import merge

SCHEMA = AttributeSchema(("color", "kind"))
VOCABULARY = {"train_examples": 2, "mean_range": 1.0, "width": 20}


def shown(name: str, text: str, *spans: Span, colour: int | None = 10, units: Any = word_units) -> Example:
    picture = None if colour is None else Picture(f"p{colour}", lambda: striped(colour))
    return Example(name, text, units(text), spans, picture=picture)


def striped(colour: int) -> Image.Image:
    picture = Image.new("RGB", (8, 8), (colour, 200, 30))
    picture.paste((255, 0, colour), (0, 0, 3, 8))
    return picture


EXAMPLES = [
    shown("0", "a long red dress", Span("color", 7, 10)),
    shown("1", "sundress", Span("kind", 0, 8), colour=90),
    shown("2", "blue", Span("color", 0, 4), colour=None),
]


@pytest.fixture
def build(tiny_bert: Path, tiny_resnet: Path) -> Any:
    def make(schema: AttributeSchema = SCHEMA, **options: Any) -> Model:
        torch.manual_seed(0)
        given = {"text_encoder": str(tiny_bert), "image_encoder": str(tiny_resnet), "image_size": 8, **options}
        return Model(Config.model_validate(given), schema, VOCABULARY).eval()

    return make


def patches(model: Model, example: Example) -> torch.Tensor:
    assert model.pictures is not None
    return model.pictures(model.collate([model.encode(example)]))[0]


def joint_by_hand(model: Model, example: Example, position: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the states of one packed sequence, text and patches without a gap, and its first layer's attention."""
    bert, joint = model.text_encoder.model, model.stream.joint
    tables = bert.embeddings
    ids = model.text_encoder.encode(example).ids.tolist()
    rows = []
    for place, piece in enumerate(ids):
        place += position == "before"
        words = tables.word_embeddings.weight[piece] + joint.word_constant
        rows.append(words + tables.position_embeddings.weight[place] + tables.token_type_embeddings.weight[0])
    for number, patch in enumerate(patches(model, example) if example.picture is not None else []):
        place = {"shared": len(ids), "own": len(ids) + number, "before": 0}[position]
        tokens = joint.norm(joint.linear(patch)) + joint.object + tables.position_embeddings.weight[place]
        rows.append(tokens + tables.token_type_embeddings.weight[1])  # The third type starts as a copy of the second.
    states = tables.LayerNorm(torch.stack(rows))[None]
    own = bert.encoder.layer[0].attention.self
    query, key = own.query(states)[0], own.key(states)[0]
    heads = [
        (query[:, at : at + 8] @ key[:, at : at + 8].T / 8**0.5).softmax(dim=1) for at in range(0, query.size(1), 8)
    ]
    for layer in bert.encoder.layer:
        states = layer(states, None)
    return states[0, : len(ids)], (sum(heads) / len(heads))[: len(ids), len(ids) :]


@pytest.mark.parametrize("position", ["shared", "own", "before"])
@torch.no_grad()
def test_joint_states_are_those_of_one_packed_sequence_each(build: Any, position: str) -> None:
    model = build(fusion="concatenate", patch_position=position, visual_gamma=1.0)
    model.stream.joint.word_constant.normal_()
    read = model._read(model.collate([model.encode(example) for example in EXAMPLES]))
    for row, example in enumerate(EXAMPLES):
        states, attention = joint_by_hand(model, example, position)
        torch.testing.assert_close(read.last[row, : len(states)], states, atol=1e-5, rtol=1e-4)
        if example.picture is not None:
            found = model.explain(example).attention
            first = model.text_encoder.encode(example).first.tolist()
            torch.testing.assert_close(torch.from_numpy(found), attention[first])


@torch.no_grad()
def test_tem_adds_to_the_embeddings_before_the_encoder(build: Any) -> None:
    model = build(fusion="tem")
    tem, bert = model.stream.tem, model.text_encoder.model
    for matrix in tem.projections():
        matrix.mul_(30)
    read = model._read(model.collate([model.encode(example) for example in EXAMPLES]))
    for row, example in enumerate(EXAMPLES):
        encoded = model.text_encoder.encode(example)
        embeddings = bert.embeddings(torch.tensor([encoded.ids.tolist()]))
        grid = patches(model, example)[None]
        related, attention = tem(embeddings, grid)
        states = [embeddings + related]
        for layer in bert.encoder.layer:
            states.append(layer(states[-1], None))
        torch.testing.assert_close(read.last[row, : len(encoded.ids)], states[-1][0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(read.cls_previous[row], states[-2][0, 0], atol=1e-5, rtol=1e-4)
        if example.picture is not None:
            found = torch.from_numpy(model.explain(example).attention)
            torch.testing.assert_close(found, attention[0, encoded.first.tolist()])
        else:
            assert not grid.any()


def test_v_irc_is_blind_until_its_scale_moves(build: Any) -> None:
    """With gamma 0 all patches of all pictures are the same token."""
    model = build(fusion="concatenate")
    other = shown("0", EXAMPLES[0].text, colour=250)
    first, second = (
        model._read(model.collate([model.encode(example)])).last.detach() for example in (EXAMPLES[0], other)
    )
    assert not torch.equal(patches(model, EXAMPLES[0]), patches(model, other))
    assert torch.equal(first, second)


def test_a_frozen_encoder_is_no_part_of_the_model(build: Any) -> None:
    tuned, frozen = build(fusion="tem"), build(fusion="tem", image_tuned=False)
    assert any(name.startswith("pictures.") for name in tuned.state_dict())
    assert not any(name.startswith("pictures.") for name in frozen.state_dict())
    assert tuned.parameter_groups()["image_encoder"] and not frozen.parameter_groups()["image_encoder"]
    torch.testing.assert_close(patches(tuned, EXAMPLES[0]), patches(frozen, EXAMPLES[0]), atol=1e-2, rtol=1e-2)
    assert len(tuned.parameter_groups()["tem"]) == 8  # A rate of its own: it stands in front of the encoder.
    assert tuned.config.pretrained().keys() == {"text_encoder", "image_encoder"}
    assert build(fusion="tem-text").config.pretrained().keys() == {"text_encoder"}


def test_frozen_projections_of_tem_are_not_trained(build: Any) -> None:
    model = build(fusion="tem", tem_projections="frozen")
    assert not any(matrix.requires_grad for matrix in model.stream.tem.projections())
    assert model.stream.tem.out.weight.requires_grad


@pytest.mark.parametrize(("blank", "continuation", "size"), [(False, False, 53), (True, False, 54), (True, True, 55)])
def test_number_of_tags(blank: bool, continuation: bool, size: int) -> None:
    """26 attributes have 2N + 1 tags; the authors' 27 with [PAD] and the blank tag have 56."""
    assert len(TagSet([str(number) for number in range(26)], blank=blank, continuation=continuation)) == size
    assert len(TagSet([str(number) for number in range(27)], blank=True)) == 56


def released(build: Any, schema: AttributeSchema, **options: Any) -> Model:
    preset = dict(Config.presets["released"])
    training = merge(Config().model_dump(mode="json")["training"], preset.pop("training"))
    return build(schema, **{**preset, "training": training, **options})


def test_released_labelling_of_words(build: Any) -> None:
    """sundresses is sun ##dress ##es: B X X of its own; [CLS] and [SEP] are blank; the rest is padding."""
    model = released(build, SCHEMA, fusion="none")
    text = "long sundresses a"
    encoded = model.encode(Example("1", text, word_units(text), (Span("kind", 5, 15),)))
    assert [model.labels[tag] for tag in encoded.tags] == ["BLANK", "O", "B-kind", "X", "X", "O", "BLANK"]
    batch = model.collate([encoded])
    assert batch["ids"].shape == (1, 20) and batch["scored"] == [7] and batch["lengths"] == [20]
    path = [model.labels.index(tag) for tag in ("BLANK", "B-color", "X", "O", "O", "I-color", "BLANK")]
    spans = model.labeller.spans(encoded.text, path, model.tags, "lenient")
    assert spans == [Span("color", 0, 17)]


def test_released_labelling_shifts_tags_against_latin_letters(build: Any) -> None:
    """Of the characters of 12黑色, 1 and 2 are one piece: the tag of 黑 stands where the encoder reads 色."""
    schema = AttributeSchema(("color",), "character")
    text = "12黑色"
    example = Example("1", text, character_units(text), (Span("color", 2, 4),))
    model = released(build, schema, fusion="none")
    encoded = model.encode(example)
    pieces = model.text_encoder.tokenizer.convert_ids_to_tokens(encoded.text.pieces.ids.tolist())
    assert pieces == ["[CLS]", "12", "黑", "色", "[SEP]"]
    assert [model.labels[tag] for tag in encoded.tags] == ["BLANK", "O", "O", "B-color", "I-color"]
    assert model.labeller.spans(encoded.text, encoded.tags.tolist(), model.tags, "lenient") == list(example.spans)
    ours = build(schema, fusion="none")
    encoded = ours.encode(example)
    pieces = ours.text_encoder.tokenizer.convert_ids_to_tokens(encoded.text.pieces.ids.tolist())
    assert pieces == ["[CLS]", "1", "2", "黑", "色", "[SEP]"]
    assert [ours.labels[tag] for tag in encoded.tags] == ["O", "O", "B-color", "I-color"]


def test_padding_is_seen_where_the_authors_see_it(build: Any) -> None:
    """The amount of padding changes what TEM and BERT return, unless it is masked."""
    for options, seen in (({"pad_mask": "concatenate"}, True), ({"pad_mask": "always"}, False)):
        states = []
        for width in (8, 16):
            model = build(fusion="tem", labelling="pieces", padded_length=width, **options)
            states.append(model._read(model.collate([model.encode(EXAMPLES[1])])).last[0, :3].detach())
        assert torch.allclose(*states, atol=1e-6) is not seen


def test_texts_are_padded_to_the_longest_of_training_or_as_told(build: Any) -> None:
    characters = AttributeSchema(("color",), "character")
    long = Example("1", "黑" * 9, character_units("黑" * 9))
    assert Model.learn_vocabulary(Config(), characters, [long])["width"] == 11
    assert Model.learn_vocabulary(Config(), SCHEMA, EXAMPLES)["width"] == 128
    assert build(pad_mask="never").collate([build().encode(EXAMPLES[1])])["ids"].size(1) == 20
    assert build(pad_mask="never", padded_length=7).labeller.width == 7
    assert build().labeller.width is None


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValidationError, match="continuation_tag needs labelling 'pieces'"):
        Config(continuation_tag=True)
    with pytest.raises(ValidationError, match="self_attention_layer needs fusion 'concatenate'"):
        Config(self_attention_layer=True, fusion="tem")


def test_diagnostics_are_sizes_of_what_was_added(build: Any) -> None:
    tagger = build(fusion="tem", image_tuned=False)
    batch = tagger.collate([tagger.encode(example) for example in EXAMPLES[:1]])
    with torch.no_grad():
        embeddings = tagger.text_encoder.embed(batch["ids"])
        patches = tagger.pictures(batch)
        tem = tagger.stream.tem
        whole, weights = tem(embeddings, patches, batch["mask"])
        picture = (weights @ (patches @ tem.v_v)) @ tem.out.weight.T
        found = tagger.diagnostics(batch)
    assert found["related_to_embeddings"] == pytest.approx(float(whole.norm() / embeddings.norm()), rel=1e-4)
    assert found["picture_to_embeddings"] == pytest.approx(float(picture.norm() / embeddings.norm()), rel=1e-4)
    joint = build(fusion="concatenate", visual_gamma=0.5)
    assert joint.diagnostics(joint.collate([joint.encode(EXAMPLES[0])])) == {"visual_gamma": 0.5}
    plain = build(fusion="none")
    assert plain.diagnostics(plain.collate([plain.encode(EXAMPLES[0])])) == {}
