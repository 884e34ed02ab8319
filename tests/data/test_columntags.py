"""Column files as people have them: other schemes, lower case, comments, tokens without a label, any usual ending."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inprocess import avebench_here
from seqeval.metrics.sequence_labeling import get_entities

from avebench.commands.score import report_table
from avebench.contracts.examples import Span
from avebench.contracts.tagging import chunks, split_tag
from avebench.data.columntags import bio_tags
from avebench.data.conll import read_conll
from avebench.datasets import conll, slots
from avebench.files.errors import AvebenchError
from avebench.scoring.prediction_files import score_file

GOOD = "a O\nnavy B-colour\nblue I-colour\nhat B-kind\n"
EXPECTED = (Span("colour", 2, 11), Span("kind", 12, 15))


def dataset(folder: Path, train: str, ending: str = ".conll", **options: Any) -> conll.Dataset:
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid", "test"):
        (folder / f"{split}{ending}").write_text(train if split == "train" else GOOD, encoding="utf-8")
    return conll.Dataset(conll.CARD, folder, conll.Options(**options))


FILES = {
    "bioes": ("a O\nnavy B-colour\nblue E-colour\nhat S-kind\n", {"tags of BIOES read as BIO": 2}),
    "bilou": ("a O\nnavy B-colour\nblue L-colour\nhat U-kind\n", {"tags of BILOU read as BIO": 2}),
    "bmes": ("a O\nnavy B-colour\nblue E-colour\nhat W-kind\n", {"tags of BIOES read as BIO": 1}),
    "lower case": ("a o\nnavy b-colour\nblue i-colour\nhat b-kind\n", {"tags in lower case": 4}),
    "comments": (f"# sent_id = 1\n# text = a navy blue hat\n#\n{GOOD}# end\n", {"comment lines passed over": 4}),
    "comment inside": (GOOD.replace("hat", "# my note\nhat"), {"comment lines passed over": 1}),
    "comment with tabs": ("#\tid\t7\n" + GOOD.replace(" ", "\t"), {"comment lines passed over": 1}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_as_people_have_it_is_read_and_what_was_found_is_said(tmp_path: Path, name: str) -> None:
    train, said = FILES[name]
    reader = dataset(tmp_path, train)
    (example,) = reader.read("train")
    assert (example.text, example.spans) == ("a navy blue hat", EXPECTED)
    assert {f"train: {what}": count for what, count in said.items()}.items() <= reader.notes.items()
    assert list(reader.check()) == [] and said.items() <= reader.notes.items()


TAGS = st.lists(st.sampled_from(["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("a", "b-c"))]), min_size=1)


@given(tags=TAGS, others=st.sampled_from(["BIES", "BILU", "BMEW", "bies"]))
def test_chunks_of_every_scheme_are_those_of_seqeval(tags: list[str], others: str) -> None:
    letters = dict(zip("BIES", others, strict=True))
    written = [f"{letters[tag[0]]}{tag[1:]}" if tag != "O" else "O" for tag in tags]
    found = bio_tags(written, Counter())
    assert {split_tag(tag)[0] for tag in found} <= {"O", "B", "I"}
    assert [(kind, start, end - 1) for kind, start, end in chunks(found)] == get_entities(tags)


def test_a_hash_is_a_token_where_it_has_a_tag(tmp_path: Path) -> None:
    for separator in (" ", "\t"):
        reader = dataset(tmp_path, "# O\n#1 B-rank\nhat B-kind\n# O\n".replace(" ", separator))
        (example,) = reader.read("train")
        assert example.text == "# #1 hat #" and "train: comment lines passed over" not in reader.notes
    # A token whose tag is mistyped is a fault, where tabs say that it is one.
    (fault,) = dataset(tmp_path, "hat\tB-kind\n#\tX-kind\n").check()
    assert (fault.line, fault.field) == (2, "tag")
    (example,) = dataset(tmp_path, "# O\nhat B-kind\n", comments="always").read("train")
    assert example.text == "hat"
    faults = list(dataset(tmp_path, "# a comment\nhat B-kind\n", comments="never").check())
    assert {fault.line for fault in faults} == {1, 2}


def test_a_scheme_that_is_declared_is_held_to(tmp_path: Path) -> None:
    (fault,) = dataset(tmp_path, "hat S-kind\n", scheme="bio").check()
    assert fault.message == "'S-kind' is no tag of the scheme 'bio', which was asked for. Name another, or auto."
    assert list(dataset(tmp_path, "hat S-kind\n", scheme="bioes").check()) == []
    (fault,) = dataset(tmp_path, "hat X-kind\n", scheme="bilou").check()
    assert fault.message == "'X-kind' is no BILOU tag. Write O, or B-, I-, L- or U- and the attribute."


def test_tokens_without_a_label_are_no_units(tmp_path: Path) -> None:
    train = "new UNK\nnavy B-colour\nblue I-colour\nhat UNK\n\nall UNK\nof UNK\nit UNK\n"
    reader = dataset(tmp_path, train)
    (example,) = reader.read("train")
    assert example.text == "new navy blue hat" and example.pairs == {"colour": {"navy blue"}}
    assert [example.text[start:end] for start, end in example.tokens] == ["navy", "blue"]
    assert reader.notes["train: tokens without a label (UNK), left out"] == 5
    assert reader.notes["train: sentences without any label, left out"] == 1
    (example,) = dataset(tmp_path, train.replace("UNK", "?"), unlabelled="?").read("train")
    assert len(example.tokens) == 2
    assert [fault.line for fault in dataset(tmp_path, train, unlabelled="").check()] == [1, 4, 6, 7, 8]
    (fault,) = dataset(tmp_path, "all UNK\n").check()
    assert fault.message == "no token has a label: all tags are UNK."


def test_options_that_came_later_do_not_change_the_fingerprint(tmp_path: Path) -> None:
    before = {"missing_images": "error", "units": "word", "token_column": 1, "tag_column": None}
    assert conll.Options().identity() == before and conll.Options(scheme="auto").identity() == before
    assert conll.Options(scheme="bio").identity() == {**before, "scheme": "bio"}
    assert dataset(tmp_path, GOOD).fingerprint() != dataset(tmp_path, GOOD, comments="never").fingerprint()


def test_score_reads_columns_of_every_scheme(tmp_path: Path) -> None:
    rows = "a O O\nnavy B-c I-c\nblue I-c I-c\nhat B-k O\n\nred B-c B-c\n"
    (tmp_path / "bio").write_text(rows)
    other = "# id 1\na O o\nnavy B-c i-c\nblue E-c e-c\nnew UNK S-c\nhat S-k O\n\nred S-c U-c\n\nno UNK O\n"
    (tmp_path / "other").write_text(other)
    plain, read = score_file(tmp_path / "bio", None), score_file(tmp_path / "other", None)
    assert read.metrics == plain.metrics and read.per_attribute == plain.per_attribute and plain.notes == {}
    assert read.notes == {
        "comment lines passed over": 1,
        "tokens without a label (UNK), left out": 2,
        "sentences without any label, left out": 1,
        "tags of BIOES read as BIO": 4,
        "tags in lower case": 3,
        "tags of BILOU read as BIO": 1,
    }
    assert "tokens without a label (UNK), left out: 2." in report_table(read).notes
    (tmp_path / "none").write_text("a UNK O\n")
    with pytest.raises(AvebenchError, match="no token has a label: all gold tags are UNK"):
        read_conll(tmp_path / "none")


def test_slot_files_of_other_schemes_are_read(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "seq.in").write_text("play new jazz now\n")
        (tmp_path / split / "seq.out").write_text("O B-genre E-genre s-time\n")
        (tmp_path / split / "label").write_text("Play\n")
    reader = slots.Dataset(slots.CARD, tmp_path, slots.Options())
    (example,) = reader.read("train")
    assert example.pairs["genre"] == {"new jazz"} and example.pairs["time"] == {"now"}
    assert reader.notes == {"train: tags of BIOES read as BIO": 2, "train: tags in lower case": 1}


def test_check_says_what_it_found_in_files_without_an_ending(tmp_path: Path) -> None:
    dataset(tmp_path / "mine", FILES["bioes"][0], ending="")
    done = avebench_here(tmp_path, "data", "check", "conll", "--data", "mine")
    assert done.returncode == 0 and "tags of BIOES read as BIO: 2" in done.stdout
