"""`avebench explain`: what is drawn and printed shows what the explanation says, where it says it."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inprocess import avebench_here
from made_up import gold_line, system, write_gold
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from rich.console import Console

from avebench.analysis.attention.explanation_tables import attention_maps, range_table, token_table
from avebench.analysis.attention.overlays import draw_attention, tags_figure, write_overlays
from avebench.commands.explain import example_of
from avebench.contracts.examples import AttributeSchema, Example, Picture, Prediction, Span, pairs_from_spans
from avebench.contracts.explanation import Explanation
from avebench.contracts.model import Model
from avebench.contracts.tagging import word_units
from avebench.data.predictions import explanation_record
from avebench.files.errors import AvebenchError
from avebench.running.trained import Trained, explanations
from avebench.store.results import Result
from avebench.tables.render import render

TEXT = "navy $5$ dress / navy 黑"


def explained(attention: list[list[float]] | None = None, **changes: Any) -> Explanation:
    gold = (Span("Colour", 0, 4), Span("Length", 15, 16))
    example = Example("a/b", TEXT, word_units(TEXT), gold, pairs_from_spans(TEXT, gold))
    if attention is not None:
        example = Example(
            "a/b", TEXT, word_units(TEXT), picture=Picture("p", lambda: Image.new("RGB", (40, 20), (200, 200, 200)))
        )
        changes |= {"attention": np.array(attention, np.float32), "attends": "made up", "cells": (2, 3)}
    found = (Span("Colour", 0, 4), Span("Brand", 0, 8), Span("Colour", 17, 21))
    prediction = Prediction("a/b", {"Colour": 0.9, "Brand": 0.6}, pairs_from_spans(TEXT, found), found)
    return Explanation(example, prediction, **changes)


def one_hot(cell: int, value: float = 1.0) -> list[list[float]]:
    return [[value if place == cell else 0.0 for place in range(6)], [0.5] * 6]


def test_tags_of_values_that_overlap_stand_side_by_side() -> None:
    tokens = ["navy", "$", "5", "$", "dress", "/", "navy", "黑"]
    found = explained()
    assert found.tokens() == tokens
    assert found.tags()[:4] == [("B-Colour", "B-Brand"), ("I-Brand",), ("I-Brand",), ("I-Brand",)]
    assert found.tags()[4:] == [(), (), ("B-Colour",), ()]
    assert [tags for tags in found.gold_tags() if tags] == [("B-Colour",), ("B-Length",)]


@pytest.mark.parametrize("cell", range(6))
def test_the_overlay_is_hot_where_the_attention_is(cell: int) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 2), dpi=100)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    draw_attention(axes, explained(one_hot(cell)), 0)
    axes.set_title("")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].astype(float)  # (200, 400, 3), the picture fills it.
    redness = pixels[:, :, 0] - pixels[:, :, 2]
    rows, columns = np.divmod(np.arange(6), 3)
    seen = [
        redness[100 * row + 30 : 100 * row + 70, 133 * column + 30 : 133 * column + 100].mean()
        for row, column in zip(rows, columns, strict=True)
    ]
    assert int(np.argmax(seen)) == cell and np.sort(seen)[-2] < np.max(seen) - 20


def map_of(text: str, token: str) -> list[str]:
    """Return the two lines of cells under a token; the maps stand three cells of two characters wide."""
    lines = text.splitlines()
    line = next(number for number, content in enumerate(lines) if token in content)
    start = lines[line].index(token)
    return [lines[line + below][start : start + 6].ljust(6) for below in (1, 2)]


def printed(explanation: Explanation) -> str:
    console = Console(width=60, color_system=None, file=None)
    with console.capture() as capture:
        maps = attention_maps(explanation)
        assert maps is not None
        console.print(maps)
    return capture.get()


def test_a_terminal_map_is_dark_where_the_attention_is() -> None:
    for cell in range(6):
        marked = ["██" if place == cell else "  " for place in range(6)]
        assert map_of(printed(explained(one_hot(cell))), "navy") == ["".join(marked[:3]), "".join(marked[3:])]
    below = printed(explained(one_hot(4, -1.0)))
    assert map_of(below, "navy") == [" " * 6, "  ##  "]
    assert map_of(below, "$") == ["▒▒▒▒▒▒"] * 2


def test_tables_hold_scores_values_and_similarities() -> None:
    found = explained(
        ranges={"Colour": 0.9, "Brand": 0.6, "Length": 0.2, "Fit": 0.01},
        threshold=0.5,
        similarities={"Colour": np.linspace(0, 0.7, 7, dtype=np.float32)},  # The encoder cut the last token.
    )
    ranges = json.loads(render(range_table(found, "title"), "json"))
    assert [(row["label"], *row["columns"].values()) for row in ranges["rows"]] == [
        ("Colour", 0.9, "yes", "navy", "navy"),
        ("Brand", 0.6, "yes", "navy $5$", ""),
        ("Length", 0.2, "no", "", "/"),
    ]
    assert "1 other attribute scores below 0.05" in ranges["notes"][0]
    tokens = json.loads(render(token_table(found), "json"))["rows"]
    cosines = [row["cosine"]["Colour"] for row in tokens]
    assert cosines[:7] == pytest.approx([0, 0.7 / 6, 1.4 / 6, 0.35, 2.8 / 6, 3.5 / 6, 0.7]) and cosines[7] is None
    assert tokens[0]["columns"]["tags"] == "B-Colour B-Brand"


def asked_of(*names: str, **changes: Any) -> Explanation:
    """Return an explanation of a query system that was asked for some attributes by name, and finds a Colour."""
    found = explained(**changes)
    return replace(found, example=replace(found.example, asked=names or None), decides="Made up.")


def test_tables_of_a_system_that_is_asked_say_what_decided() -> None:
    half, rising = np.full(8, 0.5, np.float32), np.linspace(0, 0.7, 8, dtype=np.float32)
    scores = {"Colour": 0.9, "Brand": 0.4, "Fit": 0.01, "Season": 0.02, "Length": 0.04}
    found = asked_of(
        "Fit",
        ranges=scores,
        similarities={"Colour": -rising, "Season": rising},
        probabilities={"inside": {name: half * score for name, score in scores.items()}},
        mixtures={name: np.array([0.25, 0.75], np.float32) for name in scores},
    )
    ranges = json.loads(render(range_table(found, "title"), "json"))
    assert [row["label"] for row in ranges["rows"]] == ["Colour", "Brand", "Length", "Fit"]  # Named ones are shown.
    assert all("selected" not in row["columns"] for row in ranges["rows"])
    assert ranges["rows"][3]["weight of expert"] == {"expert 1": 0.25, "expert 2": 0.75}
    assert ranges["notes"] == ["Made up.", "1 other attribute scores below 0.05."]
    tokens = json.loads(render(token_table(found), "json"))["rows"]
    assert set(tokens[0]["cosine"]) == {"Colour"} and set(tokens[0]["inside"]) == {"Colour", "Brand", "Fit", "Length"}
    assert tokens[7]["cosine"]["Colour"] == pytest.approx(-0.7) and tokens[7]["inside"]["Fit"] == pytest.approx(0.005)
    record = explanation_record(found)
    assert record["asked"] == ("Fit",) and record["decides"] == "Made up." and set(record["mixtures"]) == set(scores)
    assert set(record["probabilities"]["inside"]) == set(scores)  # A program gets what is not shown, too.
    selected = json.loads(render(range_table(replace(found, threshold=0.3), ""), "json"))
    assert [row["columns"]["selected"] for row in selected["rows"]] == ["yes", "yes", "no", "no"]


def test_each_kind_of_token_score_has_a_drawing() -> None:
    rows = {"Colour": np.linspace(0, 0.7, 8, dtype=np.float32)}
    for kinds in ({}, {"begin": rows}, {"begin": rows, "end": rows}):
        figure = tags_figure(asked_of(similarities=rows, probabilities=kinds, ranges={"Colour": 0.9}))
        drawn = [axes for axes in figure.axes if axes.images]
        assert len(drawn) == 1 + len(kinds)
        for axes, limits in zip(drawn, [(-0.7, 0.7), (0, 1), (0, 1)], strict=False):
            assert axes.images[0].get_clim() == pytest.approx(limits)
            assert axes.get_yticklabels()[0].get_text() == "Colour  0.90"
        assert "numbers: probability of a value" in drawn[0].get_title(loc="left")


def test_drawings_are_written_for_any_text(tmp_path: Path) -> None:
    full = explained([[-0.1] * 6] * 7, ranges={"Colour": 0.9}, threshold=0.5)
    files, whole = write_overlays(full, tmp_path / "new" / "folder")
    assert [path.name for path in files[:3]] == [
        "a-b-tags.png",
        "a-b-attention-00-navy.png",
        "a-b-attention-01-row.png",
    ]
    assert len(files) == 8 and whole in (True, False)
    for path in files:
        with Image.open(path) as picture:
            assert picture.width > 300 and len(set(picture.convert("L").resize((30, 20)).tobytes())) > 5
    plain, _ = write_overlays(explained(), tmp_path)
    assert [path.name for path in plain] == ["a-b-tags.png"]


def test_requests_that_cannot_be_carried_out() -> None:
    with pytest.raises(AvebenchError, match="'dictionary' does not explain itself"):
        explanations(Trained(Silent({}, AttributeSchema(()), {}), {}, "cpu"), "dictionary")(explained().example)
    result = Result.model_construct(dataset="demo", dataset_options={})
    with pytest.raises(AvebenchError, match=r"no example 'demo-test-00002-7'; it has 500, for instance demo-test-0000"):
        example_of(result, "test", "demo-test-00002-7", None)
    with pytest.raises(AvebenchError, match="no split 'tset'"):
        example_of(result, "tset", "demo-test-00002-1", None)
    assert example_of(result, "test", "demo-test-00002-1", None).text.startswith("Marlowe presents")


class Silent(Model):
    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        return []


EXPLAINING = """
def predict(self, examples):
    return [answer(example, (Span("Color", *example.tokens[0]),)) for example in examples]

