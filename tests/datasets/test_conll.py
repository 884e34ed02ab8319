"""CoNLL columns as a data set: separators, odd tokens, inconsistent tags, faults, a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inprocess import avebench_here
from seqeval.metrics.sequence_labeling import get_entities

from avebench.contracts.examples import Example, Span
from avebench.data.opening import convert, open_dataset
from avebench.datasets import conll
from avebench.files.errors import AvebenchError

GOOD = "a O\nnavy B-colour\nblue I-colour\nhat B-kind\n\nplain O\n"


def write(folder: Path, train: str = GOOD, ending: str = ".conll", **others: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in {"train": train, "valid": GOOD, "test": GOOD, **others}.items():
        (folder / f"{split}{ending}").write_text(text, encoding="utf-8")
    return folder


def dataset(folder: Path, **options: Any) -> conll.Dataset:
    return conll.Dataset(conll.CARD, folder, conll.Options(**options))


def words(example: Example) -> list[str]:
    return [example.text[start:end] for start, end in example.tokens]


@pytest.mark.parametrize("separator", [" ", "   ", "\t"])
@pytest.mark.parametrize("ending", ["", "\n", "\n\n\n"])
def test_sentences_and_their_text(tmp_path: Path, separator: str, ending: str) -> None:
    reader = dataset(write(tmp_path, f"-DOCSTART- O\n\n\n{GOOD}".replace(" ", separator) + ending))
    first, second = reader.read("train")
    assert (first.id, first.text) == ("train-1", "a navy blue hat") and second.id == "train-2"
    assert words(first) == ["a", "navy", "blue", "hat"]
    assert first.spans == (Span("colour", 2, 11), Span("kind", 12, 15))
    assert first.pairs == {"colour": {"navy blue"}, "kind": {"hat"}} and second.pairs == {}
    assert reader.schema().attributes == ("colour", "kind") and reader.schema().intents == ()
    assert list(reader.check()) == []
    assert reader.notes == {"train sentences": 2, "valid sentences": 2, "test sentences": 2, "mentions": 6}


def test_a_space_is_a_token_where_tabs_separate(tmp_path: Path) -> None:
    train = "7\tB-size\n \tI-size\nX\tI-size\n\u3000\tO\n"
    folder = write(tmp_path, train)
    (joined,) = dataset(folder, units="character").read("train")
    assert joined.text == "7 X\u3000" and joined.tokens == ((0, 1), (1, 2), (2, 3), (3, 4))
    assert joined.pairs == {"size": {"7 X"}}
    (spaced,) = dataset(folder).read("train")
    assert words(spaced) == ["7", " ", "X", "\u3000"] and spaced.pairs == {"size": {"7   X"}}
    assert dataset(folder, units="character").schema().units == "character"
    # A line of a space alone ends a sentence; a space that lacks its tag is a fault.
    assert len(list(dataset(write(tmp_path, "7\tO\n \n8\tO\n\t\n9\tO\n")).read("train"))) == 3
    (fault,) = dataset(write(tmp_path, "7\tO\n \t\n")).check()
    assert (fault.line, fault.message) == (2, "the column 'tag' is empty.")


TAGS = st.lists(st.sampled_from(["O", "B-a", "I-a", "B-b-c", "I-b-c", "I-d"]), min_size=1, max_size=9)
TOKEN = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\ufeff", exclude_categories=["Cc"]), min_size=1)


@settings(deadline=None)  # Files are written.
@given(tags=TAGS, data=st.data())
def test_any_tokens_and_tags_are_read_back(
    tmp_path_factory: pytest.TempPathFactory, tags: list[str], data: st.DataObject
) -> None:
    tokens = data.draw(st.lists(TOKEN, min_size=len(tags), max_size=len(tags)))
    train = "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True))
    folder = write(tmp_path_factory.mktemp("conll"), train)
    for units, joint in (("word", " "), ("character", "")):
        (example,) = dataset(folder, units=units).read("train")
        assert example.text == joint.join(tokens) and words(example) == tokens
        starts, ends = zip(*example.tokens, strict=True)
        found = [(span.attribute, starts.index(span.start), ends.index(span.end)) for span in example.spans]
        assert found == get_entities(tags)


def test_columns_are_chosen(tmp_path: Path) -> None:
    train = "1 red JJ B-x B-colour\n2 hat NN O O\n"
    folder = write(tmp_path, train, valid=train, test=train)
    (example,) = dataset(folder, token_column=2).read("train")
    assert example.text == "red hat" and example.pairs == {"colour": {"red"}}
    (example,) = dataset(folder, token_column=3, tag_column=4).read("train")
    assert example.text == "JJ NN" and example.pairs == {"x": {"JJ"}}
    for options in ({"tag_column": 6}, {"token_column": 5}):
        with pytest.raises(AvebenchError, match=r"train\.conll, line 1: 5 columns; .* token_column and tag_column"):
            list(dataset(folder, **options).read("train"))


@pytest.mark.parametrize(
    ("line", "field", "said"),
    [
        ("red", None, "1 columns separated by spaces, 2 are needed: token, tag"),
        ("red B-colour O", None, "3 columns separated by spaces, 2 are needed"),
        ("red\tO", None, "1 columns separated by spaces"),
        ("red X-colour", "tag", "'X-colour' is no BIO tag. Write O, B-attribute or I-attribute."),
        ("red B-", "tag", "'B-' is no BIO tag"),
    ],
)
def test_a_wrong_line_names_file_line_and_field(tmp_path: Path, line: str, field: str | None, said: str) -> None:
    reader = dataset(write(tmp_path, test=f"{GOOD}\n{line}\nhat O\n"))
    (fault,) = reader.check()
    assert (fault.file, fault.line, fault.field) == ("test.conll", 8, field) and said in fault.message
    with pytest.raises(AvebenchError, match=r"test\.conll, line 8"):
        list(reader.read("test"))
    assert len(list(reader.read("train"))) == 2


def test_every_fault_is_listed(tmp_path: Path) -> None:
    write(tmp_path, "a\n\nb O\nc X\nd Y\n", valid="", test="\n\n")
    (tmp_path / "test.conll").write_bytes(b"a O\n\xff O\n")
    said = [str(fault) for fault in dataset(tmp_path).check()]
    assert said == [
        "train.conll, line 1: 1 column separated by spaces, 2 or more are needed: token and tag.",
        "train.conll, line 4, field 'tag': 'X' is no BIO tag. Write O, B-attribute or I-attribute.",
        "train.conll, line 5, field 'tag': 'Y' is no BIO tag. Write O, B-attribute or I-attribute.",
        "valid.conll: the file is empty.",
        "test.conll, line 2: byte 1 is not UTF-8. Save the file as UTF-8.",
    ]
    (tmp_path / "valid.conll").write_text("\n\n")
    assert "valid.conll: the file holds no sentence." in [str(fault) for fault in dataset(tmp_path).check()]


@pytest.mark.parametrize("ending", conll.ENDINGS)
def test_file_names(tmp_path: Path, ending: str) -> None:
    write(tmp_path, ending=ending)
    (tmp_path / f"valid{ending}").rename(tmp_path / f"dev{ending}")
    reader = dataset(tmp_path)
    assert [path.name for path in reader.annotation_files()] == [f"train{ending}", f"dev{ending}", f"test{ending}"]
    assert len(list(reader.read("valid"))) == 2
    (tmp_path / "valid.txt").write_text(GOOD)
    with pytest.raises(AvebenchError, match=r"holds valid\.txt and dev.* for the split 'valid'\. Leave one there"):
        reader.fingerprint()
    (tmp_path / f"test{ending}").unlink()
    with pytest.raises(AvebenchError, match=r"holds no file of the split 'test'\. Name it one of test\.conll"):
        list(reader.read("test"))
    assert [fault.file for fault in reader.check()] == ["valid", "test"]


def test_statistics_and_inconsistent_tags(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path, "red I-colour\nhat I-kind\nhat B-kind\n\nx O\n"))
    figures = reader.statistics()
    assert (figures["attributes"], figures["values"]) == (2, 3)
    assert (figures["train sentences"], figures["train tokens"], figures["train mentions"]) == (2, 4, 3)
    assert (figures["train sentences without a value"], figures["train longest sentence"]) == (1, 3)
    assert reader.notes == {"train: values that begin with I": 2}


def test_gold_jsonl_holds_the_same_examples(tmp_path: Path) -> None:
    reader = dataset(write(tmp_path / "conll", "e-mail\tB-x\nit's\tO\n \tO\nnow\tI-y\n"))
    convert(reader, tmp_path / "gold")
    copy = open_dataset("jsonl", tmp_path / "gold", {})
    assert copy.schema() == reader.schema()
    for split in ("train", "valid", "test"):
        for one, other in zip(reader.read(split), copy.read(split), strict=True):
            assert (one.id, one.text, one.tokens, one.spans, one.pairs) == (
                *(other.id, other.text, other.tokens),
                *(other.spans, other.pairs),
            )


TABLE = """
title = "Columns"
dataset = "conll"
metrics = ["tag_f1", "cls_f1", "intent_accuracy"]

[[rows]]
label = "dictionary"
model = "dictionary"
"""


def test_a_run_scores_spans(tmp_path: Path) -> None:
    write(tmp_path / "mine", test="navy\tI-colour\nblue\tI-colour\n\nnew\tB-colour\nhat\tB-kind\n")
    (tmp_path / "table.toml").write_text(TABLE)
    done = avebench_here(tmp_path, "run", "table.toml", "--data", "mine", "--no-mlflow", "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["measured"]["tag_f1"]["value"] == pytest.approx(200 * 2 / 5)
    assert row["measured"].get("intent_accuracy") is None
    done = avebench_here(tmp_path, "data", "stats", "conll", "--data", "mine", "--format", "csv")
    assert done.returncode == 0 and "test mentions,,,native,,3" in done.stdout
    (tmp_path / "mine" / "train.conll").write_text("red X-colour\n")
    done = avebench_here(tmp_path, "data", "check", "conll", "--data", "mine")
    assert done.returncode == 2 and "train.conll, line 1, field 'tag'" in done.stdout
