"""Controls show a system other pictures than the examples' own; what is trained normally is trained once."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import avebench_here
from made_up import gold_line, system, write_gold
from PIL import Image

from avebench.contracts.controls import Control, with_control
from avebench.contracts.examples import ZERO_PICTURE, Example, Picture
from avebench.files.errors import AvebenchError

SHUFFLED = Control(pictures="shuffled")


def _examples(products: list[str], seen: list[bool]) -> list[Example]:
    pictures = {product: Picture(product, Path(f"{product}.png")) for product in products}
    return [
        Example(str(number), "a", ((0, 1),), product_id=product, picture=pictures[product] if there else None)
        for number, (product, there) in enumerate(zip(products, seen, strict=True))
    ]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.booleans()), min_size=1, max_size=40))
def test_shuffled_pictures_are_a_derangement_of_the_products(drawn: list[tuple[str, bool]]) -> None:
    examples = _examples([product for product, _ in drawn], [there for _, there in drawn])
    owners = {example.product_id for example in examples if example.picture}
    if len(owners) < 2:
        with pytest.raises(AvebenchError, match="cannot be shuffled"):
            with_control(examples, SHUFFLED)
        return
    shown = with_control(examples, SHUFFLED)
    given_to: dict[str, set[str]] = {}
    for own, other in zip(examples, shown, strict=True):
        assert (own.id, own.text, own.spans) == (other.id, other.text, other.spans)
        if own.picture is None:
            assert other == own
            continue
        assert other.picture is not None and other.picture.name == other.product_id
        given_to.setdefault(own.product_id, set()).add(other.picture.name)
    assert all(len(names) == 1 and product not in names for product, names in given_to.items())
    assert {name for names in given_to.values() for name in names} == owners
    assert with_control(examples, SHUFFLED) == shown


def test_zero_and_none() -> None:
    examples = _examples(["a", "b"], [True, False])
    assert [e.picture for e in with_control(examples, Control(pictures="zero"))] == [ZERO_PICTURE, None]
    assert [e.picture for e in with_control(examples, Control(pictures="none"))] == [None, None]


def test_all_pictures_of_a_product_go_together() -> None:
    examples = [
        replace(example, further_pictures=tuple(Picture(f"{example.product_id}{n}", Path("x")) for n in range(number)))
        for number, example in enumerate(_examples(["a", "b", "c"], [True, True, True]))
    ]
    for own, other in zip(examples, with_control(examples, SHUFFLED), strict=True):
        names = [picture.name for picture in other.pictures]
        assert own.product_id != other.product_id
        assert names == [other.product_id, *(f"{other.product_id}{n}" for n in range("abc".index(other.product_id)))]
    zeroed = [example.pictures for example in with_control(examples, Control(pictures="zero"))]
    assert zeroed == [(ZERO_PICTURE,) * number for number in (1, 2, 3)]
    assert all(not example.pictures for example in with_control(examples, Control(pictures="none")))


READER = """
def predict(self, examples):
    return [answer(example, spans_of(example.text, self._seen(example.picture))) for example in examples]

def _seen(self, picture):
    # The value is read off the first pixel of the picture: red, or blue.
    if picture is None:
        return {}
    return {"Color": "red" if picture.open().getpixel((0, 0))[0] > 100 else "blue"}
"""
TABLE = """
title = "Controls"
dataset = "jsonl"
metrics = ["tag_f1"]
"""


def _data(folder: Path) -> None:
    """Write titles that hold both colours and pictures that settle which one is meant."""
    colours = ("red", "blue")
    data = write_gold(
        folder / "data",
        lambda split: (
            gold_line(f"{split}{number}", "red or blue", {"Color": colour}, image=f"{colour}.png")
            for number, colour in enumerate(colours * 4)
        ),
    )
    for name, colour in zip(colours, ((200, 0, 0), (0, 0, 200)), strict=True):
        Image.new("RGB", (8, 8), colour).save(data / f"{name}.png")


def _results(folder: Path) -> dict[str, dict[str, object]]:
    found = (json.loads(path.read_text()) for path in folder.glob("runs/cells/*/result.json"))
    return {result["row"]: result for result in found}


def test_a_system_that_reads_pictures_is_misled_by_others(tmp_path: Path) -> None:
    _data(tmp_path)
    (tmp_path / "reader.py").write_text(system("reader", READER, modality="V"))
    rows = [("own", "")] + [(name, f'control = {{ pictures = "{name}" }}') for name in ("shuffled", "zero", "none")]
    table = "".join(f'[[rows]]\nlabel = "{label}"\nmodel = "reader"\n{control}\n' for label, control in rows)
    (tmp_path / "mine.toml").write_text(TABLE + table)
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--plugin", "reader.py", "--no-mlflow")
    assert done.returncode == 0, done.stderr
    results = _results(tmp_path)
    f1 = {row: result["scores"]["metrics"]["tag_f1"]["value"] for row, result in results.items()}  # type: ignore[index]
    assert f1["own"] == 100 and f1["none"] == 0
    assert f1["zero"] == 50  # A black dot reads as blue, and every second product is.
    # Eight products with a picture each: the circle passes from one colour to the other and back at least once.
    assert f1["shuffled"] < 100
    assert results["own"]["control"] is None
    assert results["shuffled"]["control"] == {"pictures": "shuffled", "training": False}


def test_one_training_serves_all_tests_of_it(tmp_path: Path, tiny_bert: Path, tiny_resnet: Path) -> None:
    _data(tmp_path)
    common = 'model = "dram"\noptions = { fusion = "tem", image_size = 8 }\n'
    rows = {
        "shuffled": 'control = { pictures = "shuffled" }',
        "own": "",
        "zero": 'control = { pictures = "zero" }',
        "trained so": 'control = { pictures = "shuffled", training = true }',
    }
    training = "[defaults.options.training]\nsteps = 20\nbatch_size = 4\nlearning_rates = { default = 1e-2 }\n"
    table = "".join(f'[[rows]]\nlabel = "{label}"\n{common}{control}\n' for label, control in rows.items())
    (tmp_path / "mine.toml").write_text(TABLE + table + training)
    run = ("run", "mine.toml", "--data", "data", "--no-mlflow", "--text-encoder", str(tiny_bert))
    done = avebench_here(tmp_path, *run, "--set", f"image_encoder={tiny_resnet}", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    # What needs a training that is under way gives way to what does not, and keeps no process waiting.
    started = [line.removesuffix(" #0: started") for line in done.stderr.splitlines() if line.endswith("started")]
    assert started[:2] == ["shuffled", "trained so"] and sorted(started) == sorted(rows)
    assert "another process" not in done.stderr
    results = _results(tmp_path)
    trained = {path.parent.name for path in tmp_path.glob("runs/cells/*/weights.safetensors")}
    assert trained == {results["own"]["key"], results["trained so"]["key"]}
    assert results["shuffled"]["history"] == results["own"]["history"] != results["trained so"]["history"]
    assert "train" in results["own"]["seconds"] and "train" not in results["zero"]["seconds"]  # type: ignore[operator]
    assert set(results["own"]["diagnostics"]["initial"]) == {"related_to_embeddings", "picture_to_embeddings"}  # type: ignore[index]
