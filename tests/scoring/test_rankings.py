"""Ranks of closed lists of values, hits at them and their reciprocal mean, against counting from the scores."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import INTENT, RANKED, Example, Prediction, ranked
from avebench.scoring.families import Counts
from avebench.scoring.invariants import invariant_faults
from avebench.scoring.metrics import score
from avebench.scoring.rankings import HITS, WHOLE_RANK, gold_ranks, ranking_counts

VALUES = [f"value {number}" for number in range(40)]
SCORES = st.dictionaries(st.sampled_from(VALUES), st.integers(0, 12).map(float))


@given(SCORES, st.integers(1, 30))
def test_a_rank_counts_the_values_that_are_scored_as_high_or_higher(scores: dict[str, float], worst: int) -> None:
    expected = {
        value: rank for value in scores if (rank := sum(other >= scores[value] for other in scores.values())) <= worst
    }
    found = ranked(scores, worst)
    assert found == expected
    assert list(found.values()) == sorted(found.values())
    # The lowest scores beyond `worst` change nothing, whichever of equal ones are left out.
    kept = sorted(scores, key=scores.__getitem__, reverse=True)[: worst + 1]
    assert ranked({value: scores[value] for value in kept}, worst) == expected


Drawn = list[tuple[dict[str, set[str]], dict[str, dict[str, float]]]]
ATTRIBUTE = st.sampled_from("abc")
PRODUCTS = st.lists(
    st.tuples(
        st.dictionaries(ATTRIBUTE, st.sets(st.sampled_from(VALUES), min_size=1, max_size=3)),
        st.dictionaries(ATTRIBUTE, SCORES),
    ),
    min_size=1,
    max_size=6,
)


@given(PRODUCTS)
def test_hits_and_reciprocal_ranks_are_those_of_all_queries(drawn: Drawn) -> None:
    gold, predictions, ranks = [], [], []
    for number, (values, scores) in enumerate(drawn):
        pairs = {name: frozenset(value.upper() for value in some) for name, some in values.items()}
        gold.append(Example(str(number), "", (), pairs=pairs))
        rankings = {name: ranked(some) for name, some in scores.items()}
        predictions.append(Prediction(str(number), {}, {}, rankings=rankings))
        for name, some in values.items():
            listed = scores.get(name, {})
            each = [sum(other >= listed[value] for other in listed.values()) for value in some if value in listed]
            ranks.append(min(each, default=10**9))
    scores_of_all = score(gold, predictions)
    for name, k in (("hits_1", 1), ("hits_5", 5), ("hits_10", 10), ("hits_20", 20)):
        metric = scores_of_all.metric(name)
        assert metric is not None and (metric.tp, metric.gold) == (sum(rank <= k for rank in ranks), len(ranks))
    mean = sum((Fraction(1, rank) for rank in ranks if rank <= RANKED), Fraction()) / max(len(ranks), 1)
    metric = scores_of_all.metric("mrr")
    assert metric is not None and metric.value == pytest.approx(float(100 * mean), rel=1e-12)
    assert Fraction(metric.tp, WHOLE_RANK) == mean * len(ranks)  # Not a digit is lost.
    assert invariant_faults(scores_of_all.metrics(), len(gold), gold) == []


def test_a_hand_worked_example() -> None:
    gold = Example(
        "1", "", (), pairs={"Color": frozenset({"Navy", "RED"}), INTENT: frozenset({"x"}), "Size": frozenset("M")}
    )
    # Color: red and navy share the second best score, so that both have rank 3. Size: m is the fourth.
    rankings = {
        "Color": {"blue": 1, "red": 3, " navy": 3},
        "Size": {"s": 1, "l": 2, "xl": 3, "m": 4},
        "Brand": {"x": 1},
    }
    prediction = Prediction("1", {}, {}, rankings=rankings)
    assert gold_ranks(gold, prediction) == [3, 4]
    counts = ranking_counts(gold, prediction)
    assert {family: counts[family] for family in HITS} == {
        "hits_1": Counts(0, 2, 2),
        "hits_5": Counts(2, 2, 2),
        "hits_10": Counts(2, 2, 2),
        "hits_20": Counts(2, 2, 2),
    }
    metric = score([gold], [prediction]).metric("mrr")
    assert metric is not None and metric.value == pytest.approx(100 * (1 / 3 + 1 / 4) / 2)
    # An attribute without a ranking, and a rank beyond the last that counts, are misses.
    far = {"Color": {f"v{number}": number for number in range(1, 21)} | {"red": 21}}
    counts = ranking_counts(gold, replace(prediction, rankings=far))
    found = {(one.tp, one.predicted, one.gold) for one in counts.values()}
    assert found == {(0, 2, 2), (0, 2 * WHOLE_RANK, 2 * WHOLE_RANK)}


def test_without_rankings_there_are_no_such_metrics() -> None:
    gold = [Example(name, "", (), pairs={"Color": frozenset({"red"})}) for name in "ab"]
    with_ranks = Prediction("a", {}, {}, rankings={})
    metrics = score(gold, [with_ranks, Prediction("b", {}, {})]).metrics()
    assert all(metrics[name] is None for name in (*HITS, "mrr"))
    metrics = score(gold[:1], [with_ranks]).metrics()
    assert metrics["mrr"] is not None and metrics["mrr"].value == 0
