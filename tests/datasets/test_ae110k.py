"""AE-110K triples: entities, absences, spans, the split by title, faults, a run; the sample where it is here."""

import hashlib
import html
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import avebench_here

from avebench.contracts.examples import Example, Span, gold_attributes
from avebench.data.opening import convert, open_dataset
from avebench.data.titles import unescape
from avebench.datasets import ae110k
from avebench.files.errors import AvebenchError
from avebench.scoring.slices import SliceRule

SPLITS = ("train", "valid", "test")


def write(folder: Path, *triples: tuple[str, ...] | str, file: str = "publish_data.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [triple if isinstance(triple, str) else "\x01".join(triple) for triple in triples]
    (folder / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> ae110k.Dataset:
    return ae110k.Dataset(ae110k.CARD, folder, ae110k.Options(**options))


def examples(reader: ae110k.Dataset) -> list[Example]:
    return [example for split in SPLITS for example in reader.read(split)]


def only(folder: Path, *triples: tuple[str, ...]) -> Example:
    (example,) = examples(dataset(write(folder, *triples)))
    return example


def test_triples_of_a_title_become_one_example(tmp_path: Path) -> None:
    title = " New Acme  cap, blue "
    example = only(
        tmp_path,
        (title, "Brand Name", "Acme"),
        (title, " Color \t", " blue"),
        (title, "Material", "NULL"),
        (title, "Brand Name", "Acme"),
    )
    assert example.text == title  # Titles stay as they are.
    assert example.spans == (Span("Brand Name", 5, 9), Span("Color", 16, 20))
    assert example.pairs == {"Brand Name": {"Acme"}, "Color": {"blue"}}
    assert example.absent == {"Material"} and gold_attributes(example) == {"Brand Name", "Color"}
    assert example.tokens == ((1, 4), (5, 9), (11, 14), (14, 15), (16, 20))
    reader = dataset(tmp_path)
    assert list(reader.check()) == [] and reader.notes["triples"] == 4 and reader.notes["triples repeated"] == 1
    assert reader.schema().attributes == ("Brand Name", "Color") and reader.schema().intents == ()


def test_entities_become_characters_once_and_values_still_match(tmp_path: Path) -> None:
    title = "Men&#39;s 3&quot; cap &amp; hat &amp;amp 39 R&D this&nothing"
    example = only(
        tmp_path,
        (title, "Gender", "Men&#39;s"),
        (title, "Size", "3&quot;"),
        (title, "Set &amp; Type", "cap &amp; hat"),
        (title, "Number", "39"),
        (title, "Entity", "#39;"),
    )
    assert example.text == "Men's 3\" cap & hat &amp 39 R&D this&nothing"
    covered = {span.attribute: example.text[span.start : span.end] for span in example.spans}
    assert covered == {"Gender": "Men's", "Size": '3"', "Set & Type": "cap & hat", "Number": "39"}
    # What stood inside an entity only is nowhere in the text.
    assert "Entity" not in example.pairs
    reader = dataset(tmp_path)
    assert list(reader.check()) == [] and reader.notes["values not in the title left out"] == 1


@given(text=st.text(st.characters(codec="utf-8", exclude_characters="&")))
def test_unescaping_undoes_escaping(text: str) -> None:
    assert unescape(html.escape(text)) == text == unescape(text)


def test_values_inside_words_are_pairs_without_a_span(tmp_path: Path) -> None:
    example = only(tmp_path, ("Girls Swimwear swim", "Sport Type", "Swim"), ("Girls Swimwear swim", "Type", "swim"))
    assert example.pairs == {"Sport Type": {"Swim"}, "Type": {"swim"}}
    assert example.spans == (Span("Type", 15, 19),)  # Exactly as written, on unit boundaries.
    reader = dataset(tmp_path)
    examples(reader)
    assert sum(count for name, count in reader.notes.items() if "values without a span" in name) == 1


def test_spans_of_one_attribute_do_not_overlap_those_of_several_may(tmp_path: Path) -> None:
    title = "navy blue navy hat"
    example = only(
        tmp_path, *((title, "Color", value) for value in ("navy", "navy blue")), (title, "Type", "navy blue")
    )
    assert example.spans == (Span("Color", 0, 9), Span("Type", 0, 9), Span("Color", 10, 14))
    assert example.pairs["Color"] == {"navy", "navy blue"}


UNITS = st.sampled_from(["red", "re", "d", "-", "cap"])


@settings(deadline=None)  # Files are written.
@given(units=st.lists(UNITS, min_size=1, max_size=8), value=st.lists(UNITS, min_size=1, max_size=3))
def test_every_free_place_of_a_value_against_brute_force(
    tmp_path_factory: pytest.TempPathFactory, units: list[str], value: list[str]
) -> None:
    title, wanted = " ".join(units), " ".join(value)
    found, position = [], 0
    while position < len(units):
        if units[position : position + len(value)] == value:
            start = len(" ".join(units[:position])) + (position > 0)
            found.append(Span("x", start, start + len(wanted)))
            position += len(value)
        else:
            position += 1
    example = only(tmp_path_factory.mktemp("ae"), (title, "x", wanted))
    assert list(example.spans) == found
    assert (example.pairs == {"x": {wanted}}) == (wanted in title)


def test_a_null_beside_a_value_is_left_out(tmp_path: Path) -> None:
    example = only(tmp_path, ("red cap", "Color", "NULL"), ("red cap", "Color", "red"))
    assert example.pairs == {"Color": {"red"}} and example.absent == frozenset()
    absent = only(tmp_path, ("red cap", "Size", "NULL"))
    assert absent.pairs == {} and absent.spans == () and absent.absent == {"Size"}
    assert "no-attribute" in SliceRule([absent], [absent]).names(absent)


def test_splits_are_disjoint_by_title(tmp_path: Path) -> None:
    titles = [f"red cap {number}" for number in range(400)]
    write(tmp_path, *((title, "Color", "red") for title in titles), file="opentags.dev")
    variants = [title.upper().replace(" ", "  ") for title in titles[:200]]
    write(tmp_path, *((title, "Size", "NULL") for title in titles[::2] + variants), file="opentags.test")
    reader = dataset(tmp_path)
    splits = {split: {" ".join(e.text.lower().split()) for e in reader.read(split)} for split in SPLITS}
    for split, held in splits.items():
        for title in held:
            bucket = int(hashlib.sha256(title.encode()).hexdigest(), 16) % 10
            assert split == ("train" if bucket < 7 else "valid" if bucket == 7 else "test")
    assert sum(map(len, splits.values())) == 400
    found = {example.text: example for example in examples(reader)}
    assert len(found) == 600 and len({example.id for example in found.values()}) == 600
    # Triples of both files meet in one example; variants of a title are one product.
    assert found[titles[0]].pairs and found[titles[0]].absent == {"Size"} and not found[titles[1]].absent
    assert found[titles[3]].product_id == found[variants[3]].product_id
    figures = reader.statistics()
    assert figures["products"] == 600 and figures["triples"] == 800 and figures["triples with NULL"] == 400
    assert figures["titles in more than one file"] == 300
    assert figures["attributes with 100 to 999 triples"] == 2 and figures["attributes with a value"] == 1


def test_rare_attributes_can_be_left_out(tmp_path: Path) -> None:
    common = [(f"red cap {number}", "Color", "red") for number in range(60)]
    rare = [(f"blue hat {number}", "Hat Type", "hat") for number in range(2)]
    rare += [("blue hat 0", "Use", "NULL"), ("red cap 0", "Hat Type", "NULL")]
    folder = write(tmp_path, *common, *rare)
    assert dataset(folder).schema().attributes == ("Color", "Hat Type")
    reader = dataset(folder, min_titles=10)
    assert reader.schema().attributes == ("Color",)
    assert {name for example in examples(reader) for name in example.pairs} == {"Color"}
    assert not any(example.absent for example in examples(reader)) and len(examples(reader)) == 62
    assert sum(count for name, count in reader.notes.items() if "rare attributes" in name) == 2
    assert reader.fingerprint() != dataset(folder).fingerprint()


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("a title only", None, "1 columns; it must be 3 (title, attribute, value)"),
        ("a\x01b\x01c\x01d", None, "4 columns"),
        (" \x01Color\x01red", "title", "empty"),
        ("red cap\x01\t\x01red", "attribute", "empty"),
        ("red cap\x01Color\x01 ", "value", "Write NULL where the product does not have the attribute"),
    ],
)
def test_a_wrong_line_names_file_line_and_field(tmp_path: Path, line: str, field: str | None, said: str) -> None:
    reader = dataset(write(tmp_path, ("red cap", "Color", "red"), "", line, ("x", "Color", "NULL"), line))
    faults = list(reader.check())
    assert [(fault.file, fault.line, fault.field) for fault in faults] == [
        ("publish_data.txt", number, field) for number in (3, 5)
    ]
    assert said in faults[0].message
    for split in SPLITS:
        with pytest.raises(AvebenchError, match=r"publish_data\.txt, line 3"):
            list(reader.read(split))


