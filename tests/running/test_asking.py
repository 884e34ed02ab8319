"""What systems are asked for under each protocol, against the definitions; one training; the range of another row."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from inprocess import avebench_here as avebench
from made_up import gold_line, write_gold

from avebench import load_model
from avebench.contracts.examples import AttributeSchema, Example, Prediction, Span, pairs_from_spans, prediction_of
from avebench.contracts.held_out import HeldOut
from avebench.contracts.model import Model, ModelConfig
from avebench.running.asking import Asking, for_training, mean_asked, not_asked
from avebench.running.material import Material, shown_to
from avebench.running.trained import Trained
from avebench.scoring.slices import SliceRule
from avebench.store.results import Store

SCHEMA = AttributeSchema(("Color", "Kind", "Size", "Fit"))


def example(number: int, *values: str, absent: tuple[str, ...] = (), category: str | None = None) -> Example:
    text = " ".join(f"{value.lower()}s" for value in values) or "nothing"
    spans = tuple(Span(value, text.index(value.lower()), text.index(value.lower()) + 2) for value in values)
    pairs = pairs_from_spans(text, spans)
    return Example(str(number), text, (), spans, pairs, absent=frozenset(absent), category=category)


TRAIN = [
    example(0, "Color", category="tops"),
    example(1, "Kind", "Size", category="tops"),
    example(2, "Fit", absent=("Size",), category="shoes"),
]


def test_each_protocol_asks_for_what_it_says() -> None:
    one = example(9, "Size", "Color", absent=("Fit",), category="tops")

    def asked(protocol: str, example: Example = one, **more: Any) -> tuple[str, ...] | None:
        return Asking(protocol, SCHEMA, TRAIN, **more).asked(example)

    assert asked("native") is None
    assert asked("all") == SCHEMA.attributes
    assert asked("oracle") == ("Color", "Size")
    assert asked("annotated") == ("Color", "Size", "Fit")
    assert asked("category") == ("Color", "Kind", "Size")
    assert asked("category", replace(one, category="hats")) == asked("category", replace(one, category=None))
    assert asked("category", replace(one, category=None)) == SCHEMA.attributes
    assert asked("predicted", ranges={"9": frozenset({"Fit", "Kind"})}) == ("Kind", "Fit")
    assert asked("oracle", example(1, "Unheard")) == ("Unheard",)
    assert mean_asked(Asking("oracle", SCHEMA).of([one, TRAIN[0]])) == 1.5
    assert mean_asked([one]) is None


def test_a_cap_keeps_the_attributes_of_most_training_examples() -> None:
    train = [*TRAIN, example(3, "Kind", category="tops"), example(4, "Kind", "Size", category="shoes")]
    one = example(9, "Size", "Color", "Fit", category="tops")
    # Of the training examples 3 have Kind, 2 Size, one each Color and Fit: the schema breaks ties.
    for cap, expected in (
        (1, ("Kind",)),
        (2, ("Kind", "Size")),
        (3, ("Color", "Kind", "Size")),
        (9, SCHEMA.attributes),
    ):
        assert Asking("all", SCHEMA, train, cap=cap).asked(one) == expected
    assert Asking("category", SCHEMA, train, cap=2).asked(one) == ("Kind", "Size")
    assert Asking("category", SCHEMA, train, cap=2).asked(replace(one, category="shoes")) == ("Kind", "Size")
    assert Asking("oracle", SCHEMA, train, cap=1).asked(one) == ("Color", "Size", "Fit")  # What is told is not cut.
    asked = Asking("all", SCHEMA, train, cap=2).of([one, TRAIN[0]])
    assert not_asked([one, TRAIN[0]], asked) == 3 and not_asked(TRAIN, TRAIN) is None


@pytest.mark.parametrize(("validation", "asked"), [("all", SCHEMA.attributes), ("annotated", ("Size", "Fit"))])
def test_validation_asks_for_everything_or_for_what_is_annotated(validation: str, asked: tuple[str, ...]) -> None:
    material = Material(TRAIN, [], [TRAIN[2]], [TRAIN[2]], SliceRule(TRAIN, TRAIN), SCHEMA)
    config = {"negatives": 1, "validation": validation}
    cell: Any = SimpleNamespace(
        control=None, model="suopentag", config=config, repetition=0, protocol="oracle", range_cell=None
    )
    shown = shown_to(cell, material, Store(Path("nowhere")))
    assert shown.valid[0].asked == asked and shown.test[0].asked == ("Fit",)


def test_training_asks_for_what_is_there_and_for_so_many_that_are_not() -> None:
    many = [replace(TRAIN[number % 3], id=str(number)) for number in range(300)]
    for negatives in (0, 1, 3, 25, "all"):
        for before, after in zip(many, for_training(many, SCHEMA, negatives, 0), strict=True):  # type: ignore[arg-type]
            own = set(before.pairs)
            others = set(after.asked or ()) - own
            assert own <= set(after.asked or ()) and len(set(after.asked or ())) == len(after.asked or ())
            assert len(others) == min(4 - len(own), 25 if negatives == "all" else negatives)
            if negatives:
                assert not before.absent or before.absent <= others  # What is known to be absent comes first.
    drawn = Counter(name for one in for_training(many, SCHEMA, 1, 0) for name in set(one.asked or ()) - set(one.pairs))
    assert all(20 < drawn[name] < 160 for name in SCHEMA.attributes)
    assert for_training(many, SCHEMA, 1, 0) == for_training(many, SCHEMA, 1, 0) != for_training(many, SCHEMA, 1, 1)


def lines(split: str) -> list[dict[str, Any]]:
    values = [{"color": colour, "kind": kind} for colour in ("red", "blue") for kind in ("dress", "sundress")]
    return [gold_line(f"{split}{n}", f"a {one['color']} {one['kind']}", one) for n, one in enumerate(values * 3)]


HEAD = """
title = "Asked"
dataset = "jsonl"
metrics = ["tag_f1"]
[defaults.options]
text_encoder = "{bert}"
[defaults.options.training]
steps = 4
validate_every = 4
batch_size = 8
learning_rates = {{ default = 1e-2 }}
"""
TABLE = (
    HEAD
    + """
