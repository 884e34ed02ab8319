from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import INTENT, PAD, Example, Prediction, Span, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.scoring.counts import cls_counts, example_counts
from avebench.scoring.families import Counts
from avebench.scoring.invariants import invariant_faults
from avebench.scoring.metrics import METRICS, Metric, RunningScores, output_range, per_example_counts, score
from avebench.scoring.queried import QUERIED
from avebench.scoring.rankings import HITS

TEXT = "blue jeans match blue spirits"
ATTRIBUTES = ["Color", "Type", "Brand"]


def example(
    name: str = "1", spans: tuple[Span, ...] = (), pairs: Mapping[str, frozenset[str]] | None = None
) -> Example:
    covered = pairs_from_spans(TEXT, spans) if pairs is None else pairs
    return Example(id=name, text=TEXT, tokens=word_units(TEXT), spans=spans, pairs=covered)


def prediction(name: str = "1", spans: tuple[Span, ...] | None = (), **fields: object) -> Prediction:
    found = {"attributes": {span.attribute: 1.0 for span in spans or ()}, "pairs": pairs_from_spans(TEXT, spans or ())}
    return Prediction(id=name, spans=spans, **{**found, **fields})  # type: ignore[arg-type]


@st.composite
def scored(draw: st.DrawFn) -> list[tuple[Example, Prediction, list[str]]]:
    """Draw examples with predictions and slices; a few systems cannot point at the text."""
    starts, ends = zip(*word_units(TEXT), strict=True)
    span = st.tuples(st.sampled_from(ATTRIBUTES), st.integers(0, 4), st.integers(0, 4)).map(
        lambda drawn: Span(drawn[0], starts[min(drawn[1:])], ends[max(drawn[1:])])
    )
    rows = []
    for number in range(draw(st.integers(0, 6))):
        gold = draw(st.lists(span, max_size=3, unique=True).map(tuple))
        found = draw(st.one_of(st.lists(span, max_size=3).map(tuple), st.just(gold)))
        predicted = prediction(str(number), found)
        if draw(st.integers(0, 9)) == 0:
            predicted = replace(predicted, spans=None)
        rows.append((example(str(number), gold), predicted, draw(st.lists(st.sampled_from("xy"), unique=True))))
    return rows


def shard(rows: list[tuple[Example, Prediction, list[str]]]) -> RunningScores:
    scores = RunningScores()
    for gold, predicted, slices in rows:
        scores.add(gold, predicted, slices)
    return scores


def merged(*shards: RunningScores) -> RunningScores:
    total = RunningScores()
    for one in shards:
        total.merge(one)
    return total


@given(scored(), st.integers(0, 6), st.integers(0, 6))
def test_shards_merge_in_any_grouping(rows: list[tuple[Example, Prediction, list[str]]], i: int, j: int) -> None:
    i, j = min(i, j), max(i, j)
    a, b, c = rows[:i], rows[i:j], rows[j:]
    whole = shard(rows)
    assert merged(shard(a), shard(b), shard(c)) == whole
    assert merged(shard(a), merged(shard(b), shard(c))) == whole
    assert merged(shard(c), shard(a), shard(b)) == whole


@given(scored())
def test_figures_equal_a_count_over_the_corpus(rows: list[tuple[Example, Prediction, list[str]]]) -> None:
    scores = shard(rows)
    gold = {(g.id, span) for g, _, _ in rows for span in g.spans}
    found = {(p.id, span) for _, p, _ in rows for span in p.spans or ()}
    if rows and all(p.spans is not None for _, p, _ in rows):
        assert scores.counts("tag") == Counts(len(gold & found), len(found), len(gold))
        for attribute, counts in scores.per_attribute().items():
            hits = sum(span.attribute == attribute for _, span in gold & found)
            assert counts == Counts(
                hits,
                sum(span.attribute == attribute for _, span in found),
                sum(span.attribute == attribute for _, span in gold),
            )
        for name, (number, counts) in scores.per_slice().items():
            inside = {g.id for g, _, slices in rows if name in slices}
            assert number == len(inside)
            assert counts.tp == sum(place in inside for place, _ in gold & found)
    else:
        assert scores.metric("tag_f1") is None
    assert invariant_faults(scores.metrics(), scores.examples, [g for g, _, _ in rows]) == []


