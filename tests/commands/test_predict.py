"""`avebench predict`: every line answered once, killed or not, broken or not; and which trained cell a row means."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import COMMAND, environment
from inprocess import avebench_here
from made_up import system
from PIL import Image
from small_table import EXPERIMENT

from avebench.commands.app import app
from avebench.files.cache import cache_folder
from avebench.files.errors import AvebenchError
from avebench.nn.features import CachedPatches
from avebench.planning.plan import make_plan
from avebench.planning.request import Request
from avebench.running.cell_run import Job, finish_cell
from avebench.running.chosen_cell import Choice, find_trained
from avebench.running.predict import answers, predict_file
from avebench.running.products import Product, read_products
from avebench.running.trained import SCHEMA, Trained, load_trained
from avebench.scoring.prediction_files import score_file
from avebench.store.results import Result, Store

BASE = ("predict", "--experiment", "mine.toml", "--row", "dictionary")


def line(number: int, **changes: Any) -> dict[str, Any]:
    colour = ("blue", "red")[number % 2]
    start = len(f"a dress {number} ")
    span = {"attribute": "Color", "start": start, "end": start + len(colour)}
    text = f"a dress {number} {colour}"
    return {"id": f"p{number}", "text": text, "spans": [span], "image": f"{number % 2}.png", **changes}


def write(path: Path, lines: list[Any]) -> Path:
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in lines))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(one) for one in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path, tiny_resnet: Path) -> Path:
    """Return a folder with data, an experiment, and its trained rows under `runs/`."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "data"
    data.mkdir()
    for number, colour in enumerate(("blue", "red")):
        Image.new("RGB", (8, 8), colour).save(data / f"{number}.png")
    for split, numbers in (("train", range(40)), ("valid", range(40, 50)), ("test", range(50, 70))):
        write(data / f"{split}.jsonl", [line(number) for number in numbers])
    (folder / "mine.toml").write_text(EXPERIMENT.format(bert=tiny_bert, resnet=tiny_resnet))
    request = Request(str(folder / "mine.toml"), folder / "runs", data=data, rows=["dictionary", "DRAM"])
    plan = make_plan(request)
    for cell in plan.cells():
        finish_cell(Job(cell, plan.name, request.out, "cpu", (), False), lambda kind, detail: None)
    return folder


def found(place: Path, row: str, **choice: Any) -> Result:
    return find_trained(Choice(str(place / "mine.toml"), row, place / "runs", **choice))


@pytest.fixture(scope="module")
def dram(place: Path) -> Trained:
    return load_trained(found(place, "DRAM"), Store(place / "runs"), "cpu")


# ---------------------------------------------------------------------------------------------------------------------
# What is answered


@pytest.mark.parametrize("row", ["dictionary", "DRAM"])
def test_a_loaded_system_predicts_what_its_run_predicted(place: Path, tmp_path: Path, row: str) -> None:
    result = found(place, row)
    store = Store(place / "runs")
    (place / "data").rename(place / "elsewhere")  # Its data set is not needed.
    try:
        trained = load_trained(result, store, "cpu")
    finally:
        (place / "elsewhere").rename(place / "data")
    said = predict_file(trained, result.key, place / "data" / "test.jsonl", tmp_path / "out.jsonl", "error")
    assert "20 products, 0 of them" in said
    stored = gzip.decompress((store.folder(result.key) / "predictions.jsonl.gz").read_bytes()).decode()
    assert (tmp_path / "out.jsonl").read_text() == stored
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


BROKEN = {
    '{"id": "cut", "text": "a re': (None, "not JSON"),
    '["no", "object"]': (None, "array"),
    json.dumps({"id": "lonely"}): ("lonely", "'text'"),
    json.dumps({"id": "empty", "text": " "}): ("empty", "'text'"),
    json.dumps({"id": "odd", "txet": "red", "text": "red"}): ("odd", "Did you mean 'text'"),
    json.dumps({"id": "surrogate", "te\ud800xt": "red"}): ("surrogate", "unknown key"),
    json.dumps({"id": 7, "text": "red"}): (None, "'id'"),
    json.dumps({"id": "p0", "text": "red"}): ("p0", "used before"),
    json.dumps({"id": "out", "text": "red", "image": "../secret.png"}): ("out", "'image'"),
    json.dumps({"id": "tokens", "text": "red", "tokens": [[0, 9]]}): ("tokens", "tokens[0]"),
}


