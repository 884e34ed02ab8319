from itertools import pairwise

import pytest
import seqeval.metrics.sequence_labeling as seqeval_lenient
from hypothesis import given
from hypothesis import strategies as st
from seqeval.scheme import IOB2, Tokens

from avebench.contracts.examples import Span
from avebench.contracts.tagging import (
    bio_labels,
    character_units,
    chunks,
    spans_to_tags,
    split_tag,
    tags_to_spans,
    word_units,
)

BIO = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "B-c-d", "I-c-d"])
ANY = st.sampled_from(["O", "B-a", "I-a", "B-b", "I-b", "[PAD]", "[UNK]"])

VECTORS = [  # gold, predicted, correct / predicted / gold as the JAVE code counts them
    ("B-c I-c O", "I-c I-c O", (1, 1, 1)),
    ("B-c I-c O", "B-c B-c O", (0, 2, 1)),
    ("B-a B-b O", "B-a I-b O", (2, 2, 2)),
    ("B-c I-c O", "B-c O O", (0, 1, 1)),
    ("B-c O B-c", "B-c I-c I-c", (0, 1, 2)),
    ("B-a I-a O", "B-b I-b O", (0, 1, 1)),
    ("B-a I-a I-a", "B-a I-b I-a", (0, 3, 1)),
    ("O O O", "O B-a O", (0, 1, 0)),
    ("B-a I-a O", "B-a I-a I-a", (0, 1, 1)),
    ("B-a B-a O", "B-a I-a O", (0, 1, 2)),
    ("B-a O O", "B-a [PAD] O", (1, 2, 1)),
    ("B-a I-a O", "[PAD] I-a O", (0, 1, 1)),
]


def walk(gold: list[str], predicted: list[str]) -> tuple[int, int, int]:
    """Count (correct, predicted, gold) by a parallel walk over both sequences, as the JAVE code does."""

    def starts(previous: tuple[str, str], this: tuple[str, str]) -> bool:
        return this[0] == "B" or (previous[0], this[0]) == ("O", "I") or (this[0] != "O" and this[1] != previous[1])

    def ends(previous: tuple[str, str], this: tuple[str, str]) -> bool:
        return (previous[0] in "BI" and this[0] in "BO") or (previous[0] != "O" and previous[1] != this[1])

    correct = found_predicted = found_gold = 0
    inside = False
    g0 = p0 = ("O", "")
    for gold_tag, predicted_tag in zip(gold, predicted, strict=True):
        g, p = split_tag(gold_tag), split_tag(predicted_tag)
        if inside:
            if ends(g0, g) and ends(p0, p):
                inside = False
                correct += 1
            elif ends(g0, g) != ends(p0, p) or g[1] != p[1]:
                inside = False
        if starts(g0, g) and starts(p0, p) and g[1] == p[1]:
            inside = True
        found_gold += starts(g0, g)
        found_predicted += starts(p0, p)
        g0, p0 = g, p
    return correct + inside, found_predicted, found_gold


def intersect(gold: list[str], predicted: list[str]) -> tuple[int, int, int]:
    g, p = chunks(gold), chunks(predicted)
    return len(set(g) & set(p)), len(p), len(g)


@pytest.mark.parametrize(("gold", "predicted", "expected"), VECTORS)
def test_vectors_of_the_reference_code(gold: str, predicted: str, expected: tuple[int, int, int]) -> None:
    assert intersect(gold.split(), predicted.split()) == expected
    assert walk(gold.split(), predicted.split()) == expected


@given(st.lists(st.tuples(BIO, ANY), max_size=14))
def test_chunk_sets_equal_the_parallel_walk(rows: list[tuple[str, str]]) -> None:
    gold, predicted = [row[0] for row in rows], [row[1] for row in rows]
    assert intersect(gold, predicted) == walk(gold, predicted)


@given(st.lists(BIO, max_size=14))
def test_chunks_equal_seqeval_in_both_schemes(tags: list[str]) -> None:
    assert chunks(tags, "lenient") == [(kind, a, b + 1) for kind, a, b in seqeval_lenient.get_entities(tags)]
    assert chunks(tags, "strict") == [(entity.tag, entity.start, entity.end) for entity in Tokens(tags, IOB2).entities]


def test_strict_ignores_orphans_and_unknown_tags() -> None:
    assert chunks(["I-a", "B-a", "I-b", "I-a", "B-b", "I-b", "[PAD]", "I-b"], "strict") == [("a", 1, 2), ("b", 4, 6)]


@pytest.mark.filterwarnings("ignore:.*NE tag")
def test_where_seqeval_departs_from_the_reference_code() -> None:
    # seqeval reads `[PAD]` by its first character and gives it the type "PAD]", so it opens a chunk even after O.
    assert [kind for kind, _, _ in seqeval_lenient.get_entities(["O", "[PAD]", "O"])] == ["PAD]"]
    assert chunks(["O", "[PAD]", "O"]) == []
    # seqeval's strict mode strips "-" from both ends of an attribute's name; the first "-" alone separates it here.
    assert [entity.tag for entity in Tokens(["B-a-"], IOB2).entities] == ["a"]
    assert chunks(["B-a-"], "strict") == [("a-", 0, 1)]


def test_units() -> None:
    text = "Low-cut tee, 50% off"
    assert [text[a:b] for a, b in word_units(text)] == ["Low", "-", "cut", "tee", ",", "50", "%", "off"]
    assert character_units("领 A") == ((0, 1), (1, 2), (2, 3))
    assert word_units(" ") == ()


def test_labels_keep_the_order_of_attributes() -> None:
    assert bio_labels(["b", "a-x"]) == ["O", "B-b", "I-b", "B-a-x", "I-a-x"]


def test_spans_that_tags_cannot_express_are_counted() -> None:
    tokens = word_units("deep blue jeans")
    spans = [Span("color", 0, 9), Span("shade", 5, 9), Span("type", 10, 14), Span("type", 10, 15), Span("type", 9, 15)]
    assert spans_to_tags(spans, tokens) == (["B-color", "I-color", "B-type"], 3)


@given(st.text(alphabet="ab, -领", max_size=20), st.data())
def test_spans_survive_tags(text: str, data: st.DataObject) -> None:
    tokens = word_units(text)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    spans = [
        Span(data.draw(st.sampled_from(["a", "b-c"])), tokens[begin][0], tokens[end - 1][1])
        for begin, end in pairwise(cuts)
        if data.draw(st.booleans())
    ]
    tags, untaggable = spans_to_tags(spans, tokens)
    assert untaggable == 0
    assert tags_to_spans(tags, tokens, "lenient") == tags_to_spans(tags, tokens, "strict") == spans


def test_one_tag_per_token() -> None:
    with pytest.raises(ValueError, match="1 tags for 2 tokens"):
        tags_to_spans(["O"], [(0, 1), (1, 2)])
