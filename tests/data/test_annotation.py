"""Gold values that no tagger reaches, offsets in other units, splits that share ids, products or texts."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import avebench_here

from avebench.contracts.examples import Example, Span
from avebench.contracts.tagging import character_units, fine_units, word_units
from avebench.data.annotation import SplitAudit, annotation_notes, audit, reach_sentences, stored_counts
from avebench.data.opening import check_rows, open_dataset, stats_rows
from avebench.files.errors import AvebenchError


def example(text: str, *spans: tuple[str, int, int], name: str = "e", product: str = "") -> Example:
    return Example(name, text, word_units(text), tuple(Span(*span) for span in spans), product_id=product)


def counted(*examples: Example) -> SplitAudit:
    one = SplitAudit()
    for each in examples:
        one.add(each, offsets=True)
    return one


def test_a_value_inside_a_unit_and_one_over_another_are_told_apart() -> None:
    one = counted(example("2.0GHz box Xeon E5335", ("Speed", 0, 3), ("CPU", 11, 15), ("CPU", 11, 21), ("Kind", 7, 10)))
    assert (one.spans, one.off_boundary, one.overlapping) == (4, 1, 1)
    assert one.cases == ["'2.0' (Speed) in e"]
    assert one.in_fine == 1  # Cut between letters and digits, 2.0 ends a unit.


SPANS = st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 11), st.integers(1, 12)), max_size=5)


@given(st.text(alphabet="a1. 🙂", min_size=12, max_size=12), SPANS)
def test_what_is_out_of_reach_is_found_by_brute_force(text: str, spans: list[tuple[str, int, int]]) -> None:
    kept = example(text, *(span for span in spans if span[1] < span[2]))
    ranges = {(a, b) for number, (a, _) in enumerate(kept.tokens) for _, b in kept.tokens[number:]}
    off, taken = 0, set[int]()
    overlapping = 0
    for span in kept.spans:
        characters = {place for place in range(span.start, span.end) if not text[place].isspace()}
        if (span.start, span.end) not in ranges:
            off += 1
        elif characters & taken:
            overlapping += 1
        else:
            taken |= characters
    one = counted(kept)
    assert (one.off_boundary, one.overlapping) == (off, overlapping)


@given(st.text())
def test_fine_units_cut_words_and_nothing_else(text: str) -> None:
    words, fine = word_units(text), fine_units(text)
    assert {place for start, end in fine for place in range(start, end)} == {
        place for start, end in words for place in range(start, end)
    }
    assert {start for start, _ in words} <= {start for start, _ in fine}
    for start, end in fine:
        assert (
            end - start == 1
            or text[start:end].isdecimal()
            or not any(c.isdecimal() or c == "_" for c in text[start:end])
        )


def test_offsets_of_browsers_and_of_bytes_are_recognised() -> None:
    text = "🚒 fire trucks ✨ red"
    right = [("Kind", text.index("fire"), text.index("fire") + 11), ("Color", text.index("red"), text.index("red") + 3)]

    def moved(codec: str, size: int) -> Example:
        def place(at: int) -> int:
            return len(text[:at].encode(codec)) // size

        return example(text, *((name, place(start), place(end)) for name, start, end in right))

    assert counted(example(text, *right)).offsets_count() is None
    assert counted(moved("utf-16-le", 2)).offsets_count() == "UTF-16 units"
    assert counted(moved("utf-8", 1)).offsets_count() == "UTF-8 bytes"
    both = counted(moved("utf-16-le", 2), example("a dress", ("Kind", 3, 7)))
    assert both.offsets_count() is None  # A span inside a word is no matter of offsets.


def test_white_space_in_a_value_is_seen(tmp_path: Path) -> None:
    one = counted(example("a blue dress", ("Color", 1, 6), ("Kind", 7, 12)))
    assert (one.off_boundary, one.spaced) == (1, 0)
    (sentence,) = reach_sentences(audit({"test": [example("a blue dress", ("Color", 1, 6), ("Kind", 7, 12))]}), None)
    assert sentence == ("test: 1 of 2 spans begin or end inside a unit, or with white space: ' blue' (Color) in e.")
    text = "红 裙子"
    apart = Example("c", text, character_units(text), (Span("Color", 0, 2), Span("Kind", 2, 4)))
    assert (counted(apart).off_boundary, counted(apart).spaced) == (0, 1)
    (sentence,) = reach_sentences(audit({"test": [apart]}), None)  # Of a reader without an option for units.
    assert sentence.startswith("test: 1 of 2 spans") and "'红 ' (Color) in c" in sentence


def test_what_splits_share_is_counted_by_hand() -> None:
    found = audit(
        {
            "train": [example("A red  Dress", name="1", product="p"), example("blue", name="2", product="q")],
            "valid": [example("a red dress", name="3", product="r")],
            "test": [
                example("BLUE", name="4", product="s"),
                example("new", name="5", product="p"),
                example("a red dress", name="6", product="r"),
                example("newer", name="1", product="t"),
            ],
        }
    )
    assert found.same_texts == {"valid": 1, "test": 2}
    assert found.same_products == {"valid": 0, "test": 2}
    assert found.same_ids == {("train", "test"): ["1"]}
    assert annotation_notes(stored_counts(found)) == [
        "Of 4 test examples, the earlier splits hold 2 by text, 2 by product."
    ]


def line(number: int, text: str = "", **more: Any) -> str:
    return json.dumps({"id": f"p{number}", "text": text or f"a dress {number}", **more}) + "\n"


def folder(place: Path, test: str, train: str = "") -> Path:
    place.mkdir(exist_ok=True)
    spans = [{"attribute": "Kind", "start": 2, "end": 7}]
    (place / "train.jsonl").write_text(train or "".join(line(number, spans=spans) for number in range(8)))
    (place / "valid.jsonl").write_text(line(20, spans=spans))
    (place / "test.jsonl").write_text(test)
    return place


def test_check_stats_and_table_say_what_no_tagger_reaches(tmp_path: Path) -> None:
    speed = [{"attribute": "Speed", "start": 0, "end": 3}]
    data = folder(tmp_path / "data", line(30, "2.0GHz box", spans=speed) + line(31, "A DRESS 3"))
    reader = open_dataset("jsonl", data, {})
    said = [row.what for row in check_rows(reader)]
    assert "test: 1 of 1 spans begin or end inside a unit, or with white space: '2.0' (Speed) in p30." in said
    assert any("--option units=fine" in what and "would reach 1 of these 1" in what for what in said)
    assert "test: 1 of 2 texts stand in an earlier split too (case and white space aside)." in said
    figures = {row.name: row.counted for row in stats_rows(reader)}
    assert figures["spans off the units (train / valid / test)"] == "0 / 0 / 1"
    assert figures["texts of an earlier split (valid / test)"] == "0 / 1"
    fine = open_dataset("jsonl", data, {"units": "fine"})
    assert {row.name: row.counted for row in stats_rows(fine)}[
        "spans off the units (train / valid / test)"
    ] == "0 / 0 / 0"
    ran = avebench_here(
        tmp_path, "run", "table6", "--rows", "dictionary", "--dataset", "jsonl", "--data", "data", "--no-mlflow"
    )
    shown = " ".join(ran.stdout.split())
    assert "Gold spans that no single sequence of tags over these units reaches: 1 of 1 in test" in shown
    assert "Of 2 test examples, the earlier splits hold 1 by text." in shown


def test_equal_faults_are_shown_three_times_and_counted(tmp_path: Path) -> None:
    wrong = "".join(line(number, colour="red") for number in range(40, 60)) + line(60, spans=[{}])
    rows = list(check_rows(open_dataset("jsonl", folder(tmp_path / "data", wrong), {})))
    said = [row.what for row in rows]
    assert [what for what in said if "unknown key" in what][:3] == said[:3] and said[2].startswith("test.jsonl, line 3")
    assert any(what.startswith("... and 17 more like: test.jsonl, line 1, field 'colour'") for what in said)
    assert rows[-1].what == "faults" and rows[-1].count == 21


def test_an_id_in_two_splits_is_refused_by_every_command(tmp_path: Path) -> None:
    data = folder(tmp_path / "data", line(3, "another text"))
    said = "'p3'"
    for arguments in (
        ("data", "check", "jsonl"),
        ("data", "stats", "jsonl"),
        ("run", "table6", "--dataset", "jsonl", "--rows", "dictionary", "--no-mlflow"),
    ):
        ended = avebench_here(tmp_path, *arguments, "--data", "data")
        assert ended.returncode == 2 and said in ended.stdout + ended.stderr, arguments
    with pytest.raises(AvebenchError, match=r"The id 'p3' stands in train and in test\."):
        stats_rows(open_dataset("jsonl", data, {}))


def test_a_result_of_an_earlier_version_says_nothing() -> None:
    assert annotation_notes({}) == []
