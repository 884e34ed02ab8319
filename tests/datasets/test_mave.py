"""MAVE: paragraphs and evidences, products of several lines, the split of the authors, faults; a run end to end."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from inprocess import avebench_here

from avebench.contracts.examples import Example, Span, blind
from avebench.data.opening import convert, open_dataset
from avebench.datasets import mave
from avebench.files.errors import AvebenchError

SPLITS = ("train", "valid", "test")
TEXTS = ("Acme trail shoe", "", "Red, with a\nrubber sole.")
SOURCES = ("title", "brand", "description")


def evidence(value: str, pid: int, texts: tuple[str, ...] = TEXTS, nth: int = 0) -> dict[str, Any]:
    begin = -1
    for _ in range(nth + 1):
        begin = texts[pid].index(value, begin + 1)
    return {"value": value, "pid": pid, "begin": begin, "end": begin + len(value)}


def product(name: str, attributes: dict[str, list[dict[str, Any]]], texts: tuple[str, ...] = TEXTS) -> dict[str, Any]:
    paragraphs = [{"text": text, "source": source} for text, source in zip(texts, SOURCES, strict=False)]
    listed = [{"key": key, "evidences": evidences} for key, evidences in attributes.items()]
    return {"id": name, "category": "Shoes", "paragraphs": paragraphs, "attributes": listed}


def write(folder: Path, positives: list[Any], negatives: list[Any] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, records in (("positives", positives), ("negatives", negatives)):
        if records is not None:
            lines = [one if isinstance(one, str) else json.dumps(one) for one in records]
            (folder / f"mave_{name}.jsonl").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return folder


def divided(folder: Path, positives: list[Any], negatives: list[Any] | None = None) -> Path:
    """Write the same lines as the test split, and a product of its own as each of the others."""
    for split in ("train", "eval"):
        write(folder / split, [product(split, {"Color": [evidence("Red", 2)]})])
    write(folder / "test", positives, negatives)
    return folder


def dataset(folder: Path) -> mave.Dataset:
    return mave.Dataset(mave.CARD, folder, mave.Options())


def only(folder: Path, *records: dict[str, Any]) -> Example:
    (example,) = dataset(divided(folder, list(records))).read("test")
    return example


def test_paragraphs_are_joined_and_evidences_moved(tmp_path: Path) -> None:
    evidences = {
        "Color": [evidence("Red", 2)],
        "Type": [evidence("trail shoe", 0), evidence("shoe", 0)],
        "Sole": [evidence("rubber sole", 2), {"value": "gum", "pid": -1, "begin": -1, "end": -1}],
        "Closure": [],
    }
    example = only(tmp_path, product("B1", evidences))
    assert example.text == "Acme trail shoe\n\nRed, with a\nrubber sole."
    assert example.paragraphs == ((0, 15, "title"), (16, 16, "brand"), (17, 41, "description"))
    assert [example.text[start:end] for start, end, _ in example.paragraphs] == list(TEXTS)
    assert example.spans == (
        Span("Type", 5, 15),
        Span("Type", 11, 15),  # Overlapping evidences both stay.
        Span("Color", 17, 20),
        Span("Sole", 29, 40),
    )
    assert example.pairs == {"Color": {"Red"}, "Type": {"trail shoe", "shoe"}, "Sole": {"rubber sole", "gum"}}
    assert example.absent == {"Closure"} and (example.id, example.product_id, example.category) == ("B1", "B1", "Shoes")
    assert blind(example).paragraphs == example.paragraphs
    reader = dataset(tmp_path)
    list(reader.read("test"))
    assert reader.notes["test: evidences without a place"] == 1
    assert reader.schema().attributes == ("Color", "Sole", "Type")


def test_lines_of_a_product_are_one_example(tmp_path: Path) -> None:
    other = product("B2", {"Type": [evidence("shoe", 0)]})
    positives = [
        product("B1", {"Color": [evidence("Red", 2)]}),
        other,
        product("B1", {"Type": [evidence("shoe", 0)], "Color": [evidence("Red", 2)]}),
    ]
    negatives = [product("B1", {"Closure": [], "Color": []}), product("B3", {"Color": []})]
    reader = dataset(divided(tmp_path, positives, negatives))
    found = list(reader.read("test"))
    assert [example.id for example in found] == ["B2", "B1", "B3"]
    assert found[1].pairs == {"Color": {"Red"}, "Type": {"shoe"}} and found[1].absent == {"Closure"}
    assert len(found[1].spans) == 2 and found[2].absent == {"Color"} and not found[2].pairs
    assert reader.notes["test: lines of a product merged"] == 2
    assert reader.notes["test: absences beside a value left out"] == 1
    assert list(reader.check()) == [] and reader.notes["files of negatives missing"] == 2


def authors_split(paragraphs: list[dict[str, str]]) -> str:
    """Return the split by the paper's code: shares of 8, 1 and 1 of the sum of bytes."""
    total = 0
    for byte in bytes(json.dumps(paragraphs), "utf-8"):
        total += byte
    return [*["train"] * 8, "valid", "test"][total % 10]


