"""Requests and files that nobody means: each answered by a message that names the place, and exit code 2."""

import json
from pathlib import Path

import pytest
from inprocess import avebench_here
from PIL import Image

from avebench.analysis.attention.explanation_tables import range_table, token_table
from avebench.analysis.attention.overlays import write_overlays
from avebench.contracts.examples import Example, Prediction
from avebench.contracts.explanation import Explanation
from avebench.data.jsonlines import FieldError, json_object
from avebench.data.opening import convert, open_dataset
from avebench.data.titles import unescape
from avebench.datasets import fashion
from avebench.datasets.mae.files import array_elements
from avebench.files.errors import AvebenchError
from avebench.files.folders import folder_digest, folders_in
from avebench.files.tomltext import parse
from avebench.nn.weights import weights_place
from avebench.tables.render import render
from avebench.tracking.databases import check_database

GOLD = {"id": "a", "text": "a red dress", "spans": [{"attribute": "Color", "start": 2, "end": 5}]}


def jsonl(folder: Path, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (folder / f"{split}.jsonl").write_text(json.dumps({**GOLD, **more, "id": split}) + "\n")
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# Links


def test_a_data_set_is_not_converted_into_its_own_folder(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "x")
    before = open_dataset("jsonl", data, {}).fingerprint()
    done = avebench_here(tmp_path, "data", "convert", "jsonl", "x/out", "--data", "x")
    assert done.returncode == 2 and "x/out lies in x, a folder of the data set" in done.stderr
    (tmp_path / "link").symlink_to(data)
    assert avebench_here(tmp_path, "data", "convert", "jsonl", "link/out", "--data", "x").returncode == 2
    assert open_dataset("jsonl", data, {}).fingerprint() == before
    assert avebench_here(tmp_path, "data", "convert", "jsonl", "out", "--data", "x").returncode == 0
    assert avebench_here(tmp_path, "data", "check", "jsonl", "--data", "out").returncode == 0


def test_loops_of_links_are_passed_over(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "x")
    (data / "photos").mkdir()
    before = [data, data / "photos"]
    (data / "photos" / "back").symlink_to(data)
    (data / "self").symlink_to("self")
    (data / "photos" / "here").symlink_to(".")
    assert sorted(folders_in(data)) == before
    assert len(folder_digest(data)) == 64
    assert avebench_here(tmp_path, "data", "stats", "jsonl", "--data", "x").returncode == 0


def test_pictures_may_lie_elsewhere_behind_a_link_but_no_path_leads_out(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "photos" / "p.png")
    data = jsonl(tmp_path / "x", image="shop/p.png")
    (data / "shop").symlink_to(tmp_path / "photos")
    assert avebench_here(tmp_path, "data", "check", "jsonl", "--data", "x").returncode == 0
    (example,) = open_dataset("jsonl", data, {}).read("train")
    assert example.picture is not None and example.picture.open().size == (4, 4)
    (data / "shop").unlink()
    (data / "shop").symlink_to("shop")
    done = avebench_here(tmp_path, "data", "check", "jsonl", "--data", "x")
    assert done.returncode == 2 and "train.jsonl, line 1, field 'image': the picture is missing" in done.stdout
    jsonl(data, image="../photos/p.png")
    done = avebench_here(tmp_path, "data", "check", "jsonl", "--data", "x")
    assert done.returncode == 2 and "is no path inside the folder" in done.stdout


def test_a_converted_data_set_keeps_its_units_whatever_the_next_reader_cuts(tmp_path: Path) -> None:
    first = open_dataset("jsonl", jsonl(tmp_path / "x"), {})
    convert(first, tmp_path / "out")
    for units in ("word", "character"):
        (example,) = open_dataset("jsonl", tmp_path / "out", {"units": units}).read("test")
        assert example.tokens == ((0, 1), (2, 5), (6, 11))


# ---------------------------------------------------------------------------------------------------------------------
# Values


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[a]\nb = [1, {c = nan}]", "t.toml, field 'a.b.1.c': nan is no number"),
        ("a = 2020-01-01", "t.toml, field 'a': 2020-01-01 is a date"),
        ("x = 1\na = " + "9" * 5000, "t.toml, line 2: a number has too many digits"),
        ("x = 1\n\na = " + "9" * 30, "t.toml, field 'a': a number has too many digits"),
        ("x = 1\na = " + "[" * 3000 + "]" * 3000, "t.toml, line 2: brackets stand too deep"),
        ("a = " + "[" * 40 + "]" * 40, "brackets stand too deep"),
    ],
)
def test_a_bad_value_of_a_table_names_its_field(content: str, said: str) -> None:
    with pytest.raises(AvebenchError) as caught:
        parse(content, "t.toml")
    assert said in str(caught.value)