[[rows]]
label = "words"
model = "dictionary"
[[rows]]
label = "all"
model = "suopentag"
protocol = "all"
options = {{ hidden = 8 }}
[[rows]]
label = "oracle"
model = "suopentag"
protocol = "oracle"
options = {{ hidden = 8 }}
[[rows]]
label = "predicted"
model = "suopentag"
protocol = "predicted"
range_from = "words"
options = {{ hidden = 8 }}
"""
)


def test_one_training_serves_all_protocols_and_a_range_comes_from_its_row(tmp_path: Path, tiny_bert: Path) -> None:
    write_gold(tmp_path / "data", lines)
    (tmp_path / "mine.toml").write_text(TABLE.format(bert=tiny_bert))
    run = ("run", "mine.toml", "--data", "data", "--no-mlflow", "--jobs", "2", "--format", "json")
    done = avebench(tmp_path, *run, "--rows", "all,oracle,predicted")
    assert done.returncode == 0, done.stderr
    # The row that is not shown was run for its range; the weights stand in one cell alone.
    assert len(list(tmp_path.glob("runs/cells/*/result.json"))) == 4
    assert len(list(tmp_path.glob("runs/cells/*/weights.safetensors"))) == 1
    again = avebench(tmp_path, *run)
    assert again.returncode == 0 and "started" not in again.stderr
    assert (
        "Attributes asked for per example: all 2.0; oracle 2.0; predicted 2.0 (those of words)."
        in json.loads(again.stdout)["notes"]
    )
    # Rows that were not trained themselves are used with the weights of the one that was.
    predict = ("predict", "--experiment", "mine.toml", "--text", "a red dress", "--format", "json", "--row")
    for row in ("all", "oracle", "predicted"):
        asked = avebench(tmp_path, *predict, row, "--ask", "kind", "--ask", "never seen")
        assert asked.returncode == 0, asked.stderr
        assert {one["label"] for one in json.loads(asked.stdout)["rows"]} <= {"kind", "never seen"}
        explain = ("explain", *predict[1:], row)
        named = json.loads(avebench(tmp_path, *explain, "--ask", "kind", "--ask", "never seen", "--ask", "kind").stdout)
        assert named["asked"] == ["kind", "never seen"] == list(named["ranges"]) == list(named["similarities"])
        assert named["prediction"]["pairs"].keys() == {one["label"] for one in json.loads(asked.stdout)["rows"]}
        everything = json.loads(avebench(tmp_path, *explain).stdout)
        assert everything["asked"] is None and set(everything["ranges"]) == {"color", "kind"}
    words = [word for word in explain if word not in {"--format", "json"}]
    shown = avebench(tmp_path, *words, "--ask", "never seen", "--png", "drawn")
    assert "never seen" in shown.stdout and "The CRF's best path decides" in shown.stdout and "inside" in shown.stdout
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["text-tags.png"]
    refused = avebench(tmp_path, *predict, "words", "--ask", "kind")
    assert refused.returncode == 2 and "--ask kind: dictionary finds attributes by itself" in refused.stderr
    refused = avebench(tmp_path, "explain", *predict[1:], "words", "--ask", "kind")
    assert refused.returncode == 2 and "--ask kind: dictionary finds attributes by itself" in refused.stderr


def test_a_closed_system_refuses_what_training_does_not_have(tmp_path: Path) -> None:
    write_gold(tmp_path / "data", lines)
    training = "training = { steps = 1, validate_every = 1, batch_size = 8 }"
    options = f'options = {{ attribute_vectors = "random", hidden = 4, {training} }}'
    row = f'[[rows]]\nlabel = "closed"\nmodel = "adatag"\nprotocol = "all"\n{options}\n'
    (tmp_path / "mine.toml").write_text(f'title = "Asked"\ndataset = "jsonl"\nmetrics = ["tag_f1"]\n{row}')
    assert avebench(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow").returncode == 0
    chosen = ("--experiment", "mine.toml", "--row", "closed", "--text", "a red dress", "--ask")
    shown = avebench(tmp_path, "explain", *chosen, "kind")
    assert shown.returncode == 0 and "weight of expert" in shown.stdout and "color" not in shown.stdout
    for command in ("predict", "explain"):
        refused = avebench(tmp_path, command, *chosen, "kind", "--ask", "colour")
        assert refused.returncode == 2 and not refused.stdout
        assert "adatag knows the attributes of its training alone and cannot be asked for 'colour'" in refused.stderr
    model = load_model(tmp_path / "mine.toml", "closed", out=tmp_path / "runs")
    assert set(model.explain("a red dress").ranges) == {"color", "kind"}
    assert set(model.explain("a red dress", asked=["kind"]).ranges) == {"kind"}


HELD_OUT = (
    HEAD
    + """
