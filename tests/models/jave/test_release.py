"""The files of the JAVE release as input: made-up ones in the same format, and the public sample where it is here."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import character_units
from avebench.files.errors import AvebenchError
from avebench.models.jave import jave, m_jave
from avebench.models.jave.release import PrecomputedTexts, read_vocabulary
from avebench.nn.weights import weights_digest
from avebench.training.loop import train

SCHEMA = AttributeSchema(("裙长", "颜色"), "character")
TEXTS = (("红色长裙", (("颜色", 0, 2), ("裙长", 2, 3))), ("裙子", ()), ("蓝色裙子长", (("颜色", 0, 2),)))
WIDTH, LIMIT, REGIONS, CHANNELS = 6, 4, 3, 5


def example(number: int) -> Example:
    text, marks = TEXTS[number]
    spans = tuple(Span(*mark) for mark in marks)
    pairs = pairs_from_spans(text, spans)
    return Example(f"s_{number}", text, character_units(text), spans, pairs, product_id=f"c_{number}")


EXAMPLES = [example(number) for number in range(len(TEXTS))]
NUMBERS = np.random.default_rng(0)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a folder as the release has it: `embedded` and `vocab`, rows in another order than the examples."""
    embedded, vocabulary = tmp_path / "embedded", tmp_path / "vocab"
    embedded.mkdir()
    vocabulary.mkdir()
    for kind, ids, shape in (("txts", "s", (LIMIT, WIDTH)), ("imgs", "c", (REGIONS, CHANNELS))):
        np.save(embedded / f"{kind}.embedded.npy", NUMBERS.normal(size=(4, *shape)).astype(np.float32))
        np.save(embedded / f"{kind}.embeddedG.npy", NUMBERS.normal(size=(4, shape[1])).astype(np.float32))
        rows = "\n".join(f"{ids}_{number}" for number in (9, 2, 0, 1)) + "\n"
        (embedded / f"{'sids_of_txts' if ids == 's' else 'cids_of_imgs'}").write_text(rows)
    names = ("颜色", "裙长", "材质")
    write(vocabulary / "vocab.label", *names)
    write(vocabulary / "vocab.bio", "O", *(f"{prefix}-{name}" for name in names for prefix in "BI"))
    write(vocabulary / "vocab.word", *"裙红蓝色长")
    return tmp_path


def write(path: Path, *rows: str) -> None:
    path.write_text("\n".join(("[PAD]", "[UNK]", *rows)) + "\n", encoding="utf-8")


def build(module: Any, release: Path, **options: Any) -> Any:
    given: dict[str, Any] = {"text_encoder": str(release / "embedded"), "released_vocabulary": str(release / "vocab")}
    if module is m_jave:
        given["image_encoder"] = str(release / "embedded")
    config = module.Config(**{**given, "inner": 8, **options})
    torch.manual_seed(0)
    return module.Model(config, SCHEMA, module.Model.learn_vocabulary(config, SCHEMA, EXAMPLES))


def test_states_are_the_rows_of_the_sentence_ids(release: Path) -> None:
    states = np.load(release / "embedded" / "txts.embedded.npy")
    sentences = np.load(release / "embedded" / "txts.embeddedG.npy")
    model = build(jave, release)
    encoded = [model.encode(one) for one in EXAMPLES]
    assert [model.truncated(one) for one in encoded] == [0, 0, 1], "the arrays have four states a sentence"
    found, sentence = model.texts(model.collate(encoded))
    assert found.shape == (3, LIMIT, WIDTH)
    for row, (place, length) in enumerate(((2, 4), (3, 2), (1, 4))):
        np.testing.assert_array_equal(found[row, :length], states[place, :length])
        assert not found[row, length:].any()
        np.testing.assert_array_equal(sentence[row], sentences[place])


def test_pictures_have_the_regions_and_the_pooled_vectors_of_the_files(release: Path) -> None:
    model = build(m_jave, release)
    patches, pooled = model._pictures(model.collate([model.encode(one) for one in EXAMPLES]))
    for file, found in (("imgs.embedded.npy", patches), ("imgs.embeddedG.npy", pooled)):
        np.testing.assert_array_equal(found, np.load(release / "embedded" / file)[[2, 3, 1]])


@pytest.mark.parametrize("module", [jave, m_jave])
def test_a_holder_of_the_files_trains_without_an_encoder(module: Any, release: Path, tmp_path: Path) -> None:
    model = build(module, release)
    config = model.config.training.model_copy(
        update={"steps": 60, "epochs": None, "selection": "last", "learning_rates": {"default": 1e-2}}
    )
    train(model, EXAMPLES[:2], [], config=config, repetition=0, folder=tmp_path / "run", score=lambda found: {})
    for one, prediction in zip(EXAMPLES[:2], model.predict(EXAMPLES[:2]), strict=True):
        assert set(prediction.spans) == set(one.spans) and set(prediction.attributes) == set(one.pairs)
    cut = model.predict([EXAMPLES[2]])[0]
    assert all(span.end <= LIMIT for span in cut.spans), "what has no state is tagged O"


