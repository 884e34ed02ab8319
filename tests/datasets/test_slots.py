"""The three-file slot-filling format, on made-up utterances and, where it is here, on SNIPS."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from earlier_layout import unpack
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import avebench_here
from made_up import system
from seqeval.metrics.sequence_labeling import get_entities

from avebench.contracts.examples import INTENT, UNKNOWN, Example, Prediction, Span
from avebench.data.opening import convert, open_dataset
from avebench.datasets import slots
from avebench.files.errors import AvebenchError
from avebench.planning.experiment_files import open_experiment
from avebench.scoring.metrics import score
from avebench.scoring.slices import SliceRule
from avebench.store.recorded import recorded_folders

Line = tuple[str, str, str]
TRAIN: list[Line] = [
    ("play  jazz by ada 9 ", "O B-genre O B-artist I-artist", "Play"),
    ("weather in rome", "O O B-city", "Weather"),
    ("stop", "O", "Stop"),
]


def write(folder: Path, train: Sequence[Line] = TRAIN, valid: Sequence[Line] = TRAIN, **more: Sequence[Line]) -> Path:
    for split, lines in {"train": train, "valid": valid, "test": TRAIN, **more}.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        for name, column in zip(slots.FILES, zip(*lines, strict=True), strict=True):
            (folder / split / name).write_text("".join(f"{cell}\n" for cell in column), encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> slots.Dataset:
    return slots.Dataset(slots.CARD, folder, slots.Options(**options))


def words(example: Example) -> list[str]:
    return [example.text[start:end] for start, end in example.tokens]


def test_the_text_stays_as_stored_and_the_intent_is_a_pair(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path))
    first, _, last = reader.read("train")
    assert (first.id, first.text) == ("train-1", "play  jazz by ada 9 ")
    assert words(first) == ["play", "jazz", "by", "ada", "9"]
    assert first.spans == (Span("genre", 6, 10), Span("artist", 14, 19))
    assert first.pairs == {"genre": {"jazz"}, "artist": {"ada 9"}, INTENT: {"Play"}}
    assert last.spans == () and last.pairs == {INTENT: {"Stop"}}
    schema = reader.schema()
    assert schema.attributes == ("artist", "city", "genre") and schema.intents == ("Play", "Stop", "Weather")
    assert list(reader.check()) == []
    assert reader.notes == {"train utterances": 3, "valid utterances": 3, "test utterances": 3, "mentions": 9}


TAG = st.sampled_from(["O", "B-a", "I-a", "B-b-c", "I-b-c", "I-d.e"])


@settings(deadline=None)  # Files are written.
@given(tags=st.lists(TAG, min_size=1, max_size=9))
def test_chunks_are_those_of_seqeval_without_its_strict_mode(
    tmp_path_factory: pytest.TempPathFactory, tags: list[str]
) -> None:
    utterance = " ".join(f"w{number}" for number in range(len(tags)))
    folder = write(tmp_path_factory.mktemp("slots"), [(utterance, " ".join(tags), "x")])
    (example,) = dataset(folder).read("train")
    starts, ends = zip(*example.tokens, strict=True)
    found = [(span.attribute, starts.index(span.start), ends.index(span.end)) for span in example.spans]
    assert found == get_entities(tags)


UNSEEN: list[Line] = [
    ("play ada in rome", "O B-artist I-city I-city", "Play"),
    ("snow oslo", "O I-city", "Snow"),
    ("rome", "B-city", "Weather"),
]


def test_intents_and_tags_that_training_lacks_are_unknown_in_gold_too(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path, test=UNSEEN))
    mixed, unseen, seen = reader.read("test")
    # B-artist _UNK _UNK: one chunk of empty type after the artist; O _UNK: no chunk at all.
    assert mixed.spans == (Span("artist", 5, 8), Span("", 9, 16))
    assert mixed.pairs == {"artist": {"ada"}, INTENT: {"Play"}}
    assert unseen.spans == () and unseen.pairs == {INTENT: {UNKNOWN}}
    assert seen.spans == (Span("city", 0, 4),)
    assert reader.notes == {"test: unseen tags": 3, "test: unseen intents": 1, "test: values that begin with I": 2}
    guesses = [Prediction(e.id, {}, {INTENT: frozenset({UNKNOWN})}, ()) for e in (mixed, unseen, seen)]
    figures = score([mixed, unseen, seen], guesses).metrics()
    assert figures["intent_accuracy"] is not None and figures["intent_accuracy"].tp == 1
    assert figures["sentence_accuracy"] is not None and figures["sentence_accuracy"].tp == 1
    assert figures["tag_f1"] is not None and figures["tag_f1"].gold == 3
    assert figures["cls_f1"] is not None and figures["cls_f1"].gold == 2
    assert figures["string_f1"] is not None and figures["string_f1"].gold == 2
    assert reader.schema().intents == ("Play", "Stop", "Weather")
    assert list(reader.check()) == [] and reader.notes["unseen tags"] == 3


def test_unseen_labels_can_be_kept(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path, test=UNSEEN), unseen="keep")
    mixed, unseen, _ = reader.read("test")
    assert mixed.spans == (Span("artist", 5, 8), Span("city", 9, 16))
    assert unseen.pairs == {"city": {"oslo"}, INTENT: {"Snow"}}
    assert reader.schema() == dataset(tmp_path).schema()


def test_words_of_digits_become_0_if_wanted(tmp_path: Path) -> None:
    line = ("at  1110 or 7pm 05 ", "O B-time O B-time I-time", "Play")
    folder = write(tmp_path, [line], [line], test=[line])
    (kept,) = dataset(folder).read("train")
    (zero,) = dataset(folder, digits="zero").read("train")
    assert kept.text == line[0] and zero.text == "at  0 or 7pm 0 "
    assert [zero.text[span.start : span.end] for span in zero.spans] == ["0", "7pm 0"]
    assert dataset(folder).fingerprint() != dataset(folder, digits="zero").fingerprint()


def test_dev_is_another_name_of_valid(tmp_path: Path) -> None:
    write(tmp_path, valid=UNSEEN[2:])
    (tmp_path / "valid").rename(tmp_path / "dev")
    reader = dataset(tmp_path)
    assert [example.id for example in reader.read("valid")] == ["valid-1"]
    assert [path.parent.name for path in reader.annotation_files()][3:6] == ["dev"] * 3


@pytest.mark.parametrize(
    ("line", "file", "field", "said"),
    [
        (("a b", "O", "x"), "seq.out", None, "1 tags for the 2 words of train/seq.in"),
        (("a b", "O B-", "x"), "seq.out", "tag 2", "'B-' is no BIO tag"),
        (("a b", "X-x O", "x"), "seq.out", "tag 1", "'X-x' is no BIO tag"),
        (("", "O", "x"), "seq.in", None, "the utterance is empty"),
        (("a", "O", " "), "label", None, "the intent is empty"),
    ],
)
def test_a_wrong_line_names_file_line_and_field(
    tmp_path: Path, line: Line, file: str, field: str | None, said: str
) -> None:
    reader = dataset(write(tmp_path, [TRAIN[0], line]))
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == (f"train/{file}", 2, field) and said in fault.message
    for split in ("train", "test"):  # Test needs the labels of training.
        with pytest.raises(AvebenchError, match=f"train/{file}, line 2"):
            list(reader.read(split))


def test_every_fault_is_listed(tmp_path: Path) -> None:
    write(tmp_path, [("a b", "x y", ""), TRAIN[0]], test=[("a", "O O", "Play")])
    (tmp_path / "valid" / "seq.in").write_bytes(b"fine\nf\xffne\n\n")
    faults = list(dataset(tmp_path).check())
    assert [(fault.file, fault.line) for fault in faults] == [
        *[("train/seq.out", 1)] * 2,
        ("train/label", 1),
        ("valid/seq.out", 1),
        ("valid/seq.in", 2),
        ("valid/seq.in", 3),
        ("test/seq.out", 1),
    ]
    assert "byte 2 is not UTF-8" in faults[4].message


def test_files_that_end_early_are_missing_or_empty(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "train" / "seq.in").write_text("play  jazz by ada 9\n\n\n\n", encoding="utf-8")
    (tmp_path / "valid" / "label").write_text("Play\nWeather\n", encoding="utf-8")
    (tmp_path / "test" / "seq.out").write_text("", encoding="utf-8")
    said = [str(fault) for fault in dataset(tmp_path).check()]
    assert said[:2] == [f"train/seq.in, line {line}: the utterance is empty." for line in (2, 3)]
    assert said[2].startswith("valid/label, line 3: the file ends before this line, which valid/seq.in has.")
    assert said[3].startswith("test/seq.out: the file is empty") and len(said) == 4
    (tmp_path / "test" / "seq.out").unlink()
    assert "test/seq.out: the file cannot be read" in [str(fault) for fault in dataset(tmp_path).check()][-1]
    with pytest.raises(AvebenchError, match=r"seq\.out is missing"):
        dataset(tmp_path).fingerprint()
    for name in slots.FILES:
        (tmp_path / "train" / name).write_text("\n \n", encoding="utf-8")
    with pytest.raises(AvebenchError, match=r"train/seq\.in: the file holds no utterance"):
        dataset(tmp_path).schema()


def test_blank_lines_at_the_end_do_no_harm(tmp_path: Path) -> None:
    write(tmp_path)
    with (tmp_path / "train" / "seq.in").open("a") as stream:
        stream.write("\n  \n")
    assert len(list(dataset(tmp_path).read("train"))) == 3 and not list(dataset(tmp_path).check())


def test_an_intent_is_no_attribute_of_a_slice(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path, test=[("stop 9:30", "O O", "Play"), ("play 9:30 by ada 9", TRAIN[0][1], "Play")]))
    train, test = list(reader.read("train")), list(reader.read("test"))
    rule = SliceRule(train, train)
    assert rule.names(test[0]) == {"no-image", "no-attribute"}
    assert rule.names(test[1]) == {"no-image", "unseen"}
    assert "unseen" not in rule.names(train[0])
    # The words of the data set are its units: 9:30 is one.
    assert "distractor" in SliceRule([*train, test[1]], train).names(
        Example("x", "jazz at 9:30", ((0, 4), (5, 7), (8, 12)), (Span("genre", 0, 4),), {"genre": frozenset({"jazz"})})
    )


def test_gold_jsonl_holds_the_same_examples(tmp_path: Path) -> None:
    write(tmp_path / "slots", test=UNSEEN)
    with pytest.raises(AvebenchError, match="--option unseen=keep"):
        convert(dataset(tmp_path / "slots"), tmp_path / "unknown")
    reader = dataset(tmp_path / "slots", unseen="keep")
    convert(reader, tmp_path / "gold")
    copy = open_dataset("jsonl", tmp_path / "gold", {})
    assert copy.schema().intents == ("Play", "Snow", "Stop", "Weather")
    assert copy.schema().attributes == reader.schema().attributes
    assert copy.statistics()["attributes"] == 3 and copy.statistics()["train without attribute"] == 1
    for split in ("train", "valid", "test"):
        for one, other in zip(reader.read(split), copy.read(split), strict=True):
            assert (one.id, one.text, one.tokens, one.spans) == (other.id, other.text, other.tokens, other.spans)
            assert one.pairs == other.pairs


MAJORITY = """
@classmethod
def learn_vocabulary(cls, config, schema, train):
    (found,) = Counter(next(iter(example.pairs[INTENT])) for example in train).most_common(1)
    assert found[0] in schema.intents
    return {"intent": found[0]}