def test_missing_spans_are_not_available_rather_than_zero() -> None:
    gold = example(spans=(Span("Color", 0, 4),))
    generated = prediction(spans=None, attributes={"Color": 1.0}, pairs={"Color": frozenset({"blue"})})
    scores = score([gold], [generated])
    assert scores.metric("tag_f1") is None
    assert scores.metric("string_f1") == Metric(100.0, 1, 1, 1)
    assert scores.per_attribute() == {"Color": Counts(1, 1, 1)}
    assert score([replace(gold, spans=())], [prediction(spans=gold.spans)]).metric("tag_f1") is None
    assert RunningScores().metric("tag_f1") is None


def test_classification_with_and_without_pad() -> None:
    # Gold {a}, {}, {b}; predicted {a}, {}, {a}
    gold = [
        example("1", pairs={"a": frozenset("x")}),
        example("2", pairs={}),
        example("3", pairs={"b": frozenset("x")}),
    ]
    found = [
        prediction(str(number), attributes=dict.fromkeys(names, 0.9)) for number, names in enumerate(["a", "", "a"], 1)
    ]
    scores = score(gold, found)
    assert scores.metric("cls_f1") == Metric(50.0, 1, 2, 2)
    padded = scores.metric("cls_f1_with_pad")
    assert padded is not None
    assert padded.value == pytest.approx(200 / 3)
    assert (padded.tp, padded.predicted, padded.gold) == (2, 3, 3)


def test_a_system_with_a_pad_output_is_scored_on_it() -> None:
    gold, both = example(spans=(Span("Color", 0, 4),)), prediction(attributes={"Color": 0.8, PAD: 0.6})
    assert cls_counts(gold, both) == Counts(1, 1, 1)
    assert cls_counts(gold, both, with_pad=True) == Counts(1, 2, 1)
    only = prediction(attributes={PAD: 0.9})
    assert cls_counts(example(), only) == Counts(0, 0, 0)
    assert cls_counts(example(), only, with_pad=True) == Counts(1, 1, 1)


def test_sources_of_the_predicted_attributes() -> None:
    gold = example(spans=(Span("Color", 0, 4), Span("Type", 5, 10)))
    found = prediction(
        spans=(Span("Type", 0, 4), Span("", 5, 10)),
        attributes={"Color": 0.7},
        pairs={"Color": frozenset(), "Brand": frozenset({"match"})},
    )
    assert cls_counts(gold, found, "head") == Counts(1, 1, 2)
    assert cls_counts(gold, found, "tags") == Counts(1, 1, 2)
    assert cls_counts(gold, found, "derived") == Counts(0, 1, 2)
    assert cls_counts(gold, replace(found, spans=None), "tags") is None
    with pytest.raises(ValueError, match="do not add up"):
        RunningScores("head").merge(RunningScores("derived"))


def test_string_sets_ignore_positions_and_repetitions() -> None:
    gold = example(spans=(Span("Color", 0, 4),))
    found = prediction(spans=(Span("Color", 17, 21), Span("Color", 0, 4), Span("Type", 5, 10)))
    counts = example_counts(gold, found)
    assert counts["string"] == Counts(1, 2, 1)
    assert counts["tag"] == Counts(1, 3, 1)


def test_intent_and_sentence_accuracy() -> None:
    right = {INTENT: frozenset({"PlayMusic"})}
    spans = (Span("Color", 0, 4),)
    gold = [example(str(number), spans, {**pairs_from_spans(TEXT, spans), **right}) for number in range(3)]
    found = [
        prediction("0", spans, pairs=right),
        prediction("1", (), pairs=right),
        prediction("2", spans, pairs={INTENT: frozenset({"GetWeather"})}),
    ]
    scores = score(gold, found)
    assert scores.metric("intent_accuracy") == Metric(pytest.approx(200 / 3), 2, 3, 3)
    assert scores.metric("sentence_accuracy") == Metric(pytest.approx(100 / 3), 1, 3, 3)
    assert scores.counts("cls") == Counts(2, 2, 3)  # The intent is neither an attribute nor a value.
    assert scores.counts("string") == Counts(0, 0, 3)
    assert scores.counts("mae") == Counts(0, 3, 3)
    assert score([example("0")], [prediction("0")]).metric("intent_accuracy") is None