def test_missing_empty_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"holds neither publish_data\.txt nor opentags\.train"):
        dataset(tmp_path).fingerprint()
    (fault,) = dataset(tmp_path).check()
    assert "holds neither" in fault.message
    (tmp_path / "opentags.dev").write_bytes(b"")
    (tmp_path / "opentags.test").write_bytes(b"a\x01b\x01\xff\n")
    assert [str(fault) for fault in dataset(tmp_path).check()] == [
        "opentags.dev: the file is empty.",
        "opentags.test, line 1: byte 5 is not UTF-8. Save the file as UTF-8.",
    ]


def test_gold_jsonl_holds_the_same_examples(tmp_path: Path) -> None:
    triples = [(f"Men&#39;s cap swimwear {number}", "Sport", "swim") for number in range(30)]
    triples += [(title, "Gender", "Men&#39;s") for title, _, _ in triples] + [(triples[0][0], "Size", "NULL")]
    reader = dataset(write(tmp_path / "ae", *triples))
    convert(reader, tmp_path / "gold")
    copy = open_dataset("jsonl", tmp_path / "gold", {})
    assert copy.schema() == reader.schema()
    assert [example for split in SPLITS for example in copy.read(split)] == examples(reader)


TABLE = """
title = "Titles"
dataset = "ae110k"
dataset_options = { min_titles = 5 }
metrics = ["tag_f1", "string_f1", "cls_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"
"""


