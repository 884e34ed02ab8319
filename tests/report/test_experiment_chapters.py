"""Chapters of the report that are of no one stored table: the cost of a range, train fractions, statistics of data."""

import csv
import io
import json
from pathlib import Path

import pytest
from stored_cells import ALL, ROWS, predict, store_cell, write_data

from avebench.analysis.range_cost.jobs import (
    RECORDED,
    Found,
    Job,
    Measurement,
    cost_jobs,
    keep,
    kept,
    record_costs,
    recorded_costs,
)
from avebench.planning.experiment import Experiment
from avebench.planning.experiment_files import load_experiment, open_experiment
from avebench.planning.request import Request
from avebench.report.writing import write_report

COST = """
title = "Cost"
[cost]
attributes = [6, 12]
sentences = 3
characters = 10
selected = 2
hidden = 16
layers = 2
patches = 2
channels = 4
[[rows]]
label = "V-IRC"
model = "dram"
options = { fusion = "concatenate" }
"""


def _report(names: list[str], out: Path, capsys: pytest.CaptureFixture[str], format: str = "csv") -> str:
    write_report(names, out=out, recorded=True, data=None, output=None, format=format)
    return capsys.readouterr().out


def _figures(text: str) -> dict[tuple[str, str], float]:
    """Return the figures of a report of one table by (row, column)."""
    return {(line["row"], line["column"]): float(line["value"]) for line in csv.DictReader(io.StringIO(text))}


def _costs(folder: Path) -> tuple[Experiment, list[Job], Found]:
    """Write a cost experiment; return it with its jobs and made-up measurements, all of them different."""
    (folder / "mine.toml").write_text(COST)
    experiment = load_experiment(folder / "mine.toml")
    jobs = cost_jobs(experiment, Request("mine", folder), "cpu")
    found: Found = {
        (job.row, job.attributes, job.phase): Measurement(
            seconds=number + 0.5, peak_memory=number * 2**20, passes=3, sentences=3, selected=None
        )
        for number, job in enumerate(jobs, 1)
    }
    return experiment, jobs, found


def test_measured_costs_are_a_chapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, jobs, found = _costs(tmp_path)
    assert "Nothing of mine is measured." in _report(["mine.toml"], tmp_path / "runs", capsys, "md")
    for job in jobs[:3]:
        measured = found[job.row, job.attributes, job.phase]
        assert isinstance(measured, Measurement)
        keep(job, measured, tmp_path / "runs")
    assert kept(jobs[0], tmp_path / "runs") == found["V-IRC", 6, "step"] and kept(jobs[3], tmp_path / "runs") is None
    wanted = {("6", "step_seconds"): 1.5, ("6", "step_memory"): 1.0, ("6", "test_seconds"): 2.5}
    wanted |= {("6", "test_memory"): 2.0, ("12", "step_seconds"): 3.5, ("12", "step_memory"): 3.0}
    assert _figures(_report(["mine.toml"], tmp_path / "runs", capsys)) == wanted
    text = _report(["mine.toml"], tmp_path / "runs", capsys, "md")
    assert "Not measured: 1 of 4 figures." in text and "not run" in text and jobs[0].machine in text
    # A file that is no measurement is measured again, and does not stand in the way of the others.
    path = tmp_path / "runs/costs" / f"{jobs[0].key()}.json"
    path.write_text('{"seconds": 1.0}')
    assert kept(jobs[0], tmp_path / "runs") is None
    del wanted["6", "step_seconds"], wanted["6", "step_memory"]
    assert _figures(_report(["mine.toml"], tmp_path / "runs", capsys)) == wanted
    assert f"{path} does not hold a measurement" in _report(["mine.toml"], tmp_path / "runs", capsys, "md")


