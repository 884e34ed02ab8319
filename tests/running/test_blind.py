"""Nobody sees gold at test time: a plug-in that returns what gold it finds in what it is handed finds none."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from inprocess import avebench_here
from made_up import gold_line, system, write_gold
from small_table import ONE_ROW

from avebench.contracts.examples import Example, Picture, Span, blind

PEEKING = """
@classmethod
def learn_vocabulary(cls, config, schema, examples):
    assert any(example.spans for example in examples)  # Training is not blind.
    return {}

def predict(self, examples):
    found = []
    for example in examples:
        named = {*example.pairs, *example.absent, *(span.attribute for span in example.spans)}
        found.append(Prediction(example.id, dict.fromkeys(named, 1.0), example.pairs, example.spans))
    return found

def explain(self, example):
    return Explanation(example, self.predict([example])[0])
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("peeking")
    values = {"Color": "blue"}
    write_gold(folder / "data", lambda split: [gold_line(split, "a blue dress", values, absent=["Sleeve"])])
    (folder / "peeking.py").write_text(
        system("peeking", PEEKING, imports="from avebench.contracts.explanation import Explanation")
    )
    table = ONE_ROW.format(label="peeking", model="peeking", options="").replace('"demo"', '"jsonl"')
    (folder / "mine.toml").write_text(table.replace('["tag_f1"]', '["tag_f1", "cls_f1"]'))
    done = avebench_here(folder, "run", "mine.toml", "--data", "data", "--plugin", "peeking.py", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    return folder


def test_what_a_peeking_system_returns_scores_nothing(place: Path) -> None:
    (result,) = place.glob("runs/cells/*/result.json")
    metrics = json.loads(result.read_text())["scores"]["metrics"]
    assert metrics["tag_f1"] == {"value": 0.0, "tp": 0, "predicted": 0, "gold": 1}
    assert metrics["cls_f1"] == {"value": 0.0, "tp": 0, "predicted": 0, "gold": 1}


def test_products_and_explanations_are_blind_too(place: Path) -> None:
    chosen = ("--experiment", "mine.toml", "--row", "peeking", "--data", "data", "--plugin", "peeking.py")
    done = avebench_here(place, "predict", *chosen, "--input", "data/test.jsonl", "--output", "out.jsonl")
    assert done.returncode == 0, done.stderr
    assert json.loads((place / "out.jsonl").read_text()) == {"id": "test", "attributes": {}, "spans": [], "pairs": {}}
    done = avebench_here(place, "explain", *chosen, "--example", "test", "--format", "json")
    assert done.returncode == 0, done.stderr
    explained = json.loads(done.stdout)
    assert explained["prediction"]["spans"] == [] and explained["prediction"]["attributes"] == {}
    assert explained["gold"] == [[], ["B-Color"], []]  # The reader of an explanation sees it all the same.


def test_a_blind_example_keeps_all_but_gold() -> None:
    whole = Example(
        id="1",
        text="a blue dress",
        tokens=((0, 1), (2, 6)),
        spans=(Span("Color", 2, 6),),
        pairs={"Color": frozenset({"blue"})},
        product_id="p",
        picture=Picture("x", Path("x.png")),
        category="dress",
        absent=frozenset({"Sleeve"}),
        further_pictures=(Picture("y", Path("y.png")),),
    )
    assert [picture.name for picture in blind(whole).pictures] == ["x", "y"]
    assert blind(whole) == replace(whole, spans=(), pairs={}, absent=frozenset())