def predict(self, examples):
    pairs = {INTENT: frozenset({self.vocabulary["intent"]})}
    return [Prediction(example.id, {}, pairs, ()) for example in examples]
"""
COUNTS_INTENTS = "from collections import Counter\n\nfrom avebench.contracts.examples import INTENT"
TABLE = """
title = "Slots"
dataset = "slots"
dataset_options = { digits = "zero" }
metrics = ["tag_f1", "intent_accuracy", "sentence_accuracy", "cls_f1"]

[[rows]]
label = "dictionary"
model = "dictionary"

[[rows]]
label = "majority"
model = "majority"
"""


def test_a_run_scores_slots_and_intents(tmp_path: Path) -> None:
    test = [*TRAIN, ("play jazz by ada 7", TRAIN[0][1], "Play"), ("snow", "O", "Snow")]
    write(tmp_path / "mine", TRAIN + TRAIN[:1], test=test)
    (tmp_path / "majority.py").write_text(system("majority", MAJORITY, imports=COUNTS_INTENTS))
    (tmp_path / "slots.toml").write_text(TABLE)
    run = ("run", "slots.toml", "--data", "mine", "--plugin", "majority.py", "--no-mlflow", "--format", "json")
    done = avebench_here(tmp_path, *run, "--record")
    assert done.returncode == 0, done.stderr
    rows = {row["label"]: row["measured"] for row in json.loads(done.stdout)["rows"]}
    measured = {label: {name: figure["value"] for name, figure in row.items()} for label, row in rows.items()}
    # With its digits as 0 "ada 7" is a value of training; "snow" is right but for the intent.
    assert measured["dictionary"]["tag_f1"] == measured["dictionary"]["cls_f1"] == 100
    assert measured["dictionary"]["intent_accuracy"] == measured["dictionary"]["sentence_accuracy"] == 0
    assert measured["majority"]["intent_accuracy"] == pytest.approx(40)
    assert measured["majority"]["sentence_accuracy"] == measured["majority"]["tag_f1"] == 0
    results = [json.loads(path.read_text()) for path in tmp_path.glob("runs/cells/*/result.json")]
    assert {one["dataset_options"]["digits"] for one in results} == {"zero"}
    assert all(one["reader_notes"] == {"test: unseen intents": 1} for one in results)
    assert all(set(one["scores"]["per_attribute"]) == {"artist", "city", "genre"} for one in results)
    assert all(one["scores"]["per_slice"]["no-attribute"]["examples"] == 2 for one in results)
    unpack(*recorded_folders(tmp_path / "results"))
    (recorded,) = tmp_path.glob("results/**/majority/0.predictions.jsonl.gz")
    done = avebench_here(tmp_path, "score", str(recorded), "--dataset", "slots", "--data", "mine", "--format", "json")
    assert done.returncode == 0, done.stderr
    scored = {row["label"]: row["columns"] for row in json.loads(done.stdout)["rows"]}
    assert scored["intent_accuracy"] == {"tp": 2, "predicted": 5, "gold": 5}
    done = avebench_here(tmp_path, *run, "--option", "digits=keep")
    assert done.returncode == 0, done.stderr
    rows = {row["label"]: row["measured"] for row in json.loads(done.stdout)["rows"]}
    assert rows["dictionary"]["tag_f1"]["value"] == pytest.approx(200 * 4 / 9)
    done = avebench_here(tmp_path, *run, "--option", "digit=keep")
    assert done.returncode == 2 and "Did you mean 'digits'" in done.stderr


def test_another_folder_is_not_the_data_of_the_table_of_snips(tmp_path: Path) -> None:
    write(tmp_path / "mine")
    run = ("run", "snips", "--data", "mine", "--rows", "dictionary", "--no-mlflow")
    done = avebench_here(tmp_path, *run)
    assert done.returncode == 0, done.stderr
    assert "not the table's own data (SNIPS" in done.stdout and "do not compare them with it" in done.stdout


def test_snips_counts_as_in_its_description() -> None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root or not (Path(root) / "snips").is_dir():
        pytest.skip("SNIPS is not here: set AVEBENCH_DATA to a folder that holds snips.")
    reader = open_dataset("slots", None, {})
    own = open_experiment("snips").own
    assert own is not None and own.fingerprint == reader.fingerprint()
    assert list(reader.check()) == []
    figures = reader.statistics()
    assert [figures[f"{split} utterances"] for split in ("train", "valid", "test")] == [13084, 700, 700]
    assert [figures[f"{split} longest utterance"] for split in ("train", "valid", "test")] == [35, 22, 24]
    assert (figures["intents"], figures["slot types"], figures["tags"]) == (7, 39, 72)
    assert figures["words in the vocabulary"] == 11241 and figures["unknown words in test (%)"] == 5.93
    assert figures["test mentions"] == 1790 and figures["test utterances also in train"] == 26
    assert figures["test unseen tags"] == figures["test unseen intents"] == 0
    tested = [figures[f"test utterances of {intent}"] for intent in reader.schema().intents]
    assert tested == [124, 92, 104, 86, 80, 107, 107]
