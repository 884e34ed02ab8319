"""The Python interface: what its doctests show, what it takes in memory, what it costs to import, how it refuses."""

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from commandline import avebench as command
from small_table import ONE_ROW

import avebench
from avebench import AvebenchError

GOLD = [
    {"id": "a", "text": "a blue dress", "spans": [{"attribute": "Color", "start": 2, "end": 6}]},
    {"id": "b", "text": "red", "spans": [{"attribute": "Color", "start": 0, "end": 3}], "category": "tops"},
]
FOUND = [
    {"id": "b", "spans": [{"attribute": "Color", "start": 0, "end": 3}]},
    {"id": "a", "spans": [{"attribute": "Color", "start": 7, "end": 12}]},
]


def lines(path: Path, records: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_doctests_hold(tmp_path: Path) -> None:
    done = doctest.testmod(avebench, extraglobs={"OUT": tmp_path / "runs"})
    assert done.attempted > 15 and not done.failed


def test_every_public_name_is_there_and_documented() -> None:
    for name in avebench.__all__:
        assert getattr(avebench, name).__doc__, name
    assert set(avebench.__all__) <= set(dir(avebench))
    with pytest.raises(AttributeError, match="no attribute 'scroe'"):
        _ = avebench.scroe


def test_importing_it_imports_nothing_heavy() -> None:
    code = "import sys, avebench; print(*sorted(name.partition('.')[0] for name in sys.modules))"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "numpy", "pydantic", "torch", "mlflow", "typer", "rich", "transformers"} & set(names)


def test_files_lists_and_frames_are_scored_alike(tmp_path: Path) -> None:
    gold, found = lines(tmp_path / "gold.jsonl", GOLD), lines(tmp_path / "found.jsonl", FOUND)
    by_file = avebench.score(gold, found)
    assert by_file["tag_f1"] == 50.0 and by_file.examples == 2
    frames = pandas.DataFrame(GOLD), pandas.DataFrame(FOUND)
    for some in ((GOLD, FOUND), (str(gold), FOUND), (GOLD, found), frames, (iter(GOLD), iter(FOUND))):
        scores = avebench.score(*some)
        assert scores.metrics == by_file.metrics and scores.per_attribute == by_file.per_attribute
    with pytest.raises(KeyError, match="intent_accuracy is not available"):
        _ = by_file["intent_accuracy"]
    with pytest.raises(KeyError):
        _ = by_file["tag_f2"]


def test_examples_of_a_data_set_and_its_own_gold_as_predictions_score_100() -> None:
    dataset = avebench.load_dataset("demo")
    gold = list(dataset.read("test"))
    found = [avebench.Prediction(one.id, dict.fromkeys(one.pairs, 1.0), one.pairs, one.spans) for one in gold]
    for examples in (gold, dataset.to_pandas("test")):
        scores = avebench.score(examples, found)
        assert scores["tag_f1"] == 100.0 and scores.examples == len(gold)


def test_a_data_set_as_rows_and_as_a_stream(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        lines(tmp_path / f"{split}.jsonl", [{**one, "id": f"{split} {one['id']}"} for one in GOLD])
    dataset = avebench.load_dataset("jsonl", tmp_path, units="fine")
    assert [example.id for example in dataset] == [f"{s} {one}" for s in ("train", "valid", "test") for one in "ab"]
    frame = dataset.to_pandas()
    assert frame["split"].tolist() == ["train"] * 2 + ["valid"] * 2 + ["test"] * 2
    assert frame.loc[1, "pairs"] == {"Color": ["red"]} and frame.loc[1, "category"] == "tops"
    assert "split" not in dataset.to_pandas("valid")
    with pytest.raises(AvebenchError, match="no split 'tset'"):
        dataset.to_pandas("tset")
    with pytest.raises(AvebenchError, match="no option 'unit'"):
        avebench.load_dataset("jsonl", tmp_path, unit="fine")


@pytest.mark.parametrize(
    ("gold", "found", "message"),
    [
        (GOLD, FOUND[:1], r"^predictions, field 'id': 1 of 2 gold ids have no prediction: 'a'"),
        (GOLD, [*FOUND, FOUND[0]], r"predictions\[2\], field 'id': the id 'b' stands in record 0 already"),
        (GOLD, [*FOUND, {"id": "c", "spans": []}], r"predictions\[2\], field 'id': the id 'c' is not among the 2 gold"),
        (GOLD, [{"id": "a", "span": []}], r"predictions\[0\], field 'span': unknown key.*'spans'"),
        (GOLD, [["a"]], r"predictions\[0\]: it cannot be read as a record: a list is none; give a dictionary"),
        (
            GOLD,
            [{"id": "a", "spans": [{"attribute": "x", "start": 0, "end": 99}]}],
            r"predictions\[0\], field 'spans\[0\]",
        ),
        (
            GOLD,
            [{"id": "a", "attributes": {"x": float("nan")}, "spans": []}],
            r"predictions\[0\]: .*not JSON compliant",
        ),
        (GOLD, [{"id": "a", "spans": object()}], r"predictions\[0\]: .*a value is a object"),
        ([GOLD[0], GOLD[0]], FOUND, r"gold\[1\], field 'id': the id 'a' stands in record 0 already"),
        ([{"id": "a"}], FOUND, r"gold\[0\], field 'text': the key is missing"),
        ([], FOUND, r"gold: "),
    ],
)
def test_what_is_wrong_in_memory_is_named(gold: object, found: object, message: str) -> None:
    with pytest.raises(AvebenchError, match=message):
        avebench.score(gold, found)


def test_a_run_gives_the_figures_of_the_command(tmp_path: Path) -> None:
    table = tmp_path / "mine.toml"
    table.write_text(ONE_ROW.format(label="all words", model="dictionary", options=""))
    frame = avebench.run(table, seeds=2, out=tmp_path / "runs", settings={"chunk_scheme": "strict"}, jobs=1)
    printed = command(
        tmp_path, "run", "mine.toml", "--seeds", "2", "--set", "chunk_scheme=strict", "--format", "json", "--no-mlflow"
    )
    assert printed.returncode == 0, printed.stderr
    (row,) = json.loads(printed.stdout)["rows"]
    measured = row["measured"]["tag_f1"]
    assert frame.loc["all words", "measured_tag_f1"] == measured["value"]
    assert frame.loc["all words", "measured_tag_f1_n"] == measured["n"] == 2
    assert frame.attrs["title"] == "A table" and not (tmp_path / "mlflow.db").exists()
    model = avebench.load_model(table, "all words", out=tmp_path / "runs")
    first, second = model.predict(["Blue dress", "Something red"], [None, None])
    assert (first.id, second.id) == ("0", "1") and first.pairs["colour"] == {"Blue"}
    with pytest.raises(AvebenchError, match="2 texts and 1 images"):
        model.predict(["a", "b"], [None])
    with pytest.raises(AvebenchError, match="empty"):
        model.predict(" ")


def test_a_script_without_a_guard_is_not_run_again_by_its_cells(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(ONE_ROW.format(label="d", model="dictionary", options=""))
    (tmp_path / "script.py").write_text(
        "print('once')\nimport avebench\nprint(avebench.run('mine.toml').loc['d', 'measured_tag_f1'] > 70)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["once", "True"]
