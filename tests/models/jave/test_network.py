"""JAVE's network against the paper's formulas in numpy (float64, unit by unit), its sizes, and what its switches do."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import character_units
from avebench.models.jave import jave, m_jave
from avebench.models.jave.network import JaveNetwork, JaveOutput

Array = NDArray[np.float64]
D, G, C, P, INNER, ATTRIBUTES = 5, 4, 3, 2, 6, 3
LABELS, TAGS = 2 + ATTRIBUTES, 2 + 1 + 2 * ATTRIBUTES
LENGTHS = [4, 2, 0, 3]


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def normalised(scores: Array) -> Array:
    powers = np.exp(scores - scores.max())
    found: Array = powers / powers.sum()
    return found


def sentence_reference(
    w: dict[str, Array], x: Array, g: Array, v: Array, pooled: Array, length: int, softmax: bool
) -> tuple[Array, Array]:
    """Return label logits (A,) and tag logits (S, T) of one sentence whose first `length` of S units are real."""
    h = [x[i] if i < length else np.zeros(D) for i in range(len(x))]
    m, beta = [], []
    for i in range(len(x)):
        alpha = np.array([(w["query"] @ h[i]) @ (w["key"] @ h[k]) / np.sqrt(INNER) for k in range(length)])
        row = np.array([(w["region_query"] @ h[i]) @ (w["region_key"] @ v[j]) / np.sqrt(INNER) for j in range(P)])
        if softmax:
            alpha, row = (normalised(alpha), normalised(row)) if i < length else (np.zeros(length), np.zeros(P))
        t = sum((alpha[k] * (w["value"] @ h[k]) for k in range(length)), np.zeros(INNER))
        gate = sigmoid(w["global_gate_state"][0] @ h[i] + w["global_gate_picture"][0] @ pooled + w["b"][0])
        m.append(t + gate * sum(row[j] * (w["region_value"] @ v[j]) for j in range(P)))
        beta.append(row)
    total = w["label_states"] @ np.sum(h, axis=0) + w["label_fused"] @ np.sum(m, axis=0) + w["label_sentence"] @ g
    logits = w["label_out"] @ total + w["b_a"]
    a = sigmoid(logits)
    tags = []
    for i in range(len(x)):
        r = np.zeros(INNER)
        for j in range(P):
            gate = sigmoid(w["regional_gate_label"][0] @ a + w["regional_gate_region"][0] @ v[j])
            r = r + beta[i][j] * gate * (w["region_value"] @ v[j])
        fused = w["tag_states"] @ h[i] + w["tag_fused"] @ m[i] + w["tag_label"] @ a + r
        tags.append(w["tag_out"] @ fused + w["b_y"])
    return logits, np.array(tags)


def loss_reference(logits: Array, tags: Array, gold_labels: Array, gold: Array, length: int) -> tuple[float, ...]:
    """Return the three losses of one sentence; the maxima of the KL term are over padding too."""
    P_t = np.array([normalised(row) for row in tags])  # noqa: N806
    value = float(np.mean([-np.log(P_t[i, gold[i]]) for i in range(length)])) if length else 0.0
    a = sigmoid(logits)
    attribute = float(-np.mean(gold_labels * np.log(a) + (1 - gold_labels) * np.log(1 - a)))
    terms = []
    for k in range(ATTRIBUTES):
        p = np.clip(a[2 + k], 1e-8, 1)
        q = np.clip((P_t[:, 3 + 2 * k].max() + P_t[:, 4 + 2 * k].max()) / 2, 1e-8, 1)
        terms.append(p * np.log(p) - p * np.log(q))
    return value, attribute, float(np.mean(terms))


def network(**options: Any) -> JaveNetwork:
    torch.manual_seed(0)
    built = JaveNetwork(D, LABELS, TAGS, **{"sentence": G, "channels": C, "inner": INNER, **options})
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5)
    return built


def weights_of(built: JaveNetwork) -> dict[str, Array]:
    biases = {"global_gate_state.bias": "b", "label_out.bias": "b_a", "tag_out.bias": "b_y"}
    return {
        biases.get(name, name.removesuffix(".weight")): parameter.detach().double().numpy()
        for name, parameter in built.named_parameters()
    }


def inputs(seed: int = 0) -> dict[str, Array]:
    """Return random states, also behind a row's end, where they must not count, and gold labels and tags."""
    rng = np.random.default_rng(seed)
    rows, width = len(LENGTHS), max(LENGTHS)
    return {
        "x": rng.normal(size=(rows, width, D)),
        "g": rng.normal(size=(rows, G)),
        "v": rng.normal(size=(rows, P, C)),
        "pooled": rng.normal(size=(rows, C)),
        "labels": rng.integers(0, 2, (rows, LABELS)).astype(float),
        "tags": rng.integers(2, TAGS, (rows, width)),
    }


