"""Paired tests and intervals for ratios of summed counts: bootstrap, approximate randomisation, Holm.

The unit of resampling is the product: all sentences of a product are drawn, or swapped, together. A system's counts of
one product are an array (R, 3): true positives, predicted and gold items in each of R repetitions. Its statistic is the
mean over the repetitions of the micro average of each, the figure that the tables print. A resample draws the products
once for all systems and repetitions. Interval and p-values therefore say what another draw of test products would
change about these R trained systems; what another training would change is the spread over the repetitions.

* `bootstrap`: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval); for
  comparing two systems on one test set: Koehn, EMNLP 2004.
* `randomisation`: Noreen, Computer-Intensive Methods for Testing Hypotheses, 1989; for F1: Yeh, COLING 2000.

Products whose counts are equal are interchangeable, so that a resample needs only how often each distinct set of counts
is drawn: a multinomial, or binomial, number. Where nearly every product differs, the products themselves are drawn.
Both ways have the same distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Figures = npt.NDArray[np.float64]
Measure = Literal["precision", "recall", "f1"]
Pair = tuple[int, int]
"""Positions of two systems, the first named first; a difference is the first minus the second."""

RESAMPLES = 10_000
LEVEL = 95.0
_CHUNK = 2_000_000
"""Numbers that are drawn at a time: 16 MB."""
_PRODUCTS_PER_TYPE = 12
"""Drawing the number of one distinct set of counts takes as long as drawing some 12 products."""
_ROUNDING = 1e-9
"""Differences in % points that are as large but for rounding count as equal."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """System A minus system B in % points, with a percentile interval of `LEVEL` % and two-sided p-values."""

    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomisation: float


def ratio(sums: npt.NDArray[Any], measure: Measure) -> Figures:
    """Return precision, recall or F1 in % of summed counts (..., 3), as (...); 0/0 is 0."""
    tp, predicted, gold = sums[..., 0], sums[..., 1], sums[..., 2]
    above, below = {"precision": (tp, predicted), "recall": (tp, gold), "f1": (2 * tp, predicted + gold)}[measure]
    figures: Figures = np.divide(100.0 * above, below, out=np.zeros(below.shape), where=below > 0)
    return figures


def statistic(sums: npt.NDArray[Any], measure: Measure) -> Figures:
    """Return the mean over repetitions of a ratio in %, from summed counts (..., R, 3), as (...)."""
    means: Figures = ratio(sums, measure).mean(axis=-1)
    return means


def contrasts(
    counts: Counts, *, products: int, measure: Measure, seed: int, resamples: int = RESAMPLES
) -> dict[Pair, Contrast]:
    """Return for every two of S systems how far they differ and how certain that is, by their places (i, j), i < j.

    `counts` (S, n, R, 3) are those of the same n products; `products` is the size of the whole test set, whose other
    products have no count here (an attribute, a slice). All pairs share the resamples. Equal seeds give equal results.
    ValueError if the shape is another or there are fewer products than rows.
    """
    if counts.ndim != 4 or counts.shape[3] != 3:
        raise ValueError(f"counts are (S, n, R, 3): {counts.shape}")
    if not counts.shape[1] <= products:
        raise ValueError(f"{counts.shape[1]} rows of counts of {products} products")
    figures = statistic(counts.sum(axis=1), measure)
    rng = np.random.default_rng(seed)
    resampled = bootstrap(counts, products, measure, resamples, rng)
    swapped = randomisation(counts, measure, resamples, rng)
    found = {}
    for (i, j), null in swapped:
        difference = float(figures[i] - figures[j])
        drawn = resampled[:, i] - resampled[:, j]
        found[i, j] = Contrast(
            difference, *_middle(drawn), p_value(drawn - difference, difference), p_value(null, difference)
        )
    return found


def intervals(
    counts: Counts, *, products: int, measures: Sequence[Measure], seed: int, resamples: int = RESAMPLES
) -> list[tuple[float, float]]:
    """Return the percentile interval of `LEVEL` % of each of one system's figures in %, by the bootstrap over products.

    `counts` (n, M, R, 3) are those of n products behind M figures; `products` is the size of the whole test set. The
    resamples are the same for all figures. ValueError if there are fewer products than rows, or not M `measures`.
    """
    number, figures, repetitions, _ = counts.shape
    if not number <= products or figures != len(measures):
        raise ValueError(f"counts {counts.shape} of {products} products and {len(measures)} figures")
    rows = counts.reshape(number, figures * repetitions * 3)
    rng = np.random.default_rng(seed)
    sums = np.concatenate(list(_drawn_sums(rows[rows.any(axis=1)], products, resamples, rng)))
    sums = sums.reshape(resamples, figures, repetitions, 3)
    return [_middle(statistic(sums[:, place], measure)) for place, measure in enumerate(measures)]


def _middle(figures: Figures) -> tuple[float, float]:
    """Return the bounds of the middle `LEVEL` % of the figures."""
    tail = (100.0 - LEVEL) / 2
    low, high = np.percentile(figures, [tail, 100.0 - tail])
    return float(low), float(high)


def p_value(null: Figures, observed: float) -> float:
    """Return the two-sided p-value (1 + number of |null| >= |observed|) / (1 + number), never 0."""
    extreme = np.count_nonzero(np.abs(null) >= abs(observed) - _ROUNDING)
    return float((1 + extreme) / (1 + len(null)))


def bootstrap(counts: Counts, products: int, measure: Measure, resamples: int, rng: np.random.Generator) -> Figures:
    """Return each system's figure in each resample of `products` products with replacement, (resamples, S)."""
    systems, number, repetitions, _ = counts.shape
    rows = counts.transpose(1, 0, 2, 3).reshape(number, systems * repetitions * 3)
    sums = np.concatenate(list(_drawn_sums(rows[rows.any(axis=1)], products, resamples, rng)))
    return statistic(sums.reshape(resamples, systems, repetitions, 3), measure)