def test_a_broken_line_is_answered_by_a_record_and_the_rest_goes_on(place: Path, tmp_path: Path) -> None:
    lines = [line(0, spans="gold is not looked at", absent=3)]
    for number, broken in enumerate(BROKEN, start=1):
        lines += [broken, "", line(number)]
    source = write(tmp_path / "in.jsonl", lines)
    with source.open("ab") as stream:
        stream.write(b'{"id": "\xff", "text": "red"}\n')
    done = avebench_here(place, *BASE, "--input", str(source), "--output", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    assert f"{2 * len(BROKEN) + 2} products, {len(BROKEN) + 1} of them not predicted" in done.stdout
    answered = read(tmp_path / "out.jsonl")
    assert [one["pairs"] for one in answered if "pairs" in one] == [
        {"Color": [("blue", "red")[number % 2]]} for number in range(len(BROKEN) + 1)
    ]
    errors = [one for one in answered if "error" in one]
    for number, (error, (name, said)) in enumerate(zip(errors, BROKEN.values(), strict=False)):
        assert (error["id"], error["line"]) == (name, 2 + 3 * number) and said in error["error"], error
    assert "UTF-8" in errors[-1]["error"] and errors[-1]["line"] == len(lines) + 1


def test_error_records_are_not_scored_and_whole_files_are(place: Path, tmp_path: Path) -> None:
    test, result = place / "data" / "test.jsonl", found(place, "dictionary")
    lines = read(test)
    source = write(tmp_path / "in.jsonl", [*lines[:3], {**lines[3], "txt": ""}, *lines[4:]])
    trained = load_trained(result, Store(place / "runs"))
    for target, products in (("broken.jsonl", source), ("whole.jsonl", test)):
        predict_file(trained, result.key, products, tmp_path / target, "error")
    broken = avebench_here(place, "score", str(tmp_path / "broken.jsonl"), "--gold", str(test))
    assert broken.returncode == 2
    assert all(word in broken.stderr for word in ("line 4", "p53", "'txt'", "predict again")), broken.stderr
    metric = score_file(tmp_path / "whole.jsonl", test).metrics["tag_f1"]
    assert metric is not None and metric.gold == 20
    assert (metric.tp, metric.value) == (result.scores.metrics["tag_f1"].tp, result.scores.metrics["tag_f1"].value)


def test_a_picture_that_cannot_be_read_stops_its_product_alone(place: Path, tmp_path: Path, dram: Trained) -> None:
    for name in ("0.png", "1.png"):
        (tmp_path / name).symlink_to(place / "data" / name)
    (tmp_path / "torn.png").write_bytes((place / "data" / "0.png").read_bytes()[:40])
    (tmp_path / "vast.bmp").write_bytes(
        b"BM" + bytes(12) + b"\x28\0\0\0\xff\xff\x0f\0\xff\xff\x0f\0\1\0\x18\0" + bytes(24)
    )
    wrong = {3: "nowhere.png", 4: "torn.png", 11: "vast.bmp"}
    lines = [line(number) | ({"image": wrong[number]} if number in wrong else {}) for number in range(16)]
    source = write(tmp_path / "in.jsonl", lines)
    said = predict_file(dram, "key", source, tmp_path / "out.jsonl", "error")
    assert "16 products, 3 of them not predicted" in said
    answered = read(tmp_path / "out.jsonl")
    assert [one["id"] for one in answered] == [one["id"] for one in lines]
    for number, one in enumerate(answered):
        if number in wrong:
            assert one["line"] == number + 1 and wrong[number] in one["error"]
            continue
        alone = dram.predict([next(example_of(source, number))])[0][0]
        assert one["attributes"] == pytest.approx(dict(alone.attributes), abs=1e-5)
        assert [span["start"] for span in one["spans"]] == [span.start for span in alone.spans or ()]
    blank = predict_file(dram, "key", source, tmp_path / "blank.jsonl", "blank")
    assert (
        "0 of them" in blank and "Pictures missing, taken as none: 1" in blank and "broken, taken as none: 2" in blank
    )


def example_of(source: Path, number: int) -> Iterator[Any]:
    for place, one in enumerate(read_products(source, "word", "error", Counter())):
        if place == number:
            assert isinstance(one, Product)
            yield one.example


def test_nothing_of_a_streamed_picture_is_kept(place: Path, tmp_path: Path, dram: Trained) -> None:
    Image.new("RGB", (8, 8), (9, 99, 9)).save(tmp_path / "new.png")
    source = write(tmp_path / "in.jsonl", [line(number, image="new.png") for number in range(3)])

    def rows() -> int:
        return sum(path.stat().st_size for path in (cache_folder() / "features").glob("*/rows.bin"))

    cached = dram.model.pictures._frozen()  # type: ignore[attr-defined]
    assert isinstance(cached, CachedPatches)
    before, known = rows(), len(cached._rows._identities)
    predict_file(dram, "key", source, tmp_path / "out.jsonl", "error")
    assert (rows(), len(cached._rows._identities)) == (before, known)
    kept, _ = answers(dram, list(read_products(source, "word", "error", Counter())))
    assert rows() > before and kept == read(tmp_path / "out.jsonl")


def test_one_product_is_printed(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    app([*BASE, "--text", "a red dress", "--format", "json"], standalone_mode=False)
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["label"], row["columns"]["values"]) for row in rows] == [("Color", "red")]


