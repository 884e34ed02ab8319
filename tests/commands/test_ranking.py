"""Systems that rank values, as a user meets them: Table 9 on products in the shape of MAE, recorded and compared."""

import json
from pathlib import Path

import mae_shaped
import pytest
from inprocess import avebench_here

from avebench.analysis.recording import RESULTS
from avebench.store.recorded import recorded_cells

ROWS = ("most-common-value", "MAE-model text", "MAE-model")
TABLE = """
title = "One row"
dataset = "mae"
metrics = ["mae_accuracy"]

[[rows]]
label = "row"
model = "mae-model"
protocol = "all"
"""
SMALL = ("training.steps=4", "filters=16", "size=16", "picture_inner=16")
QUICK = ("--profile", "quick", *(part for option in SMALL for part in ("--set", option)))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranking")
    mae_shaped.write(folder / "mae", products=100)
    run = ("run", "table9", "--data", "mae", *QUICK, "--no-mlflow", "--record")
    done = avebench_here(folder, *run, "--rows", ",".join(("dictionary", *ROWS)), "--format", "json")
    assert done.returncode == 0, done.stderr
    (folder / "table.json").write_text(done.stdout)
    return folder


def test_table9_ranks_values_of_gold_attributes(place: Path) -> None:
    table = json.loads((place / "table.json").read_text())
    rows = {row["label"]: row for row in table["rows"]}
    assert rows["MAE-model"]["published"]["mae_accuracy"] == 72.96
    assert {label for label, row in rows.items() if row["protocol"] == "oracle"} == set(ROWS)
    assert any("all have the worst of their ranks" in note for note in table["notes"])
    for label in ROWS:
        figures = {name: one and one["value"] for name, one in rows[label]["measured"].items()}
        assert figures["tag_f1"] is None
        hits = [figures[f"hits_{k}"] for k in (1, 5, 10, 20)]
        assert hits == sorted(hits) and 0 <= hits[0] <= figures["mrr"] <= hits[-1] <= 100
    assert rows["dictionary"]["measured"]["mrr"] is None
    (result,) = [json.loads(path.read_text()) for path in _results(place) if '"MAE-model text"' in path.read_text()]
    # A gold attribute of every test product is one query.
    metrics, asked = result["scores"]["metrics"], result["mean_asked"] * result["scores"]["examples"]
    assert metrics["hits_1"]["gold"] == pytest.approx(asked) and result["scores"]["examples"] == 100


def _results(place: Path) -> list[Path]:
    return sorted(place.glob("runs/cells/*/result.json"))


def test_what_is_recorded_holds_no_values_and_compares(place: Path) -> None:
    folder = place / RESULTS / "table9" / "mae"
    cells = {cell.row: cell for cell in recorded_cells(folder)}
    assert all("spans" not in one and "pairs" not in one for one in cells["MAE-model"].records())
    assert any(one["attributes"] for one in cells["MAE-model"].records())
    chosen = ("MAE-model text", "most-common-value", "--experiment", "table9", "--data", "mae")
    fresh = avebench_here(place, "compare", *chosen, *QUICK, "--metric", "mrr", "--format", "csv")
    assert fresh.returncode == 0, fresh.stderr
    kept = avebench_here(place, "compare", *chosen, "--recorded", "--metric", "mrr", "--format", "csv")
    assert kept.returncode == 0, kept.stderr
    assert kept.stdout.splitlines()[:8] == fresh.stdout.splitlines()[:8]
    assert any(line.startswith("MRR,") for line in kept.stdout.splitlines())
    shown = avebench_here(place, "compare", *chosen, "--recorded", "--metric", "hits_5", "--examples", "2")
    assert shown.returncode == 0 and "MAE-model text: its values are not recorded" in shown.stdout
    mixed = avebench_here(place, "compare", "MAE-model", "dictionary", *chosen[2:], "--recorded")
    assert mixed.returncode == 2 and "protocol" in mixed.stderr
    scored = avebench_here(place, "score", str(folder), "--row", "MAE-model", "--data", "mae")
    assert scored.returncode == 2 and "holds no values: its system gives no spans" in scored.stderr


def test_a_product_is_asked_for_attributes(place: Path) -> None:
    text = next(path for path in _results(place) if '"MAE-model text"' in path.read_text())
    attributes = json.loads((text.parent / "schema.json").read_text())["attributes"]
    (place / "one.jsonl").write_text(json.dumps({"id": "one", "text": "a blue dress"}) + "\n")
    chosen = ("predict", "--experiment", "table9", "--row", "MAE-model text", "--cell", text.parent.name)
    done = avebench_here(
        place, *chosen, "--input", "one.jsonl", "--output", "out.jsonl", "--ask", attributes[0], "--ask", attributes[1]
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((place / "out.jsonl").read_text())
    assert set(found["pairs"]) == set(found["rankings"]) == set(attributes[:2]) and "spans" not in found
    assert all(found["rankings"][name][value] == 1 for name, (value,) in found["pairs"].items())
    done = avebench_here(place, *chosen, "--text", "a blue dress", "--ask", "no such attribute")
    assert done.returncode == 2
    assert "mae-model ranks values for the attributes of its training alone" in done.stderr


def test_all_attributes_cannot_be_asked_for(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", str(place / "mae"), "--no-mlflow")
    assert done.returncode == 2
    assert "mae-model cannot be run under the protocol 'all'. Give protocol = one of oracle." in done.stderr
    assert not (tmp_path / "runs").exists()