def randomisation(
    counts: Counts, measure: Measure, resamples: int, rng: np.random.Generator
) -> Iterator[tuple[Pair, Figures]]:
    """Yield for every two systems the difference after each product's counts were swapped or not, (resamples,).

    Each product is swapped with probability 1/2, in all repetitions at once, and in one resample between any two.
    """
    systems, number, repetitions, _ = counts.shape
    # Swapping equal counts changes nothing. What a swap moves between two systems is a difference of differences.
    beyond = (counts[1:] - counts[0]).transpose(1, 0, 2, 3).reshape(number, (systems - 1) * repetitions * 3)
    sums = np.concatenate(list(_swapped_sums(beyond[beyond.any(axis=1)], resamples, rng)))
    sums = sums.reshape(resamples, systems - 1, repetitions, 3)
    moved = np.concatenate([np.zeros_like(sums[:, :1]), sums], axis=1)
    total = counts.sum(axis=1)
    for i, j in itertools.combinations(range(systems), 2):
        change = moved[:, j] - moved[:, i]
        yield (i, j), statistic(total[i] + change, measure) - statistic(total[j] - change, measure)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number by Holm's step-down method, in the given order.

    Holm, Scandinavian Journal of Statistics 6 (1979): the i-th smallest of m is multiplied by m - i + 1, is at least as
    large as the one before it, and at most 1. Claiming what is below alpha makes any false claim with chance alpha.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def _types(rows: Counts) -> tuple[Counts, Counts]:
    """Return the distinct rows (K, C) and how often each stands there (K,)."""
    if not rows.size:
        return rows[:0], np.zeros(0, np.int64)
    types, sizes = np.unique(rows, axis=0, return_counts=True)
    return types, sizes


def _exact_type(rows: Counts, products: int) -> npt.DTypeLike:
    """Return the float type that holds every possible sum of the whole numbers in `rows` exactly."""
    largest = int(np.abs(rows).max(initial=0)) * products
    return np.float32 if largest < 2**24 else np.float64


def _chunks(resamples: int, width: int) -> Iterator[int]:
    """Yield how many resamples of `width` numbers are drawn at a time."""
    size = max(1, _CHUNK // max(1, width))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)


def _drawn_sums(rows: Counts, products: int, resamples: int, rng: np.random.Generator) -> Iterator[Figures]:
    """Yield the sums (chunk, C) of `products` draws out of `rows` (n, C) and the products without counts."""
    types, sizes = _types(rows)
    if _PRODUCTS_PER_TYPE * len(types) < products:
        shares = np.append(sizes, products - len(rows)) / products
        # Whole numbers far below 2^53: their products and sums are exact, and quicker than those of integers.
        exact_types = types.astype(np.float64)
        for chunk in _chunks(resamples, len(shares)):
            yield rng.multinomial(products, shares, size=chunk)[:, :-1].astype(np.float64) @ exact_types
        return
    exact = rows.astype(_exact_type(rows, products))
    drawn, rng.bit_generator.state = _drawn_numbers(products, resamples, _Hashed(rng.bit_generator.state))
    for weights in drawn:
        yield (weights[:, : len(rows)].astype(exact.dtype, copy=False) @ exact).astype(np.float64)


class _Hashed(dict[str, Any]):
    """A generator's state as an argument that calls can be told apart by."""

    def __hash__(self) -> int:  # type: ignore[override]  # Nobody changes it.
        return hash(repr(self))


@lru_cache(maxsize=4)
def _drawn_numbers(
    products: int, resamples: int, state: _Hashed
) -> tuple[list[npt.NDArray[np.float32]], dict[str, Any]]:
    """Return how often each resample draws each product, (chunk, products), and the generator's state behind it.

    Every comparison on a test set draws the same, for one seed: a report of many rows draws once.
    """
    generator = np.random.PCG64()
    generator.state = dict(state)  # type: ignore[assignment]  # A state of this generator.
    rng = np.random.Generator(generator)
    found = []
    for chunk in _chunks(resamples, products):
        drawn = rng.integers(0, products, size=(chunk, products), dtype=np.int32)
        weights = np.empty((chunk, products), np.float32)
        for weight, draw in zip(weights, drawn, strict=True):
            weight[:] = np.bincount(draw, minlength=products)
        found.append(weights)
    return found, dict(generator.state)


def _swapped_sums(rows: Counts, resamples: int, rng: np.random.Generator) -> Iterator[Figures]:
    """Yield the sums (chunk, C) of random subsets of `rows` (n, C); each row is in a subset with probability 1/2."""
    types, sizes = _types(rows)
    if _PRODUCTS_PER_TYPE * len(types) < len(rows) or not len(rows):
        for chunk in _chunks(resamples, len(types)):
            yield (rng.binomial(sizes, 0.5, size=(chunk, len(sizes))) @ types).astype(np.float64)
        return
    exact = rows.astype(_exact_type(rows, len(rows)))
    for chunk in _chunks(resamples, len(rows)):
        bits = np.unpackbits(np.frombuffer(rng.bytes(-(-chunk * len(rows) // 8)), np.uint8), count=chunk * len(rows))
        yield (bits.reshape(chunk, -1).astype(exact.dtype, copy=False) @ exact).astype(np.float64)
