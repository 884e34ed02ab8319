import os
from pathlib import Path

import pytest
from PIL import Image

from avebench.contracts.examples import Span
from avebench.datasets import mepave
from avebench.files.errors import AvebenchError

LINES = {
    "train": [
        "c_11\ts_1\t长款羊毛大衣A1\t<衣长>长款</衣长><材质>羊毛</材质>大衣A1",
        "c_11\ts_2\t红黑拼色\t<颜色>红</颜色><颜色>黑</颜色>拼色",
    ],
    "valid": ["c_12\ts_3\t好鞋\t好鞋"],
    "test": ["c_11\ts_4\t羊毛围巾\t<材质>羊毛</材质>围巾"],
}


def write(folder: Path, pattern: str = "jdair.jave.{}.txt", **changed: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, lines in (LINES | changed).items():
        (folder / pattern.format(split)).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return folder


def dataset(folder: Path, missing_images: str = "error") -> mepave.Dataset:
    return mepave.Dataset(mepave.CARD, folder, mepave.Options(missing_images=missing_images))


@pytest.mark.parametrize("pattern", mepave.FILES)
@pytest.mark.parametrize("inner", ["", "data"])
def test_reads_release_and_sample_names(tmp_path: Path, pattern: str, inner: str) -> None:
    write(tmp_path / inner, pattern)
    first, second = dataset(tmp_path).read("train")
    assert first.text == "长款羊毛大衣a1"  # Lower-cased, as the reference converters do.
    assert first.spans == (Span("衣长", 0, 2), Span("材质", 2, 4))
    assert first.pairs == {"衣长": {"长款"}, "材质": {"羊毛"}}
    assert first.tokens == tuple((at, at + 1) for at in range(8))
    assert (first.id, first.product_id) == ("s_1", "c_11")
    assert second.pairs == {"颜色": {"红", "黑"}}
    assert dataset(tmp_path).schema().attributes == tuple(sorted(["衣长", "材质", "颜色"]))
    assert dataset(tmp_path).schema().units == "character"


def test_a_sentence_without_attribute_has_empty_pairs(tmp_path: Path) -> None:
    (example,) = dataset(write(tmp_path)).read("valid")
    assert example.spans == () and example.pairs == {}


def test_statistics_count_products_values_and_overlap(tmp_path: Path) -> None:
    figures = dataset(write(tmp_path)).statistics()
    assert figures["products"] == 2 and figures["instances"] == 4
    assert figures["attributes"] == 3 and figures["values"] == 4 and figures["mentions"] == 5
    assert figures["products in both train and test"] == 1 and figures["products in both train and valid"] == 0
    assert figures["sentences with several mentions of one attribute"] == 1
    assert figures["categories"] == "no category in the release"
    assert set(mepave.CARD.published or {}) <= set(figures)


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("c_11\ts_9\t红 鞋\t红 鞋", "text", "space"),
        ("c_11\ts_9\t红鞋\t<颜色>红</颜色>靴", "tagged text", "is not the text"),
        ("c_11\ts_9\t红鞋\t<颜色>红鞋", "tagged text", "never closed"),
        ("c_11\ts_9\t红鞋\t红</颜色>鞋", "tagged text", "unbalanced tag '</颜色>'"),
        ("c_11\ts_9\t红鞋\t<颜色>红</材质>鞋", "tagged text", "unbalanced"),
        ("c_11\ts_9\t红鞋\t<颜色><材质>红</材质></颜色>鞋", "tagged text", "unbalanced"),
        ("c_11\ts_9\t红鞋\t<颜色></颜色>红鞋", "tagged text", "no value"),
    ],
)
def test_lines_that_cannot_be_rebuilt_are_dropped_and_above_one_percent_an_error(
    tmp_path: Path, line: str, field: str, said: str
) -> None:
    good = [f"c_{number}\ts_x{number}\t好鞋\t好鞋" for number in range(99)]
    few = dataset(write(tmp_path / "few", train=[*good, line]))
    assert len(list(few.read("train"))) == 99  # One of 100 is exactly 1 %, which is allowed.
    assert few.notes["train: lines dropped"] == 1
    many = dataset(write(tmp_path / "many", train=[*good[:98], line]))
    with pytest.raises(AvebenchError, match="more than 1 %") as caught:
        list(many.read("train"))
    assert "jdair.jave.train.txt, line 99" in str(caught.value) and f"'{field}'" in str(caught.value)
    (fault,) = [fault for fault in few.check() if fault.line]
    assert fault.line == 100 and fault.field == field and said in fault.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("c_11\ts_9\t红鞋", "3 columns"),
        ("c_11\ts_9\t红鞋\t红鞋\t", "5 columns"),
        ("11\ts_9\t红鞋\t红鞋", "'cid'"),
        ("c_11\ts_1\t红鞋\t红鞋", "'s_1' was used before"),
        ("", "1 columns"),
    ],
)
def test_wrong_lines_name_file_and_line(tmp_path: Path, line: str, said: str) -> None:
    reader = dataset(write(tmp_path, train=[*LINES["train"], line]))
    with pytest.raises(AvebenchError, match=r"jdair\.jave\.train\.txt, line 3") as caught:
        list(reader.read("train"))
    assert said in str(caught.value)


