import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from avebench.contracts.examples import INTENT, Span, example_record
from avebench.data.opening import check_rows, open_dataset
from avebench.datasets import jsonl
from avebench.files.errors import AvebenchError

GOOD: dict[str, Any] = {"id": "1", "text": "Red wool-coat", "spans": [{"attribute": "colour", "start": 0, "end": 3}]}


def write(folder: Path, *train: dict[str, Any] | str, **others: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict[str, Any] = {"valid": [{"id": "v", "text": "a"}], "test": [{"id": "t", "text": "b"}], **others}
    for split, records in (splits | {"train": train}).items():
        lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
        (folder / f"{split}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> jsonl.Dataset:
    return jsonl.Dataset(jsonl.CARD, folder, jsonl.Options(**options))


def test_defaults_of_a_line(tmp_path: Path) -> None:
    (example,) = dataset(write(tmp_path, GOOD)).read("train")
    assert example.tokens == ((0, 3), (4, 8), (8, 9), (9, 13))
    assert example.spans == (Span("colour", 0, 3),)
    assert example.pairs == {"colour": {"Red"}}
    assert (example.product_id, example.picture, example.category) == ("1", None, None)
    (characters,) = dataset(tmp_path, units="character").read("train")
    assert characters.tokens == tuple((at, at + 1) for at in range(13))


def test_every_key_is_read(tmp_path: Path) -> None:
    line = GOOD | {
        "product_id": "p",
        "tokens": [[0, 3], [4, 13]],
        "pairs": {"colour": ["crimson", "red"]},
        "category": "c",
        "absent": ["size"],
        "paragraphs": [{"start": 0, "end": 3, "source": "title"}, {"start": 3, "end": 3, "source": "brand"}],
    }
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "photos" / "1.png")
    reader = dataset(write(tmp_path, line | {"image": "photos/1.png"}))
    (example,) = reader.read("train")
    assert example.tokens == ((0, 3), (4, 13)) and example.pairs == {"colour": {"crimson", "red"}}
    assert (example.product_id, example.category, example.absent) == ("p", "c", {"size"})
    assert example.paragraphs == ((0, 3, "title"), (3, 3, "brand"))
    assert example.picture is not None and example.picture.open().getpixel((0, 0)) == (255, 0, 0)
    assert list(reader.check()) == []
    assert reader.schema().attributes == ("colour",)


def test_a_product_may_have_several_pictures(tmp_path: Path) -> None:
    for name in "ab":
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    lines = [{"image": ["a.png", "b.png"]}, {"image": ["b.png"]}, {"image": []}, {"image": ["b.png", "gone.png"]}]
    written = [GOOD | {"id": str(number)} | line for number, line in enumerate(lines)]
    reader = dataset(write(tmp_path, *written), missing_images="blank")
    read = list(reader.read("train"))
    names = [[picture.name for picture in example.pictures] for example in read]
    assert names == [["a.png", "b.png"], ["b.png"], [], ["b.png"]]
    assert reader.notes == {"train: further pictures missing": 1}
    files = [str(tmp_path / name) for name in ("a.png", "b.png")]
    assert [example_record(example).get("image") for example in read] == [files, files[1], None, files[1]]
    (fault,) = dataset(tmp_path).check()
    assert (fault.line, fault.field) == (4, "image") and "gone.png" in fault.message


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"image": ["a.png", "../b.png"]}, "image[1]", "no path inside the folder"),
        ({"image": ["a.png", 1]}, "image[1]", "a string is needed"),
        ({"txt": "x"}, "txt", "Did you mean 'text'"),
        ({"id": 1}, "id", "a string is needed, not a number"),
        ({"id": " "}, "id", "empty"),
        ({"text": None}, "text", "a string is needed"),
        ({"text": "\ud800"}, "text", "surrogate"),
        ({"spans": {}}, "spans", "a list of {attribute, start, end} is needed"),
        ({"spans": [{"attribute": "colour", "start": 0, "end": 14}]}, "spans[0]", "13 characters"),
        ({"spans": [{"attribute": "colour", "start": 3, "end": 3}]}, "spans[0]", "no range"),
        ({"spans": [{"attribute": "colour", "start": -1, "end": 3}]}, "spans[0]", "no range"),
        ({"spans": [{"attribute": "colour", "start": True, "end": 3}]}, "spans[0].start", "whole number"),
        ({"spans": [{"attribute": "colour", "start": 0.0, "end": 3}]}, "spans[0].start", "whole number"),
        ({"spans": [{"atribute": "colour", "start": 0, "end": 3}]}, "spans[0].atribute", "'attribute'"),
        ({"spans": [{"attribute": "colour", "start": 0}]}, "spans[0].end", "missing"),
        ({"spans": [{"attribute": "", "start": 0, "end": 3}]}, "spans[0].attribute", "empty"),
        ({"spans": [GOOD["spans"][0], GOOD["spans"][0]]}, "spans[1]", "twice"),
        ({"tokens": [[0, 3], [2, 5]]}, "tokens[1]", "before the token in front of it ends"),
        ({"tokens": [[0, 99]]}, "tokens[0]", "no range"),
        ({"tokens": [[0]]}, "tokens[0]", "[start, end]"),
        ({"pairs": {"material": ["wool"]}}, "pairs", "'colour' has a span but no pair"),
        ({"pairs": {"colour": []}}, "pairs.colour", "at least one value"),
        ({"pairs": {"colour": [1]}}, "pairs.colour[0]", "a string is needed"),
        ({"pairs": {"colour": ["Red"], INTENT: ["a", "b"]}}, f"pairs.{INTENT}", "2 intents"),
        ({"absent": "size"}, "absent", "a list of attributes is needed"),
        ({"absent": ["size", "colour"]}, "absent[1]", "has a pair as well"),
        ({"absent": [" "]}, "absent[0]", "empty"),
        ({"paragraphs": {}}, "paragraphs", "a list of objects"),
        ({"paragraphs": [[0, 3]]}, "paragraphs[0]", "an object {start, end, source}"),
        ({"paragraphs": [{"start": 0, "end": 3}]}, "paragraphs[0].source", "missing"),
        ({"paragraphs": [{"start": 0, "end": 14, "source": "t"}]}, "paragraphs[0]", "13 characters"),
        ({"paragraphs": [{"start": 3, "end": 5, "source": "t"}] * 2}, "paragraphs[1]", "behind the part in front"),
        ({"paragraphs": [{"start": 0, "end": 1.5, "source": "t"}]}, "paragraphs[0].end", "whole number"),
        ({"image": "../secret.jpg"}, "image", "is no path inside the folder"),
        ({"image": "/secret.jpg"}, "image", "is no path inside the folder"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(
    tmp_path: Path, changes: dict[str, Any], field: str, said: str
) -> None:
    reader = dataset(write(tmp_path, {"id": "0", "text": "fine"}, GOOD | changes))
    with pytest.raises(AvebenchError) as caught:
        list(reader.read("train"))
    assert f"train.jsonl, line 2, field '{field}'" in str(caught.value) and said in str(caught.value)
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == ("train.jsonl", 2, field)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": "1", "text": "cut o', "not JSON"),
        ("[]", "the line is an array"),
        ('{"id": "1", "id": "2", "text": "x"}', "the key stands twice"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(AvebenchError, match=r"train\.jsonl, line 2") as caught:
        list(dataset(write(tmp_path, GOOD, line)).read("train"))
    assert said in str(caught.value)


def test_empty_lines_are_passed_over_but_there_must_be_an_example(tmp_path: Path) -> None:
    assert [example.id for example in dataset(write(tmp_path, "", GOOD, " ")).read("train")] == ["1"]
    with pytest.raises(AvebenchError, match=r"train\.jsonl: the file holds no example"):
        list(dataset(write(tmp_path, "", " ")).read("train"))


def test_repeated_ids_within_a_split_and_across_splits(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"train\.jsonl, line 2, field 'id': the id '1' was used before"):
        list(dataset(write(tmp_path, GOOD, GOOD)).read("train"))
    across = dataset(write(tmp_path, GOOD, test=[GOOD]))
    assert [(fault.file, fault.line) for fault in across.check()] == [("test.jsonl", 1)]


def test_bytes_empty_file_and_missing_split(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    (tmp_path / "valid.jsonl").write_bytes(b'{"id": "1", "text": "\xe9"}\n')
    (tmp_path / "test.jsonl").write_bytes(b"")
    faults = [str(fault) for fault in dataset(tmp_path).check()]
    assert len(faults) == 2
    assert faults[0].startswith("valid.jsonl, line 1: byte 22 is not UTF-8")
    assert faults[1].startswith("test.jsonl: the file is empty")
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(AvebenchError, match=r"test\.jsonl: the file cannot be read"):
        list(dataset(tmp_path).read("test"))
    with pytest.raises(AvebenchError, match=r"test\.jsonl is missing"):
        dataset(tmp_path).fingerprint()


def test_missing_and_broken_pictures(tmp_path: Path) -> None:
    write(tmp_path, GOOD | {"image": "gone.jpg"}, {"id": "2", "text": "x", "image": "broken.jpg"})
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\x00")
    faults = list(dataset(tmp_path).check())
    assert [(fault.line, fault.field) for fault in faults] == [(1, "image"), (2, "image")]
    blank = dataset(tmp_path, missing_images="blank")
    assert [example.picture for example in blank.read("train")] == [None, None]
    assert blank.notes == {"train: pictures missing": 1, "train: pictures broken": 1}
    assert list(blank.check()) == []  # As in a run: they are counted.
    assert (blank.notes["pictures missing"], blank.notes["pictures broken"]) == (1, 1)


def test_open_dataset_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "jsonl", GOOD)
    assert open_dataset("jsonl", tmp_path / "jsonl", {}).folder == tmp_path / "jsonl"
    with pytest.raises(AvebenchError, match=r"no option 'unit'\. Did you mean 'units'"):
        open_dataset("jsonl", tmp_path / "jsonl", {"unit": "word"})
    with pytest.raises(AvebenchError, match="option 'units'"):
        open_dataset("jsonl", tmp_path / "jsonl", {"units": "piece"})
    with pytest.raises(AvebenchError, match="there is no such folder"):
        open_dataset("jsonl", tmp_path / "nowhere", {})
    with pytest.raises(AvebenchError, match="Did you mean 'jsonl'"):
        open_dataset("jsonlines", tmp_path, {})
    monkeypatch.delenv("AVEBENCH_DATA", raising=False)
    with pytest.raises(AvebenchError, match=r"AVEBENCH_DATA is not set .* --data DIR"):
        open_dataset("jsonl", None, {})
    monkeypatch.setenv("AVEBENCH_DATA", str(tmp_path))
    assert open_dataset("jsonl", None, {}).folder == tmp_path / "jsonl"


def test_check_rows_end_with_the_number_of_faults(tmp_path: Path) -> None:
    rows = list(check_rows(open_dataset("jsonl", write(tmp_path, GOOD, GOOD | {"id": "2", "image": "gone.jpg"}), {})))
    assert rows[0].count is None and "gone.jpg" in rows[0].what
    assert rows[-1].what == "faults" and rows[-1].count == 1
    assert {row.what: row.count for row in rows}["train examples"] == 2


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip),
    cuts=st.lists(st.integers(0, 40), min_size=2, max_size=8),
)
def test_any_text_and_spans_survive_the_file(tmp_path: Path, text: str, cuts: list[int]) -> None:
    edges = sorted({min(cut, len(text)) for cut in cuts})
    spans = [{"attribute": f"a{at}", "start": at, "end": end} for at, end in pairwise(edges)]
    (example,) = dataset(write(tmp_path, json.dumps({"id": "1", "text": text, "spans": spans}))).read("train")
    assert example.text == text
    assert [(span.attribute, span.start, span.end) for span in example.spans] == [tuple(s.values()) for s in spans]
    assert example.pairs == {span["attribute"]: {text[span["start"] : span["end"]]} for span in spans}  # type: ignore[misc]


def test_intents_stand_beside_what_the_spans_cover_and_all_lines_have_one(tmp_path: Path) -> None:
    named = {name: {"id": name, "text": "b", "pairs": {INTENT: ["Ask"]}} for name in ("v", "t")}
    folder = write(tmp_path, GOOD | {"pairs": {INTENT: ["Buy"]}}, valid=[named["v"]], test=[named["t"]])
    (example,) = dataset(folder).read("train")
    assert example.pairs == {"colour": {"Red"}, INTENT: {"Buy"}}
    schema = dataset(folder).schema()
    assert (schema.attributes, schema.intents) == (("colour",), ("Ask", "Buy"))
    assert list(dataset(folder).check()) == []
    figures = dataset(folder).statistics()
    assert (figures["attributes"], figures["values"], figures["test without attribute"]) == (1, 1, 1)
    write(tmp_path, GOOD, valid=[named["v"]], test=[named["t"]])
    with pytest.raises(AvebenchError, match=r"train\.jsonl, field 'pairs': '1' has no intent, others do"):
        dataset(tmp_path).schema()
    assert [fault.file for fault in dataset(tmp_path).check()] == ["train.jsonl"]
