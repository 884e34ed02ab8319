import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from avebench.contracts.dataset import Fault
from avebench.data.opening import check_rows, convert, open_dataset, stats_rows
from avebench.datasets import jsonl
from avebench.datasets.mae import cutting, files, mae
from avebench.files.errors import AvebenchError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVEBENCH_CACHE", str(tmp_path / "cache"))


def product(number: int, **changes: Any) -> dict[str, Any]:
    record = {
        "diffbotUri": f"product|4|{number}",
        "title": "Acme Lamp",
        "text": "A red steel lamp.",
        "images": [f"{number}.jpg"],
        "specs": {"color": "Red", "material": "steel"},
    }
    return {key: value for key, value in (record | changes).items() if value is not ...}


def write(folder: Path, *train: dict[str, Any], val: list[dict[str, Any]] | None = None) -> Path:
    filler = [product(number) for number in range(1000, 1060)]
    sources = {"train": [*train, *filler], "val": [product(1)] if val is None else val}
    for source, records in sources.items():
        (folder / source).mkdir(parents=True, exist_ok=True)
        half = len(records) // 2
        (folder / source / "a.json").write_text(json.dumps(records[:half], indent=1), encoding="utf-8")
        (folder / source / "b.json").write_text(json.dumps(records[half:]), encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> mae.Dataset:
    return mae.Dataset(mae.CARD, folder, mae.Options(**options))


def values(folder: Path, **options: Any) -> list[list[tuple[str, str]]]:
    return [
        [(span.attribute, example.text[span.start : span.end]) for span in example.spans]
        for example in dataset(folder, **options).read("test")
    ]


def test_title_and_text_are_matched_lower_cased_on_whole_units_everywhere(tmp_path: Path) -> None:
    write(tmp_path, val=[product(1, title="Red-ish RED", text="reddish red")])
    assert values(tmp_path) == [[("color", "Red"), ("color", "RED"), ("color", "red")]]
    (example,) = dataset(tmp_path).read("test")
    assert example.text == "Red-ish RED reddish red" and example.id == example.product_id == "product|4|1"
    assert example.pairs == {"color": {"Red", "RED", "red"}}


def test_longest_value_first_without_overwriting(tmp_path: Path) -> None:
    specs = {"color": "dark red", "material": "red"}
    write(tmp_path, val=[product(1, title="T", text="dark red and red", specs=specs)])
    assert values(tmp_path) == [[("color", "dark red"), ("material", "red")]]
    write(tmp_path, val=[product(1, title="T", text="dark red", specs=specs)])
    assert values(tmp_path) == [[("color", "dark red")]]


def test_the_cut_in_words_ends_text_and_gold(tmp_path: Path) -> None:
    write(tmp_path, val=[product(1, title="one two", text="red four steel")])
    (example,) = dataset(tmp_path, cut="words:4").read("test")
    assert example.text == "one two red four" and example.pairs == {"color": {"red"}}
    long = "word, " * 5000
    assert cutting.cutter("words:7")(long) == mae.word_units(long)[:7]
    assert cutting.cutter("words:3")("x" * 100 + " b c d") == ((0, 100), (101, 102), (103, 104))


def test_the_cut_in_pieces_keeps_whole_units_only(tmp_path: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "lam", "##p", "##s", "a"]))
    cut = f"pieces:4:{vocabulary}"
    units = cutting.cutter(cut)
    assert units("Red lamps a") == ((0, 3), (4, 9))
    assert units("a red lamps") == ((0, 1), (2, 5))  # The fifth piece lies inside "lamps".
    assert units("a red") == ((0, 1), (2, 5))
    assert units("") == ()
    write(tmp_path / "mae")
    before = dataset(tmp_path / "mae", cut=cut).fingerprint()
    vocabulary.write_text(vocabulary.read_text() + "\nb")
    assert dataset(tmp_path / "mae", cut=cut).fingerprint() != before


@pytest.mark.parametrize("cut", ["words", "words:0", "pieces:126", "words:5:x", "letters:3"])
def test_unknown_cuts(tmp_path: Path, cut: str) -> None:
    with pytest.raises(AvebenchError, match="option 'cut': write words:100, or"):
        open_dataset("mae", write(tmp_path), {"cut": cut})


