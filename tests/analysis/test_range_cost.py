"""What is measured of the cost of a range: the right systems, the right numbers of outputs, and never twice."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from inprocess import avebench_here

from avebench.analysis.range_cost.jobs import Job, cost_jobs
from avebench.analysis.range_cost.measuring import asked_of, examples_of, measure, write_encoders
from avebench.analysis.range_cost.tables import outputs
from avebench.contracts.examples import Span
from avebench.contracts.model import QueryOptions, TrainingConfig
from avebench.files.errors import AvebenchError
from avebench.models.query import adatag, questions, suopentag
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
    "text read once": {"model": "suopentag", "options": {"hidden": 4}, "protocol": "all"},
    "without an encoder": {
        "model": "adatag",
        "options": {"attribute_vectors": "random", "hidden": 4},
        "protocol": "all",
    },
    "text read N times": {"model": "aveqa", "protocol": "all"},
}
ASKED = tuple(ROWS)[2:]


def _jobs(tmp_path: Path, rows: dict[str, Any] = ROWS, **changes: object) -> list[Job]:
    rows = [{"label": label, "model": "dram", **row} for label, row in rows.items()]
    content = {"title": "Cost", "cost": {**SIZES, **changes}, "rows": rows}
    return cost_jobs(Experiment.model_validate(content), Request("mine", tmp_path), "cpu")


def test_sentences_and_questions_by_hand(tmp_path: Path) -> None:
    schema, examples = examples_of(Cost.model_validate(SIZES), 12)
    assert schema.attributes[:2] == ("0000", "0001") and {one.text for one in examples} == {"abcdefghab"}
    assert all(one.spans == (Span("0000", 0, 2), Span("0001", 5, 7)) for one in examples)
    jobs = {(job.row, job.attributes, job.phase): job for job in _jobs(tmp_path)}
    options = QueryOptions(training=TrainingConfig(steps=1), negatives=3)
    learnt = asked_of(jobs["text read once", 12, "step"], schema, examples, options)
    for one in learnt:
        assert one.spans and set(one.asked or ()) > {"0000", "0001"} and len(one.asked or ()) == 5
    assert len({one.asked for one in learnt}) > 1  # Each sentence has its own attributes without a value.
    for one in asked_of(jobs["text read once", 12, "test"], schema, examples, options):
        assert one.asked == schema.attributes and not one.spans and not one.pairs
    (native, *_) = asked_of(jobs["DRAM", 12, "test"], schema, examples, None)
    assert native.asked is None and not native.spans
    assert asked_of(jobs["DRAM", 12, "step"], schema, examples, None) == examples


def test_the_outputs_are_those_of_the_formulas(tmp_path: Path) -> None:
    """With N = 6, S1 = 10: C_o = 13 x 10, C_m = 6 + 3 x 10 x N_m, and 3 x 10 for each of 6 that are asked for."""
    write_encoders(tmp_path, Cost.model_validate(SIZES))
    jobs = {(job.row, job.attributes, job.phase): job for job in _jobs(tmp_path)}
    expected = {"DRAM": (2, 66), "V-IRC": (None, 130), **dict.fromkeys(ASKED, (None, 180))}
    for label, (selected, number) in expected.items():
        job = jobs[label, 6, "test"]
        found = measure(job, tmp_path)
        assert (found.selected, outputs(job, found.selected)) == (selected, number)
        assert found.seconds > 0 and found.peak_memory > 0 and found.sentences == 3
        # A step learns, with every gradient of it.
        step = measure(jobs[label, 6, "step"], tmp_path)
        assert step.seconds > 0 and step.selected is None


def test_a_pass_asks_for_every_attribute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_encoders(tmp_path, Cost.model_validate(SIZES))
    asked = []
    answer = questions.answered
    for module in (suopentag, adatag):
        monkeypatch.setattr(module, "answered", lambda one, values: asked.append(len(values)) or answer(one, values))
    for job in _jobs(tmp_path):
        if job.row in ASKED[:2] and job.phase == "test":
            asked.clear()
            measure(job, tmp_path)
            assert set(asked) == {job.attributes} and len(asked) > job.sizes.sentences


def test_a_protocol_that_a_row_cannot_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AvebenchError, match="Row 'a': dram cannot be run under the protocol 'all'"):
        _jobs(tmp_path, {"a": {"protocol": "all"}})
    with pytest.raises(AvebenchError, match="Row 'a': suopentag cannot be run under the protocol 'native'"):
        _jobs(tmp_path, {"a": {"model": "suopentag"}})
    with pytest.raises(AvebenchError, match="'oracle' asks for does not depend on the number of attributes"):
        _jobs(tmp_path, {"a": {"model": "suopentag", "protocol": "oracle"}})


def test_a_key_depends_on_what_is_measured_alone(tmp_path: Path) -> None:
    job, *others = _jobs(tmp_path)
    assert len({one.key() for one in (job, *others)}) == len(others) + 1
    # Neither on the sizes beside its own, nor on the device's other name.
    assert job.key() == _jobs(tmp_path, attributes=[6, 99])[0].key()
    assert job.key() != _jobs(tmp_path, characters=11)[0].key()
    # What the wall's clock took on a CPU, as an earlier version did, is neither kept nor shown as this.
    earlier = Job.model_validate(job.model_dump(exclude={"clock"}))
    assert earlier.key() != job.key() and earlier.measures() != job.measures()
    elsewhere = job.model_copy(update={"device": "cuda", "clock": "wall", "machine": "another"})
    assert elsewhere.key() != job.key() and elsewhere.measures() == job.measures()


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
