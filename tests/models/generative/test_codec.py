"""Pairs to text and back, and strings to places: against brute force, and on answers as models write them."""

import json

import pytest
from hypothesis import example as also
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import Example, Span
from avebench.contracts.tagging import word_units
from avebench.models.generative.codec import (
    Answer,
    Mode,
    Target,
    encode,
    encode_values,
    pairs_of,
    parse,
    parse_values,
    placed,
    says_none,
)

NAMES = ("color", "Kind", "size: cm; or in", " odd\\", "黑色")
PAIRS = st.lists(st.tuples(st.one_of(st.sampled_from(NAMES), st.text(min_size=1)), st.text()))


def grouped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    order = list(dict.fromkeys(name for name, _ in pairs))
    return sorted(pairs, key=lambda pair: order.index(pair[0]))


@given(PAIRS)
@also([("a", "\\;"), ("a:", " x "), ("a", ":"), ("none", "x"), ("a", "\u2028"), ("b", " "), ("\\", "\\\\")])
def test_what_is_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    names = {name for name, _ in pairs}
    told = [(name, value) for name, value in pairs if not says_none(value)]
    assert parse(encode(pairs, "list"), "list", names) == Answer(tuple(told))
    assert parse(encode(pairs, "json"), "json", names) == Answer(tuple(grouped(told)))


@given(
    st.one_of(st.text(), st.text(alphabet="{}[]:,\"'\\ \nacolr;1none"), st.binary().map(lambda b: b.decode("latin1")))
)
@also('{"color": "\\ud800"}')
@also("{'")
@also("'" * 50)
def test_no_answer_is_an_error(text: str) -> None:
    for target in ("list", "json"):
        answer = parse(text, target, ("color", "a"))
        assert {name for name, _ in answer.pairs} <= {"color", "a"}
        assert all(value.encode() for _, value in answer.pairs)
        placed(Example("e", text, word_units(text)), answer, "free")


@pytest.mark.parametrize(
    ("text", "pairs", "unknown"),
    [
        ('{"color": "red", "kind": "dress"}', "color=red kind=dress", 0),
        ('Here you are:\n```json\n{"color": "red"}\n```\nAnything else?', "color=red", 0),
        ('{"color": ["red", "blue",], "kind": "n/a",}', "color=red color=blue", 0),
        ("{'color': 'red', 'kind': 'women's dress'}", "color=red kind=women's_dress", 0),
        ('{"color": "red", "color": "blue"}', "color=red color=blue", 0),
        ('{"color": {"value": "red"}, "length": 12.50}', "color=red length=12.50", 0),
        ('{"attributes": {"color": "red", "brand": "x"}}', "color=red", 1),
        ('[{"color": "red"}, {"kind": "dress"}]', "color=red kind=dress", 0),
        ('{"color": None, "kind": "None", "length": null}', "", 0),
        ('{"Color ": "red", "KIND": true}', "color=red kind=true", 0),
        ('{color: red, "kind": "dre', "color=red kind=dre", 0),
        ('{"color": "red", "kind": ["dress", "sun dress"', "color=red kind=dress kind=sun_dress", 0),
        ('The {title} says {"color": "red"}, see [1].', "color=red", 0),
        ('{"color": \'red\', "kind": {"value": "dress"}}', "color=red kind=dress", 0),
        ('{"brand": ["x", "y"], "color": []}', "", 2),
        ('{"color": "say \\"red\\""}', 'color=say_"red"', 0),
        ("{}", "", 0),
        ("n/a", "", 0),
    ],
)
def test_json_is_read_tolerantly(text: str, pairs: str, unknown: int) -> None:
    found = parse(text, "json", ("color", "kind", "length"))
    expected = [tuple(pair.replace("_", " ").split("=")) for pair in pairs.split()]
    assert (list(found.pairs), found.unknown, found.unparsable) == (expected, unknown, False)


@pytest.mark.parametrize("text", ["", "I do not know.", "[1, 2]", '"red"', "{title}", "[[[["])
def test_what_is_no_object_is_unparsable(text: str) -> None:
    assert parse(text, "json", ("color",)) == Answer(unparsable=True)


def test_a_pair_list_is_read_tolerantly() -> None:
    found = parse("color:red;  Kind : a: b ; brand: x; rubbish ; color: none ;", "list", ("color", "kind"))
    assert found == Answer((("color", "red"), ("kind", "a: b")), unknown=1)
    assert parse(" None ", "list", ("color",)) == Answer()
    assert parse("rubbish", "list", ("color",)) == parse("", "list", ("color",)) == Answer(unparsable=True)