def test_rare_attributes_are_dropped_by_their_training_products(tmp_path: Path) -> None:
    rare = [product(number, specs={"color": "red", "brand": "Acme"}) for number in range(200, 209)]
    kept_in_train = sum(not mae.is_held_out(record["diffbotUri"]) for record in rare)
    write(tmp_path, *rare, val=rare)
    assert dataset(tmp_path, min_products=kept_in_train).schema().attributes == ("brand", "color", "material")
    assert dataset(tmp_path, min_products=kept_in_train + 1).schema().attributes == ("color", "material")
    assert values(tmp_path, min_products=kept_in_train + 1)[0] == [("color", "red")]


def test_train_is_held_out_by_hash_and_official_test_is_optional(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path, *[product(number) for number in range(300)]))
    train, valid = ([example.id for example in reader.read(split)] for split in ("train", "valid"))
    assert len(train) + len(valid) == 360 and valid and not set(train) & set(valid)
    assert all(mae.is_held_out(name) for name in valid) and not any(map(mae.is_held_out, train))
    with pytest.raises(AvebenchError, match="no split 'official-test'"):
        list(reader.read("official-test"))
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "x.json").write_text(json.dumps([product(7)]))
    assert [example.id for example in dataset(tmp_path).read("official-test")] == ["product|4|7"]


def test_about_two_percent_are_held_out() -> None:
    share = sum(mae.is_held_out(f"product|4|{number}") for number in range(50_000)) / 50_000
    assert abs(share - 0.02) < 5 * (0.02 * 0.98 / 50_000) ** 0.5


def test_oddities_are_handled_and_counted(tmp_path: Path) -> None:
    odd = [
        product(1, diffbotUri=...),
        product(2, title=..., text=["x"], specs={}),
        product(3, specs={"color": 3, "material": "", "other": "not there"}),
        product(4, specs=..., images=[]),
        product(5, specs=["red"], images="5.jpg"),
        product(6, images=["../6.jpg"], text="half \ud800 red"),
        product(7, clean_title="Acme -lrb- new -rrb-", clean_text="a red lamp 1\\/2", specs={"color": "red lamp 1/2"}),
        product(8, tokens=["red", "-LSB-", "``", "x"], clean_text="unused"),
        product(9),
        product(9, text="a second one"),
    ]
    reader = dataset(write(tmp_path, val=odd))
    examples = {example.id: example for example in reader.read("test")}
    assert examples["val/a.json:0"].pairs == {"color": {"red"}, "material": {"steel"}}
    assert "product|4|2" not in examples  # No text is left: no example.
    assert examples["product|4|3"].pairs == {}
    assert examples["product|4|6"].text == "Acme Lamp half ? red"
    assert examples["product|4|7"].text == "Acme ( new ) a red lamp 1/2"
    assert examples["product|4|7"].pairs == {"color": {"red lamp 1/2"}}
    assert examples["product|4|8"].text == 'Acme Lamp red [ " x'
    assert examples["product|4|9"].text == "Acme Lamp A red steel lamp."
    counts = {name.removeprefix("test: "): count for name, count in reader.notes.items()}
    assert counts["diffbotUri: missing"] == counts["title: missing"] == counts["text: not a string"] == 1
    assert counts["specs: missing"] == counts["specs: empty"] == counts["specs: not an object"] == 1
    assert counts["specs: a value that is not a string"] == counts["specs: an empty attribute or value"] == 1
    assert counts["images: missing"] == 1 and counts["images: not a list of file names"] == 2
    assert counts["products repeated"] == counts["products without text"] == 1
    assert counts["products kept"] == len(examples) == 8
    faults = [fault.field for fault in dataset(tmp_path).check() if fault.file.startswith("val/")]
    assert {"diffbotUri", "title", "text", "specs", "images"} <= set(faults)