def reference(w: dict[str, Array], given: dict[str, Array], softmax: bool = False) -> tuple[list[Any], Array]:
    """Return the logits of every row, and the losses (B, 3)."""
    logits = [
        sentence_reference(w, given["x"][b], given["g"][b], given["v"][b], given["pooled"][b], length, softmax)
        for b, length in enumerate(LENGTHS)
    ]
    losses = [
        loss_reference(*logits[b], given["labels"][b], given["tags"][b], length) for b, length in enumerate(LENGTHS)
    ]
    return logits, np.array(losses)


def run(built: JaveNetwork, given: dict[str, Array], dtype: torch.dtype) -> JaveOutput:
    tensors = [torch.from_numpy(given[name]).to(dtype) for name in ("x", "g", "v", "pooled")]
    output: JaveOutput = built.to(dtype)(*tensors, LENGTHS)
    return output


def losses_of(built: JaveNetwork, given: dict[str, Array], output: JaveOutput) -> torch.Tensor:
    found = built.losses(output, torch.from_numpy(given["labels"]), torch.from_numpy(given["tags"]), LENGTHS)
    return torch.stack([loss for loss in found if loss is not None], dim=1)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_losses_are_those_of_the_formulas(softmax: bool, dtype: torch.dtype) -> None:
    built, given = network(attention_norm="softmax" if softmax else "none"), inputs()
    logits, losses = reference(weights_of(built), given, softmax)
    output = run(built, given, dtype)
    for b, (labels, tags) in enumerate(logits):
        np.testing.assert_allclose(output.label_logits[b].detach(), labels, rtol=1e-5, atol=1e-5)  # type: ignore[index]
        np.testing.assert_allclose(output.tag_logits[b].detach(), tags, rtol=1e-5, atol=1e-5)  # type: ignore[index]
    np.testing.assert_allclose(losses_of(built, given, output).detach(), losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("softmax", [False, True])
def test_gradients_are_the_slopes_of_the_formulas(softmax: bool) -> None:
    """Compare the gradient of the released total with central differences of the numpy formulas, every parameter."""
    built, given = network(attention_norm="softmax" if softmax else "none"), inputs(1)
    factors = np.array([1.0, 1.0, 0.5])
    w = weights_of(built)
    total = losses_of(built, given, run(built, given, torch.float64)).sum(dim=0) @ torch.from_numpy(factors)
    total.backward()
    found = {name: parameter.grad for name, parameter in zip(w, built.parameters(), strict=True)}
    step = 1e-6
    for name, values in w.items():
        slopes = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            sides = []
            for sign in (1, -1):
                moved = values.copy()
                moved[place] += sign * step
                sides.append(float((reference({**w, name: moved}, given, softmax)[1] @ factors).sum()))
            slopes[place] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(found[name], slopes, rtol=1e-5, atol=1e-5, err_msg=name)


def test_parameters_are_as_many_as_in_the_released_code() -> None:
    def count(**options: Any) -> int:
        built = JaveNetwork(768, 28, 55, sentence=768, **options)
        return sum(parameter.numel() for parameter in built.parameters())

    assert count() == 1_023_883
    assert count(channels=2048) == 2_001_576
    assert count(channels=2048, global_images="none") == count()
    assert count(channels=2048) - count(channels=2048, global_images="open") == 2_817
    assert count(channels=2048) - count(channels=2048, regional_images="open") == 2_076
    assert count() - count(label_injection=False) == 28 * 200
    without = count(channels=2048, attribute_task=False)
    assert without == count(channels=2048) - 2 * 768 * 200 - 200 * 200 - (28 * 201) - 28 * 200 - 2_076


def test_a_zero_picture_gives_jave() -> None:
    given = inputs()
    full, text = network(), network(channels=0)
    shared = {name: value for name, value in full.state_dict().items() if name in text.state_dict()}
    text.load_state_dict(shared)
    blank = {**given, "v": np.zeros_like(given["v"]), "pooled": np.zeros_like(given["pooled"])}
    for one, other in zip(run(full, blank, torch.float64), run(text, given, torch.float64), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(run(full, given, torch.float64).fused, run(text, given, torch.float64).fused)


@pytest.mark.parametrize("norm", ["none", "softmax"])
def test_more_padding_changes_no_logits(norm: str) -> None:
    built, given = network(attention_norm=norm), inputs()
    wide = {**given, "x": np.concatenate([given["x"], np.full((len(LENGTHS), 3, D), 7.0)], axis=1)}
    narrow, padded = run(built, given, torch.float64), run(built, wide, torch.float64)
    torch.testing.assert_close(narrow.label_logits, padded.label_logits)
    torch.testing.assert_close(narrow.tag_logits, padded.tag_logits[:, : max(LENGTHS)])  # type: ignore[index]


def test_where_the_tags_of_the_kl_term_are_looked_for() -> None:
    built, given = network(), inputs()
    output = run(built, given, torch.float64)
    labels, tags = torch.from_numpy(given["labels"]), torch.from_numpy(given["tags"])
    everywhere = built.losses(output, labels, tags, LENGTHS, "all").kl
    inside = built.losses(output, labels, tags, LENGTHS, "units").kl
    assert everywhere is not None and inside is not None
    assert torch.equal(everywhere[0], inside[0]), "a row without padding has units alone"
    assert (everywhere[1:] <= inside[1:]).all() and (everywhere < inside).any(), "a larger q is a smaller KL"


TEXTS = (("红色长裙", (("颜色", 0, 2), ("裙长", 2, 3))), ("裙子", ()), ("蓝色裙子长", (("颜色", 0, 2), ("裙长", 4, 5))))


def example(number: int) -> Example:
    text, marks = TEXTS[number]
    spans = tuple(Span(*mark) for mark in marks)
    return Example(f"s_{number}", text, character_units(text), spans, pairs_from_spans(text, spans))


EXAMPLES = [example(number) for number in range(len(TEXTS))]
SCHEMA = AttributeSchema(("裙长", "颜色"), "character")


def build(module: Any, **options: Any) -> Any:
    lstm = {"encoder": "lstm", "embedding": 8, "lstm_hidden": 4, "min_count": 1, "inner": 8}
    config = module.Config(**{**lstm, **options})
    torch.manual_seed(0)
    vocabulary = json.loads(json.dumps(module.Model.learn_vocabulary(config, SCHEMA, EXAMPLES)))
    return module.Model(config, SCHEMA, vocabulary)


def test_targets_have_the_numbers_of_the_release() -> None:
    model = build(jave)
    assert model.labels == ["[PAD]", "[UNK]", "裙长", "颜色"]
    assert model.tags == ["[PAD]", "[UNK]", "O", "B-裙长", "I-裙长", "B-颜色", "I-颜色"]
    batch = model.collate([model.encode(one) for one in EXAMPLES])
    assert batch["labels"].tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]
    assert [row[:length] for row, length in zip(batch["tags"].tolist(), batch["lengths"], strict=True)] == [
        [5, 6, 3, 2],
        [2, 2],
        [5, 6, 2, 2, 3],
    ]
    strange = model.encode(Example("s", "红裙", character_units("红裙"), (Span("新", 0, 1),)))
    assert strange.tags.tolist() == [2, 2] and strange.labels == ()


def test_losses_of_a_batch_are_summed_or_averaged_over_sentences() -> None:
    total, mean = build(jave), build(jave, loss_reduction="mean")
    batch = total.collate([total.encode(one) for one in EXAMPLES])
    total.eval(), mean.eval()
    summed, averaged = total(batch), mean(batch)
    assert list(summed) == ["value", "attribute", "kl"]
    for name in summed:
        torch.testing.assert_close(summed[name], 3 * averaged[name])
    half = build(jave, kl_weight=0.25).eval()(batch)
    torch.testing.assert_close(half["kl"], summed["kl"] / 2)
    assert list(build(jave, kl_weight=0.0)(batch)) == ["value", "attribute"]
    assert list(build(jave, attribute_task=False)(batch)) == ["value"]


def test_a_special_tag_is_an_answer_only_where_it_may_be() -> None:
    """Tags B [PAD] O: as released [PAD] behind a value opens a span of no attribute, else the next best tag counts."""
    logits = torch.full((1, 4, 7), -9.0)
    for place, tag in enumerate((5, 0, 2, 2)):
        logits[0, place, tag] = 9.0
    logits[0, 1, 6] = 8.0
    output = JaveOutput(torch.tensor([[3.0, -3.0, -3.0, 3.0]]), logits, torch.zeros(1, 4, 8))
    found = {}
    for answer in (False, True):
        model = build(jave, predict_specials=answer)
        model._output = lambda batch: output
        found[answer] = model.predict([EXAMPLES[0]])[0]
    assert found[False].spans == (Span("颜色", 0, 2),) and set(found[False].attributes) == {"颜色"}
    assert found[True].spans == (Span("颜色", 0, 1), Span("", 1, 2)) and set(found[True].attributes) == {
        "[PAD]",
        "颜色",
    }
    assert found[False].attributes["颜色"] == pytest.approx(1 / (1 + np.exp(-3)))


def test_without_the_attribute_task_attributes_are_read_off_the_tags() -> None:
    model = build(jave, attribute_task=False)
    prediction = model.predict([EXAMPLES[0]])[0]
    assert dict(prediction.attributes) == {span.attribute: 1.0 for span in prediction.spans}


def test_frozen_bert_is_no_part_of_the_model(tiny_bert: Path) -> None:
    frozen = build(jave, encoder="bert", text_encoder=str(tiny_bert))
    tuned = build(jave, encoder="bert", text_encoder=str(tiny_bert), text_tuned=True)
    assert not any(name.startswith("texts.") for name in frozen.state_dict())
    assert frozen.config.pretrained() == {"text_encoder": str(tiny_bert)}
    groups = tuned.parameter_groups()
    assert groups["text_encoder"] and {id(one) for one in groups["text_encoder"]} == {
        id(one) for one in tuned.texts.parameters()
    }
    tuned.eval()
    found, expected = (model.texts(model.collate([model.encode(one) for one in EXAMPLES])) for model in (frozen, tuned))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=2**-10, atol=1e-5)
        assert not one.requires_grad and other.requires_grad
    alone, _ = frozen.texts(frozen.collate([frozen.encode(EXAMPLES[1])]))
    assert torch.equal(alone[0], found[0][1, :2]), "states never depend on the rest of the batch"


