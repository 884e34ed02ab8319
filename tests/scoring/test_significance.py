"""Paired tests and intervals against enumeration, scipy, and simulations in which the truth is known."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from avebench.scoring import significance
from avebench.scoring.families import Counts
from avebench.scoring.significance import Contrast, bootstrap, contrasts, holm, p_value, randomisation, ratio, statistic

MEASURES = ("precision", "recall", "f1")
WAYS = {"types": 0, "products": 10**9}
"""How resamples are drawn: over distinct counts always, or over products always."""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(significance, "_PRODUCTS_PER_TYPE", WAYS[request.param])
    return str(request.param)


def _systems(
    rng: np.random.Generator, products: int, hits: tuple[float, float], repetitions: int = 1, sentences: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the counts (products, R, 3) of two systems that find each gold item with chances `hits`.

    Products differ in size and in how hard they are, for both systems alike; every item found brings 0.2 false ones.
    """
    gold = rng.integers(0, 4, (products, sentences)).sum(axis=1)
    ease = rng.beta(4, 2, products) / (4 / 6)  # Mean 1.
    found = []
    for hit in hits:
        tp = rng.binomial(gold[:, None], np.minimum(1, hit * ease)[:, None], (products, repetitions))
        wrong = rng.binomial(gold[:, None], 0.2, (products, repetitions))
        found.append(np.stack([tp, tp + wrong, np.repeat(gold[:, None], repetitions, 1)], axis=2))
    return found[0], found[1]


def contrast(a: np.ndarray, b: np.ndarray, **options: Any) -> Contrast:
    """Return the contrast of two systems, which is all there is of two."""
    ((pair, found),) = contrasts(np.stack([a, b]), **options).items()
    assert pair == (0, 1)
    return found


@given(st.lists(st.integers(0, 50), min_size=3, max_size=3).map(sorted))
def test_ratio_is_that_of_the_metrics(counts: list[int]) -> None:
    tp, predicted, gold = counts
    for measure in MEASURES:
        expected = getattr(Counts(tp, predicted, gold), measure)
        assert ratio(np.array([tp, predicted, gold]), measure) == pytest.approx(expected)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("elsewhere", [0, 1])
def test_bootstrap_has_the_distribution_of_all_resamples(way: str, measure: str, elsewhere: int) -> None:
    """Every one of 4^4 (5^5) ordered draws against 20,000 random ones; one product may have no counts.

    Another system that is drawn with the two changes nothing.
    """
    a, b = _systems(np.random.default_rng(3), 4, (0.8, 0.5), repetitions=2)
    other, _ = _systems(np.random.default_rng(4), 4, (0.8, 0.5), repetitions=2)
    rows = np.concatenate([a, b], axis=1)
    rows = np.concatenate([rows, np.zeros((elsewhere, *rows.shape[1:]), rows.dtype)])
    draws = np.array(list(itertools.product(range(len(rows)), repeat=len(rows))))
    sums = rows[draws].sum(axis=1)
    exact = statistic(sums[:, :2], measure) - statistic(sums[:, 2:], measure)
    _, first, second = bootstrap(np.stack([other, a, b]), 4 + elsewhere, measure, 20_000, np.random.default_rng(0)).T
    drawn = first - second
    assert stats.ks_2samp(np.round(exact, 6), np.round(drawn, 6), method="asymp").statistic < 0.015 + 1 / len(exact)


def test_randomisation_has_the_distribution_of_all_swaps(way: str) -> None:
    a, b = _systems(np.random.default_rng(1), 9, (0.8, 0.5), repetitions=2)
    swaps = np.array(list(itertools.product([False, True], repeat=9)))[:, :, None, None]
    sums_a, sums_b = np.where(swaps, b, a).sum(axis=1), np.where(swaps, a, b).sum(axis=1)
    exact = statistic(sums_a, "f1") - statistic(sums_b, "f1")
    observed = float(statistic(a.sum(axis=0), "f1") - statistic(b.sum(axis=0), "f1"))
    wanted = np.mean(np.abs(exact) >= abs(observed) - 1e-9)
    other, _ = _systems(np.random.default_rng(2), 9, (0.8, 0.5), repetitions=2)
    drawn = dict(randomisation(np.stack([other, a, b]), "f1", 20_000, np.random.default_rng(0)))[1, 2]
    assert p_value(drawn, observed) == pytest.approx(wanted, abs=4 * np.sqrt(wanted / 20_000))
    assert stats.ks_2samp(np.round(exact, 6), np.round(drawn, 6), method="asymp").statistic < 0.015


