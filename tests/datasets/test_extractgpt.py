"""The layout of ExtractGPT: targets, absences, spans, the made validation split, faults, a run; the real files too."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from inprocess import avebench_here

from avebench.contracts.examples import Example, Span
from avebench.data.opening import convert, open_dataset
from avebench.datasets.extractgpt import ae110k, layout
from avebench.files.errors import AvebenchError

SPLITS = ("train", "valid", "test")


def line(title: str, targets: dict[str, Any], category: str = "Cap") -> str:
    scores = {name: dict.fromkeys(values, 1) for name, values in targets.items()}
    return json.dumps({"input": title, "category": category, "target_scores": scores})


def write(folder: Path, train: list[str], test: list[str] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("test", train if test is None else test)):
        (folder / f"{name}.jsonl").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> layout.Dataset:
    return layout.Dataset(ae110k.CARD, folder, layout.Options(**options))


def only(folder: Path, title: str, targets: dict[str, Any]) -> Example:
    (example,) = dataset(write(folder, [line(title, targets)])).read("test")
    return example


def test_a_line_becomes_an_example(tmp_path: Path) -> None:
    targets = {"Brand  Name": [" Acme"], "Size": ["n/a"], "Gender": ["Men&#39;s"], "Sport": ["Swim"], "Fit": ["slim"]}
    example = only(tmp_path, " Acme Men&#39;s Swimwear ", targets)
    assert example.text == " Acme Men's Swimwear " and example.category == "Cap" and example.id == "test-1"
    assert example.spans == (Span("Brand Name", 1, 5), Span("Gender", 6, 11))
    assert example.pairs == {"Brand Name": {"Acme"}, "Gender": {"Men's"}, "Sport": {"Swim"}, "Fit": {"slim"}}
    assert example.absent == {"Size"}
    reader = dataset(tmp_path)
    list(reader.read("test"))
    # "Swim" stands in a longer word, "slim" nowhere.
    assert (reader.notes["test: values without a span"], reader.notes["test: values not in the title"]) == (2, 1)
    assert reader.schema().attributes == ("Brand Name", "Fit", "Gender", "Sport")


def test_an_absence_beside_a_value_is_left_out(tmp_path: Path) -> None:
    example = only(tmp_path, "red cap", {"Color": ["n/a", "red"], "Size": ["n/a"]})
    assert example.pairs == {"Color": {"red"}} and example.absent == {"Size"}
    reader = dataset(tmp_path)
    assert list(reader.check()) == [] and reader.notes["absences beside a value left out"] == 2  # In both files.


def test_validation_is_a_tenth_of_train_by_the_hash_of_the_title(tmp_path: Path) -> None:
    titles = [f"red  Cap {number}" for number in range(300)]
    folder = write(tmp_path, [line(title, {"Color": ["red"]}) for title in [*titles, titles[0].upper()]], [])
    (folder / "test.jsonl").write_text(line("blue cap", {"Color": ["blue"]}) + "\n")
    reader = dataset(folder)
    held = {split: [example.text for example in reader.read(split)] for split in SPLITS}
    assert sorted(held["train"] + held["valid"]) == sorted([*titles, titles[0].upper()]) and held["test"] == [
        "blue cap"
    ]
    for split in ("train", "valid"):
        for title in held[split]:
            bucket = int(hashlib.sha256(" ".join(title.lower().split()).encode()).hexdigest(), 16) % 10
            assert (bucket == 7) == (split == "valid")
    examples = [example for split in SPLITS for example in reader.read(split)]
    assert len({example.id for example in examples}) == 302  # Titles that are alike are one product.
    assert len({example.product_id for example in examples}) == 301


@pytest.mark.parametrize(
    ("record", "field", "said"),
    [
        ("[1]", None, "an array"),
        ('{"input": "x"', None, "not JSON"),
        ('{"category": "c", "target_scores": {}}', "input", "missing"),
        ('{"input": " ", "category": "c", "target_scores": {}}', "input", "empty"),
        ('{"input": "x", "target_scores": {}}', "category", "missing"),
        ('{"input": "x", "category": "c"}', "target_scores", "missing"),
        ('{"input": "x", "category": "c", "target_scores": {}, "inptu": 1}', "inptu", "input"),
        ('{"input": "x", "category": "c", "target_scores": {"a": ["b"]}}', "target_scores.a", "an array"),
        ('{"input": "x", "category": "c", "target_scores": {"a": {}}}', "target_scores.a", "at least one value"),
        ('{"input": "x", "category": "c", "target_scores": {"a": {" ": 1}}}', "target_scores.a", "Write n/a"),
        ('{"input": "x", "category": "c", "target_scores": {"a": {"b": 0}}}', "target_scores.a.b", "score 1"),
        ('{"input": "x", "category": "c", "target_scores": {"a": {"b": true}}}', "target_scores.a.b", "score 1"),
    ],
)
def test_a_wrong_line_names_file_line_and_field(tmp_path: Path, record: str, field: str | None, said: str) -> None:
    good = line("red cap", {"Color": ["red"]})
    reader = dataset(write(tmp_path, [good, "", record], [good]))
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == ("train.jsonl", 3, field) and said in fault.message
    with pytest.raises(AvebenchError, match=r"train\.jsonl, line 3"):
        list(reader.read("train"))


def test_missing_files_and_the_smaller_training_file(tmp_path: Path) -> None:
    folder = write(tmp_path, [line("red cap", {"Color": ["red"]})])
    whole = dataset(folder).fingerprint()
    with pytest.raises(AvebenchError, match=r"train_0\.2\.jsonl is missing\. Put"):
        dataset(folder, train_file="train_0.2").fingerprint()
    (folder / "train_0.2.jsonl").write_text(line("blue cap", {"Color": ["blue"]}) + "\n")
    small = dataset(folder, train_file="train_0.2")
    assert small.fingerprint() != whole == dataset(folder).fingerprint()
    assert [e.text for split in ("train", "valid") for e in small.read(split)] == ["blue cap"]
    (folder / "test.jsonl").unlink()
    assert [fault.file for fault in dataset(folder).check()] == ["test.jsonl"]


TABLE = """
title = "Titles"
dataset = "extractgpt"
metrics = ["tag_f1", "annotated_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"
"""


def test_a_run_scores_titles_and_gold_jsonl_holds_the_same(tmp_path: Path) -> None:
    train = [
        line(f"{colour} cap {n}", {"Color": [colour], "Size": ["n/a"]}) for n in range(30) for colour in ("red", "blue")
    ]
    write(tmp_path / "mine", train, [line("blue hat", {"Color": ["blue"]}), line("a hat", {"Color": ["n/a"]})])
    (tmp_path / "table.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "mine", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["measured"]["tag_f1"]["value"] == row["measured"]["annotated_f1"]["value"] == 100
    reader = open_dataset("extractgpt", tmp_path / "mine", {})
    convert(reader, tmp_path / "gold")
    copy = open_dataset("jsonl", tmp_path / "gold", {})
    assert list(copy) == list(reader) and copy.schema() == reader.schema()


def test_the_real_files_count_as_published() -> None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root or not (Path(root) / "extractgpt-ae110k").is_dir():
        pytest.skip("ExtractGPT's files are not here: set AVEBENCH_DATA to a folder that holds extractgpt-ae110k.")
    folder = Path(root) / "extractgpt-ae110k"
    reader = open_dataset("extractgpt", folder, {})
    assert list(reader.check()) == []
    figures = reader.statistics()
    assert {name: figures[name] for name in ae110k.CARD.published or {}} == ae110k.CARD.published
    for split in SPLITS:
        for example in reader.read(split):
            # Every value stands in its title; with its absences an example says what its line says.
            assert all(value in example.text for values in example.pairs.values() for value in values)
            assert all(example.text[s.start : s.end] in example.pairs[s.attribute] for s in example.spans)
            name, number = example.id.rsplit("-", 1)
            written = json.loads((folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()[int(number) - 1])
            assert len(written["target_scores"]) == len(example.pairs) + len(example.absent)
