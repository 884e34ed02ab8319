"""Held-out attributes: the parts against their definition, and what stays of examples and predictions."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span
from avebench.contracts.held_out import HeldOut, answers_for, only, without

NAMES = st.lists(st.text("abcdefg", min_size=1, max_size=4), min_size=2, max_size=12, unique=True)


@given(NAMES, st.integers(2, 5))
def test_folds_part_the_attributes_and_order_does_not_matter(names: Sequence[str], folds: int) -> None:
    schema = AttributeSchema(tuple(names))
    parts = [HeldOut(folds=folds).attributes(schema, repetition) for repetition in range(folds)]
    assert sorted(name for part in parts for name in part) == sorted(names)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert parts[0] == HeldOut(folds=folds).attributes(schema, folds)
    backwards = AttributeSchema(tuple(reversed(names)))
    assert [set(HeldOut(folds=folds).attributes(backwards, number)) for number in range(folds)] == list(map(set, parts))
    assert all(list(part) == [name for name in names if name in part] for part in parts)


GOLD = Example(
    "1",
    "a red dress",
    ((0, 1), (2, 5), (6, 11)),
    (Span("color", 2, 5), Span("kind", 6, 11)),
    {"color": frozenset({"red"}), "kind": frozenset({"dress"})},
    absent=frozenset({"fit", "size"}),
)


def test_an_annotation_falls_into_two_that_say_all_of_it() -> None:
    (inside,), (outside,) = only([GOLD], {"kind", "fit"}), without([GOLD], {"kind", "fit"})
    assert inside.spans == (Span("kind", 6, 11),) and outside.spans == (Span("color", 2, 5),)
    assert inside.pairs == {"kind": frozenset({"dress"})} and outside.pairs == {"color": frozenset({"red"})}
    assert inside.absent == {"fit"} and outside.absent == {"size"}
    assert inside.text == outside.text == GOLD.text and inside.tokens == GOLD.tokens
    assert only([GOLD], ()) == [GOLD] == without([GOLD], ())


def test_a_prediction_keeps_what_is_of_the_attributes() -> None:
    spans = (Span("color", 2, 5), Span("kind", 6, 11), Span("color", 0, 1))
    found = Prediction(
        "1",
        {"color": 0.5, "kind": 0.75},
        {"color": frozenset({"red", "a"}), "kind": frozenset({"dress"})},
        spans,
        (0.1, 0.2, 0.3),
        (("color", 0.5, spans[:1]), ("kind", 0.75, spans[1:2])),
        rankings={"color": {"red": 1}, "kind": {"dress": 2}},
    )
    colour = answers_for(found, ("color",))
    assert colour.spans == (spans[0], spans[2]) and colour.span_scores == (0.1, 0.3)
    assert colour.attributes == {"color": 0.5} and colour.pairs == {"color": frozenset({"red", "a"})}
    assert colour.candidates == (("color", 0.5, spans[:1]),) and colour.rankings == {"color": {"red": 1}}
    assert answers_for(found, ()) is found
    assert answers_for(Prediction("1", {}, {"kind": frozenset({"x"})}), ("color",)).pairs == {}