def test_pictures_missing_broken_and_whole(tmp_path: Path) -> None:
    write(tmp_path, val=[product(1), product(2), product(3)])
    pictures = tmp_path / "mumie-img"
    pictures.mkdir()
    Image.new("RGB", (9, 9)).save(pictures / "1.jpg")
    (pictures / "2.jpg").write_bytes((pictures / "1.jpg").read_bytes()[:200])
    reader = dataset(tmp_path)
    held = [example.picture is not None for example in reader.read("test")]
    assert held == [True, False, False]  # Never another product's picture.
    assert reader.notes["test: pictures broken"] == reader.notes["test: pictures missing"] == 1
    strict = [example.picture for example in dataset(tmp_path, missing_images="error").read("test")]
    assert strict[2] is not None
    with pytest.raises(AvebenchError, match=r"3\.jpg is missing"):
        strict[2].open()
    assert [row.what for row in check_rows(reader) if row.count is None and "'images'" in row.what] == []
    # Of training and validation as well, whose products have no picture here: 60 files that are named, and 3.jpg.
    assert (reader.notes["pictures broken"], reader.notes["pictures missing"]) == (1, 61)
    reader = dataset(tmp_path, missing_images="error")
    said = [str(fault) for fault in reader.check() if fault.file.startswith("val/")]
    assert said == [
        "val/b.json, line 1, field 'images': the picture cannot be decoded: 2.jpg.",
        "val/b.json, line 1, field 'images': the picture is missing: 3.jpg.",
    ]


def test_the_first_pictures_of_a_product_are_read(tmp_path: Path) -> None:
    whole = [f"{number}.jpg" for number in range(6)]
    val = [
        product(1, images=whole),
        product(2, images=["0.jpg", "gone.jpg", "1.jpg", 3, "../x.jpg"]),
        product(3, images=["gone.jpg", "1.jpg"]),
        product(4, images=["3.jpg"]),
    ]
    write(tmp_path, val=val)
    pictures = tmp_path / "mumie-img"
    pictures.mkdir()
    for number, name in enumerate(whole):
        Image.new("RGB", (number + 1, 1)).save(pictures / name)
    reader = dataset(tmp_path)
    read = list(reader.read("test"))
    # Without the first, which most systems look at alone, a product has none.
    assert [[picture.open().width for picture in one.pictures] for one in read] == [[1, 2, 3, 4], [1, 2], [], [4]]
    assert [one.picture and one.picture.name for one in read] == ["0.jpg", "0.jpg", None, "3.jpg"]
    assert reader.notes["test: products with more than 4 pictures"] == 1
    assert reader.notes["test: pictures missing"] == reader.notes["test: further pictures missing"] == 1
    assert reader.notes["test: further pictures left out, the first being unusable"] == 1
    assert reader.notes["test: images: a further picture that is no file name"] == 2
    fewer = dataset(tmp_path, max_pictures=2)
    assert [len(one.pictures) for one in fewer.read("test")] == [2, 1, 0, 1]
    # Fewer pictures are other data; the default is what the fingerprint was before there was a choice.
    assert fewer.fingerprint() != reader.fingerprint()
    assert "max_pictures" not in reader.options.identity() and fewer.options.identity()["max_pictures"] == 2


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", 1, "the file is empty"),
        (b'{"a": 1}\n', 1, "not with '['"),
        (b'[\n{"diffbotUri": "1"},\n{"diffbotUri": "2", "ti', 3, "breaks off"),
        (b'[\n{"diffbotUri": "1"}', 2, "breaks off"),
        (b'[\n{"diffbotUri": "1"}\n{"diffbotUri": "2"}]', 3, "where ',' or ']' must stand"),
        (b'[\n{"diffbotUri": "1"},\n]', 3, "Expecting value"),
        (b'[{"diffbotUri": "1"}]\n[]', 2, "something follows"),
        (b'[{"diffbotUri": "1"},\n"text"]', 2, "not an object"),
        (b'[\n{"title": "\xff"}]', 2, "not UTF-8"),
        (b'[\n\n{"title" "x"}, {"text": "long enough that the fault is far from the end"}]', 3, "':'"),
        (b"[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_broken_files_name_file_and_line(tmp_path: Path, content: bytes, line: int, said: str) -> None:
    write(tmp_path)
    (tmp_path / "val" / "c.json").write_bytes(content)
    (fault,) = [fault for fault in dataset(tmp_path).check() if fault.file == "val/c.json" and fault.field is None]
    assert fault.line == line and said in fault.message
    with pytest.raises(AvebenchError, match=rf"val/c\.json, line {line}"):
        list(dataset(tmp_path).read("test"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(elements=st.lists(JSON, max_size=6), indent=st.sampled_from([None, 0, 2]), chunk=st.integers(1, 30))
def test_the_incremental_parser_agrees_with_the_json_module(
    tmp_path: Path, elements: list[Any], indent: int | None, chunk: int
) -> None:
    path = tmp_path / "x.json"
    text = json.dumps(elements, indent=indent, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        found = list(files.array_elements(path, "x.json"))
    assert not any(isinstance(one, Fault) for one in found)
    assert [one[1] for one in found if not isinstance(one, Fault)] == elements


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(elements=st.lists(JSON, min_size=1, max_size=4), chunk=st.integers(1, 30), data=st.data())
def test_a_file_cut_anywhere_gives_a_fault_and_only_true_elements(
    tmp_path: Path, elements: list[Any], chunk: int, data: st.DataObject
) -> None:
    path = tmp_path / "x.json"
    whole = json.dumps(elements, ensure_ascii=False).encode()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "CHUNK", chunk)
        *found, last = files.array_elements(path, "x.json")
    assert isinstance(last, Fault)
    true = [one[1] for one in found if not isinstance(one, Fault)]
    # A number at the cut may have lost digits: nothing says so, but the fault that follows does.
    assert true[:-1] == elements[: max(0, len(true) - 1)]


def test_a_huge_file_is_never_held_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"n": number, "pad": "x" * 200} for number in range(2000)], indent=1))
    monkeypatch.setattr(files, "CHUNK", 1024)
    largest = 0
    with path.open("rb") as stream:
        buffer = files._Buffer(stream)
        for expected, (line, value) in enumerate(files._elements(buffer)):
            largest = max(largest, len(buffer.text))
            assert value["n"] == expected and line == 2 + 4 * expected
    assert largest < 4096


