"""Cells are found by their content: whichever table, row or `--set` had them first."""

import json
from pathlib import Path
from typing import Any

import pytest
from inprocess import avebench_here
from small_table import ONE_ROW
from stored_cells import result

from avebench.files.errors import AvebenchError
from avebench.planning.plan import Plan, make_plan
from avebench.planning.request import Request
from avebench.planning.requested import FILE, note_requested, read_requested
from avebench.report.stored_tables import read_stored
from avebench.running.chosen_cell import Choice, find_trained
from avebench.store.results import Store


def table(folder: Path, name: str, *, label: str = "row", model: str = "opentag", options: str = "") -> str:
    path = folder / f"{name}.toml"
    path.write_text(ONE_ROW.format(label=label, model=model, options=options))
    return str(path)


def finish(path: str, out: Path, note: bool = True, **request: Any) -> Plan:
    """Store a made-up result for the cells of a table that have none, and note that the table asked for them."""
    plan, store = make_plan(Request(path, out, **request)), Store(out)
    for cell in plan.cells():
        if not store.finished(cell.key):
            store.folder(cell.key).mkdir(parents=True)
            of_cell = {
                name: getattr(cell, name) for name in ("key", "row", "model", "implementation", "config", "profile")
            }
            store.write(result(experiment=plan.name, dataset="demo", fingerprint=cell.data.fingerprint, **of_cell))
    if note:
        note_requested(plan, {one.key: one for one in store.results()}, store)
    return plan


def key(path: str, row: str, out: Path) -> str:
    return find_trained(Choice(path, row, out)).key


def test_every_command_finds_what_an_equal_table_ran(tmp_path: Path) -> None:
    for name, labels in (("x", ("dict", "two")), ("y", ("dict", "zwei"))):
        first, second = (ONE_ROW.format(label=label, model="dictionary", options="") for label in labels)
        (tmp_path / f"{name}.toml").write_text(first + second[second.index("[[rows]]") :])
    for name in ("x.toml", "y.toml"):
        assert avebench_here(tmp_path, "run", name, "--no-mlflow").returncode == 0
    for name, row in (("x.toml", "two"), ("y.toml", "dict"), ("y.toml", "zwei")):
        said = avebench_here(tmp_path, "predict", "--experiment", name, "--row", row, "--text", "a red dress")
        assert (said.returncode, "No trained cell" in said.stderr) == (0, False), said.stderr
    stored = read_stored([str(tmp_path / "y.toml")], tmp_path / "runs", recorded=False)
    assert [[len(row.cells) for row in stored_table.plan.rows] for stored_table in stored.stored_tables] == [[1, 1]]
    assert stored.gaps == []


def test_a_cell_that_was_set_belongs_to_the_row_that_spells_it_out_and_back(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    spelt, plain = table(tmp_path, "spelt", options="hidden = 20"), table(tmp_path, "plain")
    (wanted,) = (cell.key for cell in finish(spelt, out).cells())
    with pytest.raises(AvebenchError, match="No trained cell"):
        key(plain, "row", out)
    # The same cell, which was there already; now this table has asked for it as well.
    assert [cell.key for cell in finish(plain, out, settings={"hidden": 20}).cells()] == [wanted]
    assert key(plain, "row", out) == wanted
    stored_tables = read_stored([plain], out, recorded=False).stored_tables
    assert [list(stored_table.cells) for stored_table in stored_tables] == [[wanted]]
    # And a third table that says so in its rows, which asked for nothing.
    assert key(table(tmp_path, "third", label="mine", options="hidden = 20"), "mine", out) == wanted


def test_what_was_run_for_a_row_goes_before_what_other_tables_have_of_it(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    mine, other = table(tmp_path, "mine"), table(tmp_path, "other")
    (own,) = (cell.key for cell in finish(mine, out).cells())
    (foreign,) = (cell.key for cell in finish(other, out, settings={"hidden": 20}).cells())
    assert key(mine, "row", out) == own
    assert find_trained(Choice(other, "row", out)).key == foreign


def test_a_row_whose_options_have_changed_does_not_have_the_old_cell(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    path = table(tmp_path, "mine")
    finish(path, out)
    table(tmp_path, "mine", options="hidden = 20")
    with pytest.raises(AvebenchError, match="No trained cell"):
        key(path, "row", out)
    stored = read_stored([path], out, recorded=False)
    assert not stored.stored_tables and "has no row 'row' with these options any more" in stored.gaps[0]


def test_results_that_kept_no_request_are_found_by_name_as_before(tmp_path: Path) -> None:
    out = tmp_path / "runs"
    path = table(tmp_path, "mine")
    plan = finish(path, out, note=False, settings={"hidden": 20})
    assert key(path, "row", out) == plan.cells()[0].key
    (kept,) = Store(out).results()
    assert [one.settings for one in read_requested(Store(out).folder(kept.key), kept)] == [None]


@pytest.mark.parametrize("content", ["", "{", "[1]", '[{"row": "a"}]'])
def test_a_broken_file_of_requests_counts_as_none(tmp_path: Path, content: str) -> None:
    out = tmp_path / "runs"
    path = table(tmp_path, "mine")
    plan = finish(path, out)
    file = Store(out).folder(plan.cells()[0].key) / FILE
    assert [entry["row"] for entry in json.loads(file.read_text())["rows"]] == ["row"]
    file.write_text(content)
    assert key(path, "row", out) == plan.cells()[0].key
