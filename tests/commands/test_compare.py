"""`avebench compare` as a user runs it, on made-up products of which every count is known beforehand."""

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest
from commandline import environment
from earlier_layout import to_line, unpack
from inprocess import avebench_here as avebench
from made_up import system

from avebench.analysis.comparison.comparability import check_comparable
from avebench.analysis.comparison.contrasts import System, compare_systems, headline
from avebench.files.errors import AvebenchError
from avebench.files.sealed import unseal
from avebench.planning.experiment_files import experiment_names, load_experiment, open_experiment
from avebench.planning.rows import choose_rows, find_rows
from avebench.scoring.families import Counts
from avebench.store.examplecounts import ExampleCounts, read_counts
from avebench.store.recorded import recorded_cells, recorded_folders
from avebench.store.results import Result, load_result

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "results" / "table6" / "demo"

KNOWING = """
def predict(self, examples):
    return [answer(example, self._known(example)) for example in examples]

def _known(self, example):
    # Every colour, and the kinds but for those of every `misses`-th product.
    attribute = "Color" if example.text.startswith("one") else "Kind"
    known = attribute == "Color" or int(example.product_id[1:]) % self.config.misses
    return spans_of(example.text, {attribute: example.text.split()[1]} if known else {})
"""
MISSES = "misses: int = 6"
TABLE = """
title = "Known beforehand"
dataset = "jsonl"
metrics = ["tag_precision", "tag_f1", "mae_accuracy"]

[[rows]]
label = "words"
model = "dictionary"

[[rows]]
label = "Six"
model = "knowing"

[[rows]]
label = "two"
model = "knowing"
options = { misses = 2 }

[[rows]]
label = "later"
model = "dictionary"
planned = true

[[rows]]
label = "told"
model = "knowing"
protocol = "oracle"
"""
TEST_PRODUCTS = 60
COMPARE = ("compare", "words", "six", "--experiment", "mine.toml", "--plugin", "knowing.py")


def _write_data(folder: Path) -> None:
    """Write two sentences per product: a colour, in half of the test unknown to the training; and a kind."""
    folder.mkdir()
    for split, number in (("train", 8), ("valid", 4), ("test", TEST_PRODUCTS)):
        lines = []
        for product in range(number):
            colour = "teal" if split == "test" and product < TEST_PRODUCTS / 2 else ("blue", "red")[product % 2]
            kind = ("tote", "clutch")[product % 2]
            for category, text, attribute, word in (
                ("dress", f"one {colour} gown", "Color", colour),
                ("bag", f"another {kind} here", "Kind", kind),
            ):
                start = text.index(word)
                spans = [{"attribute": attribute, "start": start, "end": start + len(word)}]
                name = f"{split}-{product}-{category}"
                line = {"id": name, "product_id": f"p{product}", "text": text, "spans": spans, "category": category}
                lines.append(json.dumps(line) + "\n")
        (folder / f"{split}.jsonl").write_text("".join(lines))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data, plug-in and table in which the rows have been run and recorded, two repetitions."""
    folder = tmp_path_factory.mktemp("compared")
    _write_data(folder / "data")
    (folder / "knowing.py").write_text(system("knowing", KNOWING, options=MISSES))
    (folder / "mine.toml").write_text(TABLE)
    run = ("run", "mine.toml", "--data", "data", "--plugin", "knowing.py", "--no-mlflow", "--record", "--seeds", "2")
    done = avebench(folder, *run)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def place(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of that folder to do as one likes with."""
    return shutil.copytree(trained, tmp_path / "place")


def _clone(place: Path) -> Path:
    """Leave what a plain clone has: no data, no finished cells, the recorded results."""
    shutil.rmtree(place / "data")
    shutil.rmtree(place / "runs")
    return place


def _rows(content: dict[str, object]) -> dict[tuple[str, str], dict[str, dict[str, object]]]:
    return {(row["section"].split()[-1], row["label"]): row for row in content["rows"]}  # type: ignore[attr-defined,misc]