# ---------------------------------------------------------------------------------------------------------------------
# Killed and continued

SLOW = """
def predict(self, examples):
    time.sleep(0.05)
    return [Prediction(one.id, {"Color": len(one.text) / 100}, {}, ()) for one in examples]
"""


def test_a_killed_run_answers_every_line_once(place: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(system("slow", SLOW, imports="import time"))
    toml = (place / "mine.toml").read_text().replace('"dictionary"\nmodel = "dictionary"', '"slow"\nmodel = "slow"')
    (tmp_path / "mine.toml").write_text(toml)
    result = found(place, "dictionary")
    copied(place, result, tmp_path / "runs", "slow")
    Store(tmp_path / "runs").write(result.model_copy(update={"key": "slow", "row": "slow", "model": "slow"}))
    lines = [line(number) if number % 700 else {"id": f"p{number}"} for number in range(4000)]
    write(tmp_path / "in.jsonl", lines)
    command = ["predict", "--experiment", "mine.toml", "--row", "slow", "--input", "in.jsonl"]
    command += ["--output", "out.jsonl", "--plugin", "slow.py"]
    process = subprocess.Popen([COMMAND, *command], cwd=tmp_path, env=environment())
    deadline = time.monotonic() + 60
    while sum(path.stat().st_size for path in tmp_path.glob("out.jsonl.*.part")) < 40_000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "out.jsonl").exists()
    with next(tmp_path.glob("out.jsonl.*.part")).open("ab") as stream:
        stream.write(b'{"id": "p99", "attri')  # As a write that was cut off leaves it.
    resumed = avebench_here(tmp_path, *command)
    assert resumed.returncode == 0 and "Continues behind" in resumed.stderr, resumed.stderr
    assert "4,000 products, 6 of them not predicted" in resumed.stdout
    answered = read(tmp_path / "out.jsonl")
    assert [one["id"] for one in answered] == [one["id"] for one in lines]
    for number, (one, given) in enumerate(zip(answered, lines, strict=True)):
        assert (
            one["line"] == number + 1 if number % 700 == 0 else one["attributes"] == {"Color": len(given["text"]) / 100}
        )
    assert not list(tmp_path.glob("*.part*"))


