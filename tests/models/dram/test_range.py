"""The range module as a whole: the journal's worked example, losses pair by pair, validation, resume, memory."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchcrf
from PIL import Image

from avebench.contracts.examples import AttributeSchema, Example, Picture, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.models.dram.dram import Config, Model
from avebench.scoring.evaluation import validation_metrics
from avebench.scoring.metrics import score
from avebench.training.loop import train

TEXT = "13 inch bag matched with sliver laptop computers"
WALK = AttributeSchema(("bag_size", "cont_type", "bag_thick", "bag_color"))
SCHEMA = AttributeSchema(("color", "kind", "length"))
VOCABULARY = {"train_examples": 8, "mean_range": 2.0, "width": 24}


def sentence(name: str, text: str, *spans: Span, picture: int | None = None) -> Example:
    shown = None if picture is None else Picture(f"p{picture}", lambda: Image.new("RGB", (8, 8), (picture, 90, 10)))
    return Example(name, text, word_units(text), spans, pairs_from_spans(text, spans), picture=shown)


WALKED = sentence("walk", TEXT, Span("bag_size", 0, 7), Span("cont_type", 32, 48))
SENTENCES = [
    sentence("0", "a red dress", Span("color", 2, 5), Span("kind", 6, 11), picture=1),
    sentence("1", "blue sundress", Span("color", 0, 4), Span("kind", 5, 13)),
    sentence("2", "long dress 12", Span("length", 0, 4), Span("kind", 5, 10), picture=2),
]


def model(folder: Path, schema: AttributeSchema = SCHEMA, **options: Any) -> Model:
    torch.manual_seed(0)
    given = {"text_encoder": str(folder), "arm": "prototype", "warmup_share": 0.0, **options}
    return Model(Config.model_validate(given), schema, VOCABULARY)


def fix_scores(tagger: Model, rows: list[list[float]], monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Let the classifier return these scores, whatever it reads; return its logits."""
    logits = torch.tensor(rows).logit()
    monkeypatch.setattr(tagger.classifier, "forward", lambda previous, last: logits)
    return logits


