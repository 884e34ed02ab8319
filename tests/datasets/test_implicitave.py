"""ImplicitAVE: quoted rows, closed options, titles of one product, pictures, faults; a run end to end."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import avebench_here
from PIL import Image

from avebench.contracts.dataset import Fault
from avebench.contracts.examples import Example, Span
from avebench.data.opening import convert, open_dataset
from avebench.data.quoted import quoted_rows
from avebench.datasets import implicitave
from avebench.files.errors import AvebenchError

SPLITS = ("train", "valid", "test")
HEADER = "\t".join(implicitave.COLUMNS)
OPTIONS = {
    "Home": {"Material": ["Glass", "Wood", "Ceramic/Melamine"], "Shape": ["Round", "Square"]},
    "Clothing_Shoes_and_Jewelry": {"Color": ["Mint", "Mints"], "Material": ["Leather"]},
}


def row(
    product: str, attribute: str, value: str, text: str = "[Title] Acme  Mug", image: str | None = None
) -> list[str]:
    return [product, f"{product}.jpg" if image is None else image, "Mugs", text, attribute, value]


def tsv(*rows: list[str] | str) -> str:
    lines = [one if isinstance(one, str) else "\t".join(one) for one in rows]
    return "".join(f"{line}\n" for line in (HEADER, *lines))


def write(folder: Path, test: str, domain: str = "Home", train: str | None = None) -> Path:
    texts = folder / "training_data" / "texts" / domain
    texts.mkdir(parents=True)
    for name in ("train", "val"):
        (texts / f"{name}.tsv").write_text(train or tsv(row(f"B{name}", "Material", "Wood")), encoding="utf-8")
    evaluated = folder / "evaluation_data" / "texts"
    evaluated.mkdir(parents=True)
    (evaluated / f"{domain}_annotated_final.tsv").write_text(test, encoding="utf-8")
    for name, options in OPTIONS.items():
        (evaluated / f"options_{name}.json").write_text(json.dumps(options))
    return folder


def dataset(folder: Path, **options: Any) -> implicitave.Dataset:
    return implicitave.Dataset(implicitave.CARD, folder, implicitave.Options(**options))


def read_test(folder: Path, *rows: list[str] | str) -> list[Example]:
    return list(dataset(write(folder, tsv(*rows)), missing_images="blank").read("test"))


def test_a_row_becomes_an_example(tmp_path: Path) -> None:
    (example,) = read_test(tmp_path, row("B1", "Material", "Ceramic/Melamine", "[Title] Acme  Mug"))
    assert example.text == "Acme  Mug" and not example.spans and not example.absent
    assert example.pairs == {"Material": {"Ceramic/Melamine"}}
    assert (example.id, example.product_id, example.category) == ("test-Home-2", "B1", "Mugs")
    (by_domain,) = dataset(tmp_path, missing_images="blank", categories="domain").read("test")
    assert by_domain.category == "Home"
    assert dataset(tmp_path, categories="domain").fingerprint() != dataset(tmp_path).fingerprint()


def test_rows_of_one_title_are_merged_those_of_another_are_not(tmp_path: Path) -> None:
    found = read_test(
        tmp_path,
        row("B1", "Material", "Glass", "[Title] Acme round  Mug"),
        row("B2", "Material", "Wood"),
        row("B1", "Shape", "Round", "[Title] Acme round  Mug"),
        row("B1", "Shape", "Round", "[Title] Acme glass  Mug"),
        row("B2", "Material", "Wood"),
        row("B2", "Material", "Glass"),
    )
    assert [(example.id, example.product_id) for example in found] == [
        ("test-Home-2", "B1"),
        ("test-Home-3", "B2"),
        ("test-Home-5", "B1"),
    ]
    # The round that stands in the title is silver; the glass of the other title is not shown in this one.
    assert found[0].pairs == {"Material": {"Glass"}, "Shape": {"Round"}} and found[0].spans == (Span("Shape", 5, 10),)
    assert found[1].pairs == {"Material": {"Wood", "Glass"}} and found[2].spans == ()
    reader = dataset(tmp_path, missing_images="blank")
    list(reader.read("test"))
    counted = {name.removeprefix("test: "): count for name, count in reader.notes.items()}
    assert counted["rows merged with others of the same title"] == 3 and counted["rows repeated"] == 1
    assert counted["attributes of two options"] == 1 and counted["'[Title] ' taken off"] == 6
    assert counted["values found in the title"] == 1 and counted["values without a span"] == 4


def test_options_of_the_domain_or_of_any(tmp_path: Path) -> None:
    folder = write(tmp_path, tsv(row("B1", "Color", "Mints"), row("B2", "Material", "Leather")), "Footwear",
                   tsv(row("B3", "Material", "Glass")))  # fmt: skip
    assert list(dataset(folder, missing_images="blank").check()) == []  # No file of its own: any with the attribute.
    (folder / "evaluation_data" / "texts" / "options_Footwear.json").write_text('{"Material": ["Glass"]}')
    faults = list(dataset(folder, missing_images="blank").check())
    assert [(fault.line, fault.field) for fault in faults] == [(2, "attribute_names"), (3, "attribute_values")]


def test_quoted_fields_hold_tabs_quotes_and_line_ends(tmp_path: Path) -> None:
    found = read_test(
        tmp_path,
        'B1\tB1.jpg\tMugs\t"[Title] 4"" Mug\twith\n""two"" lines"\tMaterial\tGlass',
        row("B2", "Material", "Wood", '[Title] 4" Mug'),
    )
    assert [example.text for example in found] == ['4" Mug\twith\n"two" lines', '4" Mug']
    assert [example.id for example in found] == ["test-Home-2", "test-Home-4"]


CELLS = st.text(st.sampled_from('ab"\t\n é'), max_size=6)


@settings(deadline=None)
@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=5), ends=st.sampled_from(["\n", "\r\n"]))
def test_rows_are_those_that_were_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], ends: str
) -> None:
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator=ends, quoting=csv.QUOTE_ALL).writerows([["x", "y"], *rows])
    path = tmp_path_factory.mktemp("rows") / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + stream.getvalue().encode())
    found = [one for one in quoted_rows(path, "a.tsv", ("y", "x")) if not isinstance(one, Fault)]
    assert [[fields["x"], fields["y"]] for _, fields in found] == rows
    written = stream.getvalue().split(ends) if ends == "\n" else []
    for (line, _), (x, _) in zip(found, rows, strict=True):
        assert not written or written[line - 1].startswith('"' + x.split("\n")[0].replace('"', '""'))


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        (row("B2", "Material", "Gold"), "attribute_values", "'Gold' is not among the options of 'Material'"),
        (row("B2", "Shape", "Rond"), "attribute_values", "Did you mean 'Round'"),
        (row("B2", "Materials", "Glass"), "attribute_names", "'Materials' has no options. Did you mean 'Material'"),
        (row("", "Material", "Glass", image=""), "id", "empty"),
        (row("B2", "Material", "Glass", "[Title]  "), "texts", "no title"),
        (row("B2", "Material", "Glass", image="../B2.jpg"), "images", "no name of a file"),
        ("B2\tx", None, "2 columns; it must be 6"),
        ('B2\tB2.jpg\tMugs\t"[Title] cut off\tMaterial\tGlass', None, "Is a quote not closed"),
        ('B2\tB2.jpg\tMugs\t"[Title] 4" Mug"\tMaterial\tGlass', None, "or not doubled"),
    ],
)
def test_a_wrong_row_names_file_line_and_field(tmp_path: Path, line: Any, field: str | None, said: str) -> None:
    reader = dataset(write(tmp_path, tsv(row("B1", "Material", "Glass"), "", line)), missing_images="blank")
    (fault,) = reader.check()
    assert (fault.line, fault.field) == (4, field) and said in fault.message
    assert fault.file == "evaluation_data/texts/Home_annotated_final.tsv"
    with pytest.raises(AvebenchError, match=r"Home_annotated_final\.tsv, line 4"):
        list(reader.read("test"))


def test_faults_of_files_and_options(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match=r"holds no train\.tsv of a domain"):
        dataset(tmp_path).fingerprint()
    reader = dataset(write(tmp_path, "id\timages\n"), missing_images="blank")
    (fault,) = reader.check()
    assert (
        fault.line == 1 and "the column category, texts, attribute_names, attribute_values is missing" in fault.message
    )
    options = tmp_path / "evaluation_data" / "texts" / "options_Home.json"
    for text, said in (
        ("[]", "an array"),
        ('{"Shape": []}', "at least one option"),
        ('{"Shape": [1]}', "options.Shape[0]"),
    ):
        options.write_text(text)
        (fault,) = dataset(tmp_path).check()
        assert "options_Home.json" in fault.message and said in fault.message
    for path in options.parent.glob("options_*.json"):
        path.unlink()
    (fault,) = dataset(tmp_path).check()
    assert "holds no options_<Domain>.json" in fault.message


def test_the_other_layouts_and_the_pictures(tmp_path: Path) -> None:
    folder = write(tmp_path / "whole", tsv(row("B1", "Material", "Glass")))
    (tmp_path / "data").mkdir()
    for part in ("training_data", "evaluation_data"):
        (folder / part).rename(tmp_path / "data" / part)
        (tmp_path / "data" / part / "images").mkdir()
    evaluated = tmp_path / "data" / "evaluation_data"
    (evaluated / "texts" / "Home").mkdir()
    (evaluated / "texts" / "Home_annotated_final.tsv").rename(evaluated / "texts" / "Home" / "evaluation.tsv")
    for part, names in (("training_data", ("Btrain", "Bval")), ("evaluation_data", ("B1",))):
        for name in names:
            Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "data" / part / "images" / f"{name}.jpg")
    reader = dataset(tmp_path)
    assert list(reader.check()) == []
    for split in SPLITS:
        (example,) = reader.read(split)
        assert example.picture is not None and example.picture.open().size == (4, 4)
    before = reader.fingerprint()
    (evaluated / "images" / "B1.jpg").unlink()
    assert reader.fingerprint() != before
    (fault,) = dataset(tmp_path).check()
    assert (fault.line, fault.field) == (2, "images") and "missing: B1.jpg" in fault.message
    assert list(dataset(tmp_path, missing_images="blank").check()) == []


TABLE = """
title = "Options"
dataset = "implicitave"
dataset_options = { missing_images = "blank" }
metrics = ["cls_f1", "string_f1", "tag_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"
"""


def test_a_run_and_gold_jsonl(tmp_path: Path) -> None:
    values = ("Glass", "Wood", "Ceramic/Melamine")
    rows = [
        row(f"B{n}", "Material", values[n % 3], f"[Title] Acme {'glass' if n % 3 == 0 else ''} mug {n}")
        for n in range(30)
    ]
    write(tmp_path / "mine", tsv(*rows), train=tsv(*rows))
    (tmp_path / "table.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "mine", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["rows"]
    assert found["measured"]["tag_f1"]["value"] == 100 and found["measured"]["string_f1"]["value"] < 60
    reader = open_dataset("implicitave", tmp_path / "mine", {"missing_images": "blank"})
    figures = reader.statistics()
    assert figures["Home rows in test"] == figures["test rows"] == figures["products"] == 30
    assert (figures["attributes with options"], figures["options"], figures["attributes"]) == (4, 8, 1)
    convert(reader, tmp_path / "gold")
    assert list(open_dataset("jsonl", tmp_path / "gold", {})) == list(reader)
