"""MAE-model against its formulas in numpy, its draws against their definition, and what it says of what it is asked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from avebench.contracts.examples import INTENT, RANKED, AttributeSchema, Example, Picture, blind, ranked
from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.models.ranking.mae_model import Config, Model
from avebench.models.ranking.values import learn_values

SCHEMA = AttributeSchema(("color", "kind", "unseen"))
TRAINING: dict[str, Any] = {"batch_size": 2, "steps": 1, "epochs": None}
SMALL: dict[str, Any] = {"embedding": 5, "filters": 6, "size": 7, "picture_inner": 9, "min_count": 1}
Array = NDArray[np.float64]


def picture(number: int) -> Picture:
    pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    return Picture(f"p{number}", lambda: Image.fromarray(pixels))


def product(text: str, pictures: int = 0, **pairs: str) -> Example:
    """Return a product that is asked for its gold attributes; values of one attribute stand between commas."""
    shown = tuple(picture(len(text) + number) for number in range(pictures))
    gold = {name: frozenset(values.split(",")) for name, values in pairs.items()}
    found = Example(text, text, word_units(text), pairs=gold, asked=tuple(gold))
    return replace(found, picture=shown[0] if shown else None, further_pictures=shown[1:])


PRODUCTS = [
    product("a red dress of wool that is long", 3, color="red", kind="dress"),
    product("blue", 0, color="blue"),
    product("shirts and more shirts", 1, kind="shirt", color="Red,navy"),
    product("", 2, color="RED"),
    product("nothing is asked of it", 1),
]


@pytest.fixture
def build(tiny_resnet: Path) -> Any:
    def make(train: list[Example] = PRODUCTS, **options: Any) -> Model:
        torch.manual_seed(0)
        sees = {"image_encoder": str(tiny_resnet), "image_size": 8}
        config = Config(**{**SMALL, **sees, "training": TRAINING, **options})
        model = Model(config, SCHEMA, Model.learn_vocabulary(config, SCHEMA, train)).double().eval()
        for name, parameter in model.named_parameters():  # Biases that matter, and units that ReLU leaves alive.
            if parameter.dim() == 1 or "convolutions" in name:
                torch.nn.init.normal_(parameter, 0.2, 0.5)
        return model

    return make


def batch_of(model: Model, products: list[Example] = PRODUCTS) -> dict[str, Any]:
    batch = model.collate([model.encode(one) for one in products])
    return {key: one.double() if key == "patches" else one for key, one in batch.items()}


# ---------------------------------------------------------------------------------------------------------------------
# The formulas, product by product and query by query


def fc(model: Model, name: str, inputs: Array) -> Array:
    weights = {key: one.detach().numpy() for key, one in model.state_dict().items()}
    return np.maximum(weights[f"{name}.weight"] @ inputs + weights[f"{name}.bias"], 0)


def text_vector(model: Model, example: Example) -> Array:
    assert model.words is not None
    table = model.words.table.weight.detach().numpy()
    vectors = [table[number] for number in model.words.ids(example)[: model.config.max_words]]
    most = []
    for place, width in enumerate(model.config.windows):
        kernel = model.state_dict()[f"text.convolutions.{place}.weight"].numpy()  # (F, E, width)
        bias = model.state_dict()[f"text.convolutions.{place}.bias"].numpy()
        best = np.zeros(len(bias))
        for centre in range(len(vectors)):
            total = bias.copy()
            for offset in range(width):
                word = centre + offset - width // 2
                if 0 <= word < len(vectors):
                    total += kernel[:, :, offset] @ vectors[word]
            best = np.maximum(best, total)
        most.append(best)
    return fc(model, "text.linear", np.concatenate(most))


def picture_vector(model: Model, example: Example) -> Array:
    assert model.pictures is not None
    each = [np.zeros(model.config.size)]
    for one in example.pictures:
        patches = model.pictures.collate([replace(example, picture=one)])["patches"][0].double().numpy()
        each.append(fc(model, "picture.second", fc(model, "picture.first", patches.mean(axis=0))))
    return np.max(each, axis=0)


def query_vector(model: Model, example: Example, attribute: str) -> Array:
    a = model.attributes.weight.detach().numpy()[SCHEMA.attributes.index(attribute)]
    kind = model.config.modality
    if kind == "text":
        return fc(model, "query.text", np.concatenate([text_vector(model, example), a]))
    if kind == "picture":
        return fc(model, "query.pictures", np.concatenate([picture_vector(model, example), a]))
    t, v = text_vector(model, example), picture_vector(model, example)
    t_a = fc(model, "query.text", np.concatenate([t, a]))
    v_a = fc(model, "query.pictures", np.concatenate([v, a]))
    if model.config.fusion == "concat":
        return fc(model, "query.both", np.concatenate([t_a, v_a]))
    weights = {key: one.detach().numpy() for key, one in model.state_dict().items()}
    gate = 1 / (1 + np.exp(-(weights["query.gate.weight"] @ np.concatenate([t, v]) + weights["query.gate.bias"])))
    return np.asarray(gate * t_a + (1 - gate) * v_a)


def cosine(model: Model, vector: Array, value: int) -> float:
    embedded = model.values.weight.detach().numpy()[value]
    return float(vector @ embedded / np.linalg.norm(vector) / np.linalg.norm(embedded))


QUERIES = [(one, name) for one in PRODUCTS for name in one.asked or ()]
KINDS: dict[str, dict[str, Any]] = {
    "concat": {},
    "gmu": {"fusion": "gmu"},
    "text": {"modality": "text", "windows": [3, 5], "max_words": 4},
    "picture": {"modality": "picture"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_queries_and_rankings_are_those_of_the_formulas(build: Any, kind: str) -> None:
    model = build(**KINDS[kind])
    found = model.queries(batch_of(model)).detach().numpy()
    expected = np.array([query_vector(model, *query) for query in QUERIES])
    assert expected.any(axis=1).all()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        predictions = model.predict_batch(batch_of(model))
    for example, prediction in zip(PRODUCTS, predictions, strict=True):
        assert prediction.spans is None and set(prediction.attributes) == set(example.asked or ())
        for name, values in prediction.pairs.items():
            vector = query_vector(model, example, name)
            scores = {value: cosine(model, vector, number) for number, value in enumerate(model.listed)}
            assert values == {max(scores, key=scores.__getitem__)}
            assert prediction.rankings is not None and prediction.rankings[name] == ranked(scores)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_losses_and_gradients_with_given_draws(
    build: Any, kind: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(loss=loss, **KINDS[kind])
    number = {value.casefold(): place for place, value in enumerate(model.listed)}
    pairs = [
        (query, number[value.casefold()]) for query, (one, name) in enumerate(QUERIES) for value in one.pairs[name]
    ]
    pairs.sort()
    draws = [
        ([(gold + shift) % len(number) for _, gold in pairs], [n != 2 for n in range(len(pairs))]) for shift in (1, 2)
    ]
    calls = iter(range(10**9))

    def drawn(*_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        values, there = draws[next(calls) % (1 if loss == "squared" else 2)]
        return torch.tensor(values), torch.tensor(there)

    monkeypatch.setattr(model, "_drawn", drawn)

    def expected() -> dict[str, float]:
        right = [cosine(model, query_vector(model, *QUERIES[query]), gold) for query, gold in pairs]
        wrong = [
            [
                cosine(model, query_vector(model, *QUERIES[query]), value)
                for (query, _), value in zip(pairs, values, strict=True)
            ]
            for values, _ in draws
        ]
        here = draws[0][1]
        if loss == "squared":
            return {
                "gold": float(np.mean([(1 - s) ** 2 for s in right])),
                "drawn": float(np.mean([s**2 * there for s, there in zip(wrong[0], here, strict=True)])),
            }
        return {
            name: float(
                np.mean([max(0, 1 + (1 - s) - (1 - w)) * there for s, w, there in zip(right, some, here, strict=True)])
            )
            for name, some in zip(("all", "attribute"), wrong, strict=True)
        }

    losses = model(batch_of(model))
    assert {name: one.item() for name, one in losses.items()} == pytest.approx(expected(), rel=1e-9)
    model.zero_grad()
    sum(losses.values()).backward()
    generator = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.from_numpy(generator.normal(size=parameter.shape))
        slope = float((parameter.grad * direction).sum())
        start, step = parameter.detach().clone(), 1e-6
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.copy_(start + sign * step * direction)
            ends.append(sum(expected().values()))
        with torch.no_grad():
            parameter.copy_(start)
        assert slope == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7), name


# ---------------------------------------------------------------------------------------------------------------------
# Draws, values, and what may be asked


def test_draws_follow_the_weights_and_spare_gold_values(build: Any) -> None:
    model = build(modality="text")
    batch = {"gold": [(0,), (1, 2), (0, 1, 2, 3)]}
    query = torch.arange(3).repeat(4000)
    weights = torch.tensor([3.0, 1.0, 2.0, 5.0])
    torch.manual_seed(0)
    values, there = model._drawn(weights.repeat(len(query), 1), query, batch)
    shares = [np.bincount(values[(query == row) & there], minlength=4) / 4000 for row in range(3)]
    np.testing.assert_allclose(shares[0], [0, 1 / 8, 2 / 8, 5 / 8], atol=0.03)
    np.testing.assert_allclose(shares[1], [3 / 8, 0, 0, 5 / 8], atol=0.03)
    assert there.tolist() == [row < 2 for row in query.tolist()]
    torch.manual_seed(0)
    assert torch.equal(model._drawn(weights.repeat(len(query), 1), query, batch)[0], values)


def test_what_the_two_losses_draw_from(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build(modality="text", loss="hinge")
    seen: list[torch.Tensor] = []

    def drawn(weights: torch.Tensor, query: torch.Tensor, batch: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(weights.clone())
        return torch.zeros(len(query), dtype=torch.long), torch.ones(len(query), dtype=torch.bool)

    monkeypatch.setattr(model, "_drawn", drawn)
    model(batch_of(model, [product("a", kind="shirt")]))
    of_all, of_attribute = (dict(zip(model.listed, one[0].tolist(), strict=True)) for one in seen)
    assert of_all == {"RED": 3, "blue": 1, "dress": 1, "navy": 1, "shirt": 1}
    assert of_attribute == {"RED": 0, "blue": 0, "dress": 1, "navy": 0, "shirt": 1}


def test_values_that_are_compared_alike_are_one(build: Any) -> None:
    train = [
        *PRODUCTS,
        product("x", color=" red "),
        product("y", color="red"),
        product("z", kind="Red", **{INTENT: "i"}),
    ]
    assert learn_values(SCHEMA, train) == [
        ["Red", {"color": 5, "kind": 1}],
        ["blue", {"color": 1}],
        ["dress", {"kind": 1}],
        ["navy", {"color": 1}],
        ["shirt", {"kind": 1}],
    ]
    model = build(train, modality="text")
    assert model.encode(product("x", color="rED,Blue,grey")).gold == ((0, 1),)


def test_only_the_best_of_many_values_are_kept(build: Any) -> None:
    train = [product(f"x {number}", color=f"v{number}") for number in range(60)]
    model = build(train, modality="text")
    with torch.no_grad():
        model.values.weight[7] = model.values.weight[3]  # Scored alike wherever they stand.
    (prediction,) = model.predict([train[0]])
    scores = {value: cosine(model, query_vector(model, train[0], "color"), n) for n, value in enumerate(model.listed)}
    scores[model.listed[7]] = scores[model.listed[3]]
    assert prediction.rankings == {"color": ranked(scores)}
    assert max(prediction.rankings["color"].values()) <= RANKED


def test_what_may_be_asked(build: Any) -> None:
    model = build(modality="text")
    with pytest.raises(
        AvebenchError, match=r"mae-model ranks values for the attributes of its training alone .*'colour'"
    ):
        model.encode(replace(PRODUCTS[0], asked=("colour",)))
    everything = model.predict([replace(PRODUCTS[0], asked=None), replace(PRODUCTS[0], asked=())])
    assert [set(one.pairs) for one in everything] == [set(SCHEMA.attributes), set()]
    # Gold is no part of an answer.
    asked = replace(PRODUCTS[0], asked=("color",))
    assert model.predict([blind(asked)]) == model.predict([asked])


def test_pictures_decide_in_any_number_and_order(build: Any) -> None:
    model = build(modality="picture")
    one = PRODUCTS[0]
    first, second, third = one.pictures
    shuffled = replace(one, picture=third, further_pictures=(first, second, first))
    found = model.queries(batch_of(model, [one, shuffled, replace(one, further_pictures=())])).detach()
    assert torch.allclose(found[0], found[2], atol=1e-12)
    assert not torch.allclose(found[0], found[4], rtol=1e-3)


def test_options_that_do_not_fit() -> None:
    for options, said in (
        ({"windows": [4]}, "odd numbers"),
        ({"windows": []}, "odd numbers"),
        ({"windows": [3, 5], "filters": 9}, r"filters \(9\) are shared evenly"),
        ({"image_tuned": True}, "image_tuned"),
    ):
        with pytest.raises(ValueError, match=said):
            Config(**options)