def test_zero_over_zero_is_zero() -> None:
    figures = score([example()], [prediction()]).metrics()
    unspoken = {name for name, (family, _) in METRICS.items() if family in QUERIED}
    missing = {name for name, figure in figures.items() if figure is None}
    assert missing == {"intent_accuracy", "sentence_accuracy", *HITS, "mrr"} | unspoken
    assert all(figure.value == 0 for name, figure in figures.items() if figure and "with_pad" not in name)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_f1_is_the_harmonic_mean(tp: int, more_predicted: int, more_gold: int) -> None:
    counts = Counts(tp, tp + more_predicted, tp + more_gold)
    p, r = counts.precision, counts.recall
    assert counts.f1 == pytest.approx(2 * p * r / (p + r) if p + r else 0.0)


@given(scored())
def test_per_example_counts_add_up(rows: list[tuple[Example, Prediction, list[str]]]) -> None:
    gold, found = [row[0] for row in rows], [replace(row[1], spans=row[1].spans or ()) for row in rows]
    scores = score(gold, found)
    for name in ("tag_f1", "cls_f1", "mae_accuracy", "string_recall"):
        table = per_example_counts(gold, found, name)
        assert table.shape == (len(rows), 3)
        assert table.dtype == np.int64
        if rows:
            assert Counts(*table.sum(axis=0).tolist()) == scores.counts(METRICS[name][0])


def test_per_example_counts_refuse_what_is_not_available() -> None:
    with pytest.raises(ValueError, match="tag_f1 is not available for example '1'"):
        per_example_counts([example()], [prediction(spans=None)], "tag_f1")
    with pytest.raises(ValueError, match="prediction of '2' stands beside the gold example '1'"):
        per_example_counts([example("1")], [prediction("2")], "tag_f1")


@pytest.mark.parametrize(
    ("attributes", "length", "selected", "c_o", "c_m"),
    [  # hand-worked from journal Eq. 1 and 2
        (26, 11, 1, 583, 59),
        (26, 46, 1, 2438, 164),
        (26, 46, 2, 2438, 302),
        (2100, 128, 4, 537728, 3636),
        (26, 46, 26, 2438, 3614),
    ],
)
def test_output_range(attributes: int, length: int, selected: int, c_o: int, c_m: int) -> None:
    assert output_range(attributes, length, selected) == (c_o, c_m)


def test_range_and_length_are_means_over_examples() -> None:
    found = [prediction("1", attributes={"a": 1.0, "b": 0.6, PAD: 0.6}), prediction("2", attributes={})]
    scores = score([example("1"), example("2")], found)
    assert scores.mean_selected_range == 1.0
    assert scores.mean_length == 5.0


def test_invariants_find_what_is_wrong() -> None:
    gold = [example(spans=(Span("Color", 0, 4), Span("Type", 5, 10)))]
    figures = score(gold, [prediction(spans=(Span("Color", 0, 4),))]).metrics()
    assert invariant_faults(figures, 1, gold) == []
    f1 = figures["tag_f1"]
    assert f1 is not None
    assert len(invariant_faults({**figures, "tag_f1": replace(f1, value=f1.value + 1e-3)}, 1)) == 2
    assert "true positives" in invariant_faults({"tag_f1": replace(f1, tp=3)}, 1)[0]
    assert "the gold examples hold 2" in invariant_faults({"tag_f1": Metric(100.0, 1, 1, 1)}, 1, gold)[0]
    assert invariant_faults(figures, 2, gold) == ["2 examples are scored, 1 are gold"]