[[rows]]
label = "words"
model = "dictionary"
held_out = {{ folds = 2, training = false }}
[[rows]]
label = "new"
model = "aveqa"
protocol = "all"
held_out = {{ folds = 2 }}
[[rows]]
label = "new, told"
model = "aveqa"
protocol = "oracle"
held_out = {{ folds = 2 }}
[[rows]]
label = "known"
model = "aveqa"
protocol = "all"
held_out = {{ folds = 2, training = false }}
"""
)


def test_attributes_are_held_out_of_training_and_alone_are_tested(tmp_path: Path, tiny_bert: Path) -> None:
    write_gold(tmp_path / "data", lines)
    (tmp_path / "mine.toml").write_text(HELD_OUT.format(bert=tiny_bert))
    run = ("run", "mine.toml", "--data", "data", "--no-mlflow", "--jobs", "2", "--seeds", "2")
    done = avebench(tmp_path, *run, "--record", "--format", "json")
    assert done.returncode == 0, done.stderr
    parts = [HeldOut(folds=2).attributes(AttributeSchema(("color", "kind")), repetition) for repetition in range(2)]
    assert sorted(parts) == [("color",), ("kind",)]
    table = json.loads(done.stdout)
    named = f"Tested on held-out attributes alone, by repetition: #0 {parts[0][0]}; #1 {parts[1][0]}."
    assert named in table["notes"]
    results = {}
    for path in tmp_path.glob("runs/cells/*/result.json"):
        found = json.loads(path.read_text())
        results[found["row"], found["repetition"]] = found
        if found["row"] == "new":
            # The system is built with the other attribute alone.
            kept = json.loads((path.parent / "schema.json").read_text())
            assert kept["attributes"] == [parts[1 - found["repetition"]][0]]
    for (row, repetition), found in results.items():
        assert found["held_out_attributes"] == list(parts[repetition])
        scored = found["scores"]["metrics"]["tag_f1"]
        assert scored["gold"] == 12  # One value of it in each text.
        if row == "words":
            assert scored["value"] == 100
        else:
            assert found["mean_asked"] == 1
            assert set(found["scores"]["per_attribute"]) <= {*parts[repetition]}
    # One training without the attributes, and one with them, per repetition.
    assert len(list(tmp_path.glob("runs/cells/*/weights.safetensors"))) == 4
    # From the files of runs, and from what is recorded, the same counts.
    compare = ("compare", "words", "known", "--experiment", "mine.toml", "--seeds", "2", "--format", "json")
    first = avebench(tmp_path, *compare, "--data", "data")
    second = avebench(tmp_path, *compare, "--dataset", "jsonl", "--data", "data", "--recorded")
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    told, kept = json.loads(first.stdout), json.loads(second.stdout)
    assert told["rows"] and told["rows"] == kept["rows"]


@pytest.mark.parametrize(
    ("model", "protocol", "held_out", "said"),
    [
        ("adatag", "all", "{}", "adatag knows the attributes of its training alone"),
        ("aveqa", "category", "{}", "Give protocol = all, annotated or oracle beside held_out"),
        ("dram", "native", "{}", "dram knows the attributes of its training alone"),
        ("aveqa", "all", "{ folds = 1 }", "folds"),
        ("aveqa", "all", "{ folds = 3 }", "Give fewer folds"),
    ],
)
def test_what_cannot_be_held_out_is_refused(
    tmp_path: Path, tiny_bert: Path, model: str, protocol: str, held_out: str, said: str
) -> None:
    write_gold(tmp_path / "data", lines)
    row = f'[[rows]]\nlabel = "one"\nmodel = "{model}"\nprotocol = "{protocol}"\nheld_out = {held_out}\n'
    (tmp_path / "mine.toml").write_text(HEAD.format(bert=tiny_bert) + row)
    refused = avebench(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow", "--seeds", "3")
    assert refused.returncode == 2 and said in refused.stderr, refused.stderr
    assert not list(tmp_path.glob("runs/cells/*/result.json"))


class Curious(Model):
    """Answers with the names that it is asked for, and keeps what it was shown."""

    seen: ClassVar[list[Example]] = []

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> dict[str, Any]:
        return {}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        self.seen += examples
        return [prediction_of(one, [Span(name, 0, 1) for name in one.asked or ()]) for one in examples]


def test_what_is_asked_is_seen_and_the_gold_behind_it_is_not() -> None:
    examples = Asking("oracle", SCHEMA).of(TRAIN)
    model = Curious(ModelConfig(), SCHEMA, {})
    found, _ = Trained(model, {}, "cpu").predict(examples)
    assert [set(one.attributes) for one in found] == [{"Color"}, {"Kind", "Size"}, {"Fit"}]
    assert not any(one.spans or one.pairs or one.absent for one in model.seen)
    found, _ = Trained(model, {}, "cpu", asked=("Kind",)).predict(examples)
    assert [set(one.attributes) for one in found] == [{"Kind"}] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('protocol = "oracle"', 'protocol = "native"'), "Row 'oracle': suopentag cannot be run under the protocol"),
        (('range_from = "words"', ""), "protocol 'predicted' and range_from, the row that predicts, go together"),
        (('range_from = "words"', 'range_from = "word"'), "range_from names the row 'word', which this table does"),
        (('range_from = "words"', 'range_from = "all"'), "names the row 'all', which is itself told attributes"),
        (('model = "dictionary"', 'model = "dictionary"\nprotocol = "all"'), "dictionary cannot be run under"),
    ],
)
def test_protocols_that_cannot_be_are_refused(
    tmp_path: Path, tiny_bert: Path, change: tuple[str, str], message: str
) -> None:
    write_gold(tmp_path / "data", lines)
    (tmp_path / "mine.toml").write_text(TABLE.format(bert=tiny_bert).replace(*change))
    done = avebench(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow")
    assert done.returncode == 2 and message in done.stderr and not (tmp_path / "runs").exists()