def test_convert_gives_gold_jsonl_with_the_same_examples(tmp_path: Path) -> None:
    val = [product(501, images=["501.jpg", "502.jpg"]), product(502, specs={})]
    release = write(tmp_path / "mae", *[product(number) for number in range(200)], val=val)
    (release / "mumie-img").mkdir()
    for name in ("501.jpg", "502.jpg"):
        Image.new("RGB", (9, 9)).save(release / "mumie-img" / name)
    notes = convert(dataset(release), tmp_path / "gold")
    assert notes["test: products kept"] == 2
    gold = jsonl.Dataset(jsonl.CARD, tmp_path / "gold", jsonl.Options())
    assert list(gold.check()) == []
    original = dataset(release)
    for split in ("train", "valid", "test"):
        for one, other in zip(gold.read(split), original.read(split), strict=True):
            same = ("id", "text", "tokens", "spans", "pairs", "product_id", "category")
            assert all(getattr(one, name) == getattr(other, name) for name in same)
            assert len(one.pictures) == len(other.pictures)
    with pytest.raises(AvebenchError, match="exists already"):
        convert(dataset(release), tmp_path / "gold")


def test_convert_leaves_nothing_half_written(tmp_path: Path) -> None:
    release = write(tmp_path / "mae")
    (release / "val" / "z.json").write_text('[{"diffbotUri": "1"')
    with pytest.raises(AvebenchError, match=r"val/z\.json"):
        convert(dataset(release), tmp_path / "gold")
    assert {path.name for path in tmp_path.iterdir()} <= {"mae", "cache"}


def test_statistics_stand_beside_the_published(tmp_path: Path) -> None:
    rows = {row.name: row for row in stats_rows(dataset(write(tmp_path)))}
    assert (rows["products"].published, rows["products"].counted) == (2_200_000, 61)
    assert rows["instances"].counted == 122 and rows["attributes"].counted == 2 and rows["values"].counted == 2
    assert rows["test products kept"].counted == 1 and rows["test pairs kept"].counted == 2


def test_distinct_values_and_repeats_are_counted_exactly() -> None:
    counter = mae._Distinct()
    for number in range(120_000):
        counter.add(number % 70_000)
    assert counter.count() == 70_000


def test_the_survey_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path)
    expected = dataset(tmp_path).schema()
    monkeypatch.setattr(mae.Dataset, "_take_survey", lambda self: pytest.fail("the files were read again"))
    assert dataset(tmp_path).schema() == expected


def test_missing_folders_say_where_the_data_comes_from(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(AvebenchError, match=r"holds no \*\.json file\. See https://"):
        list(dataset(tmp_path).read("train"))
