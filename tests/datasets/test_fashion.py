import hashlib
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from avebench.data.opening import open_dataset
from avebench.datasets import fashion
from avebench.files.errors import AvebenchError

HEADER = "id,gender,masterCategory,subCategory,articleType,baseColour,season,usage,productDisplayName"
ROW = "1,Men,Apparel,Topwear,Shirts,Blue,Fall,Casual,{}"


def write(folder: Path, *rows: str, header: str = HEADER) -> Path:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "styles.csv").write_text("".join(f"{line}\n" for line in (header, *rows)), encoding="utf-8")
    return folder


def dataset(folder: Path) -> fashion.Dataset:
    return fashion.Dataset(fashion.CARD, folder, fashion.Options())


def labels(folder: Path, row: str) -> list[tuple[str, str]]:
    reader = dataset(write(folder, row))
    examples = [example for split in ("train", "valid", "test") for example in reader.read(split)]
    (example,) = examples
    return [(span.attribute, example.text[span.start : span.end]) for span in example.spans]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (ROW.format("Acme Men Blue Shirt"), [("gender", "Men"), ("baseColour", "Blue"), ("articleType", "Shirt")]),
        # The value itself stands in the title: its shorter form is not looked for.
        (ROW.format("SHIRTS for a shirt"), [("articleType", "SHIRTS")]),
        # Whole units only; every free position.
        (ROW.format("Blueish blue-blue womens"), [("baseColour", "blue"), ("baseColour", "blue")]),
        # articleType goes first; baseColour does not overwrite.
        ("1,Men,A,Eye,Blue Lens,Blue,x,Casual,Blue lens blue", [("articleType", "Blue lens"), ("baseColour", "blue")]),
        # subCategory is last: its value is taken by articleType.
        ("1,Men,Footwear,Flip Flops,Flip Flops,Red,x,Casual,Acme flip flop", [("articleType", "flip flop")]),
        ("1,Men,Apparel,Topwear,Shirts,,x,,Plain thing", []),
        # Fields beyond the last column belong to the title.
        (ROW.format("Shirt, blue, large"), [("articleType", "Shirt"), ("baseColour", "blue")]),
    ],
)
def test_silver_labels(tmp_path: Path, row: str, expected: list[tuple[str, str]]) -> None:
    assert labels(tmp_path, row) == expected


def test_surplus_fields_keep_the_comma_and_a_year_column_is_fine(tmp_path: Path) -> None:
    header = HEADER.replace("season,", "season,year,")
    row = "7,Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,A, b,c"
    reader = dataset(write(tmp_path, row, '8,Men,Apparel,Topwear,Shirts,Blue,Fall,2011,Casual,"D, e"', header=header))
    texts = {example.id: example.text for split in ("train", "valid", "test") for example in reader.read(split)}
    assert texts == {"7": "A, b,c", "8": "D, e"}


def test_split_by_title_hash() -> None:
    for title in ("Acme Men Blue Shirt", "a  A\tb", "ÄB c"):
        key = re.sub(r"\s+", " ", title.lower().strip())
        bucket = int(hashlib.sha256(key.encode("utf-8")).hexdigest(), 16) % 10
        assert fashion.split_of(title) == ("train" if bucket < 7 else "valid" if bucket == 7 else "test")
    assert fashion.split_of(" Acme  men ") == fashion.split_of("acme Men")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("2,Men,Apparel", "3 columns; it must be 9"),
        ("1,Men,Apparel,Topwear,Shirts,Blue,Fall,Casual,Again", "field 'id': '1' was used before"),
        ("x,Men,Apparel,Topwear,Shirts,Blue,Fall,Casual,Title", "is not a number"),
    ],
)
def test_wrong_rows_name_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    reader = dataset(write(tmp_path, ROW.format("Shirt"), row))
    with pytest.raises(AvebenchError, match=r"styles\.csv, line 3") as caught:
        list(reader.read("train"))
    assert said in str(caught.value)


def test_wrong_header_missing_file_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="column baseColour is missing"):
        list(dataset(write(tmp_path, header=HEADER.replace("baseColour", "color"))).read("train"))
    (tmp_path / "styles.csv").write_bytes(HEADER.encode() + b"\n1,\xff\n")
    with pytest.raises(AvebenchError, match="line 2: byte 3 is not UTF-8"):
        list(dataset(tmp_path).read("train"))
    (tmp_path / "styles.csv").unlink()
    with pytest.raises(AvebenchError, match=r"styles\.csv is missing"):
        dataset(tmp_path).fingerprint()


def test_check_lists_missing_and_broken_pictures(tmp_path: Path) -> None:
    rows = [ROW.format("Shirt"), ROW.format("Shirt two").replace("1", "2", 1), ROW.format("Three").replace("1", "3", 1)]
    write(tmp_path, *rows)
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "1.jpg")
    (tmp_path / "images" / "2.jpg").write_bytes(b"\xff\xd8\xff broken")
    reader = dataset(tmp_path)
    faults = [(fault.file, fault.message) for fault in reader.check()]
    assert faults == [
        ("images/2.jpg", "the picture cannot be decoded."),
        ("images/3.jpg", "the picture is missing."),
    ]
    assert reader.notes["pictures broken"] == reader.notes["pictures missing"] == 1


def test_the_real_set_splits_as_published_here() -> None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root or not (Path(root) / "fashion").is_dir():
        pytest.skip("Fashion Product Images is not here: set AVEBENCH_DATA to a folder that holds fashion.")
    reader = open_dataset("fashion", None, {})
    splits = {split: list(reader.read(split)) for split in ("train", "valid", "test")}
    assert [len(examples) for examples in splits.values()] == [4859, 650, 1381]
    titles = {split: {" ".join(e.text.lower().split()) for e in examples} for split, examples in splits.items()}
    assert not titles["train"] & titles["test"] and not titles["valid"] & titles["test"]
    for example in splits["test"]:
        starts, ends = {start for start, _ in example.tokens}, {end for _, end in example.tokens}
        assert all(span.start in starts and span.end in ends for span in example.spans)
