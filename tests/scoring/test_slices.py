from collections.abc import Mapping
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import Example, Picture, Span, pairs_from_spans
from avebench.contracts.tagging import character_units, word_units
from avebench.scoring.slices import SliceRule


def example(text: str, *marked: tuple[str, str], category: str | None = None, picture: bool = True) -> Example:
    """Return an example whose values are marked at their first occurrence."""
    spans = tuple(Span(attribute, text.index(value), text.index(value) + len(value)) for attribute, value in marked)
    photo = Picture("p", Path("p.jpg")) if picture else None
    pairs = pairs_from_spans(text, spans)
    return Example(text, text, word_units(text), spans, pairs, picture=photo, category=category)


TRAIN = [
    example("blue shirt", ("colour", "blue")),
    example("navy blue hat", ("colour", "navy blue")),
    example("wool hat", ("material", "wool")),
    example("golden print bag", ("pattern", "golden print")),
]


def names(one: Example, subset: list[Example] | None = None) -> frozenset[str]:
    return SliceRule(TRAIN, TRAIN if subset is None else subset).names(one)


def test_distractor() -> None:
    assert "distractor" in names(example("red coat, blue lining", ("colour", "red")))
    assert "distractor" in names(example("Red coat, NAVY  BLUE lining", ("colour", "Red")))
    # A value of an attribute that this example does not have distracts from nothing.
    assert "distractor" not in names(example("red coat, wool lining", ("colour", "red")))
    # On unit boundaries only, outside the gold spans only.
    assert "distractor" not in names(example("red coat, blueish lining", ("colour", "red")))
    assert "distractor" not in names(example("navy blue coat", ("colour", "navy blue")))
    assert "distractor" not in names(example("a blue coat", ("pattern", "blue"), ("colour", "coat")))
    assert "distractor" not in names(example("blue coat"))


def test_distractor_knows_all_training_products_and_unseen_only_the_subset() -> None:
    one = example("navy blue coat, blue lining", ("colour", "navy blue"))
    assert names(one, TRAIN[:1]) >= {"distractor", "unseen"}
    assert "unseen" not in names(one)
    # Known for another attribute is not known for this one.
    assert "unseen" in names(example("wool white paint", ("colour", "wool")))


def test_distractor_without_spans_looks_beside_the_own_values() -> None:
    def pairs_only(text: str, pairs: Mapping[str, frozenset[str]]) -> Example:
        return Example("1", text, word_units(text), (), pairs)

    assert "distractor" not in names(pairs_only("navy blue coat", {"colour": frozenset({"Navy Blue"})}))
    assert "distractor" in names(pairs_only("navy blue coat, blue hem", {"colour": frozenset({"navy blue"})}))


def test_the_other_slices() -> None:
    assert names(example("plain thing", picture=False)) == {"no-attribute", "no-image"}
    two = example("blue wool blue", ("colour", "blue"), category="Bags")
    assert names(two) == {"category: Bags", "distractor"}
    assert "multi-value" in names(example("blue and navy blue", ("colour", "blue"), ("colour", "navy blue")))
    text, spans = "Blue blue", (Span("colour", 0, 4), Span("colour", 5, 9))
    same = Example("1", text, word_units(text), spans, pairs_from_spans(text, spans))
    assert "multi-value" not in names(same)


@given(
    texts=st.lists(st.text("ab", min_size=1, max_size=7), min_size=1, max_size=6),
    values=st.lists(st.tuples(st.sampled_from("xy"), st.text("ab", min_size=1, max_size=3)), max_size=4),
)
def test_distractor_of_characters_against_brute_force(texts: list[str], values: list[tuple[str, str]]) -> None:
    def characters(text: str) -> Example:
        spans = tuple(Span(a, text.index(v), text.index(v) + len(v)) for a, v in dict.fromkeys(values) if v in text)
        return Example(text, text, character_units(text), spans, pairs_from_spans(text, spans))

    train = [characters(text) for text in texts]
    rule = SliceRule(train, train, "character")
    known = {(a, value) for one in train for a, held in one.pairs.items() for value in held}
    for one in train:
        gold = {at for span in one.spans for at in range(span.start, span.end)}
        outside = "".join("|" if at in gold else letter for at, letter in enumerate(one.text))
        expected = any(value in outside for attribute, value in known if attribute in one.pairs)
        assert ("distractor" in rule.names(one)) == expected