def test_a_number_of_a_reader_is_finite(tmp_path: Path) -> None:
    for name in ("NaN", "nan", "inf", "Infinity"):
        done = avebench_here(tmp_path, "data", "stats", "demo", "--option", f"seed={name}")
        assert done.returncode == 2 and "seed" in done.stderr, name

    class Options(fashion.Options):
        share: float = 0.5

    with pytest.raises(ValueError, match="finite number"):
        Options(share="NaN")  # type: ignore[arg-type]  # As a bare word of --option arrives.


LINES = {
    "nice\rshirt": "a carriage return or a zero stands within the line",
    "ni\0ce": "a carriage return or a zero stands within the line",
    "x" * 140_000: "a field is longer than 131,072 characters",
    '"nice\nshirt"': "a quote is not closed before the end of the line",
}


@pytest.mark.parametrize("title", LINES)
def test_odd_lines_of_a_csv_file(tmp_path: Path, title: str) -> None:
    content = f"{','.join(['season', *fashion.COLUMNS])}\nF,1,A,B,C,D,E,F,{title}\n"
    (tmp_path / "styles.csv").write_text(content, newline="")
    faults = list(fashion.Dataset(fashion.CARD, tmp_path, fashion.Options()).check())
    assert (faults[0].file, faults[0].line) == ("styles.csv", 2) and LINES[title] in faults[0].message
    (tmp_path / "styles.csv").write_text("x" * 140_000)
    (fault,) = fashion.Dataset(fashion.CARD, tmp_path, fashion.Options()).check()
    assert "a field is longer" in fault.message


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "cp1252", "utf-8 with crlf"])
def test_encodings_of_a_csv_file(tmp_path: Path, encoding: str) -> None:
    content = f"{','.join(fashion.COLUMNS)}\n1,A,Men,B,Blue,F,C,Café blue\n"
    if encoding.endswith("crlf"):
        content, encoding = content.replace("\n", "\r\n"), "utf-8"
    (tmp_path / "styles.csv").write_bytes(content.encode(encoding))
    reader = fashion.Dataset(fashion.CARD, tmp_path, fashion.Options())
    faults = [fault for fault in reader.check() if fault.file == "styles.csv"]
    if encoding.startswith("utf-8"):
        assert faults == []
        assert [one.text for split in ("train", "valid", "test") for one in reader.read(split)] == ["Café blue"]
    else:
        (fault,) = faults
        assert "UTF-8" in fault.message and fault.line == (2 if encoding == "cp1252" else None)


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    digits = "9" * 5000
    assert unescape(f"a &#{digits}; b &#x{digits}; c &#38;") == "a \ufffd b \ufffd c &"
    with pytest.raises(FieldError, match="a number has thousands of digits"):
        json_object(f'{{"id": {digits}}}')
    with pytest.raises(FieldError, match="nested too deeply"):
        json_object('{"id": ' + "[" * 3000)
    for content in (f'[{{"id": {digits}}}]', "[" * 3000):
        (tmp_path / "part.json").write_text(content)
        (fault,) = array_elements(tmp_path / "part.json", "part.json")
        assert "part.json, line 1: a" in str(fault)