def test_bytes_that_are_not_utf8_an_empty_file_and_a_missing_file(tmp_path: Path) -> None:
    write(tmp_path)
    train = tmp_path / "jdair.jave.train.txt"
    train.write_bytes(train.read_bytes() + b"c_11\ts_9\t\xff\t\xff\n")
    with pytest.raises(AvebenchError, match="line 3: byte 10 is not UTF-8"):
        list(dataset(tmp_path).read("train"))
    train.write_bytes(b"")
    with pytest.raises(AvebenchError, match=r"jdair\.jave\.train\.txt: the file is empty"):
        list(dataset(tmp_path).read("train"))
    train.unlink()
    with pytest.raises(AvebenchError, match=r"neither jdair\.jave\.train\.txt nor|holds neither"):
        list(dataset(tmp_path).read("train"))


def test_check_lists_every_fault_and_decodes_the_pictures(tmp_path: Path) -> None:
    write(tmp_path, valid=["c_12\ts_3\t好鞋", "c_13\ts_1\t好鞋\t好鞋", "c_13\ts_5\t好鞋\t好靴"])
    images = tmp_path / "product_images"
    images.mkdir()
    Image.new("RGB", (8, 8)).save(images / "11.jpg")
    reader = dataset(tmp_path)
    faults = list(reader.check())
    assert [(fault.line, fault.field) for fault in faults] == [(1, None), (2, "sid"), (3, "tagged text")]
    whole = (images / "11.jpg").read_bytes()
    (images / "11.jpg").write_bytes(whole[: len(whole) // 2])
    assert "product_images/11.jpg" in {fault.file for fault in dataset(tmp_path).check()}


def test_missing_and_broken_pictures(tmp_path: Path) -> None:
    write(tmp_path)
    (first, _) = dataset(tmp_path).read("train")  # Systems that read no pictures run without them.
    assert first.picture is not None
    with pytest.raises(AvebenchError, match=r"11\.jpg is missing"):
        first.picture.open()
    blank = dataset(tmp_path, "blank")
    assert [example.picture for example in blank.read("train")] == [None, None]
    assert blank.notes["train: pictures missing"] == 2
    (tmp_path / "product_images").mkdir()
    (tmp_path / "product_images" / "11.jpg").write_bytes(b"no picture")
    assert [example.picture for example in blank.read("train")] == [None, None]
    assert blank.notes["train: pictures broken"] == 2


def test_the_fingerprint_follows_text_and_pictures_not_the_path(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one"), write(tmp_path / "two")
    assert dataset(one).fingerprint() == dataset(two).fingerprint() != dataset(one, "blank").fingerprint()
    (two / "product_images").mkdir()
    (two / "product_images" / "11.jpg").write_bytes(b"12")
    with_picture = dataset(two).fingerprint()
    assert with_picture != dataset(one).fingerprint()
    (two / "product_images" / "11.jpg").write_bytes(b"123")
    assert dataset(two).fingerprint() != with_picture
    write(one, train=LINES["train"][:1])
    assert dataset(one).fingerprint() != with_picture


def test_the_public_sample_loads_as_it_is() -> None:
    folder = Path(os.environ.get("AVEBENCH_DATA", "")) / "mepave-sample"
    if not os.environ.get("AVEBENCH_DATA") or not folder.is_dir():
        pytest.skip("The public MEPAVE sample is not here: set AVEBENCH_DATA to a folder that holds mepave-sample.")
    reader = dataset(folder)
    faults = list(reader.check())
    assert len(faults) == reader.notes["pictures missing"] == 90
    counted = [reader.notes[f"{split} sentences"] for split in ("train", "valid", "test")]
    assert counted == [50, 20, 20] and reader.notes["mentions"] == 109
    figures = reader.statistics()
    assert figures["attributes"] == 18 and figures["sentences without attribute"] == 9
    assert figures["sentences with several mentions of one attribute"] == 2 and figures["products"] == 90
