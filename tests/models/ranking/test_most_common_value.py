"""The most common value against counting."""

import pytest

from avebench.contracts.examples import AttributeSchema, Example
from avebench.files.errors import AvebenchError
from avebench.models.ranking.most_common_value import Config, Model
from avebench.scoring.metrics import score

SCHEMA = AttributeSchema(("color", "kind", "size"))


def product(name: str, *asked: str, **values: str) -> Example:
    return Example(name, "x", ((0, 1),), pairs={key: frozenset({one}) for key, one in values.items()}, asked=asked)


TRAIN = [
    *(product(f"a{number}", color="Red") for number in range(3)),
    product("b", color="red", kind="dress"),
    product("c", color="navy", kind="shirt"),
    product("d", color="blue", kind="Dress"),
    product("e", kind="blue"),
    product("f", kind="shirt"),
]


def model() -> Model:
    config = Config()
    return Model(config, SCHEMA, Model.learn_vocabulary(config, SCHEMA, TRAIN))


def test_the_value_of_most_training_products_is_predicted() -> None:
    (found,) = model().predict([product("x", "color", "kind", "size")])
    # Two dresses and two shirts: the first by spelling is predicted, none has rank 1. Training has no size.
    assert found.pairs == {"color": {"Red"}, "kind": {"Dress"}}
    assert found.spans is None and found.attributes == {"color": 1.0, "kind": 1.0}
    assert found.rankings == {
        "color": {"Red": 1, "blue": 3, "navy": 3},
        "kind": {"Dress": 2, "shirt": 2, "blue": 3},
        "size": {},
    }
    gold = product("x", color="RED", kind="dress", size="M")
    metrics = score([gold], [found]).metrics()
    shares = {name: metric.tp for name, metric in metrics.items() if metric is not None}
    assert (shares["mae_accuracy"], shares["hits_1"], shares["hits_5"], metrics["hits_5"].gold) == (2, 1, 2, 3)  # type: ignore[union-attr]


def test_what_may_be_asked() -> None:
    with pytest.raises(
        AvebenchError, match=r"most-common-value ranks .* cannot be asked for 'colour'\. Did you mean 'color'"
    ):
        model().predict([product("x", "colour")])
    (all_of_them,) = model().predict([Example("x", "x", ((0, 1),))])
    assert set(all_of_them.pairs) == {"color", "kind"}
