"""What the report says: verdicts, kinds of mistakes, thresholds, its other formats, and what is missing."""

import csv
import io
import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from stored_cells import ALL, COLOUR, KIND, ROWS, predict, result, write_store

from avebench.contracts.examples import Example, Prediction, Span
from avebench.data.opening import open_dataset
from avebench.files.errors import AvebenchError
from avebench.files.sealed import unseal
from avebench.planning.configs import Layers, resolve
from avebench.planning.experiment_files import open_experiment
from avebench.report import reproduction
from avebench.report.chapters import make_chapters
from avebench.report.differences import matrix_table
from avebench.report.evidence import Examiner
from avebench.report.mistakes import KINDS, Mistake, count_mistakes, mistakes_of
from avebench.report.overview import overview_table
from avebench.report.reproduction import reproduction_table, verdict
from avebench.report.stored_tables import read_stored
from avebench.report.thresholds import TAUS, sweep_cell
from avebench.report.writing import write_report
from avebench.store.results import Store
from avebench.tables.table import Measured


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contents")
    write_store(folder)
    return folder


def _written(place: Path, capsys: pytest.CaptureFixture[str], format: str, *names: str) -> str:
    write_report(names, out=place / "runs", recorded=False, data=place / "data", output=None, format=format)
    return capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts


@pytest.mark.parametrize(
    ("published", "mean", "sd", "interval", "said"),
    [
        (95.0, 95.2, None, (94.5, 95.9), "reproduced"),
        (95.0, 95.2, None, (94.0, 96.0), "reproduced"),
        # A point of the interval is farther away than a point, but the published figure lies within.
        (95.0, 95.2, None, (94.5, 96.1), "within noise"),
        (95.0, 95.2, None, (93.9, 95.5), "within noise"),
        # Outside the interval, but two standard deviations of the repetitions reach it.
        (95.0, 97.0, 1.0, (96.5, 97.5), "within noise"),
        (95.0, 97.01, 1.0, (96.5, 97.5), "not reproduced: 2.01 above"),
        (95.0, 92.5, None, (91.0, 94.9), "not reproduced: 2.50 below"),
        (95.0, 92.5, 1.2, (91.0, 94.9), "not reproduced: 2.50 below"),
    ],
)
def test_verdicts(published: float, mean: float, sd: float | None, interval: tuple[float, float], said: str) -> None:
    assert verdict(published, Measured(mean, sd, 1 if sd is None else 2), interval) == said


def _mepave(place: Path, value: float = 95.1, row: str = "V-IRC", **changes: object) -> None:
    """Store a cell of table 6 on MEPAVE under the paper's options, with some `changes`."""
    experiment = open_experiment("table6")
    planned = next(one for one in experiment.rows if one.label == row)
    config = resolve(planned, Layers("paper", defaults=experiment.defaults.options)).config
    counts = {"tp": 1, "predicted": 1, "gold": 1}
    scores = {"metrics": {"tag_f1": {"value": value, **counts}}, "per_attribute": {}, "per_slice": {}}
    same = {"key": row.rjust(64, "0"), "experiment": "table6", "row": row, "model": "dram", "config": config}
    examples = changes.pop("examples", 10_000)
    measured = {**scores, "examples": examples, "mean_selected_range": 1.0, "c_o": 5.0, "c_m": 2.0}
    found = result(**{**same, "dataset": "mepave", "scores": measured, **changes})
    Store(place).folder(found.key).mkdir(parents=True)
    Store(place).write(found)


def _verdicts(place: Path, intervals: dict[str, dict[str, tuple[float, float]]]) -> dict[str, str]:
    (stored_table,) = read_stored(["table6"], place, recorded=False).stored_tables
    table = reproduction_table(stored_table, intervals)
    (f1,) = [section for section in table.sections if section.heading == "TAG-F1"]
    return {row.label: row.cells[0] for row in f1.rows}  # type: ignore[misc]  # Verdicts are texts.