# ---------------------------------------------------------------------------------------------------------------------
# Names


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".pth", "a\0b", "y/" * 3000])
@pytest.mark.parametrize("kind", ["text", "image", "files"])
def test_a_name_that_no_file_system_takes_is_no_encoder(name: str, kind: str) -> None:
    with pytest.raises(AvebenchError, match="can be no name of weights") as caught:
        weights_place(name, kind)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 500
    with pytest.raises(AvebenchError):
        weights_place("~nobody-of-this-name/x", kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "x" * 300 + ".toml"),
        ("data", "check", "jsonl", "--data", "x" * 5000),
        ("data", "check", "jsonl", "--data", "~nobody-of-this-name"),
        ("report", "--out", "x" * 300),
        ("data", "convert", "demo", "x" * 300),
        ("score", "x" * 300, "--gold", "y"),
    ],
)
def test_names_that_are_too_long_are_refused_in_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = avebench_here(tmp_path, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "avebench-" not in done.stderr, done


def test_ids_that_are_too_long_for_a_file_name(tmp_path: Path) -> None:
    (tmp_path / "styles.csv").write_text(f"{','.join(fashion.COLUMNS)}\n{'1' * 300},A,Men,B,Blue,F,C,blue\n")
    (fault,) = fashion.Dataset(fashion.CARD, tmp_path, fashion.Options()).check()
    assert fault.message == "the picture is missing."
    example = Example("i" * 300, "t" * 300, ((0, 300),))
    files, _ = write_overlays(Explanation(example, Prediction(example.id, {}, {}, ())), tmp_path / "png")
    assert len(files) == 1 and files[0].is_file()


def test_databases_are_asked_before_a_server_starts(tmp_path: Path) -> None:
    (tmp_path / "bad.db").write_bytes(b"not a database at all" * 100)
    done = avebench_here(tmp_path, "ui", "--tracking-uri", "sqlite:///bad.db")
    assert done.returncode == 2 and "The MLflow database bad.db cannot be read (file is not a database)" in done.stderr
    done = avebench_here(tmp_path, "ui", "--port", "99999999")
    assert done.returncode == 2 and "--port" in done.stderr
    with pytest.raises(AvebenchError, match=r"The driver of postgresql://h/x is not installed: pip install"):
        check_database("postgresql://user:secret@h/x")
    with pytest.raises(AvebenchError, match="is no database"):
        check_database("mysql+nosuch://h/x")
    (tmp_path / "empty.db").touch()
    check_database(f"sqlite:///{tmp_path}/empty.db")


def test_an_explanation_of_nothing_says_so() -> None:
    example = Example("a", "blue dress", ((0, 4), (5, 10)))
    nothing = Explanation(example, Prediction("a", {}, {}, ()))
    ranges, tokens = render(range_table(nothing, "row"), "md"), render(token_table(nothing), "md")
    assert "No attribute is predicted or annotated." in ranges and "No token is tagged." in tokens
    scored = Explanation(example, Prediction("a", {}, {}, ()), ranges={"Color": 0.01}, threshold=0.5)
    assert "No attribute is predicted or annotated, or scores 0.05 or more." in render(range_table(scored, "row"), "md")


# ---------------------------------------------------------------------------------------------------------------------
# Options given twice


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "table6", "--seeds", "1", "--seeds", "2"),
        ("compare", "a", "b", "--experiment", "table6", "--experiment", "table7"),
        ("data", "stats", "demo", "--data", "a", "--data=b"),
        ("list", "models", "--format", "md", "--format", "md"),
    ],
)
def test_of_an_option_that_takes_one_value_none_is_dropped(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    refused = avebench_here(tmp_path, *arguments)
    option = next(one for one in arguments if one.startswith("--"))
    assert refused.returncode == 2 and refused.stderr == f"avebench: {option} is given 2 times. Give it once.\n"


def test_rows_may_be_named_in_several_options(tmp_path: Path) -> None:
    plan = ("run", "protocols", "--dataset", "demo", "--dry-run", "--format", "json", "--no-mlflow", "--no-mlflow")
    named = avebench_here(tmp_path, *plan, "--rows", "AdaTag, all", "--rows", "dictionary,DRAM")
    assert named.returncode == 0, named.stderr
    assert {row["label"] for row in json.loads(named.stdout)["rows"]} == {"dictionary", "DRAM", "AdaTag, all"}