def test_recorded_costs_of_another_machine_are_a_chapter_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, jobs, found = _costs(tmp_path)
    recorded = Path("results/mine/made-up")
    recorded.mkdir(parents=True)
    record_costs(jobs, found, recorded)
    keep(jobs[0], Measurement(seconds=9.0, peak_memory=2**20, passes=1, sentences=1, selected=None), tmp_path / "runs")
    content = (recorded / RECORDED).read_text().replace(json.dumps(jobs[0].machine), '"Another & machine"')
    (recorded / RECORDED).write_text(content)
    text = _report(["mine.toml"], tmp_path / "runs", capsys, "md")
    assert text.count("## mine on made-up sentences") == 2 and "Another & machine" in text
    values = [float(line["value"]) for line in csv.DictReader(io.StringIO(_report([], tmp_path / "runs", capsys)))]
    assert values == []  # The table is not packaged: it is shown where it is named.
    # Options of another run of the table are not those of its file.
    (tmp_path / "mine.toml").write_text(COST.replace('"concatenate"', '"tem"'))
    text = _report(["mine.toml"], tmp_path / "runs", capsys, "md")
    assert "Nothing of mine is measured." in text and "5 measurements of costs are of other options" in text
    (recorded / RECORDED).write_text("[")
    text = _report(["mine.toml"], tmp_path / "runs", capsys, "md")
    assert f"{recorded / RECORDED} does not hold measurements of costs" in text


def test_what_is_recorded_of_the_range_can_be_read() -> None:
    """What stands in this repository needs neither the machine it was measured on nor a run."""
    records = recorded_costs(Path(__file__).parents[2] / "results/range/made-up" / RECORDED)
    sizes = open_experiment("range").cost
    assert sizes is not None
    measured = {(one.job.attributes, one.job.phase) for one in records if one.job.row == "DRAM"}
    assert measured == {(number, phase) for number in sizes.attributes for phase in ("step", "test")}
    assert len({one.job.row for one in records}) == 5 and len({one.job.key() for one in records}) == 40


FRACTIONS = f"""
title = "Fractions"
dataset = "jsonl"
metrics = ["tag_f1"]
train_fractions = [0.1, 0.5, 1.0]
[[rows]]
label = "{ROWS[0]}"
model = "dictionary"
"""


def test_stored_tables_at_several_fractions_have_a_chapter_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shares.toml").write_text(FRACTIONS)
    data, out = write_data(tmp_path), tmp_path / "runs"
    fewer = {word: one for word, one in ALL.items() if word != "blue"}
    for number, (fraction, repetition, words) in enumerate([(1.0, 0, ALL), (0.1, 0, fewer), (0.1, 1, ALL)]):
        place = {"key": f"{number}" * 64, "experiment": "shares", "train_fraction": fraction, "repetition": repetition}
        store_cell(out, data, predict(words, swept=False), **place)
    monkeypatch.setenv("AVEBENCH_DATA", str(tmp_path))
    text = _report(["shares.toml"], out, capsys)
    lines = [line for line in csv.DictReader(io.StringIO(text)) if line["table"] == "table" and line["section"]]
    found = {(line["column"], line["repetition"]): float(line["value"]) for line in lines}
    # Of 7 gold values ALL finds 4 and nothing else: 2 * 4 / (4 + 7); without blue 2 * 3 / (3 + 7).
    expected = {("1", "0"): 800 / 11, ("0.1", "0"): 60.0, ("0.1", "1"): 800 / 11}
    assert found == pytest.approx(expected)
    text = _report(["shares.toml"], out, capsys, "md")
    whole, at_one, at_tenth = (text.index(f"## shares on jsonl (paper{end}") for end in ("), all", ")\n", ", 0.1"))
    assert whole < at_one < at_tenth and "Not run: 0.5 of the training products." in text


def test_statistics_are_shown_with_results_on_their_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AVEBENCH_DATA", raising=False)
    named = _report(["table1"], tmp_path / "runs", capsys, "md")
    assert "## table1 on demo" in named and "34,041" in named and "No result of" not in named
    assert "table1" not in _report([], tmp_path / "runs", capsys, "md")