def test_what_is_as_published_is_judged(tmp_path: Path) -> None:
    """Published TAG-F1: V-IRC 95.05, +ARM 95.84, +TEM 96.35, DRAM 96.86; each is judged or says why not."""
    _mepave(tmp_path)
    _mepave(tmp_path, 93.0, "+ARM")
    _mepave(tmp_path, 96.0, "+TEM")
    intervals = {"V-IRC": {"tag_f1": (94.6, 95.6)}, "+ARM": {"tag_f1": (92.0, 94.0)}}
    found = _verdicts(tmp_path, intervals)
    assert found["V-IRC"] == "reproduced" and found["+ARM"] == "not reproduced: 2.84 below"
    assert found["+TEM"] == "no interval" and found["DRAM"] == "not run"
    (stored_table,) = read_stored(["table6"], tmp_path, recorded=False).stored_tables
    table = reproduction_table(stored_table, intervals)
    assert reproduction.verdicts_in(table) == {"reproduced": 1, "not reproduced": 1, "no interval": 1}
    (apart,) = [row.cells[-1] for row in table.rows() if row.cells[0] == "reproduced"]
    assert apart == pytest.approx(95.1 - 95.05)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dataset": "demo"}, "another data set (demo, not mepave)"),
        ({"profile": "quick"}, "profile quick"),
        ({"train_fraction": 0.1}, "0.1 of the training products"),
        ({"examples": 50}, "a part of the data (50 of "),
    ],
)
def test_what_is_not_as_published_is_not_judged(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    _mepave(tmp_path, **changes)
    assert _verdicts(tmp_path, {"V-IRC": {"tag_f1": (95.0, 95.1)}})["V-IRC"] == "not comparable"
    (chapter,) = make_chapters(read_stored(["table6"], tmp_path, recorded=False).stored_tables, Examiner(None))
    said = overview_table([chapter]).rows()[0].cells[-1]
    assert isinstance(said, str) and said.startswith("1 not comparable: ") and why in said
    notes = dict(chapter.tables)["reproduction"].notes
    assert any(note.startswith("not comparable, all rows: ") and why in note for note in notes)


def test_changed_options_and_told_attributes_are_not_judged(tmp_path: Path) -> None:
    _mepave(tmp_path)
    cell = read_stored(["table6"], tmp_path, recorded=False).stored_tables[0].cells
    config = dict(next(iter(cell.values())).result.config)
    config["training"] = {**config["training"], "batch_size": 7}
    _mepave(tmp_path / "changed", config=config)
    said = _verdicts(tmp_path / "changed", {"V-IRC": {"tag_f1": (95.0, 95.1)}})["V-IRC"]
    assert said == "not comparable: other options (training.batch_size 7)"
    # A row that is told attributes stands in no overview as the highest.
    (stored_table,) = read_stored(["table6"], tmp_path, recorded=False).stored_tables
    rows = tuple(replace(one, row=one.row.model_copy(update={"protocol": "oracle"})) for one in stored_table.plan.rows)
    (chapter,) = make_chapters([stored_table], Examiner(None))
    assert overview_table([chapter]).rows()[0].cells[3] == "V-IRC (TAG-F1 95.10)"
    told = replace(chapter, stored_table=replace(stored_table, plan=replace(stored_table.plan, rows=rows)))
    assert overview_table([told]).rows()[0].cells[3] is None


# ---------------------------------------------------------------------------------------------------------------------
# Mistakes


def test_mistakes_of_one_example_by_hand() -> None:
    """Same boundaries win over the same attribute, that over a larger overlap; every span has one partner at most."""
    gold = [Span("A", 0, 4), Span("B", 6, 9), Span("C", 10, 14), Span("D", 20, 22), Span("E", 30, 34)]
    predicted = [
        Span("A", 0, 4),  # right
        Span("X", 6, 9),  # B taken for X: the same boundaries
        Span("B", 6, 8),  # so B has a partner, and this is none's
        Span("C", 12, 16),  # C with a wrong boundary, although Y overlaps more
        Span("Y", 10, 13),
        Span("E", 33, 38),  # touches E in one character
        Span("F", 22, 24),  # touches D in none
    ]
    found = [(one.kind, one.gold and one.gold.attribute, one.predicted) for one in mistakes_of(gold, predicted)]
    assert found == [
        ("missed", "D", None),
        ("wrong attribute", "B", Span("X", 6, 9)),
        ("wrong boundary", "C", Span("C", 12, 16)),
        ("wrong boundary", "E", Span("E", 33, 38)),
        ("spurious", None, Span("B", 6, 8)),
        ("spurious", None, Span("Y", 10, 13)),
        ("spurious", None, Span("F", 22, 24)),
    ]


def _random_spans(rng: random.Random, number: int) -> tuple[Span, ...]:
    starts = rng.sample(range(20), number)
    return tuple(Span(rng.choice("ABC"), start, start + rng.randint(1, 5)) for start in starts)


def _random_examples(rng: random.Random, number: int) -> tuple[list[Example], list[Prediction]]:
    """Return examples and predictions whose candidates have an attribute each, with random scores and spans."""
    gold, predictions = [], []
    for place in range(number):
        spans = _random_spans(rng, rng.randint(0, 4))
        values = {one.attribute: frozenset({str(one)}) for one in spans}
        gold.append(Example(str(place), "x" * 50, ((0, 50),), spans, values))
        guessed = [*rng.sample(spans, rng.randint(0, len(spans))), *_random_spans(rng, 2)]
        candidates = tuple(
            (name, rng.choice((0.05, 0.5, rng.random())), tuple(one for one in guessed if one.attribute == name))
            for name in rng.sample("ABC", rng.randint(0, 3))
        )
        kept = tuple(span for _, score, some in candidates if score > 0.5 for span in some)
        scores = {name: score for name, score, _ in candidates if score > 0.5}
        predictions.append(Prediction(str(place), scores, {}, kept, candidates=candidates))
    return gold, predictions


def test_mistakes_add_up_to_what_is_wrong() -> None:
    gold, predictions = _random_examples(random.Random(4), 200)
    counted = count_mistakes(gold, predictions)
    assert counted is not None and all(counted.kinds[kind] > 0 for kind in KINDS)
    wrong = counted.kinds["wrong attribute"] + counted.kinds["wrong boundary"]
    false_negatives = sum(len(set(e.spans) - set(p.spans or ())) for e, p in zip(gold, predictions, strict=True))
    false_positives = sum(len(set(p.spans or ()) - set(e.spans)) for e, p in zip(gold, predictions, strict=True))
    assert counted.kinds["missed"] + wrong == false_negatives
    assert counted.kinds["spurious"] + wrong == false_positives
    assert sum(counted.confused.values()) == counted.kinds["wrong attribute"]
    assert all(one != other for one, other in counted.confused)
    assert count_mistakes(gold, [replace(predictions[0], spans=None), *predictions[1:]]) is None
    for kind, shown in counted.shown.items():
        mistakes: list[Mistake] = [mistake for _, _, mistake in shown]
        assert {mistake.kind for mistake in mistakes} == {kind}
        assert len({mistake.attribute for mistake in mistakes}) == len(mistakes) <= 2


# ---------------------------------------------------------------------------------------------------------------------
# Thresholds


def _brute_force(gold: Sequence[Example], predictions: Sequence[Prediction], tau: float) -> dict[str, float]:
    """Return precision, recall and F1 of spans and attributes at a threshold, from pooled sets."""
    wanted = {(e.id, span) for e in gold for span in e.spans}
    spans = {(p.id, span) for p in predictions for _, score, some in p.candidates or () if score > tau for span in some}
    attributes = {(p.id, name) for p in predictions for name, score, _ in p.candidates or () if score > tau}
    found = {}
    for kind, true, said in (("tag", wanted, spans), ("cls", {(i, s.attribute) for i, s in wanted}, attributes)):
        right = len(true & said)
        found[f"{kind}_precision"] = 100 * right / len(said) if said else 0.0
        found[f"{kind}_recall"] = 100 * right / len(true)
        found[f"{kind}_f1"] = 200 * right / (len(true) + len(said))
    return found


def test_thresholds_against_brute_force() -> None:
    gold, predictions = _random_examples(random.Random(9), 60)
    swept = sweep_cell(gold, predictions)
    assert swept is not None and len(swept) == len(TAUS) == 19
    for tau, one in zip(TAUS, swept, strict=True):
        for metric, value in _brute_force(gold, predictions, tau).items():
            assert one.value(metric) == pytest.approx(value), (tau, metric)
    # A score that equals a threshold is not above it.
    assert swept[0].selected > swept[9].selected > swept[-1].selected
    assert sweep_cell(gold, [replace(predictions[0], candidates=None), *predictions[1:]]) is None


def test_threshold_part_of_a_table(place: Path) -> None:
    """The part holds the rows that store candidates: its table the F1, its curve precision against recall."""
    (stored_table,) = read_stored([str(place / "mine.toml")], place / "runs", recorded=False).stored_tables
    (chapter,) = make_chapters([stored_table], Examiner(place / "data"))
    (part,) = [part for part in chapter.parts if part.name == "thresholds"]
    gold = list(open_dataset("jsonl", place / "data", {}).read("test"))
    fewer = {word: found for word, found in ALL.items() if word != "blue"}
    swept = [predict(words, swept=True) for words in (ALL, fewer)]
    for table, metric in zip(part.tables, ("tag_f1", "cls_f1"), strict=True):
        assert [column.name for column in table.columns] == [ROWS[0]]
        for tau, row in zip(TAUS, table.rows(), strict=True):
            (cell,) = row.cells
            assert isinstance(cell, Measured)
            assert cell.values == pytest.approx([_brute_force(gold, one, tau)[metric] for one in swept])
    (line,) = part.figures[0].panel.lines
    low, high = (
        tuple(fmean(_brute_force(gold, one, tau)[f"tag_{name}"] for one in swept) for name in ("recall", "precision"))
        for tau in (TAUS[0], TAUS[-1])
    )
    assert line.points[0] == pytest.approx(low) and line.points[-1] == pytest.approx(high)


# ---------------------------------------------------------------------------------------------------------------------
# Formats


def test_all_formats_carry_the_stored_figures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = str(place / "mine.toml")
    content = json.loads(_written(place, capsys, "json", table))
    (chapter,) = content["chapters"]
    markdown = _written(place, capsys, "md", table)
    lines = list(csv.DictReader(io.StringIO(_written(place, capsys, "csv", table))))
    in_csv = {(one["table"], one["section"], one["row"], one["column"], one["cell"]): one for one in lines}
    assert len(in_csv) < len(lines) + 1 and {one["experiment"] for one in lines} == {"mine"}
    metrics = ("tag_precision", "tag_recall", "tag_f1", "cls_f1")
    results = {key: cell["result"]["scores"]["metrics"] for key, cell in chapter["cells"].items()}
    (shown,) = [one for one in chapter["tables"] if one["part"] == "table"]
    checked = 0
    for row in shown["rows"][:2]:
        for metric in metrics:
            cell = row["measured"][metric]
            assert cell["values"] == [results[key][metric]["value"] for key in cell["cells"]]
            assert cell["value"] == pytest.approx(fmean(cell["values"]))
            for key, value in zip(cell["cells"], cell["values"], strict=True):
                assert float(in_csv["table", "", row["label"], metric, key]["value"]) == value
                checked += 1
            spread = f" ± {cell['sd']:.2f}" if cell["sd"] is not None else ""
            label = row["label"].replace("*", r"\*").replace("<", r"\<").replace("[", r"\[")
            (line,) = [
                one for one in markdown.split("published and measured")[0].splitlines() if one.startswith("| " + label)
            ]
            assert f" {cell['value']:.2f}{spread} " in line
    assert checked == 4 * 3
    # What is of the data's texts stays in the page.
    for written in (markdown, json.dumps(content, ensure_ascii=False)):
        assert "script>alert(1)" not in written and "红色" not in written
    assert {(one["row"], one["kind"]) for one in chapter["mistakes"]} >= {(ROWS[1], "wrong attribute")}


def test_latex_has_a_command_for_every_figure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = _written(place, capsys, "latex", str(place / "mine.toml"))
    defined = dict(re.findall(r"^\\newcommand\{\\([^}]*)\}\{(.*)\}$", content, re.MULTILINE))
    assert len(defined) == content.count(r"\newcommand") > 100
    assert all(re.fullmatch("[A-Za-z]+", name) for name in defined)
    assert content.count(r"\toprule") == content.count(r"\bottomrule") == content.count(r"\begin{table}") >= 8
    body = [line for line in content.splitlines() if line.endswith(r"\\") and not line.startswith("%")]
    used = [name for line in body for name in re.findall(r"(?:^|& )\\(MineJsonl[A-Za-z]*)", line)]
    assert sorted(used) == sorted(defined)
    # No figure stands in a table but by its command.
    cells = [cell.strip(" \\") for line in body for cell in line.split(" & ")[1:]]
    assert not [cell for cell in cells if re.fullmatch(r"\d+\.\d+( .pm.*)?", cell)]
    f1 = json.loads((place / "runs" / "cells" / ("3" * 64) / "result.json").read_text())["scores"]["metrics"]["tag_f1"]
    assert defined["MineJsonlTablePlainRowOneMeasuredTAGFOne"] == f"{f1['value']:.2f}"
    assert not re.search(r"(?<!\\)[&%#$_](?=[^&\n]*}$)", "".join(defined.values()))


def test_differences_are_of_the_compared_rows(place: Path) -> None:
    (stored_table,) = read_stored([str(place / "mine.toml")], place / "runs", recorded=False).stored_tables
    (chapter,) = make_chapters([stored_table], Examiner(place / "data"))
    assert chapter.comparison is None and any("repetitions" in gap for gap in chapter.gaps)
    # One repetition each can be compared.
    one = place / "one"
    shutil.copytree(place / "runs", one)
    shutil.rmtree(one / "cells" / ("2" * 64))
    (stored_table,) = read_stored([str(place / "mine.toml")], one, recorded=False).stored_tables
    (chapter,) = make_chapters([stored_table], Examiner(place / "data"))
    assert chapter.comparison is not None
    first, second = (row.cells for row in matrix_table(chapter.comparison).rows())
    values = [cell.result.scores.metrics["tag_f1"].value for cell in stored_table.cells.values()]
    points = abs(values[0] - values[1])
    assert str(first[1]).startswith(f"+{points:.2f} (p ") and str(second[0]).startswith(f"-{points:.2f} (p ")


# ---------------------------------------------------------------------------------------------------------------------
# What is missing


def test_nothing_stored_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = write_report([], out=Path("runs"), recorded=True, data=None, output=None, format="html")
    assert written == Path("report.html")
    page = written.read_text()
    assert "There is no result to show." in page and "There is no finished cell under runs." in page
    (tmp_path / "runs").mkdir()
    assert "No result of table6 is stored." in _written(tmp_path, capsys, "md", "table6")
    with pytest.raises(AvebenchError, match=r"No result and no experiment is called 'tabel6'.*table6"):
        read_stored(["tabel6"], tmp_path, recorded=False)
    with pytest.raises(AvebenchError, match=r"cannot be written .* Choose another with --output"):
        write_report([], out=tmp_path, recorded=False, data=None, output=tmp_path, format="md")


def _broken(place: Path, folder: Path) -> Path:
    """Return a copy of the store with the three cells, of which the second will be broken, and its folder."""
    shutil.copytree(place / "runs", folder / "runs")
    return folder / "runs" / "cells" / ("2" * 64)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"scorer_version": 0},
            "was scored by version 0 of the metrics, this is version 1. `avebench run mine` scores it",
        ),
        ({"version": 99}, "is of another version. Run its cell again with --fresh."),
        ({"scores": None}, "is not complete: ('scores',). Run its cell again with --fresh."),
        (None, "cannot be read: it is not JSON"),
    ],
)
def test_a_result_that_cannot_be_shown_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object] | None, said: str
) -> None:
    path = _broken(place, tmp_path) / "result.json"
    content = path.read_text()
    path.write_text(content[:500] if change is None else json.dumps(unseal(content) | change))
    shutil.copytree(place / "data", tmp_path / "data")
    markdown = _written(tmp_path, capsys, "md", str(place / "mine.toml"))
    (gap,) = [line for line in markdown.split("##")[0].splitlines() if line.startswith("- ")]
    assert str(path) in gap and said in gap
    # The other cell of the row, and the other row, are shown.
    assert "one repetition" in markdown and f"{200 * 4 / 11:.2f}" in markdown