def _json(folder: Path, *arguments: str) -> dict[str, object]:
    done = avebench(folder, *arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


# Of 120 gold spans the dictionary finds the 30 known colours and all 60 kinds, the other all 60 colours and 50 kinds;
# neither predicts anything wrong.
WORDS, SIX = 200 * 90 / (90 + 120), 200 * 110 / (110 + 120)


def test_figures_are_those_counted_by_hand(trained: Path) -> None:
    content = _json(trained, *COMPARE, "--data", "data", "--examples", "4")
    rows = _rows(content)
    whole = rows["test", "TAG-F1"]
    assert whole["measured"]["words"]["value"] == pytest.approx(WORDS)  # type: ignore[index]
    assert whole["measured"]["Six"]["value"] == pytest.approx(SIX)  # type: ignore[index]
    pair = whole["words minus Six"]
    assert pair["difference"] == pytest.approx(WORDS - SIX)
    assert pair["low"] < WORDS - SIX < pair["high"] < 0  # type: ignore[operator]
    assert pair["p_randomisation"] == pair["p_holm"] < 0.01 > pair["p_bootstrap"]  # type: ignore[operator]
    assert rows["test", "P"]["words minus Six"]["difference"] == 0
    # 100 * 90/120 against 100 * 110/120: an attribute is right or wrong as a whole.
    assert rows["test", "accuracy"]["words minus Six"]["difference"] == pytest.approx(-100 * 20 / 120)
    colour, kind = 100 * (2 * 30 / 90 - 1), 100 * (1 - 2 * 50 / 110)
    for section, label, expected in (
        ("attribute", "Color", colour),
        ("attribute", "Kind", kind),
        ("category", "dress", colour),
        ("category", "bag", kind),
    ):
        assert rows[section, label]["words minus Six"]["difference"] == pytest.approx(expected)
        assert rows[section, label]["columns"]["examples"] == 60
    # All 30 unknown colours and nothing else; no product has a picture.
    assert rows["slice", "unseen"]["columns"] == {"examples": 30, "remark": "too few"}
    assert rows["slice", "no-image"]["words minus Six"]["difference"] == pytest.approx(WORDS - SIX)
    only = content["only_right"]["words minus Six"]  # type: ignore[index]
    assert only["words"] == [f"test-{product}-bag" for product in (0, 6, 12, 18)]
    assert only["Six"] == [f"test-{product}-dress" for product in range(4)]
    said = " ".join(content["answers"])  # type: ignore[arg-type]
    assert "Six is better than words by 9.94 points of TAG-F1: 95.65 against 85.71" in said
    assert "Of 120 examples 10 are right with words alone, 30 with Six alone." in said
    assert (
        "words is better in attributes Kind (by 9.1); categories bag (by 9.1). Six is better in attributes Color"
        in said
    )
    assert any("120 test examples of 60 products" in note for note in content["notes"])  # type: ignore[attr-defined]


def test_the_better_system_comes_first_in_words_whatever_the_order(trained: Path) -> None:
    arguments = ("compare", "SIX", "words", *COMPARE[3:], "--data", "data", "--seeds", "2")
    content = _json(trained, *arguments)
    said = content["answers"][0]  # type: ignore[index]
    assert said.startswith("Six is better than words by 9.94") and "ahead in 2 of 2 repetitions" in said
    pair = _rows(content)["test", "TAG-F1"]["Six minus words"]
    low, high = (f"{pair[name]:.2f}" for name in ("low", "high"))
    assert f"interval of the difference {low} to {high}" in said


def test_several_rows_are_compared_in_pairs_with_holm(trained: Path) -> None:
    content = _json(trained, "compare", "words", "six", "two", *COMPARE[3:], "--data", "data")
    row = _rows(content)["test", "TAG-F1"]
    pairs = [row[f"{a} minus {b}"] for a, b in (("words", "Six"), ("words", "two"), ("Six", "two"))]
    # 'two' finds 60 colours and 30 kinds: as much as the dictionary, elsewhere.
    assert [pair["difference"] for pair in pairs] == pytest.approx([WORDS - SIX, 0, SIX - WORDS])
    ordered = sorted(pairs, key=lambda pair: pair["p_randomisation"])  # type: ignore[arg-type,return-value]
    largest = 0.0
    for factor, pair in zip((3, 2, 1), ordered, strict=True):
        largest = max(largest, min(1.0, factor * pair["p_randomisation"]))  # type: ignore[operator]
        assert pair["p_holm"] == pytest.approx(largest)
    assert any("words and two are level in TAG-F1" in one for one in content["answers"])  # type: ignore[attr-defined]
    assert any("does not settle which" in one for one in content["answers"])  # type: ignore[attr-defined]


def test_texts_are_printed_in_the_terminal_and_nowhere_else(place: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    done = avebench(place, *COMPARE, "--data", "data", "--examples", "2")
    assert done.returncode == 0, done.stderr
    assert (
        "Right with Six, wrong with words (TAG-F1): 30 examples:\n  test-0-dress\n    text: one teal gown\n"
        in done.stdout
    )
    assert "    gold: Color = teal\n    words: nothing\n    Six: Color = teal\n  test-1-dress" in done.stdout
    assert done.stdout.count("text: ") == 4
    for format in ("md", "json"):
        done = avebench(place, *COMPARE, "--data", "data", "--examples", "2", "--format", format)
        assert done.returncode == 0 and "test-0-dress" in done.stdout
        assert "gown" not in done.stdout and "teal" not in done.stdout
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_csv_has_a_line_per_thing_compared(trained: Path) -> None:
    done = avebench(trained, *COMPARE, "--data", "data", "--format", "csv")
    rows = {(row["section"], row["label"]): row for row in csv.DictReader(io.StringIO(done.stdout))}
    assert float(rows["test", "TAG-F1"]["words_minus_Six_difference"]) == pytest.approx(WORDS - SIX)
    assert float(rows["cost", "parameters (millions)"]["measured_Six"]) == 0
    assert float(rows["cost", "s per 1,000 examples"]["measured_Six"]) > 0


def test_finished_rows_need_neither_torch_nor_mlflow(trained: Path) -> None:
    check = (
        "import sys; from avebench.commands.app import app\n"
        "try: app()\n"
        "except SystemExit as done: assert done.code == 0, done.code\n"
        "print([name for name in ('torch', 'mlflow', 'transformers', 'pandas') if name in sys.modules])"
    )
    arguments = [sys.executable, "-c", check, *COMPARE, "--data", "data", "--examples", "1"]
    done = subprocess.run(arguments, cwd=trained, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_missing_is_trained_by_the_runner_of_run(place: Path) -> None:
    expected = _json(place, *COMPARE, "--data", "data", "--seeds", "2")
    shutil.rmtree(place / "results")
    shutil.rmtree(place / "runs")
    again = _json(place, *COMPARE, "--data", "data", "--seeds", "2")
    assert len(list(place.glob("runs/cells/*/result.json"))) == 4
    assert [row for row in again["rows"] if row["section"] != "cost"] == [  # type: ignore[attr-defined]
        row
        for row in expected["rows"]
        if row["section"] != "cost"  # type: ignore[attr-defined]
    ]


def test_a_row_that_fails_leaves_nothing_to_compare(place: Path) -> None:
    broken = system("broken", KNOWING.replace("return [", 'raise ValueError("no idea")\n    return ['), options=MISSES)
    (place / "broken.py").write_text(broken)
    (place / "mine.toml").write_text(TABLE + '[[rows]]\nlabel = "broken"\nmodel = "broken"\n')
    done = avebench(place, "compare", "words", "broken", *COMPARE[3:], "--plugin", "broken.py", "--data", "data")
    assert done.returncode == 1 and "broken #0 failed: ValueError: no idea" in done.stderr and not done.stdout


def test_recorded_cells_of_the_same_key_are_not_trained_again(place: Path) -> None:
    expected = _json(place, *COMPARE, "--data", "data", "--seeds", "2")
    shutil.rmtree(place / "runs")
    assert _json(place, *COMPARE, "--data", "data", "--seeds", "2") == expected
    assert not (place / "runs").exists()


def test_a_plain_clone_answers_from_recorded_results(place: Path) -> None:
    """All repetitions are taken, with products, attributes and slices; only the texts are missing."""
    expected = _json(place, *COMPARE, "--data", "data", "--seeds", "2", "--examples", "3")
    _clone(place)
    for arguments in (("--dataset", "jsonl"), ("--recorded",)):
        found = _json(place, *COMPARE, *arguments, "--examples", "3")
        assert [found[name] for name in ("rows", "answers", "only_right")] == [
            expected[name] for name in ("rows", "answers", "only_right")
        ]
        assert any("data set jsonl is not here" in note for note in found["notes"])  # type: ignore[attr-defined]
    done = avebench(place, *COMPARE, "--dataset", "jsonl", "--set", "misses=3")
    assert done.returncode == 2 and "jsonl is not here; there is only what is recorded" in done.stderr
    done = avebench(place, *COMPARE, "--recorded", "--examples", "1")
    assert done.returncode == 0 and "\n  test-0-dress\n" in done.stdout and "text: " not in done.stdout


def _strip(path: Path) -> None:
    """Make a counts file what it was before products and attributes were recorded."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    kept = [{name: line[name] for name in ("id", "slices", "counts")} for line in lines]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in kept).encode()))


def test_older_counts_are_completed_from_the_data_or_said_to_be_incomplete(place: Path) -> None:
    expected = _json(place, *COMPARE, "--recorded", "--data", "data")
    _unpack(place)
    for path in place.glob("results/*/*/*/*.counts.jsonl.gz"):
        _strip(path)
    assert _json(place, *COMPARE, "--recorded", "--data", "data") == expected
    found = _json(_clone(place), *COMPARE, "--recorded")
    notes = " ".join(found["notes"])  # type: ignore[arg-type]
    assert "120 test examples of 120 products" in notes and "totals only" in notes
    rows = _rows(found)
    assert rows["attribute", "Kind"]["words minus Six"] == {
        **dict.fromkeys(("low", "high", "p_randomisation", "p_bootstrap", "p_holm")),
        "difference": pytest.approx(100 * (1 - 2 * 50 / 110)),
    }
    assert rows["test", "TAG-F1"]["words minus Six"]["difference"] == pytest.approx(WORDS - SIX)


def _unpack(place: Path) -> None:
    """Put what is recorded into the earlier layout, whose files can be edited."""
    for folder in recorded_folders(place / "results"):
        unpack(folder)


def test_both_layouts_give_the_same_answer(place: Path) -> None:
    arguments = (*COMPARE, "--recorded", "--examples", "2")
    packed = [avebench(place, *arguments, *more).stdout for more in ((), ("--data", "data"), ("--format", "json"))]
    assert {path.name for path in place.glob("results/mine/*/*")} == {
        "counts.parquet", "predictions.parquet", "results.jsonl", "slices.md", "table.json", "table.md",
    }  # fmt: skip
    _unpack(place)
    assert len(list(place.glob("results/mine/*/*/*.json"))) == 8 and not list(
        place.glob("results/mine/*/results.jsonl")
    )
    for expected, more in zip(packed, ((), ("--data", "data"), ("--format", "json")), strict=True):
        assert expected and avebench(place, *arguments, *more).stdout == expected


def test_recording_again_packs_the_earlier_layout_and_keeps_other_rows(place: Path) -> None:
    (folder,) = recorded_folders(place / "results")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    run = ("run", "mine.toml", "--data", "data", "--plugin", "knowing.py", "--no-mlflow", "--record", "--seeds", "2")
    for arguments in (run, (*run, "--rows", "Six")):
        _unpack(place)
        assert avebench(place, *arguments).returncode == 0
        assert not list(folder.glob("*/"))
        again = {path.name: path.read_bytes() for path in folder.iterdir()}
        assert {name: again[name] for name in before if "table" not in name and "slices" not in name} == {
            name: content for name, content in before.items() if "table" not in name and "slices" not in name
        }


@pytest.mark.parametrize("name", ["results.jsonl", "counts.parquet"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_damaged_recorded_folder_is_named(place: Path, name: str, harm: str) -> None:
    path = next(place.glob(f"results/mine/*/{name}"))
    content = path.read_bytes()
    path.write_bytes(content[:-7] if harm == "cut" else content[:300] + b"x" + content[301:])
    if harm == "gone":
        path.unlink()
    done = avebench(place, *COMPARE, "--recorded")
    assert done.returncode == 2 and not done.stdout
    shown = path.relative_to(place)
    if (name, harm) == ("results.jsonl", "gone"):
        assert "No results of all of words, six are recorded in" in done.stderr
    else:
        assert f"The recorded {shown} cannot be read" in done.stderr and "git checkout" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(unseal(path.read_text()) | changes))


def test_unlike_runs_are_refused_with_the_fields_that_differ(place: Path) -> None:
    _unpack(place)
    for path in place.glob("results/mine/*/Six/?.json"):
        _edit(path, profile="quick", fingerprint="f" * 64)
    own = load_result(next(place.glob("results/mine/*/words/0.json"))).fingerprint[:12]
    done = avebench(place, *COMPARE, "--recorded")
    assert done.returncode == 2 and not done.stdout
    differing = f"fingerprint (words: {own}, Six: ffffffffffff); profile (words: paper, Six: quick)"
    assert f"words and Six cannot be compared: they differ in {differing}." in done.stderr


def test_other_repetitions_are_refused(place: Path) -> None:
    _unpack(place)
    next(place.glob("results/mine/*/Six/1.json")).unlink()
    done = avebench(place, *COMPARE, "--recorded")
    assert done.returncode == 2 and "repetitions (words: 0 1, Six: 0)" in done.stderr
    assert avebench(place, *COMPARE, "--recorded", "--seeds", "1").returncode == 0
    done = avebench(place, *COMPARE, "--recorded", "--seeds", "2")
    assert done.returncode == 2 and "Recorded repetitions: 0." in done.stderr


def test_counts_that_do_not_add_up_are_refused(place: Path) -> None:
    _unpack(place)
    path = next(place.glob("results/mine/*/Six/1.counts.jsonl.gz"))
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(
        gzip.compress(b"".join([*lines[:-1], lines[-1].replace(b'"tag": [1, 1, 1]', b'"tag": [0, 1, 1]')]))
    )
    done = avebench(place, *COMPARE, "--recorded")
    assert done.returncode == 2 and "do not add up to its tag" in done.stderr
    path.write_bytes(gzip.compress(b'{"id": "x", "counts": []}\n'))
    done = avebench(place, *COMPARE, "--recorded")
    assert done.returncode == 2 and "line 1: this is no line of a counts file" in done.stderr


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("words", "wrods"), "has no row 'wrods'. Did you mean 'words'"),
        (("words", "knowing"), "The model 'knowing' stands in several rows of 'Known beforehand': Six, two, told."),
        (("words", "WORDS"), "'WORDS' is the row 'words', which is named twice"),
        (("words", "later"), "not built yet"),
    ],
)
def test_names_of_rows(trained: Path, names: tuple[str, ...], message: str) -> None:
    experiment = load_experiment(trained / "mine.toml")
    with pytest.raises(AvebenchError, match=re.escape(message)):
        find_rows(names, experiment)
    assert [row.label for row in find_rows(["SIX", "words"], experiment)] == ["Six", "words"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("words",), "Name at least two rows"),
        (("words", "told"), "they differ in protocol (words: told nothing, told: oracle)"),
        (("words", "six", "--metric", "intent_accuracy"), "not available for words, Six"),
        (("words", "six", "--recorded", "--profile", "quick"), "leave --profile, --set"),
        (("words", "six", "--recorded", "--train-fraction", "0.5"), "No results of all of words, six are recorded"),
        (("words", "six", "--set", "mises=3"), "Did you mean 'misses'"),
    ],
)
def test_requests_that_cannot_be_carried_out(trained: Path, arguments: tuple[str, ...], message: str) -> None:
    done = avebench(trained, "compare", *arguments, *COMPARE[3:], "--data", "data")
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and not done.stdout


def test_another_metric_decides(trained: Path) -> None:
    content = _json(trained, *COMPARE, "--data", "data", "--metric", "tag_precision")
    assert "level in P: 100.00 against 100.00" in content["answers"][0]  # type: ignore[index]
    done = avebench(trained, *COMPARE, "--data", "data", "--metric", "cls_recall")
    assert "points of CLS-R: 91.67 against 75.00" in done.stdout


# ---------------------------------------------------------------------------------------------------------------------
# Rows of packaged experiments, and what is recorded in this repository


def test_the_first_table_with_all_rows_is_taken() -> None:
    names = ["dictionary", "VIRC-text"]
    having = []
    for name in experiment_names():
        loaded = open_experiment(name)
        labels = {row.label.casefold() for row in loaded.rows if not row.planned}
        # Rows under another name, or swept, are not looked through.
        if labels >= {"dictionary", "virc-text"} and loaded.kind == "table" and not loaded.alias:
            having.append(name)
    chosen, _, rows = choose_rows(names, None)
    assert chosen == having[0] and [row.label for row in rows] == ["dictionary", "virc-text"]
    assert choose_rows(names, "table6")[0] == "table6"
    with pytest.raises(AvebenchError, match=r"has a row 'virc-txet'\. Did you mean 'virc-text'"):
        choose_rows(["dictionary", "virc-txet"], None)
    # Each row stands in a table of its own.
    with pytest.raises(
        AvebenchError, match=r"all of these rows: V-IRC, zero input \(controls\), \+D ARM \(table7\)\. Name"
    ):
        choose_rows(["V-IRC, zero input", "+D ARM"], None)
    with pytest.raises(AvebenchError, match="The model 'dram' stands in several rows of 'Guidance of ARM"):
        find_rows(["dram"], open_experiment("table7"))


def _recorded(row: str) -> list[Result]:
    return [cell.result() for cell in recorded_cells(RECORDED) if cell.row == row]


def test_recorded_rows_of_this_repository_are_compared_without_training() -> None:
    arguments = ("compare", "dictionary", "virc-text", "--experiment", "table6", "--dataset", "demo", "--recorded")
    content = _json(ROOT, *arguments)
    means = [fmean(one.scores.metrics["tag_f1"].value for one in _recorded(row)) for row in ("dictionary", "virc-text")]
    whole = _rows(content)["test", "TAG-F1"]
    assert whole["dictionary minus virc-text"]["difference"] == pytest.approx(means[0] - means[1])
    assert content["banner"] == "This is not the table's own data set (mepave)."
    assert whole["columns"]["examples"] == _recorded("dictionary")[0].scores.examples


def _system(label: str, counts: list[ExampleCounts], protocol: str = "native", **changes: object) -> System:
    result = _recorded("dictionary")[0].model_copy(update=changes)
    return System(label, protocol, (result,), (counts,))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fingerprint", "f" * 64),
        ("split", "valid"),
        ("train_fraction", 0.5),
        ("profile", "paper"),
        ("chunk_scheme", "strict"),
        ("scorer_version", 99),
        ("repetition", 7),
    ],
)
def test_every_field_that_makes_runs_unlike_is_named(field: str, value: object) -> None:
    with pytest.raises(AvebenchError, match=rf"differ in {field}s? \(A: .*, B: {str(value)[:12]}\)\. Run"):
        check_comparable([_system("A", []), _system("B", [], **{field: value})])
    # Fields that say nothing of the test do not matter.
    check_comparable([_system("A", []), _system("B", [], revision="x", parameters=3, protocol="all")])
    with pytest.raises(AvebenchError, match="protocol"):
        check_comparable([_system("A", []), _system("B", [], "category")])


def test_other_examples_are_refused() -> None:
    one, other = (ExampleCounts(name, name, frozenset(), {}, None) for name in "xy")
    with pytest.raises(AvebenchError, match="B, repetition 0, was tested on other examples than A"):
        compare_systems([_system("A", [one]), _system("B", [other])], "tag_f1")


def test_headline_is_the_first_f1_or_accuracy() -> None:
    assert headline(["tag_precision", "tag_recall", "tag_f1", "cls_f1"]) == "tag_f1"
    assert headline(["mae_accuracy", "tag_f1"]) == "mae_accuracy"
    assert headline(["tag_recall"]) == "tag_recall"


def test_counts_file_gives_back_what_was_written(tmp_path: Path) -> None:
    written = [
        ExampleCounts("a", "p", frozenset({"x", "y"}), {"tag": Counts(1, 2, 3)}, {"tag": {"é": Counts(0, 1, 0)}}),
        ExampleCounts("b", "b", frozenset(), {"string": Counts(0, 0, 0)}, None),
    ]
    path = tmp_path / "counts.jsonl"
    path.write_text("".join(map(to_line, written)), encoding="utf-8")
    assert read_counts(path) == written
    assert [one.right("tag" if one.id == "a" else "string") for one in written] == [False, True]
