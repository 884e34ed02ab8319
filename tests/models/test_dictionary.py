"""The dictionary on texts worked by hand."""

import json

from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import AttributeSchema, Example, Span
from avebench.contracts.tagging import character_units, word_units
from avebench.models.dictionary import Config, Model

SCHEMA = AttributeSchema(("color", "style"))


def example(text: str, *values: tuple[str, str]) -> Example:
    """Return an example whose spans are the first places of the values, one after the other."""
    spans, position = [], 0
    for attribute, value in values:
        position = text.index(value, position)
        spans.append(Span(attribute, position, position + len(value)))
        position += len(value)
    return Example("1", text, word_units(text), tuple(spans))


def found(train: list[Example], text: str, schema: AttributeSchema = SCHEMA) -> list[tuple[str, str]]:
    vocabulary = json.loads(json.dumps(Model.learn_vocabulary(Config(), schema, train)))
    units = word_units(text) if schema.units == "word" else character_units(text)
    (prediction,) = Model(Config(), schema, vocabulary).predict([Example("2", text, units)])
    assert prediction.spans is not None
    assert set(prediction.attributes) == set(prediction.pairs) == {span.attribute for span in prediction.spans}
    return [(span.attribute, text[span.start : span.end]) for span in prediction.spans]


def test_longest_match_on_unit_boundaries_in_any_case_and_spacing() -> None:
    train = [example("Dark Blue dress", ("color", "Dark Blue")), example("blue top", ("color", "blue"))]
    assert found(train, "BLUE and dark  blue, darkblue") == [("color", "BLUE"), ("color", "dark  blue")]


def test_a_longer_value_that_fails_halfway_leaves_the_shorter_one() -> None:
    train = [example("dark blue navy", ("color", "dark blue navy")), example("dark", ("style", "dark"))]
    assert found(train, "dark blue red") == [("style", "dark")]


def test_a_value_needs_more_than_half_of_its_occurrences() -> None:
    hit, miss = example("rock", ("style", "rock")), example("rock")
    assert found([hit, miss], "rock") == []
    assert found([hit, hit, miss], "rock") == [("style", "rock")]


def test_occurrences_inside_a_longer_value_do_not_count() -> None:
    inside = example("dark blue", ("color", "dark blue"))
    assert found([inside, inside, example("blue", ("color", "blue"))], "blue") == [("color", "blue")]


def test_an_ambiguous_value_takes_the_majority_then_the_schema_order() -> None:
    color, style = example("nude", ("color", "nude")), example("nude", ("style", "nude"))
    assert found([style, color], "nude") == [("color", "nude")]
    assert found([style, style, color], "nude") == [("style", "nude")]


def test_unknown_attributes_and_spans_off_the_units_are_left_out() -> None:
    odd = Example("1", "reddish", word_units("reddish"), (Span("color", 0, 3),))
    assert found([odd, example("red", ("size", "red"))], "red reddish") == []


def test_characters() -> None:
    schema = AttributeSchema(("color",), "character")
    text = "星辰黑色裙"
    train = [Example("1", text, character_units(text), (Span("color", 2, 4),))]
    assert found(train, "黑裙黑色", schema) == [("color", "黑色")]


def test_empty_texts_and_an_empty_training_set() -> None:
    assert found([], "red") == []
    assert found([example("red", ("color", "red")), example("")], "") == []


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6), max_size=8), st.data())
def test_what_enters_equals_a_count_by_brute_force(texts: list[list[str]], data: st.DataObject) -> None:
    train, occurrences, hits = [], {}, {}
    for words in texts:
        start = data.draw(st.integers(0, len(words)))
        end = data.draw(st.integers(start, min(start + 2, len(words))))
        span = Span("color", 2 * start, 2 * end - 1)
        train.append(Example("1", " ".join(words), word_units(" ".join(words)), (span,) if end > start else ()))
        for first in range(len(words)):
            for last in range(first + 1, len(words) + 1):
                value, place = tuple(words[first:last]), (first, last)
                if place == (start, end):
                    hits[value] = hits.get(value, 0) + 1
                elif end > start and start <= first and last <= end:
                    continue
                occurrences[value] = occurrences.get(value, 0) + 1
    vocabulary = Model.learn_vocabulary(Config(), SCHEMA, train)
    expected = {value for value, count in hits.items() if 2 * count > occurrences[value]}
    assert {tuple(units) for units, _ in vocabulary["values"]} == expected
