"""What is measured of the cost of a range: the right systems, the right numbers of outputs, and never twice."""

import csv
import io
from pathlib import Path

import pytest
from inprocess import avebench_here

from avebench.analysis.range_cost.jobs import Job, cost_jobs
from avebench.analysis.range_cost.measuring import examples_of, measure, queries_of, write_encoders
from avebench.analysis.range_cost.tables import outputs
from avebench.contracts.examples import Span
from avebench.files.errors import AvebenchError
from avebench.planning.experiment import Cost, Experiment
from avebench.planning.plan import make_plan
from avebench.planning.request import Request

SIZES = {
    "attributes": [6, 12],
    "sentences": 3,
    "characters": 10,
    "selected": 2,
    "hidden": 16,
    "layers": 2,
    "patches": 2,
    "channels": 4,
}
ROWS = {
    "DRAM": {"options": {"fusion": "tem", "arm": "prototype", "warmup_share": 0.0}},
    "V-IRC": {"options": {"fusion": "concatenate"}},
    "all, read once": {"options": {"fusion": "tem", "arm": "prototype", "range_threshold": 0.0, "warmup_share": 0.0}},
    "all, read N times": {"options": {"fusion": "concatenate"}, "protocol": "all"},
}


def _jobs(tmp_path: Path, **changes: object) -> list[Job]:
    rows = [{"label": label, "model": "dram", **row} for label, row in ROWS.items()]
    content = {"title": "Cost", "cost": {**SIZES, **changes}, "rows": rows}
    return cost_jobs(Experiment.model_validate(content), Request("mine", tmp_path), "cpu")


def test_sentences_and_questions_by_hand() -> None:
    schema, (one, other) = examples_of(Cost.model_validate({**SIZES, "sentences": 2}), 3)
    assert schema.attributes == ("0000", "0001", "0002") and one.text == other.text == "abcdefghab"
    assert one.spans == (Span("0000", 0, 2), Span("0001", 5, 7))
    first, second, third = queries_of([one], schema.attributes)
    assert (first.text, second.text) == ("0000abcdefghab", "0001abcdefghab")
    assert (first.spans, second.spans, third.spans) == ((Span("value", 4, 6),), (Span("value", 9, 11),), ())
    assert second.pairs == {"value": frozenset({"fg"})}
    assert first.tokens == tuple((place, place + 1) for place in range(14))


def test_the_outputs_are_those_of_the_formulas(tmp_path: Path) -> None:
    """With N = 6, S1 = 10: C_o = 13 x 10, C_m = 6 + 3 x 10 x N_m, and 6 questions of 3 x 10 outputs."""
    write_encoders(tmp_path, Cost.model_validate(SIZES))
    jobs = {(job.row, job.attributes, job.phase): job for job in _jobs(tmp_path)}
    expected = {"DRAM": (2, 66), "V-IRC": (None, 130), "all, read once": (6, 186), "all, read N times": (None, 180)}
    for label, (selected, number) in expected.items():
        job = jobs[label, 6, "test"]
        found = measure(job, tmp_path)
        assert (found.selected, outputs(job, found.selected)) == (selected, number)
        assert found.seconds > 0 and found.peak_memory > 0 and found.sentences == 3
    # A step learns, with every gradient of it.
    step = measure(jobs["all, read N times", 6, "step"], tmp_path)
    assert step.seconds > 0 and step.selected is None


def test_a_key_depends_on_what_is_measured_alone(tmp_path: Path) -> None:
    job, *others = _jobs(tmp_path)
    assert len({one.key() for one in (job, *others)}) == len(others) + 1
    # Neither on the sizes beside its own, nor on the device's other name.
    assert job.key() == _jobs(tmp_path, attributes=[6, 99])[0].key()
    assert job.key() != _jobs(tmp_path, characters=11)[0].key()


def test_data_is_refused_where_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="'Cost against the number of attributes' is measured on made-up sentences"):
        make_plan(Request("range", tmp_path, dataset="demo"))
    assert make_plan(Request("range", tmp_path, dataset="demo", forgiving=True)).rows == ()


def test_what_was_measured_is_kept(tmp_path: Path) -> None:
    sizes = "".join(f"{name} = {value}\n" for name, value in {**SIZES, "attributes": [6]}.items())
    row = '[[rows]]\nlabel = "{}"\nmodel = "dram"\noptions = {{ fusion = "concatenate" }}\n'
    (tmp_path / "mine.toml").write_text(f'title = "Cost"\n[cost]\n{sizes}{row.format("V-IRC")}')
    run = ("run", "mine.toml", "--no-mlflow", "--record", "--format", "csv")
    done = avebench_here(tmp_path, *run)
    assert done.returncode == 0, done.stderr
    assert "V-IRC, 6 attributes, step" in done.stderr and "V-IRC, 6 attributes, test" in done.stderr
    (line,) = csv.DictReader(io.StringIO(done.stdout))
    assert (line["label"], line["outputs"]) == ("6", "130")
    assert float(line["measured_test_memory"]) > 100 and float(line["measured_step_seconds"]) > 0
    assert (tmp_path / "runs/figures/mine-made-up.png").is_file()
    recorded = avebench_here(tmp_path, "report", "mine.toml", "--recorded", "--out", "elsewhere", "--format", "csv")
    shown = {line["column"]: float(line["value"]) for line in csv.DictReader(io.StringIO(recorded.stdout))}
    assert shown == {name: float(line[f"measured_{name}"]) for name in shown} and len(shown) == 4
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/costs/*.json")}
    assert len(kept) == 2
    (tmp_path / "mine.toml").write_text(f'title = "Cost"\n[cost]\n{sizes}{row.format("another name")}')
    again = avebench_here(tmp_path, *run)
    assert again.stdout == done.stdout.replace("V-IRC", "another name") and "attributes, " not in again.stderr
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/costs/*.json")}
