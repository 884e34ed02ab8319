import hashlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import Example, product_of
from avebench.data.subsets import split_by_fraction
from avebench.files.errors import AvebenchError

FRACTIONS = st.integers(1, 100).map(lambda percent: percent / 100)


def products(count: int, sentences: int = 1) -> list[Example]:
    return [
        Example(f"s{number}-{part}", "x", ((0, 1),), product_id=f"p{number}")
        for part in range(sentences)
        for number in range(count)
    ]


@given(count=st.integers(0, 60), fraction=FRACTIONS, repetition=st.integers(0, 3))
def test_first_products_by_hash(count: int, fraction: float, repetition: int) -> None:
    train = products(count, sentences=2)
    used, left_out = split_by_fraction(train, fraction, repetition)
    ordered = sorted(
        (f"p{number}" for number in range(count)),
        key=lambda name: hashlib.sha256((str(repetition) + ":" + name).encode()).digest(),
    )
    expected = set(ordered[: math.ceil(round(fraction * 100) * count / 100)])
    assert [example for example in train if example.product_id in expected] == used
    assert [example for example in train if example.product_id not in expected] == left_out


@given(small=FRACTIONS, large=FRACTIONS, repetition=st.integers(0, 3))
def test_subsets_are_nested(small: float, large: float, repetition: int) -> None:
    small, large = sorted((small, large))
    train = products(50, sentences=3)
    few, many = ({e.id for e in split_by_fraction(train, f, repetition)[0]} for f in (small, large))
    assert few <= many


def test_seven_percent_of_a_hundred_is_seven() -> None:
    assert math.ceil(0.07 * 100) == 8  # What floats would say.
    assert len(split_by_fraction(products(100), 0.07, 0)[0]) == 7


def test_repetitions_differ_and_one_keeps_everything() -> None:
    train = products(200)
    assert split_by_fraction(train, 0.1, 0)[0] != split_by_fraction(train, 0.1, 1)[0]
    assert split_by_fraction(train, 1, 0) == (train, [])
    assert product_of(Example("only-id", "x", ())) == "only-id"


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, math.nan])
def test_fractions_outside_the_range(fraction: float) -> None:
    with pytest.raises(AvebenchError, match="above 0 and at most 1"):
        split_by_fraction(products(3), fraction, 0)