def test_the_vocabulary_fixes_the_order(release: Path) -> None:
    model = build(jave, release, encoder="lstm", lstm_hidden=4, embedding=4)
    assert model.labels == ["[PAD]", "[UNK]", "颜色", "裙长", "材质"]
    assert model.tags[2:5] == ["O", "B-颜色", "I-颜色"] and len(model.tags) == 9
    ids = model.encode(EXAMPLES[2]).text.content
    assert ids.tolist() == [4, 5, 2, 1, 6], "numbered as in vocab.word, 1 for a character that it lacks"


def replace(file: str, *rows: str) -> Any:
    return lambda folder: write(folder / "vocab" / file, *rows)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replace("vocab.bio", "O", "B-颜色"), r"vocab\.bio, line 5: '' stands where vocab\.label asks for 'I-颜色'"),
        (replace("vocab.bio", "B-颜色"), r"vocab\.bio, line 3: 'B-颜色' stands where vocab\.label asks for 'O'"),
        (replace("vocab.word", "红", "红"), r"vocab\.word, line 4: '红' is there twice"),
        (lambda folder: (folder / "vocab" / "vocab.label").write_text("颜色\n"), r"vocab\.label, line 1: .*\[PAD\]"),
        (lambda folder: (folder / "vocab" / "vocab.word").unlink(), r"vocab\.word.*cannot be read"),
        (lambda folder: (folder / "vocab" / "vocab.bio").write_bytes(b"[PAD]\n\xff\n"), r"vocab\.bio, line 2.*UTF-8"),
    ],
)
def test_broken_vocabularies(spoil: Any, message: str, release: Path) -> None:
    spoil(release)
    with pytest.raises(AvebenchError, match=message):
        read_vocabulary(release / "vocab", SCHEMA.attributes)


def test_data_with_other_attributes(release: Path) -> None:
    with pytest.raises(AvebenchError, match="lacks the attribute 'colour'"):
        read_vocabulary(release / "vocab", ["颜色", "colour"])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "txts.embedded.npy").unlink(), r"txts\.embedded\.npy.*missing.*full release"),
        (lambda folder: np.save(folder / "txts.embeddedG.npy", np.zeros((3, 6))), r"\(n, D\) with n = 4"),
        (lambda folder: np.save(folder / "txts.embedded.npy", np.zeros((4, 6))), r"\(n, L, D\) with n = 4"),
        (lambda folder: (folder / "sids_of_txts").write_text("s_1\ns_1\n"), r"sids_of_txts, line 2: the id 's_1'"),
    ],
)
def test_broken_arrays(spoil: Any, message: str, release: Path) -> None:
    spoil(release / "embedded")
    with pytest.raises(AvebenchError, match=message):
        PrecomputedTexts(release / "embedded")


def test_a_sentence_that_the_arrays_lack(release: Path) -> None:
    model = build(jave, release)
    with pytest.raises(AvebenchError, match="no row for the example 's_7'"):
        model.encode(Example("s_7", "裙", character_units("裙")))


def test_files_count_by_their_content_in_a_cell(release: Path) -> None:
    def digests() -> list[str]:
        return [weights_digest(str(release / "embedded"), "text"), weights_digest(str(release / "vocab"), "files")]

    before = digests()
    np.save(release / "embedded" / "txts.embeddedG.npy", np.zeros((4, WIDTH), np.float32))
    write(release / "vocab" / "vocab.word", "裙")
    assert set(before).isdisjoint(digests())


def test_public_sample() -> None:
    folder = Path(os.environ.get("AVEBENCH_DATA", "")) / "mepave-sample"
    if not os.environ.get("AVEBENCH_DATA") or not folder.is_dir():
        pytest.skip("AVEBENCH_DATA holds no mepave-sample")
    from avebench.data.opening import open_dataset

    dataset = open_dataset("mepave", folder, {"missing_images": "blank"})
    found = read_vocabulary(folder / "vocab", dataset.schema().attributes)
    assert (len(found["attributes"]), len(found["units"])) == (26, 2768)
    config = jave.Config(encoder="lstm", released_vocabulary=str(folder / "vocab"))
    examples = list(dataset.read("train"))
    model = jave.Model(config, dataset.schema(), jave.Model.learn_vocabulary(config, dataset.schema(), examples))
    assert (len(model.labels), len(model.tags)) == (28, 55)
    known = [id for one in examples for id in model.encode(one).text.content]
    assert known.count(1) < 0.02 * len(known), "nearly all characters are in the released vocabulary"
    with pytest.raises(AvebenchError, match=r"txts\.embedded\.npy.*missing"):
        PrecomputedTexts(folder / "embedded")
