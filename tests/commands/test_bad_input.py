"""Bad input as a user meets it: one clear message with file, line and field, exit code 2, nothing half-written."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from inprocess import avebench_here
from made_up import gold_line, write_gold
from PIL import Image
from safetensors.torch import load_file, save_file

EXPERIMENT = """
title = "Floor"
dataset = "jsonl"
metrics = ["tag_f1"]
[[rows]]
label = "dictionary"
model = "dictionary"
reference = true
"""
GOOD = gold_line("p", "a red dress", {"Color": "red"}, image="p.png")


def _jsonl(folder: Path) -> Path:
    """Write a sound data set of three lines per split."""
    data = write_gold(folder / "data", lambda split: ({**GOOD, "id": f"{split}{number}"} for number in range(3)))
    Image.new("RGB", (4, 4)).save(data / "p.png")
    (folder / "mine.toml").write_text(EXPERIMENT)
    return data


def _line(**changes: object) -> bytes:
    return json.dumps({**GOOD, "id": "new", **changes}).encode() + b"\n"


FAULTS = {
    "truncated JSON": (b'{"id": "new", "text": "a re', ("line 4",)),
    "span outside the text": (_line(spans=[{"attribute": "Color", "start": 2, "end": 50}]), ("line 4", "spans[0]")),
    "duplicate id": (_line(id="train0"), ("line 4", "id", "train0")),
    "unknown key": (_line(spnas=[]), ("line 4", "spnas", "spans")),
    "no UTF-8": (b'{"id": "\xff"}\n', ("line 4", "UTF-8")),
    "missing field": (b'{"id": "new"}\n', ("line 4", "text")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_lines_of_a_data_set(tmp_path: Path, name: str) -> None:
    line, said = FAULTS[name]
    with (_jsonl(tmp_path) / "train.jsonl").open("ab") as stream:
        stream.write(line)
    for arguments in (
        ("data", "check", "jsonl", "--data", "data"),
        ("run", "mine.toml", "--data", "data", "--no-mlflow"),
    ):
        done = avebench_here(tmp_path, *arguments)
        printed = done.stdout + done.stderr
        assert done.returncode == 2, printed
        assert "train.jsonl" in printed and all(word in printed for word in said), printed
        assert "Traceback" not in printed
    assert not list(tmp_path.glob("runs/cells/*/result.json"))


PROFILE = {"id": "B1", "category": "c", "paragraphs": [{"text": "a red hat", "source": "title"}]}
EVIDENCE = {"value": "red", "pid": 0, "begin": 3, "end": 6}
COLUMNS = "id\timages\tcategory\ttexts\tattribute_names\tattribute_values\n"
TARGETS = '{"input": "red hat", "category": "c", "target_scores": {"Color": {"red": 0}}}\n'
PUBLIC = {
    "mave": (
        {"mave_positives.jsonl": {**PROFILE, "attributes": [{"key": "Color", "evidences": [EVIDENCE]}]}},
        "line 1, field 'attributes[0].evidences[0]': the characters 3 to 6 of paragraph 0 are 'ed ', not 'red'.",
    ),
    "implicitave": (
        {
            **{f"training_data/c/{name}.tsv": COLUMNS for name in ("train", "val")},
            "evaluation_data/c_annotated_final.tsv": f"{COLUMNS}B1\t\tc\t[Title] hat\tColor\tpink\n",
            "evaluation_data/options_c.json": {"Color": ["red", "blue"]},
        },
        "c_annotated_final.tsv, line 2, field 'attribute_values': 'pink' is not among the options of 'Color'",
    ),
    "extractgpt": ({"train.jsonl": TARGETS, "test.jsonl": TARGETS}, "line 1, field 'target_scores.Color.red'"),
}
"""Data set -> its files, one of them wrong, and what is said of that."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_formats(tmp_path: Path, name: str) -> None:
    files, said = PUBLIC[name]
    for place, content in files.items():
        (tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / place).write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "mine.toml").write_text(EXPERIMENT.replace("jsonl", name))
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow")
    assert done.returncode == 2 and said in done.stderr and done.stderr.count("avebench: ") == 1, done.stderr
    assert not list(tmp_path.glob("runs/cells/*/result.json"))
    checked = avebench_here(tmp_path, "data", "check", name, "--data", "data")
    assert checked.returncode == 2 and said in checked.stdout


def test_empty_file_and_missing_split(tmp_path: Path) -> None:
    data = _jsonl(tmp_path)
    (data / "valid.jsonl").write_text("")
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow")
    assert done.returncode == 2 and "valid.jsonl" in done.stderr and "empty" in done.stderr
    (data / "valid.jsonl").unlink()
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow")
    assert done.returncode == 2 and "valid.jsonl" in done.stderr


def test_missing_and_corrupt_picture(tmp_path: Path) -> None:
    data = _jsonl(tmp_path)
    (data / "p.png").write_bytes((data / "p.png").read_bytes()[:40])
    done = avebench_here(tmp_path, "data", "check", "jsonl", "--data", "data")
    assert done.returncode == 2 and "decoded" in done.stdout and "train.jsonl, line 1" in done.stdout
    (data / "p.png").unlink()
    done = avebench_here(tmp_path, "data", "check", "jsonl", "--data", "data")
    assert done.returncode == 2 and "p.png" in done.stdout and "missing" in done.stdout


MEPAVE = {
    "wrong column count": ("c_9\ts_9\ttext", "column"),
    "unbalanced tags": ("c_9\ts_9\tab\t<x>ab", "line 4"),
    "marks that do not rebuild the text": ("c_9\ts_9\tab\t<x>ac</x>", "line 4"),
}