class Meanwhile:
    """A system that does something else when it is asked for its second block."""

    def __init__(self, trained: Trained, act: Callable[[], None]) -> None:
        self.model, self.asked = trained.model, trained.asked
        self._trained, self._act, self._calls = trained, act, 0

    def predict(self, examples: Any) -> Any:
        self._calls += 1
        if self._calls == 2:
            self._act()
        return self._trained.predict(examples)


def interrupt() -> None:
    raise KeyboardInterrupt


def test_only_the_same_request_is_continued(place: Path, tmp_path: Path) -> None:
    trained = load_trained(found(place, "dictionary"), Store(place / "runs"))
    source = write(tmp_path / "in.jsonl", [line(number) for number in range(600)])
    target = tmp_path / "out.jsonl"
    predict_file(trained, "key", source, tmp_path / "whole.jsonl", "error")
    with pytest.raises(KeyboardInterrupt):
        predict_file(Meanwhile(trained, interrupt), "key", source, target, "error")  # type: ignore[arg-type]
    part = next(tmp_path.glob("out.jsonl.*.part"))
    assert len(read(part)) == 256
    other = write(tmp_path / "other.jsonl", [line(number) for number in range(700, 1000)])
    predict_file(trained, "key", other, target, "error")
    assert [one["id"] for one in read(target)] == [f"p{number}" for number in range(700, 1000)]
    with pytest.raises(AvebenchError, match="exists already"):
        predict_file(trained, "key", source, target, "error")
    target.unlink()
    predict_file(trained, "key", source, target, "error")
    assert not part.exists() and target.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_two_processes_do_not_write_one_file(place: Path, tmp_path: Path) -> None:
    trained = load_trained(found(place, "dictionary"), Store(place / "runs"))
    source = write(tmp_path / "in.jsonl", [line(number) for number in range(600)])
    refused = []

    def second() -> None:
        with pytest.raises(AvebenchError, match="Another process is writing") as error:
            predict_file(trained, "key", source, tmp_path / "out.jsonl", "error")
        refused.append(error)

    predict_file(Meanwhile(trained, second), "key", source, tmp_path / "out.jsonl", "error")  # type: ignore[arg-type]
    assert refused and len(read(tmp_path / "out.jsonl")) == 600


