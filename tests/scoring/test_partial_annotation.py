"""Data whose annotation is partial, or without spans: the metric that leaves the unknown out, and what is said."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import avebench_here

from avebench.contracts.examples import Example, Prediction, Span
from avebench.data.annotation import annotation_notes, audit, stored_counts
from avebench.data.gold import read_gold
from avebench.data.locating import LocatedDataset
from avebench.data.opening import convert, open_dataset
from avebench.data.predictions import read_predictions
from avebench.files.errors import AvebenchError
from avebench.planning.experiment_files import load_experiment
from avebench.planning.published import published_of
from avebench.scoring.counts import annotated_counts
from avebench.scoring.metrics import score

ATTRIBUTES, VALUES = ("Color", "Gender", "Sport"), ("red", "blue", "Men", "n/a", "None")


def gold(pairs: dict[str, set[str]], absent: tuple[str, ...] = ()) -> Example:
    values = {name: frozenset(strings) for name, strings in pairs.items()}
    return Example("e", "text", (), pairs=values, absent=frozenset(absent))


def predicted(**pairs: Any) -> Prediction:
    values = {name: frozenset([one] if isinstance(one, str) else one) for name, one in pairs.items()}
    return Prediction("e", dict.fromkeys(values, 1.0), values)


def test_an_unknown_attribute_is_left_out_and_an_absent_one_counts() -> None:
    example = gold({"Gender": {"Men"}}, absent=("Color",))
    unknown = score([example], [predicted(Gender="Men", Sport="Golf")])
    absent = score([example], [predicted(Gender="Men", Color="red")])
    for one in (unknown, absent):
        assert one.metric("string_f1").value == pytest.approx(200 / 3)  # type: ignore[union-attr]
    assert unknown.metric("annotated_f1").value == 100  # type: ignore[union-attr]
    found = absent.metric("annotated_precision")
    assert found is not None and (found.value, found.tp, found.predicted, found.gold) == (50, 1, 2, 1)


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ({"Color": "red"}, (1, 1, 1)),  # One of several gold strings is enough.
        ({"Color": {"red", "crimson"}}, (1, 1, 1)),
        ({"Color": {"red", "blue"}}, (0, 1, 1)),
        ({"Color": "Red"}, (0, 1, 1)),  # Compared as is.
        ({"Color": "n/a"}, (0, 0, 1)),
        ({"Color": "None"}, (0, 0, 1)),
        ({}, (0, 0, 1)),
    ],
)
def test_what_is_right(answer: dict[str, Any], counts: tuple[int, int, int]) -> None:
    found = annotated_counts(gold({"Color": {"red", "crimson"}}), predicted(**answer))
    assert (found.tp, found.predicted, found.gold) == counts


@given(st.integers(0, 10**9))
def test_it_is_the_metric_of_extractgpt(seed: int) -> None:
    # By its own five classes, for predictions of one string each as there; see ExtractGPT, evaluation.
    drawn = random.Random(seed)
    classes = dict.fromkeys(("NN", "NV", "VN", "VC", "VW"), 0)
    examples, answers = [], []
    for number in range(6):
        values = {name: {drawn.choice(VALUES[:3])} for name in ATTRIBUTES if drawn.random() < 0.5}
        absent = tuple(name for name in ATTRIBUTES if name not in values and drawn.random() < 0.6)
        answer = {name: drawn.choice(VALUES) for name in ATTRIBUTES if drawn.random() < 0.6}
        for name in (*values, *absent):
            target, said = next(iter(values.get(name, ())), None), answer.get(name)
            said = None if said in ("n/a", "None") else said
            if target is None:
                classes["NN" if said is None else "NV"] += 1
            else:
                classes["VN" if said is None else "VC" if said == target else "VW"] += 1
        values_ = {name: frozenset(strings) for name, strings in values.items()}
        examples.append(Example(str(number), "", (), pairs=values_, absent=frozenset(absent)))
        pairs = {name: frozenset({value}) for name, value in answer.items()}
        answers.append(Prediction(str(number), dict.fromkeys(pairs, 1.0), pairs))
    scores = score(examples, answers)
    right = classes["VC"]
    said_some, there = right + classes["VW"] + classes["NV"], right + classes["VW"] + classes["VN"]
    precision = 100 * right / said_some if said_some else 0
    recall = 100 * right / there if there else 0
    for name, expected in (("annotated_precision", precision), ("annotated_recall", recall)):
        assert scores.metric(name).value == pytest.approx(expected)  # type: ignore[union-attr]


def test_tables_say_that_an_annotation_is_partial_or_canonical() -> None:
    example = Example(
        "e",
        "two dresses",
        ((0, 3), (4, 11)),
        (Span("Kind", 4, 11),),
        {"Kind": frozenset({"dress"})},
        absent=frozenset({"C"}),
    )
    partial, canonical = annotation_notes(stored_counts(audit({"test": [example]})))
    assert "1 times an attribute is known to be absent" in partial and "annotated F1 leaves it out" in partial
    assert canonical.startswith("Of 1 gold values in test, 1 are written otherwise than in the text")
    assert annotation_notes({}) == []


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def pairs_only(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        texts = ("a RED coat , red lining", "blue dress", "no value here")
        values = ({"Color": ["red"], "Kind": ["coat"]}, {"Color": ["navy blue", "blue"]}, {})
        records = [
            {"id": f"{split}{n}", "text": f"{text} {split}", "pairs": pairs}
            for n, (text, pairs) in enumerate(zip(texts, values, strict=True))
        ]
        (folder / f"{split}.jsonl").write_text(lines(*records))
    return folder


def test_a_tagger_is_refused_data_without_spans_and_their_values_can_be_found(tmp_path: Path, pairs_only: Path) -> None:
    said = avebench_here(
        tmp_path, "run", "table6", "--rows", "dictionary", "--dataset", "jsonl", "--data", "data", "--no-mlflow"
    )
    assert said.returncode == 2
    assert "have no spans, only value strings; dictionary learns from values marked in the text" in said.stderr
    assert "`avebench data spans jsonl --data data NEW_FOLDER` finds the values" in said.stderr.replace(
        str(tmp_path) + "/", ""
    )
    report = avebench_here(tmp_path, "report", "--format", "md")
    assert "dictionary of table6" in report.stdout and "failed: The training examples have no spans" in report.stdout
    notes = convert(LocatedDataset(open_dataset("jsonl", pairs_only, {})), tmp_path / "located")
    assert [notes[f"train: values {kind}"] for kind in ("found once", "found several times", "not found")] == [2, 1, 1]
    first, second, third = read_gold(tmp_path / "located" / "train.jsonl")
    assert {(span.attribute, span.start, span.end) for span in first.spans} == {
        ("Color", 2, 5),
        ("Kind", 6, 10),
        ("Color", 13, 16),
    }
    assert [(span.start, span.end) for span in second.spans] == [(0, 4)] and not third.spans
    assert second.pairs == {"Color": frozenset({"navy blue", "blue"})}  # What was annotated stays.
    ran = avebench_here(
        tmp_path, "run", "table6", "--rows", "dictionary", "--dataset", "jsonl", "--data", "located", "--no-mlflow"
    )
    assert ran.returncode == 0, ran.stderr
    with pytest.raises(AvebenchError, match="exists already"):
        convert(LocatedDataset(open_dataset("jsonl", pairs_only, {})), tmp_path / "located")


def test_predictions_need_no_attributes_where_pairs_say_it_all(tmp_path: Path) -> None:
    (tmp_path / "gold.jsonl").write_text(lines({"id": "1", "text": "red dress", "pairs": {"Color": ["red"]}}))
    (tmp_path / "found.jsonl").write_text(lines({"id": "1", "pairs": {"Color": ["red"], "Kind": []}}))
    (found,) = read_predictions(tmp_path / "found.jsonl", read_gold(tmp_path / "gold.jsonl"))
    assert dict(found.attributes) == {"Color": 1.0}


OWN = """
title = "Mine"
dataset = "demo"
metrics = ["tag_f1"]
[[rows]]
label = "dict"
model = "dictionary"
published = { FIGURES }
"""


def test_a_table_of_ones_own_brings_its_published_figures(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("FIGURES", 'tag_f1 = 59.19, source = "Doe 2020, Table 3"'))
    published = published_of(load_experiment(path).rows[0])
    assert published is not None and (published.figures, published.place) == ({"tag_f1": 59.19}, "Doe 2020, Table 3")
    ran = avebench_here(tmp_path, "run", "mine.toml", "--no-mlflow")
    assert "59.19" in ran.stdout and "Published: Doe 2020, Table 3." in ran.stdout
    assert avebench_here(tmp_path, "report", "mine.toml").returncode == 0
    assert "Doe 2020, Table 3" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ("tag_f1 = 59.19", "source"),
        ('source = "x"', "holds no figure"),
        ('tag_f2 = 1, source = "x"', "tag_f1"),
        ('tag_f1 = 101, source = "x"', "from 0 to 100"),
        ('tag_f1 = true, source = "x"', "from 0 to 100"),
    ],
)
def test_published_figures_that_cannot_be(tmp_path: Path, figures: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(OWN.replace("FIGURES", figures))
    with pytest.raises(AvebenchError, match=said):
        load_experiment(path)