@given(st.lists(st.text()))
def test_values_of_one_attribute_come_back(values: list[str]) -> None:
    told = tuple(("a", value) for value in values if not says_none(value))
    assert parse_values(encode_values(values), "a") == Answer(told)
    assert parse_values(" ", "a") == Answer(unparsable=True)


def test_names_that_differ_in_case_alone_are_told_apart() -> None:
    found = parse('{"Size": "1", "size": "2", "SIZE": "3"}', "json", ("Size", "size"))
    assert found == Answer((("Size", "1"), ("size", "2")), unknown=1)


@pytest.mark.parametrize("unit", ["[", '{"a":', "'", "\\", "a: b;", " ", '{"a": "b", '])
def test_an_answer_that_never_ends_is_read(unit: str) -> None:
    for target in ("list", "json"):
        parse(unit * 400_000, target, ("a",))


def test_gold_pairs_stand_in_the_order_of_the_text() -> None:
    spans = (Span("kind", 9, 14), Span("color", 0, 3), Span("color", 5, 8))
    example = Example("e", "red, red dress", (), spans, {"color": frozenset({"red", "blue"}), "kind": frozenset()})
    assert pairs_of(example) == (("color", "red"), ("color", "red"), ("kind", "dress"), ("color", "blue"))
    assert encode(pairs_of(example), "list") == "color: red ; color: red ; kind: dress ; color: blue"
    assert json.loads(encode(pairs_of(example), "json")) == {"color": ["red", "red", "blue"], "kind": "dress"}
    assert encode((), "list") == "none" and encode((), "json") == "{}"


def brute_force(text: str, pairs: tuple[tuple[str, str], ...]) -> tuple[set[Span], int]:
    """Return the spans by trying every place of the text, and how many values have none."""
    units = word_units(text)
    taken: list[Span] = []
    lost = 0
    for length in (3, 2, 1):
        for name, value in pairs:
            if len(value) != length:
                continue
            places = [start for start in range(len(text)) if text[start : start + length] == value]
            whole = [s for s in places if any(a == s for a, _ in units) and any(b == s + length for _, b in units)]
            places = [start for start in whole or places if Span(name, start, start + length) not in taken]
            used = {sign for span in taken for sign in range(span.start, span.end)}
            unclaimed = [start for start in places if used.isdisjoint(range(start, start + length))]
            if unclaimed or places:
                start = (unclaimed or places)[0]
                taken.append(Span(name, start, start + length))
            lost += value not in text
    return set(taken), lost


@given(
    st.text(alphabet="ab ", max_size=12),
    st.lists(st.tuples(st.sampled_from("xy"), st.sampled_from(["a", "b", "ab", "a b", "ba", "b a", "c"])), max_size=6),
)
def test_places_are_those_of_brute_force(text: str, pairs: list[tuple[str, str]]) -> None:
    example = Example("e", text, word_units(text))
    spans, lost = brute_force(text, tuple(pairs))
    constrained = placed(example, Answer(tuple(pairs)), "constrained")
    free = placed(example, Answer(tuple(pairs)), "free")
    assert set(constrained.spans or ()) == set(free.spans or ()) == spans
    assert constrained.written == free.written
    assert constrained.written is not None and constrained.written.dropped == lost
    assert {(name, value) for name, values in free.pairs.items() for value in values} == set(pairs)
    kept = {pair for pair in pairs if pair[1] in text}
    assert {(name, value) for name, values in constrained.pairs.items() for value in values} == kept
    assert set(constrained.attributes) == {name for name, _ in kept}


def test_a_value_takes_the_left_most_place_that_is_free() -> None:
    text = "hundred red, dark red, red"
    example = Example("e", text, word_units(text))
    answer = Answer((("color", "red"), ("color", "dark red"), ("trim", "red"), ("color", " blue"), ("weight", "und")))
    found = placed(example, answer, "constrained")
    spans = {(span.attribute, span.start, text[span.start : span.end]) for span in found.spans or ()}
    assert spans == {("color", 8, "red"), ("color", 13, "dark red"), ("trim", 23, "red"), ("weight", 1, "und")}
    assert placed(example, answer, "free").pairs["color"] == {"red", "dark red", "blue"}


@pytest.mark.parametrize("target", ["list", "json"])
@pytest.mark.parametrize("mode", ["constrained", "free"])
def test_gold_that_is_written_and_read_is_gold(target: Target, mode: Mode) -> None:
    text = "red dress with red belt and a blue belt"
    spans = (Span("color", 0, 3), Span("kind", 4, 9), Span("color", 15, 18), Span("color", 30, 34))
    example = Example("e", text, word_units(text), spans)
    answer = parse(encode(pairs_of(example), target), target, ("color", "kind"))
    found = placed(example, answer, mode)
    assert found.spans == spans and found.written is not None and found.written.dropped == 0