def test_the_crf_decoder_is_scored_by_its_own_likelihood() -> None:
    model = build(jave, decoder="bilstm-crf")
    model.eval()
    assert model.tags == ["O", "B-裙长", "I-裙长", "B-颜色", "I-颜色"] and model.network.tag_out is None
    batch = model.collate([model.encode(one) for one in EXAMPLES])
    states = model._output(batch).fused
    expected = model.decoder.loss(states, batch["lengths"], batch["tags"], "sum")
    torch.testing.assert_close(model(batch)["value"], expected)
    with pytest.raises(ValueError, match="inner is 7"):
        jave.Config(decoder="bilstm-crf", inner=7)


def test_pretrained_names_what_is_read() -> None:
    config = m_jave.Config(encoder="lstm", vectors="v.txt", released_vocabulary="vocab")
    assert config.pretrained() == {
        "vectors": "v.txt",
        "released_vocabulary": "vocab",
        "image_encoder": "resnet101",
    }
    assert m_jave.Config(global_images="none").pretrained() == {"text_encoder": "bert-base-chinese"}
    fine = m_jave.Config.presets["fine-tuned"]
    assert fine["image_tuned"] and fine["text_tuned"] and "image_tuned" not in jave.Config.presets["fine-tuned"]


def test_pooled_vector_is_the_mean_of_the_patches(tiny_resnet: Path) -> None:
    from PIL import Image

    from avebench.contracts.examples import Picture

    model = build(m_jave, image_encoder=str(tiny_resnet), image_size=8)
    shown = [
        Example(one.id, one.text, one.tokens, picture=Picture(one.id, lambda: Image.new("RGB", (8, 8), (200, 10, 90))))
        for one in EXAMPLES[:1]
    ]
    batch = model.collate([model.encode(one) for one in [*shown, EXAMPLES[1]]])
    patches, pooled = model._pictures(batch)
    torch.testing.assert_close(pooled, patches.mean(dim=1))
    assert pooled[0].any() and not pooled[1].any() and not patches[1].any()
    assert batch["present"].tolist() == [True, False]