@pytest.mark.parametrize("measure", MEASURES)
def test_interval_is_that_of_scipy(way: str, measure: str) -> None:
    a, b = _systems(np.random.default_rng(5), 150, (0.8, 0.7), repetitions=2)

    places = np.arange(150)

    def over_places(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = np.moveaxis(drawn, axis, -1)
        sums_a, sums_b = a[drawn].sum(axis=-3), b[drawn].sum(axis=-3)
        return statistic(sums_a, measure) - statistic(sums_b, measure)

    theirs = stats.bootstrap(
        (places,), over_places, n_resamples=10_000, method="percentile", vectorized=True, batch=1000,
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    ours = contrast(a, b, products=150, measure=measure, seed=0)
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)
    assert ours.difference == pytest.approx(float(over_places(places)))


def test_p_values_are_uniform_when_the_systems_are_alike() -> None:
    """Size of both tests, with products of several sentences; the critical value of KS at 0.1 % for 600 is 0.079."""
    rng = np.random.default_rng(11)
    found = []
    for seed in range(600):
        a, b = _systems(rng, 200, (0.7, 0.7), repetitions=2, sentences=3)
        found.append(contrast(a, b, products=200, measure="f1", seed=seed, resamples=500))
    for p_values in ([one.p_randomisation for one in found], [one.p_bootstrap for one in found]):
        assert stats.kstest(p_values, "uniform").statistic < 0.079
        assert 0.025 < np.mean(np.array(p_values) < 0.05) < 0.08


def test_interval_covers_the_true_difference() -> None:
    """Coverage within three standard errors of 95 % for products; too low if their sentences are drawn apart."""
    hits, trials = (0.75, 0.65), 400
    population = _systems(np.random.default_rng(0), 500_000, hits)
    truth = float(statistic(population[0].sum(axis=0), "f1") - statistic(population[1].sum(axis=0), "f1"))
    rng = np.random.default_rng(12)
    covered = np.zeros(2)
    for seed in range(trials):
        a, b = _systems(rng, 150, hits)
        by_product = contrast(a, b, products=150, measure="f1", seed=seed, resamples=400)
        # Four sentences of a product that all fare alike.
        a, b = np.repeat(a, 4, axis=0), np.repeat(b, 4, axis=0)
        by_sentence = contrast(a, b, products=600, measure="f1", seed=seed, resamples=400)
        covered += [one.low <= truth <= one.high for one in (by_product, by_sentence)]
    coverage = covered / trials
    assert 0.92 < coverage[0] < 0.98
    assert coverage[1] < 0.8


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(2)
    found = [
        contrast(*_systems(rng, 900, (0.8, 0.65)), products=900, measure="f1", seed=0, resamples=500) for _ in range(20)
    ]
    assert all(one.p_randomisation < 0.05 and one.p_bootstrap < 0.05 and one.low > 0 for one in found)


def test_contrast_is_symmetric_and_repeatable() -> None:
    a, b = _systems(np.random.default_rng(4), 300, (0.8, 0.75), repetitions=3)
    forth = contrast(a, b, products=300, measure="f1", seed=7)
    back = contrast(b, a, products=300, measure="f1", seed=7)
    assert (
        forth
        == contrast(a, b, products=300, measure="f1", seed=7)
        != contrast(a, b, products=300, measure="f1", seed=8)
    )
    assert back.difference == -forth.difference
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.15)
    # Repetitions that are all alike say what one of them says.
    once = contrast(a[:, :1], b[:, :1], products=300, measure="f1", seed=7)
    thrice = contrast(a[:, [0, 0, 0]], b[:, [0, 0, 0]], products=300, measure="f1", seed=7)
    assert (once.low, once.high, once.p_bootstrap) == pytest.approx((thrice.low, thrice.high, thrice.p_bootstrap))


