"""Attention over the pictures of chosen examples: what is drawn, when, and how the report shows it."""

import base64
import dataclasses
import io
import itertools
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commandline import environment
from inprocess import avebench_here
from made_up import system
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from avebench.analysis.attention import panels
from avebench.analysis.attention.chosen_examples import AttentionExamples, Shown
from avebench.analysis.attention.figure import (
    AttentionFigures,
    attention_folder,
    draw_attention_figures,
    read_attention_figures,
)
from avebench.analysis.attention.panels import PANELS, FigureRow, example_figure
from avebench.analysis.experiment_output import experiment_output
from avebench.contracts import registry
from avebench.contracts.examples import Example, Picture, Prediction, Span, pairs_from_spans
from avebench.contracts.explanation import Explanation
from avebench.contracts.model import Model
from avebench.contracts.tagging import character_units, word_units
from avebench.planning.plan import make_plans
from avebench.planning.request import Request
from avebench.report import attention
from avebench.running.experiment_run import ExperimentRun
from avebench.running.missing_cells import stored_results
from avebench.store.results import Store

SEER = """
def predict(self, examples):
    # Knows some words; `bold` finds "or" to be a size as well.
    words = {"Color": "red", "Kind": "dress"} | ({"Size": "or"} if self.config.bold else {})
    return [answer(example, spans_of(example.text, words)) for example in examples]

def explain(self, example):
    # Token n looks at the cell (n + hot) of 2 x 2.
    weights = np.full((len(example.tokens), 4), 0.1, dtype=np.float32)
    for token in range(len(weights)):
        weights[token, (token + self.config.hot) % 4] = 1.0
    return Explanation(example, self.predict([example])[0], attention=weights, attends="made up", cells=(2, 2))
"""
EXPLAINS = "import numpy as np\n\nfrom avebench.contracts.explanation import Explanation"
TOML = """
title = "Mine"
dataset = "jsonl"
metrics = ["tag_f1"]
rows = [
    { label = "shy", model = "seer" },
    { label = "bold", model = "seer", options = { bold = true, hot = 2 } },
]
[attention]
error = "wrong"
"""
EVIL = 'test "1" <b>'
TEXTS = {  # "or" is never a value: what bold finds there is wrong.
    "test 0": ("red dress", ("red", "dress")),
    EVIL: ("dress or <script>alert(1)</script>", ("dress",)),
    "test 2": ("blue dress or red", ("blue", "dress", "red")),
}
DRAWN = Path("runs/figures/mine-jsonl")
RUN = ("run", "mine.toml", "--data", "data", "--plugin", "seer.py", "--no-mlflow", "--format", "csv")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the experiment was run, recorded and drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "seer.py").write_text(
        system("seer", SEER, options="bold: bool = False\nhot: int = 0", imports=EXPLAINS, modality="T+V")
    )
    (folder / "mine.toml").write_text(TOML)
    (folder / "data").mkdir()
    Image.new("RGB", (40, 20), (200, 200, 200)).save(folder / "data" / "p.png")
    attributes = {"red": "Color", "blue": "Color", "dress": "Kind"}
    for split in ("train", "valid", "test"):
        lines = []
        for name, (text, values) in TEXTS.items():
            spans = [
                {"attribute": attributes[value], "start": text.index(value), "end": text.index(value) + len(value)}
                for value in values
            ]
            lines.append(
                json.dumps({"id": name.replace("test", split), "text": text, "spans": spans, "image": "p.png"})
            )
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines))
    done = avebench_here(folder, *RUN, "--record")
    assert done.returncode == 0, done.stderr
    assert "Attention over the pictures of 2 examples: runs/figures/mine-jsonl" in done.stderr
    registry.add_plugin_file(folder / "seer.py")
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of that folder, which is the current one."""
    copied = shutil.copytree(finished, tmp_path / "place")
    monkeypatch.chdir(copied)
    return copied


def _material() -> tuple[AttentionExamples, ExperimentRun]:
    """Return what drawing needs, of the current folder; nothing is drawn yet."""
    (DRAWN / "attention.json").unlink()
    plan = make_plans(Request("mine.toml", Path("runs"), data=Path("data")))[0]
    store = Store(Path("runs"))
    done = ExperimentRun([plan], store, stored_results(plan.cells(), store), {})
    chosen = experiment_output(done).attention
    assert chosen is not None
    return chosen, done


def test_one_drawing_per_example_names_group_and_example(finished: Path) -> None:
    """Shy misses a value of test 2, which is neither right nor wrong where wrong means a value that is not gold."""
    drawn = read_attention_figures(finished / DRAWN)
    assert drawn is not None and not drawn.notes
    evil, plain = drawn.figures
    assert (evil.group, evil.id, plain.group, plain.id) == ("shy right, bold wrong", EVIL, "both right", "test 0")
    assert evil.file == "shy-right-bold-wrong-test-1-b.png" and evil.words == ("dress", "or")
    assert evil.values == (("gold", "Kind = dress"), ("shy", "Kind = dress"), ("bold", "Kind = dress; Size = or"))
    for figure in drawn.figures:
        with Image.open(finished / DRAWN / figure.file) as picture:
            assert picture.format == "PNG" and picture.width > 700
    assert not list((finished / "results").rglob("*.png"))


def test_drawn_once_and_then_nothing_heavy_is_imported(place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in DRAWN.iterdir()}
    assert len(before) == 3
    code = (
        "import sys; sys.argv = ['avebench', *sys.argv[1:]]; from avebench.commands.app import app\n"
        "try:\n    app()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'matplotlib', 'transformers', 'pandas', 'mlflow', 'PIL.Image'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, *RUN], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Attention over the pictures of 2 examples" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in DRAWN.iterdir()} == before


def test_rows_are_drawn_with_their_own_attention(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    draw = panels.example_figure
    monkeypatch.setattr(panels, "example_figure", lambda *given: [calls.append(given), draw(*given)][1])
    drawn, anew = draw_attention_figures(*_material())
    assert anew and [figure.id for figure in drawn.figures] == [EVIL, "test 0"]
    title, gold, rows, units, marked = calls[0]
    assert (title, gold, list(units), marked) == ("shy right, bold wrong", "Kind = dress", [0, 1], 2)
    assert [row.label for row in rows] == ["shy", "bold"] and not any(row.remark for row in rows)
    # Token n looks at the cell n, and with bold at n + 2.
    hottest = [[int(row.explanation.maps()[unit].argmax()) for unit in units] for row in rows]
    assert hottest == [[0, 1], [2, 3]]
    assert rows[1].explanation.tags()[:2] == [("B-Kind",), ("B-Size",)]


def test_what_is_predicted_otherwise_than_it_was_scored_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = registry.plugin("models", "seer").load().Model, []
    explain, draw = model.explain, panels.example_figure

    def changed(self: Any, example: Example) -> Explanation:
        found = explain(self, example)
        return dataclasses.replace(found, prediction=Prediction(example.id, {}, {}, ())) if self.config.bold else found

    monkeypatch.setattr(model, "explain", changed)
    monkeypatch.setattr(panels, "example_figure", lambda *given: [calls.append(given[2]), draw(*given)][1])
    draw_attention_figures(*_material())
    remark = "Other values are predicted here and now than when it was scored."
    assert [[row.remark for row in rows] for rows in calls] == [["", remark]] * 2
    # Values in words are those of the table.
    assert [row.values for row in calls[0]] == ["Kind = dress", "Kind = dress; Size = or"]


def test_other_cells_are_drawn_in_the_place_of_those_before(place: Path) -> None:
    kept = AttentionFigures.model_validate_json((DRAWN / "attention.json").read_bytes())
    material = _material()
    (DRAWN / "old.png").write_bytes(b"")
    (DRAWN / "mine.png").write_bytes(b"not of the harness")
    old = kept.figures[0].model_copy(update={"file": "old.png"})
    (DRAWN / "attention.json").write_text(
        kept.model_copy(update={"digest": "other", "figures": (old,)}).model_dump_json()
    )
    drawn, anew = draw_attention_figures(*material)
    assert anew and drawn == kept
    names = {path.name for path in DRAWN.iterdir()}
    assert names == {"attention.json", "mine.png", *(figure.file for figure in kept.figures)}
    assert draw_attention_figures(*material) == (drawn, False)
    (DRAWN / kept.figures[0].file).unlink()  # One that is gone is drawn again.
    assert draw_attention_figures(*material) == (drawn, True)


def test_what_earlier_versions_drew_is_read(place: Path) -> None:
    now = json.loads((DRAWN / "attention.json").read_bytes())
    earlier = {"mark": now["digest"], "cells": now["cells"], "plates": now["figures"], "said": now["notes"]}
    kept = read_attention_figures(DRAWN)
    (DRAWN / "attention.json").unlink()
    (DRAWN / "drawn.json").write_text(json.dumps(earlier))
    assert kept is not None and kept.figures and read_attention_figures(DRAWN) == kept


def test_without_its_weights_a_row_is_not_drawn_and_the_table_stands(place: Path) -> None:
    _, run = _material()
    cell = run.plan.rows[1].cells[0]
    (run.store.folder(cell.key) / "vocabulary.json").unlink()
    done = avebench_here(place, *RUN)
    assert done.returncode == 0, done.stderr
    assert "shy" in done.stdout and "bold" in done.stdout
    said = [line for line in done.stderr.splitlines() if "ttention" in line]
    assert len(said) == 1 and said[0].startswith("The attention of bold is not drawn. Its cell")
    assert "no vocabulary.json" in said[0] and "--fresh" in said[0]
    assert not (DRAWN / "attention.json").exists()


def test_a_picture_that_is_gone_is_said_and_drawn_when_it_is_back(place: Path) -> None:
    material = _material()
    photo = Path("data/p.png").read_bytes()
    Path("data/p.png").unlink()
    drawn, _ = draw_attention_figures(*material)
    assert not drawn.figures and len(drawn.notes) == 2
    assert drawn.notes[0].startswith(f"{EVIL} is not drawn.") and "p.png" in drawn.notes[0]
    Path("data/p.png").write_bytes(photo)
    drawn, anew = draw_attention_figures(*material)
    assert anew and len(drawn.figures) == 2 and not drawn.notes


def test_what_a_row_does_not_explain_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = registry.plugin("models", "seer").load()
    model, explain = module.Model, module.Model.explain

    class Mute(Model):
        def predict(self, examples: Any) -> list[Prediction]:
            raise AssertionError("nobody asks")

    def blind(self: Any, example: Example) -> Explanation:
        return Explanation(example, self.predict([example])[0])

    material = _material()
    with monkeypatch.context() as patched:
        patched.setattr(model, "explain", lambda self, one: (blind if self.config.bold else explain)(self, one))
        drawn, _ = draw_attention_figures(*material)
        assert len(drawn.figures) == 2
        assert drawn.notes[0] == f"bold, {EVIL}: This system attends to no picture."
    for broken, sentence in (
        (blind, "shy: This system attends to no picture."),
        (None, "The attention of shy is not drawn. The system of the row 'shy' does not explain itself"),
        (lambda self, one: 1 / 0, "The attention of shy is not drawn. ZeroDivisionError: division by zero"),
    ):
        (DRAWN / "attention.json").unlink(missing_ok=True)
        with monkeypatch.context() as patched:
            if broken is None:
                patched.setattr(module, "Model", Mute)
            else:
                patched.setattr(model, "explain", broken)
            drawn, _ = draw_attention_figures(*material)
            assert not drawn.figures and drawn.notes[0].startswith(sentence)
            if drawn.notes[0].endswith("(--debug shows where)."):
                with pytest.raises(ZeroDivisionError):
                    draw_attention_figures(*material, debug=True)


# ---------------------------------------------------------------------------------------------------------------------
# One drawing


def _explained(hot: tuple[int, ...], text: str, units: Any = word_units, **changes: Any) -> Explanation:
    """Return an explanation in which token n looks at the cell hot[n] of 2 x 3, in a picture of 60 x 40."""
    tokens = units(text)
    gold = (Span("a long name of an attribute", *tokens[0]),)
    found = (*gold, Span("another long name", tokens[0][0], tokens[1][1]))
    picture = Picture("p", lambda: Image.new("RGB", (60, 40), (200, 200, 200)))
    example = Example("example", text, tokens, gold, pairs_from_spans(text, gold), picture=picture)
    prediction = Prediction("example", {}, pairs_from_spans(text, found), found)
    return Explanation(
        example, prediction, attention=np.eye(6, dtype=np.float32)[list(hot)], attends="made up", cells=(2, 3)
    )


def test_the_panels_are_hot_where_the_words_look() -> None:
    rows = [FigureRow(f"row {hot}", _explained(hot, "a b c"), "-") for hot in ((0, 4, 2), (5, 1, 3))]
    figure = example_figure("title", "gold", rows, (0, 1, 2), 3)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(float)
    seen = []
    for axes in (axes for axes in figure.axes if len(axes.images) == 2):
        box = axes.get_window_extent()
        left, right, top = box.x0, box.x1, pixels.shape[0] - box.y1
        across, down = (right - left) / 3, (right - left) / 3  # Cells are 20 x 20 of 60 x 40, from the top.
        redness = [
            (lambda cut: (cut[..., 0] - cut[..., 2]).mean())(
                pixels[
                    round(top + r * down + 8) : round(top + (r + 1) * down - 8),
                    round(left + c * across + 8) : round(left + (c + 1) * across - 8),
                ]
            )
            for r, c in itertools.product(range(2), range(3))
        ]
        seen.append(int(np.argmax(redness)))
        assert sorted(redness)[-1] > sorted(redness)[-2] + 20
    assert seen == [0, 4, 2, 5, 1, 3]


@pytest.mark.parametrize(("text", "units"), [("word " * 90, word_units), (("Wonderful" * 9 + " ") * 7, word_units)])
@pytest.mark.parametrize("shown", [2, PANELS])
def test_no_words_overlap_or_leave_the_drawing(text: str, units: Any, shown: int) -> None:
    count = len(units(text))
    explanation = _explained((0,) * count, text, units)
    label = "a row with quite a long label, longer than others"
    rows = [FigureRow(label, explanation, "value; " * 60, "A remark."), FigureRow("b", explanation, "nothing")]
    chosen = tuple(range(min(shown, count)))
    figure = example_figure("both of them wrong " * 9, "a = b; " * 80, rows, chosen, 99)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    panels = [axes for axes in figure.axes if len(axes.images) == 2]
    assert len(panels) == 2 * len(chosen)
    written = [*figure.texts, *(words for axes in panels for words in (axes.title, *axes.texts))]
    boxes = {words: words.get_window_extent(canvas.get_renderer()) for words in written}
    assert len(boxes) > 4 * len(panels)
    for words, box in boxes.items():
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1
        assert inside, words.get_text()
    for (one, box), (other, its) in itertools.combinations(boxes.items(), 2):
        assert not box.shrunk(0.98, 0.98).overlaps(its), (one.get_text(), other.get_text())


def test_few_words_take_turns_between_the_values() -> None:
    text = "一二三四五六七八"
    example = Example("x", text, character_units(text), (Span("a", 0, 5),))
    found = Prediction("x", {}, {}, (Span("b", 6, 8),))
    shown = Shown("group", example, (found, found), (0, 1, 2, 3, 4, 6, 7))
    assert [shown.few_units(most) for most in (1, 2, 3, 4, 9)] == [
        (0,), (0, 6), (0, 1, 6), (0, 1, 6, 7), shown.units
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# The report


class _Page(HTMLParser):
    """Collects the pictures, headings, tags and texts of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def _report() -> _Page:
    from avebench.report.writing import write_report

    path = write_report(["mine.toml"], out=Path("runs"), recorded=False, data=Path("data"), output=None, format="html")
    assert path is not None
    return _Page(path.read_text(encoding="utf-8"))


