"""What is said of texts over an encoder's limit, and of rows that still rose, wherever figures are shown."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from stored_cells import result
from typer.testing import CliRunner

from avebench.analysis.long_text_statistics import long_text_rows
from avebench.analysis.range_cost.jobs import cost_jobs, recorded_costs
from avebench.commands.app import app
from avebench.data.opening import open_dataset
from avebench.files.errors import AvebenchError
from avebench.nn.unit_pieces import UnitPieces
from avebench.planning.cells import LATER_OPTIONS, keyed_config
from avebench.planning.experiment_files import open_experiment
from avebench.planning.plan import make_plan
from avebench.planning.request import Request
from avebench.running.cell_run import Job, finish_cell
from avebench.running.missing_cells import stored_results
from avebench.store.recorded import recorded_cells
from avebench.store.results import Store
from avebench.tables.result_tables import reading_notes, result_table
from avebench.tracking.run_records import run_record

RESULTS = Path(__file__).parents[2] / "results"


def _row(label: str) -> Any:
    return SimpleNamespace(row=SimpleNamespace(label=label))


def _over(**changes: Any) -> dict[str, Any]:
    return {"over_limit": {"limit": 64, "test": 3, "train": 2, "train_cut": 0, "values": 7, **changes}}


def test_the_rows_that_still_rise_and_the_number_of_repetitions_are_named() -> None:
    flat, rising = result(best_step=10), result(best_step=20)
    taken_as_it_is = result(best_step=20, selection="last")
    closed_form = result(best_step=0, steps=0, history=[])
    rows = [(_row("a"), [flat, rising, rising]), (_row("b"), [flat]), (_row("c"), [closed_form, taken_as_it_is])]
    assert reading_notes(rows) == [
        "Still rising, best on validation at the last step (repetitions): a (2 of 3).",
    ]
    assert reading_notes([(_row("a"), [flat]), (_row("c"), [closed_form]), (_row("d"), [])]) == []


def test_long_texts_are_counted_row_by_row_with_how_they_were_read() -> None:
    windows, cut = result(best_step=10, **_over()), result(best_step=10, truncated=3, **_over(train_cut=2, values=1))
    fewer = result(best_step=10, **_over(train=1))
    trained_alone = result(best_step=10, **_over(test=0, train=4, train_cut=4, values=0))
    before, none = result(best_step=10, truncated=3), result(best_step=10, **_over(test=0, train=0, values=0))
    labels = {"a": [fewer, windows], "b": [windows], "c": [cut], "d": [trained_alone], "e": [before], "f": [none]}
    assert reading_notes([(_row(label), found) for label, found in labels.items()]) == [
        "a, b: 3 of 4 test texts (and 2 of 4 in training) run over the encoder's limit of 64; 7 gold values lie behind "
        "it. They are read in overlapping windows.",
        "c: 3 of 4 test texts (and 2 of 4 in training) run over the encoder's limit of 64; 1 gold value lies behind "
        "it. Their ends are tagged O, so that values there count as missed.",
        "d: 0 of 4 test texts (and 4 of 4 in training) run over the encoder's limit of 64; 0 gold values lie behind "
        "it. Their ends are tagged O, so that values there count as missed.",
        "e: 3 of 4 test texts run over the encoder's limit. Their ends are tagged O, so that values there count as "
        "missed. This was measured before they could be read in windows; --fresh measures it anew.",
    ]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of four texts a split; some have 120 words before a value, one value stands before them."""
    data = tmp_path_factory.mktemp("data") / "shop"
    data.mkdir()
    for split, long in (("train", 3), ("valid", 1), ("test", 2)):
        lines = []
        for i in range(4):
            text = ("red " + "word " * 120) * (i < long) + f"blue dress {split} {i}"
            places = [(text.index(value), value) for value in ("red", "blue") if value in text]
            spans = [{"attribute": "Color", "start": place, "end": place + len(value)} for place, value in places]
            lines.append(json.dumps({"id": f"{split}{i}", "text": text, "spans": spans}) + "\n")
        (data / f"{split}.jsonl").write_text("".join(lines))
    return data


