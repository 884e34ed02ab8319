"""AdaTag against its formulas, its CRF against every path, and where the vectors of attributes come from."""

import math
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import torch

from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.query.adaptive_crf import best_paths, log_likelihood
from avebench.models.query.adatag import Config, Model
from avebench.nn.text_encoder import TextEncoder

SCHEMA = AttributeSchema(("color", "kind", "long sun"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}


def example(text: str, *spans: tuple[str, int, int], asked: tuple[str, ...] | None = None) -> Example:
    found = tuple(Span(*span) for span in spans)
    return Example(text, text, word_units(text), found, pairs_from_spans(text, found), asked=asked)


TEXTS = [
    example("a red dress", ("color", 2, 5), asked=("color", "kind")),
    example("long sundress blue 12 a", ("kind", 5, 13), ("long sun", 14, 23), asked=("kind", "long sun")),
]
RANDOM: dict[str, Any] = {"attribute_vectors": "random", "attribute_size": 6, "embedding": 7, "hidden": 5}


def build(**options: Any) -> Model:
    torch.manual_seed(0)
    config = Config(training=TRAINING, min_count=1, **options)
    return Model(config, SCHEMA, Model.learn_vocabulary(config, SCHEMA, TEXTS)).double().eval()


def every_path(emissions: torch.Tensor, transitions: torch.Tensor, length: int) -> dict[tuple[int, ...], float]:
    def score(path: tuple[int, ...]) -> float:
        steps = sum(transitions[one, other].item() for one, other in pairwise(path))
        return steps + sum(emissions[place, tag].item() for place, tag in enumerate(path))

    return {path: score(path) for path in product(range(emissions.size(1)), repeat=length)}


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_and_best_path_are_those_of_all_paths(seed: int) -> None:
    torch.manual_seed(seed)
    emissions, transitions = torch.randn(5, 4, 3).double(), torch.randn(5, 3, 3).double()
    emissions[0, 2:] = torch.inf  # What stands behind a row's end is never looked at.
    lengths = torch.tensor([2, 4, 1, 3, 0])
    tags = torch.randint(0, 3, (5, 4))
    mask = torch.arange(4) < lengths.unsqueeze(1)
    likelihood = log_likelihood(emissions.requires_grad_(), transitions, tags, mask)
    assert torch.isfinite(torch.autograd.grad(likelihood.sum(), emissions)[0]).all()
    paths = best_paths(emissions.detach(), transitions, lengths)
    for row, length in enumerate(lengths.tolist()):
        scores = every_path(emissions[row], transitions[row], length)
        own = tuple(tags[row, :length].tolist())
        total = math.log(sum(math.exp(score) for score in scores.values()))
        assert likelihood[row].item() == pytest.approx(scores[own] - total, abs=1e-9)
        assert tuple(paths[row]) == max(scores, key=scores.__getitem__)


@pytest.mark.parametrize("tags", ["bioe", "bio"])
def test_the_loss_is_that_of_the_formulas(tags: str) -> None:
    model = build(**RANDOM, tags=tags)
    batch = model.collate([model.encode(one) for one in TEXTS])
    gold = {(0, 0): [0, 1, 0], (0, 1): [0, 0, 0], (1, 1): [0, 1, 0, 0, 0]}
    gold[1, 2] = [0, 0, 1, 2, 3 if tags == "bioe" else 2]
    losses = []
    for (number, attribute), path in gold.items():
        ids = torch.from_numpy(model.embeddings.ids(TEXTS[number])).long().unsqueeze(0)
        states = model.lstm(model.embeddings(ids))[0][0]
        r = model.attributes.weight[attribute]
        w = (model.weights.weight @ r + model.weights.bias).reshape(model.experts.size(1), 10)
        b = model.biases.weight @ r + model.biases.bias
        shares = (model.gate.weight @ r + model.gate.bias).exp()
        transitions = sum(share * expert for share, expert in zip(shares / shares.sum(), model.experts, strict=True))
        emissions = torch.stack([w @ state + b for state in states])
        scores = every_path(emissions, transitions, len(path))
        losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[tuple(path)])
    assert model(batch)["crf"].item() == pytest.approx(sum(losses) / 4, rel=1e-9)


