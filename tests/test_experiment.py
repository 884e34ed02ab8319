"""Experiment files: every packaged one is valid, and mistakes name file and field."""

import tomllib
from pathlib import Path

import pytest

from avebench import experiment as experiments
from avebench.errors import AvebenchError

GOOD = """
title = "Mine"
dataset = "demo"
metrics = ["tag_f1"]
[[rows]]
label = "floor"
model = "dictionary"
"""


@pytest.mark.parametrize("name", experiments.experiment_names())
def test_packaged_experiments(name: str) -> None:
    loaded = experiments.load_experiment(experiments.experiment_path(name))
    for row in loaded.rows:
        if row.published is not None:
            assert set(loaded.metrics) & set(experiments.published_rows()[row.published].figures)
    assert any(row.reference and row.model == "dictionary" for row in loaded.rows)


def test_no_experiment_types_a_figure_by_hand() -> None:
    for name in experiments.experiment_names():
        content = tomllib.loads(experiments.experiment_path(name).read_text())
        assert all(isinstance(row.get("published", ""), str) for row in content["rows"])


def test_published_figures_of_table_6() -> None:
    dram = experiments.published_rows()["journal-6/+A+T"]
    assert dram.figures["tag_precision"] == 95.89
    assert dram.figures["tag_recall"] == 97.86
    assert dram.figures["tag_f1"] == 96.86
    assert dram.place == "journal 6"
    assert any("scrambled" in caveat for caveat in dram.caveats)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metrics =", "metricz =", r"no field 'metricz'\. Did you mean 'metrics'"),
        ("label =", "lable =", r"(no field 'rows\.0\.lable'.*'label'|rows\.0\.label)"),
        ('"tag_f1"', '"tag_f2"', r"no metric 'tag_f2'.*tag_f1"),
        ('title = "Mine"', 'title = "Mine', "not valid TOML.*line"),
        ('label = "floor"', 'label = "a/b"', r"rows\.0\.label"),
        (
            'model = "dictionary"',
            'model = "dictionary"\npublished = "journal-6/+TEN"',
            "'journal-6/\\+TEN'.*journal-6/\\+TEM",
        ),
    ],
)
def test_mistakes_name_file_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(AvebenchError, match=message) as caught:
        experiments.load_experiment(path)
    assert "mine.toml" in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(GOOD.encode() + b"\xff")
    with pytest.raises(AvebenchError, match=r"mine\.toml is not UTF-8"):
        experiments.load_experiment(path)


def test_unknown_experiment() -> None:
    with pytest.raises(AvebenchError, match="Did you mean 'table6'"):
        experiments.experiment_path("tabel6")


def test_profile_steps_follow_the_train_fraction() -> None:
    assert experiments.profile_options("quick", 0.1)["training"]["steps"] == 600
    assert experiments.profile_options("quick", 0.11)["training"]["steps"] == 700
    assert experiments.profile_options("paper", 1.0) == {}
    with pytest.raises(AvebenchError, match="quick"):
        experiments.profile_options("quik", 1.0)


@pytest.mark.parametrize(
    ("name", "table", "others"),
    [("table8", "journal-8", {"arxiv-4/JAVE-LSTM", "arxiv-4/M-JAVE-LSTM"}), ("table9", "journal-9", set())],
)
def test_comparison_tables_hold_every_published_row(name: str, table: str, others: set[str]) -> None:
    loaded = experiments.load_experiment(experiments.experiment_path(name))
    published = {key for key in experiments.published_rows() if key.startswith(f"{table}/")}
    assert published | others == {row.published for row in loaded.rows if not row.reference}
    for row in loaded.rows:
        marks = {"*"} & set(row.published or "")
        assert marks == set(row.marks) and marks <= set(experiments.published_marks())