def test_a_run_scores_titles(tmp_path: Path) -> None:
    write(
        tmp_path / "mine",
        *((f"{colour} swimcap {number}", "Color", colour) for number in range(40) for colour in ("red", "blue")),
        *((f"red swimcap {number}", "Sport", "swim") for number in range(40)),
        ("one hat", "Rare", "hat"),
    )
    (tmp_path / "table.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "mine", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["measured"]["tag_f1"]["value"] == 100
    # "swim" stands inside a word only: no tagger can give it.
    assert 50 < row["measured"]["string_f1"]["value"] < 100
    done = avebench_here(tmp_path, "data", "check", "ae110k", "--data", "mine")
    assert done.returncode == 0 and "values without a span: 40" in done.stdout.splitlines()


def test_the_sample_counts_as_in_its_description() -> None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root or not (Path(root) / "ae110k-sample").is_dir():
        pytest.skip("The sample of AE-110K is not here: set AVEBENCH_DATA to a folder that holds ae110k-sample.")
    folder = Path(root) / "ae110k-sample"
    reader = open_dataset("ae110k", folder, {})
    assert list(reader.check()) == []
    figures = reader.statistics()
    assert figures["triples"] == 9944 + 11049
    lines = [
        line.split("\x01")
        for name in ("opentags.dev", "opentags.test")
        for line in (folder / name).read_text(encoding="utf-8").split("\n")
        if line.strip()
    ]
    assert figures["products"] == len({html.unescape(title) for title, _, _ in lines})
    assert figures["triples with NULL"] == sum(value == "NULL" for _, _, value in lines)
    splits = {split: list(reader.read(split)) for split in SPLITS}
    keys = [{" ".join(e.text.lower().split()) for e in held} for held in splits.values()]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    # Every crawled value but the few inside an entity still stands in its title.
    plain = (map(html.unescape, line) for line in lines)
    values = {(title, " ".join(name.split()), value.strip()) for title, name, value in plain if value != "NULL"}
    held = {(e.text, name, v) for es in splits.values() for e in es for name, vs in e.pairs.items() for v in vs}
    assert held <= values and {value for _, _, value in values - held} == {"3"} and len(values - held) == 3
    for example in splits["test"]:
        starts, ends = {start for start, _ in example.tokens}, {end for _, end in example.tokens}
        assert all(span.start in starts and span.end in ends for span in example.spans)
        assert all(example.text[s.start : s.end] in example.pairs[s.attribute] for s in example.spans)
