import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import sequence_labeling, v1
from seqeval.scheme import IOB2

from avebench.contracts.tagging import chunks
from avebench.scoring import sequences
from avebench.scoring.families import Counts
from avebench.scoring.sequences import score_tag_sequences

TAGS = ["O", "B-a", "I-a", "B-b", "I-b", "B-a-b", "I-a-b"]
ODD = [*TAGS, "[PAD]", "[UNK]", "B", "I"]
Sentences = list[list[str]]


def by_spans(gold: Sentences, predicted: Sentences, scheme: str) -> tuple[Counts, dict[str, Counts]]:
    """Count by sets of (sentence, type, start, end)."""
    g = {(n, *chunk) for n, tags in enumerate(gold) for chunk in chunks(tags, scheme)}
    p = {(n, *chunk) for n, tags in enumerate(predicted) for chunk in chunks(tags, scheme)}
    kinds = {chunk[1] for chunk in g | p}
    per_type = {kind: Counts(*(sum(chunk[1] == kind for chunk in found) for found in (g & p, p, g))) for kind in kinds}
    return Counts(len(g & p), len(p), len(g)), per_type


def by_seqeval(gold: Sentences, predicted: Sentences, scheme: str) -> tuple[list[float], dict[str, list[float]]]:
    """Return seqeval's micro average and its figures per type, in %."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if scheme == "strict":
            micro = v1.precision_recall_fscore_support(gold, predicted, average="micro", scheme=IOB2)
            each = v1.precision_recall_fscore_support(gold, predicted, average=None, scheme=IOB2)
        else:
            micro = sequence_labeling.precision_recall_fscore_support(gold, predicted, average="micro")
            each = sequence_labeling.precision_recall_fscore_support(gold, predicted, average=None)
    kinds = sorted({kind for tags in gold + predicted for kind, _, _ in chunks(tags, scheme)})
    return [100 * x for x in micro[:3]], {kind: [100 * each[i][n] for i in range(3)] for n, kind in enumerate(kinds)}


def random_sentences(seed: int, tags: list[str], number: int) -> tuple[Sentences, Sentences]:
    """Return random tags; the predictions are the gold tags with a random share replaced."""
    generator = np.random.default_rng(seed)
    gold = [list(generator.choice(tags, size=generator.integers(0, 12)).tolist()) for _ in range(number)]
    share = generator.random()
    predicted = [[str(generator.choice(tags)) if generator.random() < share else tag for tag in row] for row in gold]
    return gold, predicted


@pytest.mark.parametrize("scheme", ["lenient", "strict"])
@pytest.mark.parametrize("seed", range(60))
def test_equal_to_seqeval_and_to_a_span_count_on_random_tags(scheme: str, seed: int) -> None:
    gold, predicted = random_sentences(seed, TAGS, 40)
    counts, per_type = score_tag_sequences(gold, predicted, scheme)
    assert (counts, per_type) == by_spans(gold, predicted, scheme)
    micro, each = by_seqeval(gold, predicted, scheme)
    assert [counts.precision, counts.recall, counts.f1] == pytest.approx(micro)
    assert sorted(per_type) == sorted(each)
    for kind, figures in each.items():
        assert [per_type[kind].precision, per_type[kind].recall, per_type[kind].f1] == pytest.approx(figures)


@pytest.mark.parametrize("scheme", ["lenient", "strict"])
@given(rows=st.lists(st.lists(st.tuples(st.sampled_from(ODD), st.sampled_from(ODD)), max_size=9), max_size=6))
def test_equal_to_a_span_count_on_any_tags(scheme: str, rows: list[list[tuple[str, str]]]) -> None:
    gold, predicted = [[g for g, _ in row] for row in rows], [[p for _, p in row] for row in rows]
    assert score_tag_sequences(gold, predicted, scheme) == by_spans(gold, predicted, scheme)


@pytest.mark.parametrize("scheme", ["lenient", "strict"])
def test_blocks_do_not_change_the_counts(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gold, predicted = random_sentences(7, ODD, 300)
    expected = by_spans(gold, predicted, scheme)
    for size in (1, 2, 13, 500, 10**6):
        monkeypatch.setattr(sequences, "_BLOCK", size)
        assert score_tag_sequences(gold, predicted, scheme) == expected


def test_types_that_first_appear_in_a_later_block() -> None:
    long = ["B-x"] + ["O"] * 40_000
    gold = [long, ["B-y", "I-y"], ["B-z"]]
    counts, per_type = score_tag_sequences(gold, [long, ["B-y", "O"], ["B-z"]])
    assert counts == Counts(2, 3, 3)
    assert per_type == {"x": Counts(1, 1, 1), "y": Counts(0, 1, 1), "z": Counts(1, 1, 1)}


def test_gold_chunks_of_snips() -> None:
    """The test split holds 1,790 gold chunks (measured with the reference code)."""
    folder = Path(os.environ.get("AVEBENCH_DATA", "")) / "snips" / "test"
    if not os.environ.get("AVEBENCH_DATA") or not folder.is_dir():
        pytest.skip("SNIPS is not here: $AVEBENCH_DATA/snips")
    gold = [line.split() for line in (folder / "seq.out").read_text(encoding="utf-8").splitlines()]
    generator = random.Random(1)
    tags = sorted({tag for sentence in gold for tag in sentence})
    predicted = [[generator.choice(tags) if generator.random() < 0.1 else tag for tag in tags_] for tags_ in gold]
    for scheme in ("lenient", "strict"):
        counts, per_type = score_tag_sequences(gold, predicted, scheme)
        micro, each = by_seqeval(gold, predicted, scheme)
        assert counts.gold == 1790
        assert [counts.precision, counts.recall, counts.f1] == pytest.approx(micro)
        assert {kind: one.f1 for kind, one in per_type.items()} == pytest.approx(
            {kind: figures[2] for kind, figures in each.items()}
        )


def test_nothing_to_score() -> None:
    assert score_tag_sequences([], []) == (Counts(), {})
    assert score_tag_sequences([[], []], [[], []]) == (Counts(), {})


def test_sentences_must_be_parallel() -> None:
    with pytest.raises(ValueError, match="1 gold sentences beside 0"):
        score_tag_sequences([["O"]], [])
    with pytest.raises(ValueError, match="sentence 2 has 1 gold tags and 2 predicted"):
        score_tag_sequences([["O"], ["O"]], [["O"], ["O", "O"]])


def test_strings_need_not_be_the_same_objects() -> None:
    generator = random.Random(0)
    fresh = [["".join([prefix, "-a"]) for prefix in generator.choices("BI", k=5)] for _ in range(50)]
    again = [["".join(list(tag)) for tag in tags] for tags in fresh]
    counts, _ = score_tag_sequences(fresh, again)
    assert counts.tp == counts.predicted == counts.gold > 0