# ---------------------------------------------------------------------------------------------------------------------
# Which cell


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("dictionary", "--input", "nowhere.jsonl", "--output", "out.jsonl"), "nowhere.jsonl"),
        (("dictionary", "--input", "empty.jsonl", "--output", "out.jsonl"), "empty"),
        (("dictionary", "--input", "mine.toml", "--output", "no/folder/out.jsonl"), "no/folder"),
        (("dictionary", "--input", "mine.toml", "--output", "out.jsonl.gz"), "packed"),
        (("dictionary", "--input", "mine.toml"), "--output"),
        (("dictionary", "--text", "  "), "empty"),
        (("dictionary", "--text", "red", "--image", "nowhere.png"), "nowhere.png"),
        (("dictionary", "--text", "red", "--repetition", "3"), "run mine.toml --rows dictionary --seeds 4"),
        (("DRAM", "--text", "red", "--device", "cuda:99"), "cuda:99"),
        (("dictionnary", "--text", "red"), "Did you mean"),
        (("DRAM, shuffled", "--text", "red"), "no weights of its own"),
    ],
)
def test_requests_that_cannot_be_carried_out(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(place)
    (place / "empty.jsonl").touch()
    with pytest.raises(AvebenchError, match=said):
        app(["predict", "--experiment", "mine.toml", "--row", *arguments], standalone_mode=False)
    assert not list(place.glob("out*"))


def stored(place: Path, out: Path, **changes: Any) -> None:
    """Put a changed copy of the result of the dictionary into another folder of cells."""
    result = found(place, "dictionary").model_copy(update={"dataset_title": "", **changes})
    Store(out).write(result)


def test_the_cell_of_a_row_is_found_under_any_table_that_shares_it(place: Path, tmp_path: Path) -> None:
    stored(place, tmp_path, key="a" * 64, experiment="table6", row="dictionary", dataset="demo")
    assert find_trained(Choice("table7", "dictionary", tmp_path)).key == "a" * 64
    stored(place, tmp_path, key="b" * 64, experiment="table6", row="dictionary", dataset="mae", train_fraction=0.1)
    with pytest.raises(AvebenchError, match=r"2 trained cells.*aaaaaaaa \(data set demo.*bbbbbbbb \(data set mae"):
        find_trained(Choice("table6", "dictionary", tmp_path))
    for choice in ({"dataset": "mae"}, {"train_fraction": 0.1}, {"cell": "bb"}):
        assert find_trained(Choice("table6", "dictionary", tmp_path, **choice)).key == "b" * 64
    stored(place, tmp_path, key="c" * 64, experiment="table6", row="dictionary", dataset="mae", repetition=2)
    assert find_trained(Choice("table6", "dictionary", tmp_path, repetition=2)).key == "c" * 64
    with pytest.raises(AvebenchError, match=r"There are: .*repetition 2.*Train one with: avebench run .* --seeds 2"):
        find_trained(Choice("table6", "dictionary", tmp_path, repetition=1))


TABLE = """
title = "Mine"
dataset = "demo"
metrics = ["tag_f1"]
defaults = { options = { fusion = "tem" } }
[[rows]]
label = "mine"
model = "dram"
options = { arm = "prototype", PLACE }
"""


@pytest.mark.parametrize(
    ("options", "same"),
    [
        # The default of d', and another.
        ("tem_inner = 200", True),
        ("tem_inner = 100", False),
    ],
)
def test_a_row_that_spells_out_a_default_has_the_same_cells(
    place: Path, tmp_path: Path, options: str, same: bool
) -> None:
    stored(place, tmp_path, key="a" * 64, experiment="table6", row="DRAM", model="dram", profile="quick")
    table = tmp_path / "mine.toml"
    table.write_text(TABLE.replace("PLACE", options))
    choice = Choice(str(table), "mine", tmp_path)
    if same:
        assert find_trained(choice).key == "a" * 64
    else:
        with pytest.raises(AvebenchError, match="No trained cell"):
            find_trained(choice)


def test_a_cell_that_is_not_what_it_was_is_refused(place: Path, tmp_path: Path) -> None:
    result, store = found(place, "DRAM"), Store(tmp_path)
    other = result.weights["text_encoder"].model_copy(update={"sha256": "0"})
    changes: dict[str, dict[str, Any]] = {
        "implementation 1 of dram": {"implementation": 1},
        "text_encoder": {"weights": {"text_encoder": other}},
        "'gone'": {"config": {**result.config, "gone": 1}},
    }
    for said, change in changes.items():
        copied(place, result, tmp_path, "changed")
        with pytest.raises(AvebenchError, match=said):
            load_trained(result.model_copy(update={"key": "changed", **change}), store)
    for file in ("weights.safetensors", "vocabulary.json"):
        copied(place, result, tmp_path, file)
        (store.folder(file) / file).unlink()
        with pytest.raises(AvebenchError, match=r"cannot be read.*--fresh"):
            load_trained(result.model_copy(update={"key": file}), store)


def copied(place: Path, result: Result, out: Path, key: str) -> None:
    """Copy the folder of a cell into another folder of cells, under another key."""
    shutil.copytree(Store(place / "runs").folder(result.key), Store(out).folder(key), dirs_exist_ok=True)


def test_a_cell_without_its_attributes_asks_the_data_set(place: Path, tmp_path: Path) -> None:
    result = found(place, "dictionary")
    copied(place, result, tmp_path, result.key)
    (Store(tmp_path).folder(result.key) / SCHEMA).unlink()
    trained = load_trained(result, Store(tmp_path), data=place / "data")
    assert trained.model.schema.attributes == ("Color",)
    with pytest.raises(AvebenchError, match="--data DIR"):
        load_trained(result, Store(tmp_path))
    with pytest.raises(AvebenchError, match="is another"):
        load_trained(result.model_copy(update={"fingerprint": "0"}), Store(tmp_path), data=place / "data")