@pytest.mark.parametrize("name", MEPAVE)
def test_lines_of_mepave(tmp_path: Path, name: str) -> None:
    line, said = MEPAVE[name]
    (tmp_path / "mepave").mkdir()
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    for split in ("train", "valid", "test"):
        lines = [f"c_{number}\ts_{split}{number}\tab\t<x>a</x>b" for number in range(3)] + [line] * (split == "train")
        (tmp_path / "mepave" / f"jdair.jave.{split}.txt").write_text("\n".join(lines) + "\n")
    for arguments in (
        ("data", "check", "mepave", "--data", "mepave"),
        ("run", "mine.toml", "--dataset", "mepave", "--data", "mepave", "--no-mlflow"),
    ):
        done = avebench_here(tmp_path, *arguments)
        printed = done.stdout + done.stderr
        assert done.returncode == 2, printed
        assert "jdair.jave.train.txt" in printed and "line 4" in printed and said in printed, printed
        assert "Traceback" not in printed


PREDICTIONS = {
    "missing id": ('{"id": "test0", "attributes": {}, "spans": []}\n', ("'test1'", "'test2'")),
    "unknown key": ('{"id": "test0", "atributes": {}, "spans": []}\n', ("line 1", "atributes", "attributes")),
    "truncated JSON": ('{"id": "test0", "attributes"', ("line 1",)),
    "neither spans nor pairs": ('{"id": "test0", "attributes": {}}\n', ("line 1", "spans")),
    "empty file": ("", ("empty",)),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_prediction_files(tmp_path: Path, name: str) -> None:
    content, said = PREDICTIONS[name]
    _jsonl(tmp_path)
    (tmp_path / "mine.jsonl").write_text(content)
    done = avebench_here(tmp_path, "score", "mine.jsonl", "--gold", "data/test.jsonl")
    assert done.returncode == 2, done.stdout
    assert "mine.jsonl" in done.stderr and all(word in done.stderr for word in said), done.stderr
    assert "Traceback" not in done.stderr


def test_bio_columns(tmp_path: Path) -> None:
    (tmp_path / "good.conll").write_text("a\tO\tO\nred\tB-Color\tI-Color\n\nblue\tB-Color\tO\n")
    lenient = avebench_here(tmp_path, "score", "good.conll", "--format", "json")
    assert lenient.returncode == 0, lenient.stderr
    strict = avebench_here(tmp_path, "score", "good.conll", "--scheme", "strict", "--format", "json")
    for done, predicted in ((lenient, 1), (strict, 0)):
        rows = {row["label"]: row["columns"] for row in json.loads(done.stdout)["rows"]}
        assert rows["tag_f1"]["predicted"] == predicted and rows["tag_f1"]["gold"] == 2
    (tmp_path / "bad.conll").write_text("a\tO\tO\nred\tB-Color\n")
    done = avebench_here(tmp_path, "score", "bad.conll")
    assert done.returncode == 2 and "bad.conll" in done.stderr and "line 2" in done.stderr


def test_typo_in_an_experiment(tmp_path: Path) -> None:
    _jsonl(tmp_path)
    (tmp_path / "mine.toml").write_text(EXPERIMENT.replace("reference", "refernce"))
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow")
    assert done.returncode == 2
    assert "mine.toml" in done.stderr and "rows.0.refernce" in done.stderr and "'reference'" in done.stderr


def test_a_folder_as_tracking_uri(tmp_path: Path) -> None:
    _jsonl(tmp_path)
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", variables={"MLFLOW_TRACKING_URI": "mlruns"})
    assert done.returncode == 2 and "'mlruns'" in done.stderr and not (tmp_path / "runs").exists()


def _nothing(_: Path) -> None:
    """Leave the folder without a single file."""


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _wrong_shapes(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = min(name for name, tensor in tensors.items() if tensor.dim() > 1)
    save_file({**tensors, name: tensors[name][:1].contiguous()}, folder / "model.safetensors")


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with (folder / "pytorch_model.bin").open("wb") as stream:
        pickle.dump({"weight": Path("anything")}, stream)


@pytest.mark.parametrize("role", ["text", "image"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nothing, "neither a folder here nor in the local Hugging Face cache"),
        (_no_config, "has no config.json"),
        (_wrong_shapes, "shape"),
        (_pickled, "never loaded"),
    ],
)
def test_an_encoder_that_cannot_be_used(
    damage: Callable[[Path], None], message: str, role: str, tmp_path: Path, tiny_bert: Path, tiny_resnet: Path
) -> None:
    _jsonl(tmp_path)
    options = '[[rows]]\nlabel = "DRAM"\nmodel = "dram"\noptions = { fusion = "tem", image_size = 8 }\n'
    budget = "[defaults.options.training]\nsteps = 2\n"
    (tmp_path / "mine.toml").write_text(EXPERIMENT + options + budget)
    encoders = {"text": tiny_bert, "image": tiny_resnet}
    if damage is not _nothing:
        encoders[role] = shutil.copytree(encoders[role], tmp_path / "encoder")
        damage(encoders[role])
    names = {name: str(folder) for name, folder in encoders.items()}
    if damage is _nothing:
        names[role] = "no/such-model"
    given = [part for name, place in names.items() for part in (f"--{name}-encoder", place)]
    done = avebench_here(tmp_path, "run", "mine.toml", "--data", "data", "--no-mlflow", *given)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and names[role] in done.stderr and "Traceback" not in done.stderr
    stored = [json.loads(path.read_text())["row"] for path in tmp_path.glob("runs/cells/*/result.json")]
    # What can be seen without loading weights stops the run; otherwise the row fails alone.
    assert stored == ([] if damage in (_nothing, _no_config) else ["dictionary"])