def test_difference_is_that_of_the_mean_of_the_repetitions() -> None:
    a, b = _systems(np.random.default_rng(6), 50, (0.8, 0.75), repetitions=2)
    means = [np.mean([Counts(*map(int, one[:, r].sum(axis=0))).f1 for r in range(2)]) for one in (a, b)]
    assert contrast(a, b, products=50, measure="f1", seed=0, resamples=10).difference == pytest.approx(
        means[0] - means[1]
    )


def test_equal_systems_and_empty_counts() -> None:
    a, _ = _systems(np.random.default_rng(4), 30, (0.8, 0.75))
    for counts in (a, np.zeros((30, 1, 3), np.int64), np.zeros((0, 1, 3), np.int64)):
        same = contrast(counts, counts, products=30, measure="f1", seed=0, resamples=200)
        assert (same.difference, same.low, same.high, same.p_bootstrap, same.p_randomisation) == (0, 0, 0, 1, 1)


def test_several_systems_have_the_contrasts_of_every_two() -> None:
    """The difference is the same however many are compared; intervals and p-values within what resampling leaves."""
    rng = np.random.default_rng(8)
    systems = [system for hits in ((0.8, 0.75), (0.7, 0.6)) for system in _systems(rng, 300, hits, repetitions=2)]
    found = contrasts(np.stack(systems), products=320, measure="f1", seed=3)
    assert list(found) == list(itertools.combinations(range(4), 2))
    for (i, j), together in found.items():
        alone = contrast(systems[i], systems[j], products=320, measure="f1", seed=4)
        assert together.difference == pytest.approx(alone.difference)
        width = alone.high - alone.low
        assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=0.06 * width)
        assert together.p_randomisation == pytest.approx(alone.p_randomisation, abs=0.025)
        assert together.p_bootstrap == pytest.approx(alone.p_bootstrap, abs=0.025)


def test_counts_must_have_their_shape() -> None:
    a, b = _systems(np.random.default_rng(4), 30, (0.8, 0.75))
    with pytest.raises(ValueError, match=r"\(S, n, R, 3\)"):
        contrasts(a, products=30, measure="f1", seed=0)
    with pytest.raises(ValueError, match="30 rows of counts of 29 products"):
        contrast(a, b, products=29, measure="f1", seed=0)


def test_holm_by_hand() -> None:
    # 0.005 * 4; 0.01 * 3; 0.03 * 2; 0.04 * 1 is raised to the 0.06 before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6]) == pytest.approx([0.8, 0.8])
    assert holm([0.2]) == [0.2] and holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_with_bonferroni(p_values: list[float]) -> None:
    """A hypothesis is rejected iff Bonferroni rejects every set of hypotheses that it is in."""
    places = range(len(p_values))
    sets = [chosen for size in range(1, len(p_values) + 1) for chosen in itertools.combinations(places, size)]
    expected = [
        max(min(1.0, len(chosen) * min(p_values[one] for one in chosen)) for chosen in sets if place in chosen)
        for place in places
    ]
    assert holm(p_values) == pytest.approx(expected)


def test_resamples_that_are_drawn_once_are_those_that_each_row_would_draw() -> None:
    """What is kept of one row's draws gives another row the sums, and the generator the state, of drawing again."""
    for columns in (3, 9, 3):
        rows = np.random.default_rng(columns).integers(0, 50, (70, columns))
        one, other = np.random.default_rng(5), np.random.default_rng(5)
        sums = np.concatenate(list(significance._drawn_sums(rows, 80, 300, one)))
        drawn = other.integers(0, 80, size=(300, 80), dtype=np.int32)
        expected = [np.bincount(draw, minlength=80)[:70] @ rows for draw in drawn]
        assert (sums == np.array(expected)).all()
        assert one.bit_generator.state == other.bit_generator.state
