"""What experiments of every kind print and draw, as a user runs them, with systems that need no training."""

import csv
import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
from inprocess import avebench_here
from made_up import gold_line, system, write_gold
from PIL import Image

from avebench.commands.run import RunOptions, run_experiments
from avebench.files.errors import AvebenchError
from avebench.planning.plan import make_plans
from avebench.planning.request import Request
from avebench.running.experiment_run import Execution
from avebench.store.recorded import recorded_cells

READER = """
def predict(self, examples):
    return [self._found(example) for example in examples]

def _found(self, example):
    # Knows some words; scores an attribute by the length of the word. `bold` finds "or" to be a size as well.
    words = {"Color": "red", "Kind": "dress"} | ({"Size": "or"} if self.config.bold else {})
    spans = spans_of(example.text, words)
    candidates = tuple((span.attribute, (span.end - span.start) / 10, (span,)) for span in spans)
    kept = [one for one in candidates if one[1] > self.config.threshold]
    scores = {attribute: score for attribute, score, _ in kept}
    return answer(example, tuple(span for _, _, (span,) in kept), attributes=scores, candidates=candidates)
"""
HEAD = 'title = "Mine"\ndataset = "jsonl"\nmetrics = ["tag_precision", "tag_f1"]\n'
TEXTS = {
    "red dress": {"Color": "red", "Kind": "dress"},
    "red or dress": {"Kind": "dress"},
    "dress or blue": {"Kind": "dress"},
    "blue": {"Color": "blue"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outcomes")
    (folder / "reader.py").write_text(system("reader", READER, options="bold: bool = False\nthreshold: float = 0.5"))
    data = write_gold(
        folder / "data",
        lambda split: (
            gold_line(f"{split}{number}", text, values, image="p.png")
            for number, (text, values) in enumerate(TEXTS.items())
        ),
    )
    Image.new("RGB", (4, 4)).save(data / "p.png")
    return folder


def _row(label: str, options: str = "") -> str:
    return f'[[rows]]\nlabel = "{label}"\nmodel = "reader"\noptions = {{ {options} }}\n'


def _run(place: Path, name: str, content: str, *arguments: str) -> tuple[list[dict[str, str]], str]:
    """Run an experiment file and return the rows of its first table, and what stood on standard error."""
    (place / name).write_text(content)
    data = () if "--data" in arguments else ("--data", "data")
    run = ("run", name, *data, "--plugin", "reader.py", "--no-mlflow", "--format", "csv")
    done = avebench_here(place, *run, *arguments)
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout.partition("\nlabel,")[0]))), done.stderr


def _is_png(path: Path) -> bool:
    with Image.open(path) as picture:
        return picture.format == "PNG" and picture.width > 500


def test_a_sweep_prints_and_draws_every_threshold(place: Path) -> None:
    """Of the gold 5 values: above 0.25 red and dress are found in 3 texts, above 0.4 dress alone, above 0.6 nothing."""
    table = (
        HEAD + "thresholds = [0.15, 0.25, 0.4, 0.6]\n" + _row("bold", "bold = true") + _row("none", "threshold = 0.9")
    )
    rows, said = _run(place, "sweep.toml", table, "--record")
    bold = {row["label"]: row for row in rows if row["section"] == "bold"}
    # 2 x red (1 right), 3 x dress, 2 x or (never right) of 5 gold values: "or" scores 0.2.
    assert float(bold["0.15"]["measured_tag_precision"]) == pytest.approx(100 * 4 / 7)
    assert float(bold["0.25"]["measured_tag_f1"]) == pytest.approx(200 * 4 / (5 + 5))
    assert float(bold["0.4"]["measured_tag_f1"]) == pytest.approx(200 * 3 / (3 + 5))
    assert float(bold["0.4"]["measured_selected"]) == pytest.approx(3 / 4)
    assert float(bold["0.6"]["measured_tag_f1"]) == 0
    # Whatever its own threshold, a system is swept from the same candidates.
    none = [row for row in rows if row["section"] == "none"]
    assert [row["measured_tag_f1"] for row in none][1:3] == [bold[at]["measured_tag_f1"] for at in ("0.25", "0.4")]
    assert "Figure: runs/figures/sweep-jsonl.png" in said and _is_png(place / "runs/figures/sweep-jsonl.png")
    recorded = place / "results" / "sweep" / "jsonl"
    assert _is_png(recorded / "figure.png") and ("bold", 0) in [
        (one.row, one.repetition) for one in recorded_cells(recorded)
    ]
    assert "| 0.25 " in (recorded / "table.md").read_text()


def test_fractions_are_trained_and_drawn_together(place: Path) -> None:
    systems = _row("reader") + '[[rows]]\nlabel = "floor"\nmodel = "dictionary"\n'
    table = HEAD + "train_fractions = [0.5, 1.0]\n" + systems
    rows, said = _run(place, "fractions.toml", table, "--seeds", "2", "--record")
    found = {(row["section"], row["label"]): row for row in rows}
    assert set(found) == {(metric, label) for metric in ("P", "TAG-F1") for label in ("reader", "floor")}
    assert _is_png(place / "runs/figures/fractions-jsonl.png") and said.count("Figure:") == 1
    recorded = place / "results" / "fractions"
    assert "TAG-F1" in (recorded / "jsonl-0.5" / "table.md").read_text()
    assert "measured 0.5" in (recorded / "jsonl" / "table.md").read_text() and _is_png(
        recorded / "jsonl" / "figure.png"
    )
    # A column is the plain table at that fraction, whose cells are the same ones.
    plain, said = _run(place, "plain.toml", HEAD + systems, "--seeds", "2", "--train-fraction", "0.5")
    assert "started" not in said
    for row in plain:
        for metric, name in (("P", "tag_precision"), ("TAG-F1", "tag_f1")):
            for part in ("", "_sd", "_n"):
                assert found[metric, row["label"]][f"measured_0.5{part}"] == row[f"measured_{name}{part}"]
    with pytest.raises(AvebenchError, match=r"trains at fractions of its own \(0.5, 1\)"):
        make_plans(Request(str(place / "fractions.toml"), place, train_fraction=0.5))


