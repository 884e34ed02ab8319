import pytest
from hypothesis import given
from hypothesis import strategies as st

from avebench.contracts.examples import pairs_from_spans
from avebench.contracts.tagging import spans_to_tags, tags_to_spans, word_units
from avebench.scoring.counts import accuracy_counts
from avebench.scoring.families import Counts
from avebench.scoring.pairs import normalise_value, pairs_from_tags

TEXT = "blue jeans match blue spirits"
WORKED = [  # arXiv appendix A.3: id, tags, pairs, whether the pair Color: [blue] counts as correct
    ("1a", "B-Color O O B-Color O", {"Color": {"blue"}}, 1),
    ("1b", "B-Color O O O O", {"Color": {"blue"}}, 1),
    ("2", "B-Color O O O B-Color", {"Color": {"blue", "spirits"}}, 0),
    ("3a", "O O O O O", {}, 0),
    ("3b", "O O O B-Color I-Color", {"Color": {"blue spirits"}}, 0),
    ("4", "B-Color B-Type O B-Color O", {"Color": {"blue"}, "Type": {"jeans"}}, 1),
]


@pytest.mark.parametrize(("name", "tags", "pairs", "correct"), WORKED, ids=[case[0] for case in WORKED])
def test_worked_examples_of_the_appendix(name: str, tags: str, pairs: dict[str, set[str]], correct: int) -> None:
    found = pairs_from_tags(tags.split(), TEXT.split())
    assert found == pairs
    assert accuracy_counts({"Color": {"blue"}}, found) == Counts(correct, 1, 1)
    spans = tags_to_spans(tags.split(), word_units(TEXT))
    assert pairs_from_spans(TEXT, spans) == pairs


def test_released_strings_are_pieces_without_spaces() -> None:
    tags, pieces = ["B-Color", "O", "B-Color", "X-Color", "I-Color"], ["navy", "and", "turq", "##uoise", "blue"]
    assert pairs_from_tags(tags, pieces, released=True) == {"Color": {"navy", "turq##uoiseblue"}}


@pytest.mark.parametrize(
    ("tags", "released", "default"),
    [
        ("O I-a I-a", {"a": {"z"}}, {"a": {"y z"}}),
        ("I-a I-a I-a", {"a": {"yz"}}, {"a": {"x y z"}}),
        ("O I-a O", {}, {"a": {"y"}}),
        ("I-a B-a I-a", {"a": {"yz"}}, {"a": {"x", "y z"}}),
        ("B-b I-a I-a", {"b": {"x"}, "a": {"z"}}, {"b": {"x"}, "a": {"y z"}}),
        ("B-a B-a I-a", {"a": {"x", "yz"}}, {"a": {"x", "y z"}}),
    ],
)
def test_orphan_runs(tags: str, released: dict[str, set[str]], default: dict[str, set[str]]) -> None:
    assert pairs_from_tags(tags.split(), ["x", "y", "z"], released=True) == released
    assert pairs_from_tags(tags.split(), ["x", "y", "z"]) == default


@given(st.lists(st.tuples(st.sampled_from(["red", "wide", "x"]), st.sampled_from(["a", "b", ""]), st.booleans())))
def test_released_equals_the_default_on_valid_tags_up_to_spaces(units: list[tuple[str, str, bool]]) -> None:
    tags: list[str] = []
    for _, kind, fresh in units:
        inside = not fresh and tags and tags[-1][2:] == kind
        tags.append(f"{'I' if inside else 'B'}-{kind}" if kind else "O")
    words = [word for word, _, _ in units]
    released = pairs_from_tags(tags, words, released=True)
    default = pairs_from_tags(tags, words)
    assert released == {kind: {value.replace(" ", "") for value in values} for kind, values in default.items()}


def test_weighting_with_several_gold_values() -> None:
    products = [({"Color": {"red", "blue"}}, {"Color": {"red"}}), ({"Size": {"M"}}, {"Size": {"M"}})]
    total, by_attribute = Counts(), Counts()
    for gold, predicted in products:
        total += accuracy_counts(gold, predicted)
        by_attribute += accuracy_counts(gold, predicted, by_attribute=True)
    assert total == Counts(1, 3, 3)
    assert total.recall == pytest.approx(100 / 3)
    assert by_attribute.recall == 50.0


def test_a_right_attribute_weighs_its_distinct_values() -> None:
    gold = {"Color": {"red", "blue"}, "Size": {"M"}}
    assert accuracy_counts(gold, {"Color": {"blue", "red"}, "Brand": {"x"}}) == Counts(2, 3, 3)


def test_values_are_compared_normalised() -> None:
    assert normalise_value("  Ｄeep\u00a0 BLUE\t") == "deep blue"
    assert normalise_value("Straße") == normalise_value("STRASSE")
    assert accuracy_counts({"a": {"Red  Wine", "red wine"}}, {"a": {"RED WINE"}}) == Counts(1, 1, 1)


def test_empty_sets_are_no_annotation() -> None:
    assert accuracy_counts({"a": set()}, {"a": {"x"}}) == Counts(0, 0, 0)


def test_one_tag_per_unit() -> None:
    with pytest.raises(ValueError, match="2 tags for 1 units"):
        pairs_from_tags(["O", "O"], ["x"])


def test_strict_scheme_drops_orphans() -> None:
    assert pairs_from_tags(["I-a", "B-b"], ["x", "y"], "strict") == {"b": {"y"}}
    tags, _ = spans_to_tags(tags_to_spans(["B-a", "I-a", "O"], word_units("x y z")), word_units("x y z"))
    assert pairs_from_tags(tags, ["x", "y", "z"], "strict") == {"a": {"x y"}}
