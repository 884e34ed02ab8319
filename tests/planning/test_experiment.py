"""Experiment files: every packaged one is valid, and mistakes name file and field."""

import re
import tomllib
from pathlib import Path

import pytest

from avebench.contracts.registry import plugins
from avebench.files.errors import AvebenchError
from avebench.planning.experiment_files import experiment_names, experiment_path, load_experiment, open_experiment
from avebench.planning.profiles import profile_options
from avebench.planning.published import published_marks, published_rows

GOOD = """
title = "Mine"
dataset = "demo"
metrics = ["tag_f1"]
[[rows]]
label = "floor"
model = "dictionary"
"""


@pytest.mark.parametrize("name", experiment_names())
def test_packaged_experiments(name: str) -> None:
    loaded = open_experiment(name)
    shown = set(loaded.metrics) | ({"tau_best"} if loaded.kind == "sweep" else set())
    for row in loaded.rows:
        if row.published is not None:
            assert shown & set(published_rows()[row.published].figures)
    if loaded.kind in {"table", "fractions"}:
        assert any(row.reference and row.model == "dictionary" for row in loaded.rows)


@pytest.mark.parametrize("name", experiment_names())
def test_no_experiment_types_a_figure_by_hand(name: str) -> None:
    """A published score has two decimals; what stands in a file is the name of the row that has it."""
    content = experiment_path(name).read_text()
    assert not re.search(r"\d\d\.\d\d", content)
    assert all(isinstance(row.get("published", ""), str) for row in tomllib.loads(content).get("rows", ()))


def test_every_published_table_has_its_experiment() -> None:
    shown: dict[str, set[str]] = {}
    for name in experiment_names():
        loaded = open_experiment(name)
        for row in loaded.rows:
            if row.published is not None:
                shown.setdefault(name, set()).add(row.published)
        if loaded.statistics is not None:
            shown[name] = {key for key in published_rows() if key.startswith(f"{loaded.statistics}/")}
    homes = {f"journal-{number}": f"table{number}" for number in range(1, 10)}
    homes |= {name: name for name in ("arxiv-4", "arxiv-policies", "arxiv-pr")}
    for table, name in homes.items():
        rows = {key for key in published_rows() if key.startswith(f"{table}/")}
        assert rows and rows <= shown[name], table
    assert {"journal-fig6/MEPAVE (a)", "journal-fig6/MAE (b)"} <= shown["figure6"] | shown["figure6-mae"]
    stated = {key for key, row in published_rows().items() if "tag_f1" in row.figures}
    assert {key for key in stated if key.startswith("arxiv-text/")} <= shown["arxiv-text"]


def test_the_cards_of_data_sets_say_what_the_papers_say() -> None:
    rows = published_rows()
    mepave, mae = (plugins("datasets")[name].card.published for name in ("mepave", "mae"))
    total = rows["journal-1/Total"].figures
    assert {name: mepave[name] for name in total} == total
    for split in ("train", "valid", "test"):
        assert mepave[f"{split} sentences"] == rows["journal-text/MEPAVE split"].figures[split]
    for name, value in rows["journal-2/MAE"].figures.items():
        figure, unit = name.rsplit("_", 1)
        assert mae[figure] == pytest.approx(value * {"millions": 1e6, "thousands": 1e3}[unit])


def test_a_row_like_another_is_the_same_system_under_another_name() -> None:
    by_name = {
        name: {row.label: row for row in open_experiment(name).rows}
        for name in ("arxiv-pr", "arxiv-4", "table6", "table8")
    }
    dram, original = by_name["arxiv-pr"]["+TIR+PAR"], by_name["table6"]["DRAM"]
    assert dram.published == "arxiv-pr/+TIR+PAR" and original.published == "journal-6/+A+T"
    same = dict.fromkeys(("label", "like", "published"))
    assert dram.model_copy(update=same) == original.model_copy(update=same)
    assert by_name["arxiv-4"]["K-PLUG"].planned and not by_name["arxiv-4"]["JAVE-BERT"].planned
    assert by_name["arxiv-4"]["JAVE-BERT"].options == by_name["table8"]["JAVE"].options


