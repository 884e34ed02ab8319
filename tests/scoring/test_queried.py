"""MAVE's five counters and ImplicitAVE's two matches: by hand, against brute force, and where they are shown."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import avebench_here
from made_up import gold_line, write_gold

from avebench.contracts.examples import Example, Prediction, Span
from avebench.data.annotation import annotation_notes, audit, places, stored_counts
from avebench.scoring.families import Counts
from avebench.scoring.metrics import METRICS, per_example_counts, score
from avebench.scoring.prediction_files import score_predictions
from avebench.scoring.queried import QUERIED, five_counters, queried_counts, squad_normalised, unspoken
from avebench.store.examplecounts import count_examples

TEXT = "The red cap, a blue-ish cap, size XL"


def gold(pairs: dict[str, set[str]], absent: tuple[str, ...] = (), name: str = "e") -> Example:
    values = {attribute: frozenset(strings) for attribute, strings in pairs.items()}
    return Example(name, TEXT, (), pairs=values, absent=frozenset(absent))


def said(name: str = "e", **pairs: Any) -> Prediction:
    values = {attribute: frozenset([one] if isinstance(one, str) else one) for attribute, one in pairs.items()}
    return Prediction(name, dict.fromkeys(values, 1.0), values)


def pointed(*spans: tuple[str, str, float | None]) -> Prediction:
    """Return a prediction of spans, each an attribute, a string of the text, and a score."""
    places = tuple(Span(name, TEXT.index(value), TEXT.index(value) + len(value)) for name, value, _ in spans)
    pairs: dict[str, frozenset[str]] = {}
    for name, value, _ in spans:
        pairs[name] = pairs.get(name, frozenset()) | {value}
    scores = tuple(score for _, _, score in spans if score is not None)
    return Prediction("e", dict.fromkeys(pairs, 1.0), pairs, places, scores or None)


COLOR = gold({"Color": {"Red", "crimson"}}, absent=("Size",))
TEN = [
    # What is said of Color (Red or crimson) and of Size (absent) -> counters of the top span, and of all spans.
    (said(Color="red"), "a_a n_n", "a_a n_n"),
    (said(Color="The RED!"), "a_a n_n", "a_a n_n"),
    (said(Color={"red", "crimson"}), "a_a n_n", "a_a n_n"),
    (said(Color="blue"), "a_b n_n", "a_b n_n"),
    (said(Color="n/a"), "a_n n_n", "a_n n_n"),
    (said(Color="the"), "a_n n_n", "a_n n_n"),
    (said(Material="wool"), "a_n n_n", "a_n n_n"),
    (said(Color="red", Size="XL"), "a_a n_a", "a_a n_a"),
    (pointed(("Color", "red", 0.4), ("Color", "blue", 0.9), ("Size", "XL", 0.5)), "a_b n_a", "a_b n_a"),
    (pointed(("Color", "red", 0.9), ("Color", "blue", 0.4)), "a_a n_n", "a_b n_n"),
]


@pytest.mark.parametrize(("answer", "top", "every"), TEN)
def test_counters_by_hand(answer: Prediction, top: str, every: str) -> None:
    scores = score([COLOR], [answer])
    found = five_counters(scores.metrics())
    for name, wanted in (("top span", top), ("all spans", every)):
        assert found[name] == {counter: wanted.split().count(counter) for counter in found[name]}


def test_the_ratios_are_those_of_the_paper() -> None:
    scores = score([COLOR] * 10, [answer for answer, _, _ in TEN])
    counted = five_counters(scores.metrics())["top span"]
    assert counted == {"a_a": 5, "a_b": 2, "a_n": 3, "n_a": 2, "n_n": 8}
    precision, recall = 100 * 5 / (5 + 2 + 2), 100 * 5 / (5 + 2 + 3)
    wanted = {
        "mave_precision": precision,
        "mave_recall": recall,
        "mave_f1": 2 * precision * recall / (precision + recall),
        "mave_pair_accuracy": 100 * 13 / 20,
        "mave_all_precision": 100 * 4 / 9,
        "mave_all_recall": 100 * 4 / 10,
    }
    for name, value in wanted.items():
        assert scores.metric(name).value == pytest.approx(value)  # type: ignore[union-attr]


def test_of_equal_or_no_scores_the_first_in_the_text_is_the_top() -> None:
    for number in (0.5, None):
        answer = pointed(("Color", "blue", number), ("Color", "red", number))
        assert five_counters(score([COLOR], [answer]).metrics())["top span"]["a_a"] == 1
    # Without spans the first in the order of the alphabet.
    assert five_counters(score([COLOR], [said(Color={"red", "blue"})]).metrics())["top span"]["a_b"] == 1


def plain(text: str) -> str:
    """Return a string as SQuAD 2.0 compares it, letter by letter: no punctuation, then no articles between words."""
    letters = [one for one in text.lower() if one not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    words, word = [], ""
    for one in [*letters, " "]:
        if one.isalnum() or one == "_":
            word += one
            continue
        words += [] if word in {"", "a", "an", "the"} else [word]
        words += [] if one.isspace() else [one]
        word = ""
        if one.isspace():
            words.append(" ")
    joined = "".join(words)
    return " ".join(joined.split())


@given(st.text(st.sampled_from("aAnNtThHeE .,-!é黑\t\n9x"), max_size=14))
def test_strings_are_compared_as_squad_does(text: str) -> None:
    squeezed = squad_normalised(text).replace(" ", "")
    assert squeezed == plain(text).replace(" ", "")
    assert squad_normalised(squad_normalised(text)) in {squad_normalised(text), squad_normalised(plain(text))}


ATTRIBUTES = ("Color", "Gender", "Sport")
STRINGS = ("red", "Red.", "the red", "blue", "Men", "n/a", "an", "blue red")


def brute(example: Example, answer: Prediction) -> dict[str, list[int]]:
    """Return the five counters of top span and all spans, one pair after another, and the two matches."""
    counters = {"top span": [0] * 5, "all spans": [0] * 5, "option": [0, 0], "containment": [0, 0]}
    for name in sorted({*example.pairs, *example.absent}):
        values = example.pairs.get(name, frozenset())
        strings = [one for one in sorted(answer.pairs.get(name, ())) if one.lower() not in ("", "n/a", "none")]
        targets = [plain(value) for value in values if plain(value)]
        found = [plain(one) for one in strings if plain(one)]
        for key, right in (
            ("top span", found[:1] and found[0] in targets),
            ("all spans", found and not [one for one in found if one not in targets]),
        ):
            place = (0 if right else 1 if found else 2) if targets else (3 if found else 4)
            counters[key][place] += 1
        if values:
            folded = [value.casefold() for value in values]
            counters["option"][0] += len(strings) == 1 and strings[0].casefold() in folded
            counters["containment"][0] += any(v.lower() in one.lower() for one in strings for v in values)
            counters["option"][1] += 1
            counters["containment"][1] += 1
    return counters


@settings(max_examples=200)
@given(st.integers(0, 10**9))
def test_counts_against_brute_force(seed: int) -> None:
    drawn = random.Random(seed)
    examples, answers = [], []
    totals: dict[str, list[int]] = {}
    for number in range(drawn.randrange(1, 6)):
        pairs = {
            name: set(drawn.sample(STRINGS, drawn.choice((1, 1, 2)))) for name in ATTRIBUTES if drawn.random() < 0.5
        }
        absent = tuple(name for name in ATTRIBUTES if name not in pairs and drawn.random() < 0.6)
        told = {
            name: set(drawn.sample(STRINGS, drawn.choice((1, 1, 2)))) for name in ATTRIBUTES if drawn.random() < 0.7
        }
        examples.append(gold(pairs, absent, str(number)))
        answers.append(said(str(number), **told))
        for key, numbers in brute(examples[-1], answers[-1]).items():
            totals[key] = [one + more for one, more in zip(totals.get(key, [0] * 5), numbers, strict=False)]
        counted = queried_counts(examples[-1], answers[-1])
        matches = brute(examples[-1], answers[-1])
        for family in ("option", "containment"):
            assert [counted[family].tp, counted[family].gold] == matches[family]
    scores = score(examples, answers)
    found = five_counters(scores.metrics())
    if not any(example.absent for example in examples):
        assert found == {} and scores.metric("mave_f1") is None
        return
    for key in ("top span", "all spans"):
        assert list(found[key].values()) == totals[key]
    table = per_example_counts(examples, answers, "mave_f1").sum(axis=0).tolist()
    assert Counts(*table) == scores.counts("mave")


@pytest.mark.parametrize(
    ("answer", "option", "containment"),
    [
        ("Mint", 1, 1),
        (" mint ", 1, 1),
        ("Mints", 0, 1),  # Two options differ in number only.
        ("Mint, Leather or Wood", 0, 1),
        ("Leather", 0, 0),
        ({"Mint", "Leather"}, 0, 1),
        ("n/a", 0, 0),
        (set(), 0, 0),
    ],
)
def test_the_option_and_what_contains_it(answer: Any, option: int, containment: int) -> None:
    scores = score([gold({"Color": {"Mint"}})], [said(Color=answer)])
    for name, right in (("option_accuracy", option), ("containment_accuracy", containment)):
        found = scores.metric(name)
        assert found is not None and (found.value, found.tp, found.gold) == (100 * right, right, 1)


def test_metrics_stand_only_where_the_annotation_speaks_of_them() -> None:
    placed = Example("e", "red hat", ((0, 3), (4, 7)), (Span("Color", 0, 3),), {"Color": frozenset({"red"})})
    assert unspoken([placed]) == QUERIED
    scores = score([placed], [said(Color="red")])
    assert not scores.totals.keys() & QUERIED
    assert all(scores.metric(name) is None for name, (family, _) in METRICS.items() if family in QUERIED)
    assert count_examples([placed], [said(Color="red")], lambda _: ())[0].counts.keys().isdisjoint(QUERIED)
    assert unspoken([gold({"Color": {"red"}})]) == {"mave", "mave_all", "mave_pairs"}
    assert unspoken([gold({"Color": {"red", "blue"}}, ("Size",))]) == {"option", "containment"}


def test_values_without_a_place_are_said() -> None:
    spans = (Span("Color", 0, 3), Span("Color", 4, 8), Span("Kind", 9, 13))
    pairs = {"Color": frozenset({"red", "pink", "blue"}), "Kind": frozenset({"hat"}), "Fit": frozenset({"slim"})}
    example = Example("e", "red blue hats", (), spans, pairs)
    assert places(example) == (3, 5)
    (note,) = [one for one in annotation_notes(stored_counts(audit({"test": [example]}))) if "stands on" in one]
    assert note == "TAG-F1 stands on 3 of 5 gold values in test: the other 2 have no place in the text."
    whole = Example("e", "red blue", (), spans[:2], {"Color": frozenset({"red", "blue"})})
    assert "placed" not in stored_counts(audit({"test": [whole]}))["test"]


def test_the_score_command_shows_the_counters(tmp_path: Path) -> None:
    lines = [
        {"id": "1", "text": "red hat", "pairs": {"Color": ["red"]}, "absent": ["Size"]},
        {"id": "2", "text": "blue hat", "pairs": {"Color": ["navy"]}, "spans": []},
    ]
    found = [{"id": "1", "pairs": {"Color": ["Red"], "Size": ["XL"]}}, {"id": "2", "pairs": {"Color": ["blue"]}}]
    for name, records in (("gold", lines), ("found", found)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    done = avebench_here(tmp_path, "score", "found.jsonl", "--gold", "gold.jsonl", "--format", "md")
    assert done.returncode == 0, done.stderr
    printed = done.stdout.replace("\\_", "_")
    assert "MAVE's counters, top span: a_a 1, a_b 1, a_n 0, n_a 1, n_n 0." in printed
    assert "TAG-F1 stands on 0 of 2 gold values" in printed and "mave_f1" in printed and "option_accuracy" in printed


TABLE = """
title = "Pairs"
dataset = "jsonl"
metrics = ["mave_f1", "mave_all_f1", "mave_pair_accuracy", "tag_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"

[[rows]]
label = "again"
model = "dictionary"
options = { min_precision = 0.9 }
"""


def test_a_table_and_a_comparison_of_them(tmp_path: Path) -> None:
    drawn = random.Random(1)
    lines = [
        {**gold_line(f"p{number}", f"{color} hat {number}", {"Color": color}), "absent": ["Size"]}
        if number % 3
        else {**gold_line(f"p{number}", f"{color} hat {number}", {"Kind": "hat"}), "absent": ["Color"]}
        for number, color in ((number, drawn.choice(["red", "blue", "green"])) for number in range(60))
    ]
    lines[1]["pairs"] = {"Color": sorted({"red", "blue", "green"})}
    write_gold(tmp_path / "data", lambda split: ({**line, "id": f"{split}-{line['id']}"} for line in lines))
    (tmp_path / "table.toml").write_text(TABLE.replace("options = { min_precision = 0.9 }\n", ""))
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "data", "--no-mlflow", "--record", "--format", "json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][0]
    assert 0 < row["measured"]["mave_f1"]["value"] < 100
    assert any(note.startswith("TAG-F1 stands on ") for note in json.loads(done.stdout)["notes"])
    result = next(json.loads(path.read_text()) for path in tmp_path.glob("runs/cells/*/result.json"))
    assert result["scores"]["metrics"]["mave_pair_accuracy"]["gold"] == 120
    compared = avebench_here(
        tmp_path,
        "compare",
        "dictionary",
        "again",
        "--experiment",
        "table.toml",
        "--data",
        "data",
        "--metric",
        "mave_f1",
    )
    assert compared.returncode == 0, compared.stderr
    assert score_predictions([COLOR], [TEN[0][0]], "one").to_json()["counters"]["top span"]["a_a"] == 1