@pytest.mark.parametrize("tags", ["bioe", "bio"])
def test_an_explanation_holds_shares_of_all_paths_and_weights_of_experts(tags: str) -> None:
    model = build(**RANDOM, tags=tags)
    text = replace(TEXTS[0], asked=("kind", "color"))
    found = model.explain(text)
    assert found.prediction == model.predict([text])[0] and found.threshold is None
    ids = torch.from_numpy(model.embeddings.ids(text)).long().unsqueeze(0)
    states = model.lstm(model.embeddings(ids))[0][0]
    for number, name in enumerate(("color", "kind")):
        r = model.attributes.weight[number]
        shares = (model.gate.weight @ r + model.gate.bias).exp()
        assert found.mixtures[name].tolist() == pytest.approx((shares / shares.sum()).tolist(), abs=1e-6)
        weights, biases, transitions = model.decoder(torch.tensor([number]))
        scores = every_path(states @ weights[0].t() + biases[0], transitions[0], 3)
        total = sum(map(math.exp, scores.values()))
        assert found.ranges[name] == pytest.approx(1 - math.exp(scores[0, 0, 0]) / total, abs=1e-6)
        inside = [sum(math.exp(score) for path, score in scores.items() if path[place]) / total for place in range(3)]
        assert found.probabilities["inside"][name].tolist() == pytest.approx(inside, abs=1e-6)
    assert model.explain(replace(text, asked=())).ranges == {}
    with pytest.raises(AvebenchError, match="cannot be asked for 'colour'"):
        model.explain(replace(text, asked=("colour",)))


def test_ends_of_values_begin_the_next(tmp_path: Path) -> None:
    model = build(**RANDOM)
    text = replace(TEXTS[1], asked=("kind",))
    found = model._prediction(model.encode(text), {"kind": [1, 2, 3, 2, 3]})
    assert {text.text[span.start : span.end] for span in found.spans or ()} == {"long sundress blue", "12 a"}
    found = model._prediction(model.encode(text), {"kind": [1, 3, 1, 0, 1]})
    assert {text.text[span.start : span.end] for span in found.spans or ()} == {"long sundress", "blue", "a"}


def test_an_attribute_without_a_vector_cannot_be_asked_for() -> None:
    model = build(**RANDOM)
    with pytest.raises(AvebenchError, match=r"cannot be asked for 'colour'\. Did you mean 'color'|'color'"):
        model.predict([replace(TEXTS[0], asked=("colour",))])


def test_contextual_vectors_are_means_of_states(tiny_bert: Path) -> None:
    model = build(embedding=7, hidden=5, text_encoder=str(tiny_bert))
    encoder = TextEncoder(str(tiny_bert), "word", "mean").eval()

    def states(text: str) -> torch.Tensor:
        return encoder(encoder.collate([encoder.encode(example(text))])).units[0]

    with torch.no_grad():
        value, name = states("a red dress")[1], states("a color dress")[1]
        # No test of the mean over texts without a second one: kind has one, and so has the other.
        assert torch.allclose(model.attributes.weight[0].float(), torch.cat([name, value]), atol=1e-6)
        of_two = states("long sundress long sun")[2:].mean(dim=0), states("long sundress blue 12 a")[2:].mean(dim=0)
        assert torch.allclose(model.attributes.weight[2].float(), torch.cat(of_two), atol=1e-6)


def test_uncontextual_vectors_are_means_of_word_vectors(tiny_vectors: Path) -> None:
    with pytest.raises(ValueError, match="give their file as vectors"):
        Config(attribute_vectors="uncontextual")
    model = build(hidden=5, attribute_vectors="uncontextual", vectors=str(tiny_vectors))
    words = {
        line.split()[0]: [float(part) for part in line.split()[1:]] for line in tiny_vectors.read_text().splitlines()
    }
    assert model.attributes.weight[0].tolist() == pytest.approx([0.0] * 12 + words["red"], abs=1e-6)
    long = [*words["long"], *words["blue"]]  # Of "long sun" and "blue 12 a" the file has these two.
    assert model.attributes.weight[2].tolist() == pytest.approx(long, abs=1e-6)
