"""OpenTag's attention against its formula, its loss against pytorch-crf, and the files of pretrained vectors."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchcrf

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models import opentag
from avebench.nn import word_vectors
from avebench.nn.word_vectors import UnitEmbeddings, learn_units, read_vectors

SCHEMA = AttributeSchema(("color", "kind"))


def example(number: int, text: str, *spans: Span) -> Example:
    return Example(f"e{number}", text, word_units(text), spans, pairs_from_spans(text, spans))


EXAMPLES = [
    example(0, "Red dress", Span("color", 0, 3), Span("kind", 4, 9)),
    example(1, "a blue dress , long", Span("color", 2, 6), Span("kind", 7, 12)),
    example(2, ""),
]


def build(**options: Any) -> opentag.Model:
    config = opentag.Config(**{"embedding": 6, "hidden": 4, "attention_inner": 3, "min_count": 1, **options})
    torch.manual_seed(0)
    vocabulary = json.loads(json.dumps(opentag.Model.learn_vocabulary(config, SCHEMA, EXAMPLES)))
    return opentag.Model(config, SCHEMA, vocabulary)


def test_attention_is_that_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    attention = opentag.SigmoidAttention(4, 3).double()
    rng = np.random.default_rng(0)
    states, lengths = rng.normal(size=(2, 5, 4)), [5, 3]
    mask = torch.arange(5) < torch.tensor(lengths).unsqueeze(1)
    w, b_g = (tensor.detach().numpy() for tensor in (attention.query.weight, attention.query.bias))
    u, w_a, b_a = (
        tensor.detach().numpy() for tensor in (attention.key.weight, attention.score.weight[0], attention.score.bias)
    )
    expected = np.zeros_like(states)
    for row, length in enumerate(lengths):
        for i in range(5):
            for j in range(length):
                g = np.tanh(w @ states[row, i] + u @ states[row, j] + b_g)
                expected[row, i] += states[row, j] / (1 + np.exp(-(w_a @ g + b_a[0])))
    found = attention(torch.from_numpy(states), mask)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-10)
    monkeypatch.setattr(opentag, "HELD_NUMBERS", 1)  # One query at a time.
    torch.testing.assert_close(attention(torch.from_numpy(states), mask), found)


@pytest.mark.parametrize("system", ["opentag", "bilstm-crf"])
def test_loss_is_the_mean_likelihood_of_pytorch_crf(system: str) -> None:
    model = build(system=system).eval()
    assert (model.attention is None) is (system == "bilstm-crf")
    total = 0.0
    for one in EXAMPLES[:2]:  # An empty text has likelihood 1.
        batch = model.collate([model.encode(one)])
        emissions, _ = model._emissions(batch)
        reference = torchcrf.CRF(len(model.labels), batch_first=True)
        reference.load_state_dict(model.crf.state_dict())
        total -= reference(emissions, batch["tags"]).item()
    found = model(model.collate([model.encode(one) for one in EXAMPLES]))["crf"].item()
    assert found == pytest.approx(total / 3, rel=1e-5)


def test_units_are_learnt_by_frequency_and_rare_ones_are_unknown() -> None:
    assert learn_units(EXAMPLES) == ["dress", ",", "a", "blue", "long", "red"]
    assert learn_units(EXAMPLES, 2) == ["dress"]
    model = build(min_count=2)
    assert model.encode(EXAMPLES[1]).ids.tolist() == [1, 1, 2, 1, 1]
    assert model.encode(EXAMPLES[0]).tags.tolist() == [1, 3]


def vectors(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("head", ["", "4 2\n"])
def test_reads_glove_and_word2vec(tmp_path: Path, head: str) -> None:
    text = f"{head}Red 1 2\nred 3 4\n. . . -1e-1 .5\r\n\nno\u00a0break 5\t6\n"
    words, table = read_vectors(vectors(tmp_path / "v.txt", text))
    assert words == ["red", ". . .", "no\u00a0break"], "of equal words the first, also where case differs"
    np.testing.assert_array_equal(table, np.array([[1, 2], [-0.1, 0.5], [5, 6]], np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("red 1 2\nblue 1\n", r"v\.txt, line 2: it holds a word and 1 numbers, not 2"),
        ("red 1 2\nblue 1 x\n", r"v\.txt, line 2: could not convert string to float"),
        ("red 1 2\nblue 1 2 3\n", r"v\.txt, line 2: it holds more numbers than the 2"),
        ("red 1 2\nblue nan 2\n", r"v\.txt, line 2: a number is not finite"),
        ("red\n", r"v\.txt, line 1: it holds no numbers"),
        (b"red 1 2\n\xff 1 2\n", r"v\.txt, line 2: the word is not UTF-8"),
        ("3 2\nred 1 2\n", r"v\.txt: the first line promises 3 vectors, but 1 follow"),
        ("", r"v\.txt: it holds no vectors"),
        ("5 0\n", r"v\.txt: the first line promises 5"),
    ],
)
def test_broken_vectors_are_named_with_their_line(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(AvebenchError, match=message):
        read_vectors(vectors(tmp_path / "v.txt", text))


def test_a_missing_file_of_vectors(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"cannot be read.*vectors"):
        build(vectors=str(tmp_path / "none.txt"))


def test_pretrained_vectors_are_used_also_for_words_that_training_lacks(tmp_path: Path) -> None:
    path = vectors(tmp_path / "v.txt", "red 1 2\nGreen 3 4\n")
    embeddings = UnitEmbeddings(["dress", "red"], 50, str(path))
    assert embeddings.size == 2
    ids = embeddings.ids(example(0, "RED green odd dress"))
    assert ids.tolist() == [3, 4, word_vectors.UNKNOWN, 2]
    found = embeddings(torch.from_numpy(np.array([[*ids, word_vectors.PADDING]], dtype=np.int64)))[0]
    torch.testing.assert_close(found[:2], torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    torch.testing.assert_close(found[2], embeddings.table.weight[1])
    assert not found[4].any(), "padding is zero"
    assert "others" not in embeddings.state_dict(), "what only the file has is not stored with the model"
    found.sum().backward()
    assert embeddings.table.weight.grad is not None
    assert not UnitEmbeddings(["red"], 50, str(path), tuned=False).table.weight.requires_grad


def test_vectors_count_by_their_content_in_a_cell(tmp_path: Path) -> None:
    from avebench.nn.weights import weights_digest

    one, same, other = (
        vectors(tmp_path / name, text) for name, text in (("a.txt", "x 1"), ("b.txt", "x 1"), ("c.txt", "x 2"))
    )
    assert opentag.Config(vectors=str(one)).pretrained() == {"vectors": str(one)}
    assert weights_digest(str(one), "files") == weights_digest(str(same), "files")
    assert weights_digest(str(one), "files") != weights_digest(str(other), "files")
    with pytest.raises(AvebenchError, match=r"no file or folder .*none\.txt"):
        weights_digest(str(tmp_path / "none.txt"), "files")