def test_examples_for_attention_are_chosen_by_their_errors(place: Path) -> None:
    """ "shy" finds dress alone, which is never wrong; "bold" finds a wrong value in the two texts with "or"."""
    rows = _row("shy", "threshold = 0.4") + _row("bold", "bold = true, threshold = 0.15")
    (place / "shown.toml").write_text(HEAD + rows + '[attention]\nerror = "wrong"\nexamples = 1\n')
    run = ("run", "shown.toml", "--data", "data", "--plugin", "reader.py", "--no-mlflow")
    done = avebench_here(place, *run)
    assert done.returncode == 0, done.stderr
    chosen = min(("test1", "test2"), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    text, wrong = {
        "test1": ("red or dress", "Color = red; Size = or; Kind = dress"),
        "test2": ("dress or blue", "Kind = dress; Size = or"),
    }[chosen]
    expected = [f"{chosen}: {text}", "gold: Kind = dress", "shy: Kind = dress", f"bold: {wrong}"]
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert lines[-5:] == ["shy right, bold wrong", *expected]
    # Texts are for the terminal alone; the ids and offsets are not.
    done = avebench_here(place, *run, "--format", "json")
    shown = json.loads(done.stdout[done.stdout.index('{\n "title": "Examples of: Mine"') :])
    by_group = {row["section"]: row for row in shown["rows"]}
    assert by_group["shy right, bold wrong"]["label"] == chosen
    assert by_group["shy right, bold wrong"]["columns"]["gold"].startswith("Kind ")
    assert by_group["both right"]["label"] == by_group["both wrong"]["label"] == "none"
    assert " or " not in done.stdout


def test_statistics_stand_beside_the_published_ones(tmp_path: Path) -> None:
    done = avebench_here(tmp_path, "run", "table1", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert "not the table's own data set (mepave)" in content["banner"]
    rows = {row["label"]: row for row in content["rows"]}
    assert rows["Total"]["published"] == {"products": 34041, "instances": 87194, "attributes": 26, "values": 2129}
    assert rows["Total"]["counted"]["instances"] == 2800 and rows["Total"]["counted"]["attributes"] == 26
    categories = [row["counted"] for label, row in rows.items() if label != "Total"]
    assert sum(row["products"] for row in categories) == rows["Total"]["counted"]["products"]
    assert len(categories) == 7 and not list(tmp_path.glob("runs/cells/*/result.json"))


def test_run_all_says_what_cannot_run_and_goes_on(tmp_path: Path) -> None:
    done = avebench_here(tmp_path, "run", "all", "--rows", "dictionary", "--no-mlflow", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert "snips cannot run here: 'Slot filling and intent detection on SNIPS' needs intents" in done.stderr
    assert "table1 cannot run here: The experiment has no row 'dictionary'" in done.stderr
    assert done.stdout.count("Precision and recall of ARM and TEM") == 1
    assert done.stdout.count("F1 against the share of the training products") == 1
    # One cell per fraction: every other table shares that of all training products.
    assert len(list(tmp_path.glob("runs/cells/*/result.json"))) == 5
    # Where nothing at all can run, the request is at fault.
    options = RunOptions(Execution("cpu"), track=False, dry_run=True, format="json")
    with pytest.raises(AvebenchError, match="no row 'dictionry'"):
        run_experiments(Request("all", tmp_path, rows=["dictionry"]), options)


def test_a_table_can_be_recorded_row_by_row(place: Path) -> None:
    head = 'title = "Parts"\ndataset = "jsonl"\nmetrics = ["tag_f1", "cls_f1"]\n'
    content = head + _row("plain") + _row("bold", "bold = true") + _row("never")
    content += '[[rows]]\nlabel = "later"\nmodel = "unwritten"\nplanned = true\n'
    _run(place, "parts.toml", content, "--rows", "bold", "--record", "--seeds", "2")
    _run(place, "parts.toml", content, "--rows", "plain", "--record")
    folder = place / "results" / "parts" / "jsonl"
    table = json.loads((folder / "table.json").read_text())
    # In the order of the file: what was recorded before stays, what was never run is not there, unless nobody could.
    assert [row["label"] for row in table["rows"]] == ["plain", "bold", "later"]
    assert [row["measured"]["tag_f1"]["n"] for row in table["rows"][:2]] == [1, 2]
    _run(place, "parts.toml", content, "--record", "--seeds", "2")
    parts = (folder / "table.json").read_text(), (folder / "slices.md").read_text()
    shutil.rmtree(folder)
    _run(place, "parts.toml", content, "--record", "--seeds", "2")
    assert ((folder / "table.json").read_text(), (folder / "slices.md").read_text()) == parts
    # Of other data nothing stands beside the plan's, which is said.
    write_gold(place / "other", lambda split: (gold_line(f"{split}{n}", "a red hat", {"color": "red"}) for n in "ab"))
    _run(place, "parts.toml", content, "--data", "other", "--rows", "plain", "--record")
    table = json.loads((folder / "table.json").read_text())
    assert [row["label"] for row in table["rows"]] == ["plain", "later"]
    assert "Recorded of other data or under another profile, and not shown: bold, never, plain." in table["notes"]