def test_the_split_is_that_of_the_authors(tmp_path: Path) -> None:
    drawn = random.Random(0)
    records = []
    for number in range(200):
        texts = (f"Acme {drawn.randrange(10**6)} é 黑", "shoe", "red " * drawn.randrange(4))
        records.append(product(f"B{number}", {"Type": [evidence("shoe", 1, texts)]}, texts))
    reader = dataset(write(tmp_path, records, [{**one, "attributes": [{"key": "Color"}]} for one in records[:50]]))
    for split in SPLITS:
        wanted = {one["id"] for one in records if authors_split(one["paragraphs"]) == split}
        found = list(reader.read(split))
        assert {example.id for example in found} == wanted and len(wanted) > 5
        assert sum(example.absent == {"Color"} for example in found) == sum(int(name[1:]) < 50 for name in wanted)
    figures = reader.statistics()
    assert figures["products with a value"] == 200 and figures["categories"] == figures["attributes"] == 1
    assert figures["pairs of product and attribute known to be absent"] == 50


@pytest.mark.parametrize("place", [".", "splits/PRODUCT", "PRODUCT"])
def test_the_folders_of_the_authors_script(tmp_path: Path, place: str) -> None:
    for split in ("train", "eval", "test"):
        folder = tmp_path / place / split
        write(folder / "00_All", [product(split, {"Color": [evidence("Red", 2)]})])
        write(folder / "02_Type", [product("other", {"Type": [evidence("shoe", 0)]})])
    reader = dataset(tmp_path)
    assert [[example.id for example in reader.read(split)] for split in SPLITS] == [["train"], ["eval"], ["test"]]
    (tmp_path / place / "eval" / "00_All" / "mave_positives.jsonl").unlink()
    (fault,) = dataset(tmp_path).check()
    assert "has no folder eval or valid with mave_positives.jsonl" in fault.message


def test_a_product_in_two_splits_is_refused(tmp_path: Path) -> None:
    divided(tmp_path / "mave", [product("train", {"Color": [evidence("Red", 2)]})])
    done = avebench_here(tmp_path, "data", "check", "mave", "--data", "mave")
    assert done.returncode == 2 and "The id 'train' stands in train and in test" in done.stdout