def test_the_journals_walk_through(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Section 3.2.2 of the journal, step by step."""
    tagger = model(tiny_bert, WALK).eval()
    logits = fix_scores(tagger, [[0.7, 0.4, 0.6, 0.3]], monkeypatch)
    batch = tagger.collate([tagger.encode(WALKED)])
    assert batch["lengths"] == [8] and batch["gold"].tolist() == [[True, True, False, False]]

    seen: dict[str, torch.Tensor] = {}
    loss = tagger.decoder.loss

    def spy(states: torch.Tensor, lengths: Any, tags: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen["tags"] = tags
        return loss(states, lengths, tags, *rest)

    monkeypatch.setattr(tagger.decoder, "loss", spy)
    parts = tagger(batch)
    labels = [[tagger.labels[tag][0] for tag in row] for row in seen["tags"].tolist()]
    assert labels == [list("BIOOOOOO"), list("OOOOOOOO")]  # bag_size, bag_thick; none for cont_type.
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    bce = -(target * logits.sigmoid().log() + (1 - target) * (1 - logits.sigmoid()).log()).mean()
    torch.testing.assert_close(parts["range"], 1e-3 * bce)

    monkeypatch.setattr(tagger.decoder, "decode", lambda *_: [[1, 2, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]])
    tagger._sweeps = False
    (prediction,) = tagger.predict_batch(batch)
    assert prediction.attributes == pytest.approx({"bag_size": 0.7, "bag_thick": 0.6})
    assert prediction.spans == (Span("bag_size", 0, 7), Span("bag_thick", 0, 2))
    metrics = score([WALKED], [prediction]).metrics()
    for name in ("tag_precision", "tag_recall", "tag_f1", "cls_precision", "cls_recall", "cls_f1"):
        assert metrics[name] is not None and metrics[name].value == 50.0
    tag = metrics["tag_f1"]
    assert tag is not None and (tag.tp, tag.predicted, tag.gold) == (1, 2, 2)


@pytest.mark.parametrize("reduction", ["mean", "sum", "token_mean"])
@pytest.mark.parametrize("weight_on", ["bce", "crf"])
def test_loss_equals_pair_by_pair_arithmetic(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, reduction: str, weight_on: str
) -> None:
    """Selections of 2, 3 and 1 attributes give six pairs in row-major order, as in the journal's example."""
    tagger = model(tiny_bert, crf_reduction=reduction, range_weight=0.5, range_weight_on=weight_on).eval()
    rows = [[0.9, 0.8, 0.1], [0.6, 0.7, 0.8], [0.2, 0.9, 0.3]]
    logits = fix_scores(tagger, rows, monkeypatch)
    batch = tagger.collate([tagger.encode(example) for example in SENTENCES])
    crf = torchcrf.CRF(3, batch_first=True)
    crf.load_state_dict(tagger.decoder.crf.state_dict())
    gold = {(0, 0): [0, 1, 0], (0, 1): [0, 0, 1], (1, 0): [1, 0], (1, 1): [0, 1], (1, 2): [0, 0], (2, 1): [0, 1, 0]}
    losses, positions = [], 0
    with torch.no_grad():
        parts = tagger(batch)
        for (row, attribute), tags in gold.items():
            encoded = tagger.text_encoder.encode(SENTENCES[row])
            states = tagger.text_encoder.model(torch.tensor([encoded.ids.tolist()])).last_hidden_state
            units = states[0, encoded.first.tolist()]
            cosines = torch.nn.functional.cosine_similarity(units, tagger.guidance.prototypes[attribute], dim=1)
            guided = torch.cat([units, cosines[:, None] * units], dim=1)
            emissions = tagger.decoder.linear(tagger.decoder.lstm(guided[None])[0])
            losses.append(-crf(emissions, torch.tensor([tags])))
            positions += len(tags)
    expected = torch.stack(losses).sum() / {"mean": 6, "sum": 1, "token_mean": positions}[reduction]
    target = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 1, 1]])
    bce = torch.nn.functional.binary_cross_entropy(logits.sigmoid(), target)
    torch.testing.assert_close(parts["crf"], expected * (0.5 if weight_on == "crf" else 1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts["range"], bce * (0.5 if weight_on == "bce" else 1))


def test_nothing_selected_leaves_the_classifiers_loss_alone(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = model(tiny_bert)
    fix_scores(tagger, [[0.1, 0.2, 0.3]], monkeypatch)
    parts = tagger(tagger.collate([tagger.encode(SENTENCES[0])]))
    assert parts["crf"].item() == 0 and parts["range"].item() > 0
    (prediction,) = tagger.eval().predict(SENTENCES[:1])
    assert (prediction.attributes, prediction.spans) == ({}, ())
    assert prediction.candidates is not None
    assert [name for name, _, _ in prediction.candidates] == ["color", "kind", "length"]


def test_the_cap_holds_in_training_only(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = model(tiny_bert, training_cap=1)
    fix_scores(tagger, [[0.9, 0.8, 0.95]], monkeypatch)
    batch = tagger.collate([tagger.encode(SENTENCES[0])])
    counts: list[int] = []
    guided = tagger._guided
    monkeypatch.setattr(tagger, "_guided", lambda s, rows, a, b: counts.append(len(rows)) or guided(s, rows, a, b))
    tagger(batch)
    tagger.eval()(batch)
    tagger.predict_batch(batch)
    assert counts == [1, 3, 3]


def test_classifier_learns_alone_until_the_warm_up_is_over(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten steps in all: a tenth of them is one step, however large the range is."""
    training = {"batch_size": 4, "steps": 10, "epochs": None}
    tagger = model(tiny_bert, warmup_share=0.1, warmup_at_least=50, training=training)
    fix_scores(tagger, [[0.9, 0.8, 0.95]], monkeypatch)
    batch = tagger.collate([tagger.encode(SENTENCES[0])])
    assert [tagger(batch)["crf"].item() > 0 for _ in range(3)] == [False, True, True]
    epochs = {"batch_size": 3, "epochs": 20, "accumulation": 2}
    counted = model(tiny_bert, warmup_share=0.1, warmup_at_least=2, training=epochs)
    # 8 examples are 2 steps of 6 an epoch: 40 steps of 2 batches, a tenth of them 8 batches; 2 steps are 4 batches.
    assert (counted.warm_up.steps_at_least, counted.warm_up.steps_at_most) == (4, 8)


def test_the_straight_through_gradient_changes_no_value(tiny_bert: Path) -> None:
    losses, gradients = [], []
    for kind in ("none", "soft"):
        tagger = model(tiny_bert, range_gradient=kind, range_threshold=0.3, range_weight=0.0).eval()
        loss = sum(tagger(tagger.collate([tagger.encode(example) for example in SENTENCES])).values())
        loss.backward()
        losses.append(loss.detach())
        gradients.append(tagger.classifier.second.weight.grad)
    assert torch.equal(losses[0], losses[1])
    assert not gradients[0].any() and gradients[1].any()


def test_overlapping_values_of_different_attributes_are_kept(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = model(tiny_bert).eval()
    fix_scores(tagger, [[0.9, 0.9, 0.06]], monkeypatch)
    monkeypatch.setattr(tagger.decoder, "decode", lambda states, *_: [[1, 2, 0]] * len(states))
    (prediction,) = tagger.predict(SENTENCES[:1])
    assert prediction.spans == (Span("color", 0, 5), Span("kind", 0, 5))
    assert prediction.pairs == {"color": frozenset({"a red"}), "kind": frozenset({"a red"})}
    assert prediction.candidates is not None
    name, value, spans = prediction.candidates[2]
    assert (name, spans) == ("length", (Span("length", 0, 5),)) and value == pytest.approx(0.06)
    assert tagger.train().predict(SENTENCES[:1])[0].candidates is None


def test_pad_attribute_stands_for_no_attribute(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(text_encoder=str(tiny_bert), arm="prototype", pad_attribute=True)
    empty = sentence("3", "a a")
    assert Model.learn_vocabulary(config, SCHEMA, [*SENTENCES, empty])["mean_range"] == (2 + 2 + 2 + 1) / 4
    plain = config.model_copy(update={"pad_attribute": False})
    assert Model.learn_vocabulary(plain, SCHEMA, [*SENTENCES, empty])["mean_range"] == 6 / 4
    tagger = model(tiny_bert, pad_attribute=True).eval()
    batch = tagger.collate([tagger.encode(empty), tagger.encode(SENTENCES[0])])
    assert batch["gold"].tolist() == [[False, False, False, True], [True, True, False, False]]
    fix_scores(tagger, [[0.1, 0.1, 0.1, 0.9]], monkeypatch)
    (prediction,) = tagger.predict([empty])
    assert list(prediction.attributes) == ["[PAD]"] and prediction.spans == ()
    metrics = score([empty], [prediction]).metrics()
    assert metrics["cls_f1_with_pad"] is not None and metrics["cls_f1_with_pad"].value == 100


def test_a_run_that_is_killed_continues_to_the_same_bits(tiny_bert: Path, tiny_resnet: Path, tmp_path: Path) -> None:
    """In the middle of the warm-up, whose state is a part of the checkpoint."""
    training = {"batch_size": 2, "steps": 24, "epochs": None, "validate_every": 3, "selection": "last"}
    options = {"warmup_share": 0.5, "warmup_at_least": 5, "range_threshold": 0.4, "training": training}
    options |= {"fusion": "tem", "image_encoder": str(tiny_resnet), "image_size": 8, "image_tuned": False}

    class KilledError(Exception):
        pass

    def run(folder: Path, kill_at: int | None) -> Model:
        tagger = model(tiny_bert, **options)
        torch.nn.init.constant_(tagger.classifier.second.bias, 0.0)

        def scored(predictions: Any) -> dict[str, float]:
            if kill_at is not None and int(tagger.warm_up.step) >= kill_at:
                raise KilledError
            return validation_metrics(SENTENCES, predictions)

        given = {"config": tagger.config.training, "repetition": 0, "folder": folder, "score": scored}
        train(tagger, SENTENCES, SENTENCES, **given)
        return tagger

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", 6)
    resumed = run(tmp_path / "killed", None)
    assert int(whole.warm_up.step) == 24
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


MEMORY = """
import json, resource, sys
import torch
from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.models.dram.dram import Config, Model
from avebench.contracts.tagging import word_units
torch.set_num_threads(1)
options = json.loads(sys.argv[1])
schema = AttributeSchema(tuple(f"a{number}" for number in range(2000)))
text = "long blue dress " * 6
examples = [
    Example(str(row), text, word_units(text), (Span(f"a{row}", 0, 4),), {f"a{row}": frozenset({"long"})})
    for row in range(16)
]
model = Model(Config(**options), schema, {"train_examples": 16, "mean_range": 1000.0, "width": 24})
batch = model.collate([model.encode(example) for example in examples])
sum(model(batch).values()).backward()
print(len(model.eval().predict(examples)), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss is that of Linux")
@pytest.mark.parametrize("arm", ["none", "prototype"])
def test_two_thousand_attributes_fit_into_four_gigabytes(tiny_bert: Path, arm: str) -> None:
    """A step and a test pass over 16 examples: a CRF over 4,001 tags, or 2,000 selected attributes for each of 16."""
    options = {"text_encoder": str(tiny_bert), "arm": arm, "range_threshold": 0.4, "warmup_share": 0.0}
    command = [sys.executable, "-c", MEMORY, json.dumps(options)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    predicted, gigabytes = found.stdout.split()
    assert int(predicted) == 16
    assert float(gigabytes) < 4


def test_attention_needs_a_picture(tiny_bert: Path, tiny_resnet: Path) -> None:
    blind = model(tiny_bert).explain(SENTENCES[0])
    seeing = model(tiny_bert, fusion="tem", image_encoder=str(tiny_resnet), image_size=8)
    assert blind.attention is None and seeing.explain(SENTENCES[1]).attention is None


@torch.no_grad()
def test_similarities_are_the_weights_of_the_guided_states(tiny_bert: Path) -> None:
    """Journal Eq. 12: behind each state stands the state times its cosine with the prototype."""
    built = model(tiny_bert, arm="prototype", range_threshold=0.0).eval()
    found = built.explain(SENTENCES[0])
    batch = built.collate([built.encode(SENTENCES[0])])
    states = built._states(built._read(batch), batch)[0].numpy()
    assert set(found.similarities) == set(SCHEMA.attributes) == set(found.ranges)
    for number, attribute in enumerate(SCHEMA.attributes):
        prototype = built.guidance.prototypes[number].numpy()
        lengths = np.linalg.norm(states, axis=1) * np.linalg.norm(prototype)
        np.testing.assert_allclose(found.similarities[attribute], states @ prototype / lengths, atol=1e-6)