def explain(self, example):
    weights = np.eye(len(example.tokens), 4, dtype=np.float32)
    seen = {} if example.picture is None else {"attention": weights, "attends": "made up", "cells": (2, 2)}
    return Explanation(example, self.predict([example])[0], **seen)
"""
EXPLAINS = "import numpy as np\n\nfrom avebench.contracts.explanation import Explanation"
TOML = """
title = "Mine"
dataset = "jsonl"
metrics = ["tag_f1"]
rows = [{ label = "first", model = "first" }]
"""


def test_as_a_user_explains(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text(system("first", EXPLAINING, imports=EXPLAINS, modality="T+V"))
    (tmp_path / "mine.toml").write_text(TOML)
    write_gold(
        tmp_path / "data", lambda split: [gold_line(f"{split} 1", "blue dress", {"Color": "blue"}, image="p.png")]
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "data" / "p.png")
    plugin = ("--plugin", "first.py", "--data", "data")
    ran = avebench_here(tmp_path, "run", "mine.toml", "--no-mlflow", *plugin)
    assert ran.returncode == 0, ran.stderr
    base = ("explain", "--experiment", "mine.toml", *plugin, "--row", "first")
    done = avebench_here(tmp_path, *base, "--example", "test 1", "--png", "drawn")
    assert done.returncode == 0, done.stderr
    for said in ("first: blue dress", "B-Color", "made up", "██"):
        assert said in done.stdout, done.stdout
    assert "3 PNG files in drawn" in done.stderr
    names = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert names == {"test-1-tags.png", "test-1-attention-00-blue.png", "test-1-attention-01-dress.png"}
    alone = avebench_here(tmp_path, *base, "--text", "red dress", "--format", "json")
    found = json.loads(alone.stdout)
    assert found["tags"] == [["B-Color"], []] and found["attention"] is None
    assert found["prediction"]["pairs"] == {"Color": ["red"]}
