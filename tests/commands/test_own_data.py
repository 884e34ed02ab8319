"""A user's own data is shown by its name, and its folder chooses among what was trained."""

from pathlib import Path

import pytest
from inprocess import avebench_here
from made_up import gold_line, write_gold

from avebench.data.opening import open_dataset, stats_rows
from avebench.files.errors import AvebenchError
from avebench.planning.plan import make_plan
from avebench.planning.request import Request

TABLE = """
title = "Mine"
dataset = "jsonl"
metrics = ["tag_f1"]
[[rows]]
label = "dict"
model = "dictionary"
"""


def folder(place: Path, value: str, described: str | None = None) -> Path:
    write_gold(place, lambda split: [gold_line(split, f"a {value} {split}", {"Color": value})])
    if described is not None:
        (place / "dataset.toml").write_text(described)
    return place


def test_two_own_folders_are_told_apart_by_name_and_chosen_by_folder(tmp_path: Path) -> None:
    folder(tmp_path / "shoes", "red")
    folder(tmp_path / "b", "navy", 'name = "Coats of 2020"\nlicence = "CC0"\n')
    (tmp_path / "mine.toml").write_text(TABLE)
    for name, shown in (("shoes", "shoes (jsonl)"), ("b", "Coats of 2020 (jsonl)")):
        ran = avebench_here(tmp_path, "run", "mine.toml", "--data", name, "--no-mlflow")
        assert f"Measured on {shown} " in ran.stdout
    asked = ("predict", "--experiment", "mine.toml", "--row", "dict", "--text", "a navy thing")
    said = avebench_here(tmp_path, *asked)
    assert said.returncode == 2 and "shoes (jsonl)" in said.stderr and "Coats of 2020 (jsonl)" in said.stderr
    assert "--data" in said.stderr
    assert "navy" in avebench_here(tmp_path, *asked, "--data", "b").stdout.split("Attribute")[1]
    assert "No attribute" in avebench_here(tmp_path, *asked, "--data", "shoes").stdout
    page = avebench_here(tmp_path, "report", "--format", "md").stdout
    assert "mine on shoes (jsonl)" in page and "mine on Coats of 2020 (jsonl)" in page


def test_the_name_is_in_no_key(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TABLE)
    keys = set()
    for name, described in (("a", None), ("b", 'name = "other"'), ("c", 'description = "x"')):
        data = folder(tmp_path / name, "red", described)
        keys |= {
            cell.key for cell in make_plan(Request(str(tmp_path / "mine.toml"), tmp_path / "runs", data=data)).cells()
        }
    assert len(keys) == 1


def test_what_its_owner_says_of_a_data_set(tmp_path: Path) -> None:
    described = 'units = "character"\n[published]\nattributes = 3\n'
    data = folder(tmp_path / "a", "red", described)
    dataset = open_dataset("jsonl", data, {})
    assert dataset.schema().units == "character"
    assert open_dataset("jsonl", data, {"units": "word"}).schema().units == "word"
    figures = {row.name: (row.published, row.counted) for row in stats_rows(dataset)}
    assert figures["attributes"] == (3, 1)


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ("nmae = 'x'", r"no field 'nmae'.*'name'"),
        ("name = 3", "field 'name'"),
        ("name = 'a/b'", "field 'name'"),
        ("name = ", "dataset.toml"),
        ("units = 'syllable'", "units"),
        ("published = { attributes = 'many' }", "field 'published.attributes'"),
    ],
)
def test_a_description_that_is_wrong_is_named(tmp_path: Path, described: str, said: str) -> None:
    with pytest.raises(AvebenchError, match=said):
        open_dataset("jsonl", folder(tmp_path / "a", "red", described), {})