LIKE = """
title = "Mine"
dataset = "demo"
metrics = ["tag_f1"]
[[rows]]
label = "mine"
like = "table6/DRAM"
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("table6/DRAM", "tabel6/DRAM", r"rows\.0\.like'.*Did you mean 'table6'"),
        ("table6/DRAM", "table6/DRAMM", r"rows\.0\.like'.*'table6' has no row 'DRAMM'.*'DRAM'"),
        ("table6/DRAM", "arxiv-pr/ULS-VL", "'arxiv-pr' has no row 'ULS-VL' to take over"),
        ('label = "mine"', 'label = "mine"\nmodel = "dram"', "like another has no 'model' of its own"),
        ("[[rows]]", "thresholds = [0.04]\n[[rows]]", "thresholds: each lies from 0.05"),
        ("[[rows]]", "thresholds = [0.5]\ntrain_fractions = [0.1]\n[[rows]]", "at most one of thresholds"),
        ("[[rows]]", "train_fractions = [0.0]\n[[rows]]", "train_fractions: each lies above 0"),
        ("[[rows]]", '[attention]\nerror = "wrong"\n[[rows]]', "attention is shown of two rows"),
        ("[[rows]]", 'statistics = "journal-1"\n[[rows]]', "rows: with 'statistics' there is none"),
        ('metrics = ["tag_f1"]', "metrics = []", "metrics: it is missing or empty"),
        ('dataset = "demo"', 'dataset = "demo"\nsource = { paper = "x" }', "exactly one of table, figure and part"),
    ],
)
def test_what_may_be_made_of_rows(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(LIKE)
    assert load_experiment(path).rows[0].options == {"fusion": "tem", "arm": "prototype"}
    path.write_text(LIKE.replace(old, new))
    with pytest.raises(AvebenchError, match=message) as caught:
        load_experiment(path)
    assert "mine.toml" in str(caught.value)


def test_an_unknown_published_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\ndataset = "demo"\nstatistics = "jornal-1"\n')
    with pytest.raises(AvebenchError, match=r"mine\.toml, field 'statistics'.*Did you mean 'journal-1'"):
        load_experiment(path)


def test_options_of_a_profile_stand_in_for_those_of_the_row() -> None:
    rows = {row.label: row for row in open_experiment("table5").rows}
    weights = [rows[f"lambda = 1.0e-{power}"].options_of("paper")["range_weight"] for power in (1, 3, 5)]
    assert weights == [1e-1, 1e-3, 1e-5]
    quick = [rows[f"lambda = 1.0e-{power}"].options_of("quick")["range_weight"] for power in (1, 3, 5)]
    assert quick == pytest.approx([26_000 * weight for weight in weights])
    # The middle is the weight of every other row of the profile: one cell for both.
    assert quick[1] == profile_options("quick", 1.0)["range_weight"]


def test_published_figures_of_table_6() -> None:
    dram = published_rows()["journal-6/+A+T"]
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
        load_experiment(path)
    assert "mine.toml" in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(GOOD.encode() + b"\xff")
    with pytest.raises(AvebenchError, match=r"mine\.toml is not UTF-8"):
        load_experiment(path)


def test_unknown_experiment() -> None:
    with pytest.raises(AvebenchError, match="Did you mean 'table6'"):
        experiment_path("tabel6")


def test_profile_steps_follow_the_train_fraction() -> None:
    assert profile_options("quick", 0.1)["training"]["steps"] == 600
    assert profile_options("quick", 0.11)["training"]["steps"] == 700
    assert profile_options("paper", 1.0) == {}
    with pytest.raises(AvebenchError, match="quick"):
        profile_options("quik", 1.0)


@pytest.mark.parametrize(
    ("name", "table", "others"),
    [("table8", "journal-8", {"arxiv-4/JAVE-LSTM", "arxiv-4/M-JAVE-LSTM"}), ("table9", "journal-9", set())],
)
def test_comparison_tables_hold_every_published_row(name: str, table: str, others: set[str]) -> None:
    loaded = open_experiment(name)
    published = {key for key in published_rows() if key.startswith(f"{table}/")}
    assert published | others == {row.published for row in loaded.rows if not row.reference}
    for row in loaded.rows:
        marks = {"*"} & set(row.published or "")
        assert marks == set(row.marks) and marks <= set(published_marks())


def test_rows_are_selected_by_labels_that_may_hold_commas() -> None:
    controls = open_experiment("controls")
    chosen = controls.select("DRAM, shuffled,v-irc".replace(", ", ",").split(","))
    assert [row.label for row in chosen] == ["V-IRC", "DRAM, shuffled"]
    assert [row.label for row in controls.select(["DRAM", "+TEM"])] == ["+TEM", "DRAM"]
    with pytest.raises(AvebenchError, match="has no row 'blank'"):
        controls.select(["DRAM", "blank"])