def test_long_texts_are_said_under_the_table_in_compare_predict_and_mlflow(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both rows read the demo encoder's 64 word pieces at once; behind them lies one value of each long text."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(
        'title = "Mine"\ndataset = "jsonl"\nmetrics = ["tag_f1"]\n'
        '[[rows]]\nlabel = "whole"\nmodel = "dram"\n[[rows]]\nlabel = "short"\nmodel = "dram"\n'
        'options = { long_texts = "cut" }\n'
    )
    where = ("--dataset", "jsonl", "--data", str(shop), "--profile", "quick", "--set", "training.steps=1")
    settings = {"training": {"steps": 1}}
    plan = make_plan(Request("mine.toml", Path("runs"), "jsonl", shop, profile="quick", settings=settings))
    store = Store(Path("runs"))
    for cell in plan.cells():
        finish_cell(Job(cell, "mine", store.out, "cpu", (), False), lambda kind, detail: None)
    results = stored_results(plan.cells(), store)
    counted = (
        "2 of 4 test texts (and 3 of 4 in training) run over the encoder's limit of 64; 2 gold values lie behind it."
    )
    notes = [
        f"whole: {counted} They are read in overlapping windows.",
        f"short: {counted} Their ends are tagged O, so that values there count as missed.",
    ]
    assert set(notes) <= set(result_table(plan, results, ()).notes)
    compared = _invoke("compare", "whole", "short", "--experiment", "mine.toml", *where)
    report = _invoke("report", "mine.toml", "--format", "md")
    assert all(note in " ".join(shown.split()) for shown in (compared, report) for note in notes)
    text = ("--text", "red " + "word " * 120 + "blue")
    for row, way in (("whole", "read in overlapping windows"), ("short", "their ends tagged O")):
        said = _invoke("predict", "--experiment", "mine.toml", "--row", row, *text)
        said += _invoke("explain", "--experiment", "mine.toml", "--row", row, *text)
        assert " ".join(said.split()).count(f"Texts that run over the encoder's limit of 64, {way}: 1.") == 2
    for cell, cut in zip(plan.cells(), (0, 2), strict=True):
        told = run_record(plan, cell, results[cell.key], store).metrics
        assert (told["test_texts_cut"], told["test_texts_over_limit"], told["training_texts_over_limit"]) == (cut, 2, 3)
        assert (told["gold_values_over_limit"], told["encoder_limit"]) == (2, 64)


def _invoke(*words: str) -> str:
    """Return what a command prints in this process."""
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_data_stats_count_long_texts_before_anything_is_trained(shop: Path) -> None:
    dataset = open_dataset("jsonl", shop, {})
    assert [(row.name, row.counted) for row in long_text_rows(dataset, "demo")] == [
        ("limit of demo, word pieces", 64),
        ("train texts over that limit", 3),
        ("train gold values behind it", 3),
        ("valid texts over that limit", 1),
        ("valid gold values behind it", 1),
        ("test texts over that limit", 2),
        ("test gold values behind it", 2),
    ]
    # By hand: the whole text through the tokenizer, and where each value stands among its pieces.
    pieces = UnitPieces("demo", "word")
    over = behind = 0
    for example in dataset.read("test"):
        ends = pieces.tokenizer(example.text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
        over += len(ends) > 62
        behind += sum(sum(end <= span.end for _, end in ends) > 62 for span in example.spans)
    assert (over, behind) == (2, 2)
    stats = _invoke("data", "stats", "jsonl", "--data", str(shop), "--text-encoder", "demo", "--format", "csv")
    assert "test texts over that limit,,,native,,2" in stats
    with pytest.raises(AvebenchError, match="neither a folder"):
        long_text_rows(dataset, "nobody/nothing")


def test_the_default_stays_out_of_keys_and_recorded_cells_are_found(tmp_path: Path) -> None:
    assert keyed_config({"a": 1, **LATER_OPTIONS}) == {"a": 1}
    assert keyed_config({"a": 1, "long_texts": "cut"}) == {"a": 1, "long_texts": "cut"}
    cells = recorded_cells(RESULTS / "table6" / "demo")
    recorded = {(cell.row, cell.repetition): cell.result().key for cell in cells}
    keys = {cell.key for cell in make_plan(Request("table6", tmp_path, dataset="demo", repetitions=3)).cells()}
    assert set(recorded.values()) <= keys and len(recorded) >= 18
    jobs = cost_jobs(open_experiment("range"), Request("range", tmp_path), "cpu")
    here = {"machine": "", "torch": "", "device": ""}
    records = recorded_costs(RESULTS / "range" / "made-up" / "measurements.json")
    measured = {one.job.model_copy(update=here).key() for one in records}
    assert measured == {job.model_copy(update=here).key() for job in jobs} and len(records) > 10
    request = Request("table6", tmp_path, dataset="demo", repetitions=3, settings={"long_texts": "cut"})
    others = {cell.key for cell in make_plan(request).cells()}
    assert len(keys & others) == 3, "of six systems the dictionary alone reads no encoder"