GOOD = product("B1", {"Color": [evidence("Red", 2)]})
WRONG = evidence("Red", 2)


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"id": ""}, "id", "empty"),
        ({"category": None}, "category", "null"),
        ({"paragraphs": "x"}, "paragraphs", "a string"),
        ({"paragraphs": [{"text": " ", "source": "title"}]}, "paragraphs", "no paragraph has a text"),
        ({"paragraphs": [{"text": "x"}]}, "paragraphs[0].source", "missing"),
        ({"paragraphs": [{"source": "title"}]}, "paragraphs[0].text", "missing"),
        ({"paragraph": []}, "paragraph", "paragraphs"),
        ({"attributes": [{"key": " ", "evidences": []}]}, "attributes[0].key", "empty"),
        ({"attributes": [{"key": "C", "evidence": []}]}, "attributes[0].evidence", "evidences"),
        ({"attributes": [{"key": "C", "evidences": [{**WRONG, "pid": 3}]}]}, "attributes[0].evidences[0].pid", "has 3"),
        (
            {"attributes": [{"key": "C", "evidences": [{**WRONG, "pid": True}]}]},
            "attributes[0].evidences[0].pid",
            "true",
        ),
        ({"attributes": [{"key": "C", "evidences": [{**WRONG, "begin": 1}]}]}, "attributes[0].evidences[0]", "'ed'"),
        ({"attributes": [{"key": "C", "evidences": [{**WRONG, "begin": -2}]}]}, "attributes[0].evidences[0]", "'Red'"),
        ({"attributes": [{"key": "C", "evidences": [{**WRONG, "end": 99}]}]}, "attributes[0].evidences[0]", "0 to 99"),
        (
            {"attributes": [{"key": "C", "evidences": [{**WRONG, "value": "red"}]}]},
            "attributes[0].evidences[0]",
            "'red'",
        ),
    ],
)
def test_a_wrong_line_names_file_line_and_field(tmp_path: Path, change: dict[str, Any], field: str, said: str) -> None:
    reader = dataset(divided(tmp_path, [GOOD, "", {**GOOD, "id": "B2", **change}]))
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == ("test/mave_positives.jsonl", 3, field) and said in fault.message
    with pytest.raises(AvebenchError, match=r"mave_positives\.jsonl, line 3"):
        list(reader.read("test"))


def test_a_product_of_two_texts_and_missing_files(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"holds neither mave_positives\.jsonl nor folders"):
        dataset(tmp_path).fingerprint()
    second = product("B1", {"Color": []}, ("Acme", "", "Red"))
    reader = dataset(divided(tmp_path, [GOOD], [second]))
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == ("test/mave_negatives.jsonl", 1, "paragraphs")
    assert "other paragraphs in a line before" in fault.message


def test_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    folder = divided(tmp_path, [])
    lines = b"\xef\xbb\xbf" + json.dumps(GOOD).encode() + b"\r\n" + json.dumps({**GOOD, "id": "B2"}).encode() + b"\r\n"
    (folder / "test" / "mave_positives.jsonl").write_bytes(lines)
    assert [example.id for example in dataset(folder).read("test")] == ["B1", "B2"]


def shop(folder: Path) -> Path:
    """Write products whose colours stand in the description, with absences, in the joined files."""
    positives, negatives = [], []
    for number in range(120):
        color = ("red", "blue", "green")[number % 3]
        texts = (f"Acme shoe {number}", f"brand {number % 7}", f"A {color} shoe for all days")
        positives.append(product(f"B{number}", {"Color": [evidence(color, 2, texts)]}, texts))
        negatives.append(product(f"B{number}", {"Closure": []}, texts))
        if number % 4 == 0:
            positives[-1]["attributes"].append(
                {"key": "Fit", "evidences": [{"value": "slim", "pid": 0, "begin": -1, "end": -1}]}
            )
    return write(folder, positives, negatives)


TABLE = """
title = "Profiles"
dataset = "mave"
metrics = ["tag_f1", "annotated_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"
"""


def test_a_run_and_gold_jsonl(tmp_path: Path) -> None:
    shop(tmp_path / "mine")
    (tmp_path / "table.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "mine", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["measured"]["tag_f1"]["value"] == 100 > row["measured"]["annotated_f1"]["value"] > 80
    reader = open_dataset("mave", tmp_path / "mine", {})
    convert(reader, tmp_path / "gold")
    copy = open_dataset("jsonl", tmp_path / "gold", {})
    assert list(copy) == list(reader) and copy.schema() == reader.schema()
    assert all(len(example.paragraphs) == 3 for example in copy)
    frame = reader.to_pandas("test")
    assert frame["paragraphs"][0][0] == {"start": 0, "end": len(frame["text"][0].split("\n")[0]), "source": "title"}