def test_the_report_holds_the_drawings_and_escapes_what_they_say(place: Path) -> None:
    page = _report()
    assert len(page.images) == 2
    for image in page.images:
        kind, _, content = str(image["src"]).partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.format == "JPEG" and picture.width > 700
    assert f"dress, or of {EVIL}" in str(page.images[0]["alt"])
    assert page.texts.index("shy right, bold wrong") < page.texts.index("both right")
    caption = f"{EVIL}: {TEXTS[EVIL][0]} (gold: Kind = dress; shy: Kind = dress; bold: Kind = dress; Size = or)"
    assert caption in page.texts
    assert page.tags.count("script") == 2 and "b" not in page.tags


def test_the_report_says_why_there_are_no_drawings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "BUDGET", 100)
    assert "2 more drawings are in runs/figures/mine-jsonl." in _report().texts
    kept = (DRAWN / "attention.json").read_text()
    key = next(iter(json.loads(kept)["cells"]))
    (DRAWN / "attention.json").write_text(kept.replace(key, "0" * 64))
    page = _report()
    assert not page.images and any("are of other cells. Run mine with the trained rows" in one for one in page.texts)
    shutil.rmtree(DRAWN)
    page = _report()
    assert not page.images
    assert any(one.startswith(f"There are no drawings of attention in {DRAWN}. Run mine") for one in page.texts)


def test_drawings_of_a_fraction_lie_apart(place: Path) -> None:
    plan = make_plans(Request("mine.toml", Path("runs"), data=Path("data"), train_fraction=0.5))[0]
    assert attention_folder(Path("out"), plan) == Path("out/figures/mine-jsonl-0.5")