def test_a_cell_that_was_not_finished_is_named(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (_broken(place, tmp_path) / "result.json").unlink()
    # A lock alone is a cell that waits.
    (tmp_path / "runs" / "cells" / "4").mkdir()
    (tmp_path / "runs" / "cells" / "4" / "lock").touch()
    shutil.copytree(place / "data", tmp_path / "data")
    content = json.loads(_written(tmp_path, capsys, "json", str(place / "mine.toml")))
    assert content["gaps"] == [
        f"The cell 222222222222 under {tmp_path / 'runs'} was started and not finished. "
        "The command that started it continues it."
    ]
    assert set(content["chapters"][0]["cells"]) == {"1" * 64, "3" * 64}


def test_missing_and_broken_predictions_leave_the_figures(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = _broken(place, tmp_path)
    shutil.copytree(place / "data", tmp_path / "data")
    files = [cell / "predictions.jsonl.gz", cell.with_name("3" * 64) / "predictions.jsonl.gz"]
    files[0].unlink()
    files[1].write_bytes(b"{")
    (chapter,) = json.loads(_written(tmp_path, capsys, "json", str(place / "mine.toml")))["chapters"]
    assert any(f"The prediction file {files[0]} is missing. Without it" in gap for gap in chapter["gaps"])
    assert any(str(files[1]) in gap for gap in chapter["gaps"])
    parts = [table["part"] for table in chapter["tables"]]
    assert {"table", "reproduction", "attributes", "cost"} <= set(parts) and not {"mistakes", "thresholds"} & set(parts)
    (shown,) = [one for one in chapter["tables"] if one["part"] == "table"]
    assert shown["rows"][0]["measured"]["tag_f1"]["n"] == 2 and shown["rows"][1]["measured"]["tag_f1"]["n"] == 1


def test_other_data_are_not_taken_for_those_that_were_measured_on(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(place / "runs", tmp_path / "runs")
    shutil.copytree(place / "data", tmp_path / "data")
    with (tmp_path / "data" / "test.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "new", "text": "more", "spans": []}) + "\n")
    (chapter,) = json.loads(_written(tmp_path, capsys, "json", str(place / "mine.toml")))["chapters"]
    assert any("jsonl here is another than the one that was measured on" in gap for gap in chapter["gaps"])
    assert not chapter["mistakes"] and COLOUR in {row["label"] for t in chapter["tables"] for row in t["rows"]}
    assert KIND in {row["label"] for table in chapter["tables"] for row in table["rows"]}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AvebenchError, match="There is no folder nosuch"):
        write_report([], out=Path("nosuch"), recorded=False, data=None, output=None, format="html")
    assert not list(tmp_path.iterdir())
