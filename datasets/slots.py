"""Slot filling in three aligned files per split (SNIPS, ATIS): `seq.in` words, `seq.out` BIO tags, `label` intent.

The format of the Slot-Gated release (Goo et al., NAACL 2018). A line is an utterance; words and tags are split at any
white space. The intent stands in `Example.pairs` under `examples.INTENT`, the slots are spans; tags need not be
consistent, their chunks are read by conlleval's lenient rule (an orphan `I-x` opens a chunk).

What the protocol of that release does to the data is done here only where it changes gold: an intent or a tag that the
training split does not have becomes `_UNK` (`unseen`), so that a system's `_UNK` is right there. Words that training
does not have, and digits, concern what a system reads: vocabularies map them, the text stays as stored unless `digits`
says otherwise.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import INTENT, UNKNOWN, AttributeSchema, Example, pairs_from_spans
from avebench.contracts.tagging import orphans, split_tag, tags_to_spans
from avebench.data.columntags import bio_tags, is_tag, wrong_tag
from avebench.data.reading import examples_of, numbered_lines
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="slots",
    summary="Slot filling with intents in three files per split: SNIPS, or a folder of your own.",
    languages=("any",),
    units="word",
    licence="SNIPS: CC0; otherwise that of the folder.",
    obtain="SNIPS: data/snips of https://github.com/MiuLab/SlotGated-SLU. A folder of your own is named with --data "
    "DIR. It holds train/, valid/ (or dev/) and test/, each with seq.in, seq.out and label, line by line.",
    reader=1,
    folders=("snips",),
    pictures=False,
)

FILES = ("seq.in", "seq.out", "label")
FOLDERS = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}

_WORD = re.compile(r"\S+")


class Options(DatasetOptions):
    """Switches of this reader."""

    digits: Literal["keep", "zero"] = "keep"
    """Words of digits only: as stored, or each replaced by `0` in the text, for every system that reads it."""
    unseen: Literal["unknown", "keep"] = "unknown"
    """Intents and tags that training does not have: `_UNK` as in Slot-Gated's protocol, or as annotated."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One utterance as it stands in the three files, at this line of each."""

    line: int
    text: str
    tags: tuple[str, ...]
    intent: str
    others: Counter[str]
    """How many tags were those of another scheme, read as BIO."""


class Dataset(FolderDataset):
    """Reads utterances. `Example.id` is the split and the line number; every example has exactly one intent."""

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the utterances of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        tags, intents = self._training_labels
        counts: Counter[str] = Counter()
        for row in self._sound_rows(split):
            _count_orphans(row, counts)
            if self.options.unseen == "unknown":
                row = _mapped(row, tags, intents, counts)
            yield self._example(split, row)
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the slot types and the intents of the training split, each sorted."""
        tags, intents = self._training_labels
        types = {split_tag(tag)[1] for tag in tags} - {""}
        return AttributeSchema(tuple(sorted(types)), "word", tuple(sorted(intents)))

    def check(self) -> Iterator[Fault]:
        """Yield every fault of the files; intents and tags that training does not have are counted, not faults."""
        counts: Counter[str] = Counter()
        tags: set[str] = set()
        intents: set[str] = set()
        for split in SPLITS:
            for row in self._rows(split):
                if isinstance(row, Fault):
                    yield row
                    continue
                if split == "train":
                    tags.update(row.tags)
                    intents.add(row.intent)
                counts[f"{split} utterances"] += 1
                counts["mentions"] += len(self._example(split, row).spans)
                _count_orphans(row, counts)
                _mapped(row, frozenset(tags), frozenset(intents), counts)
        self.notes.update(+counts)

    def statistics(self) -> dict[str, Any]:
        """Return counts of labels and words as Slot-Gated's vocabularies hold them, and sizes per split.

        A word of digits only counts as `0`; unknown words are those of test that training does not have, in % of its
        words.
        """
        rows = {split: list(self._sound_rows(split)) for split in SPLITS}
        words = {
            split: Counter("0" if word.isdigit() else word for row in rows[split] for word in row.text.split())
            for split in SPLITS
        }
        unknown = sum(count for word, count in words["test"].items() if word not in words["train"])
        trained = {tuple(row.text.split()) for row in rows["train"]}
        schema = self.schema()
        figures: dict[str, Any] = {
            "intents": len(schema.intents),
            "slot types": len(schema.attributes),
            "tags": len({tag for row in rows["train"] for tag in row.tags}),
            "words in the vocabulary": len(words["train"]),
            "unknown words in test (%)": round(100 * unknown / max(1, words["test"].total()), 2),
            "test utterances also in train": sum(tuple(row.text.split()) in trained for row in rows["test"]),
        }
        for split in SPLITS:
            examples = list(self.read(split))
            figures |= {
                f"{split} utterances": len(examples),
                f"{split} longest utterance": max(len(example.tokens) for example in examples),
                f"{split} mentions": sum(len(example.spans) for example in examples),
                f"{split} unseen intents": self.notes.get(f"{split}: unseen intents", 0),
                f"{split} unseen tags": self.notes.get(f"{split}: unseen tags", 0),
            }
        tested = Counter(row.intent for row in rows["test"])
        return figures | {f"test utterances of {intent}": count for intent, count in sorted(tested.items())}

    def annotation_files(self) -> list[Path]:
        """Return the nine files; AvebenchError if one is missing."""
        files = [self._split_folder(split) / name for split in SPLITS for name in FILES]
        for path in files:
            if not path.is_file():
                raise AvebenchError(f"{path} is missing. {self.card.obtain}")
        return files

    def _split_folder(self, split: str) -> Path:
        choices = [self.folder / name for name in FOLDERS[split]]
        return next((folder for folder in choices if folder.is_dir()), choices[0])

    @cached_property
    def _training_labels(self) -> tuple[frozenset[str], frozenset[str]]:
        """The tags and the intents of the training split; AvebenchError at its first fault."""
        tags: set[str] = set()
        intents: set[str] = set()
        for row in self._sound_rows("train"):
            tags.update(row.tags)
            intents.add(row.intent)
        return frozenset(tags), frozenset(intents)

    def _sound_rows(self, split: str) -> Iterator[_Row]:
        return examples_of(self._rows(split))

    def _rows(self, split: str) -> Iterator[_Row | Fault]:
        """Yield what the three files hold line by line; lines that are blank in all of them are passed over."""
        folder = self._split_folder(split)
        shown = [f"{folder.name}/{name}" for name in FILES]
        streams = [numbered_lines(folder / name, label) for name, label in zip(FILES, shown, strict=True)]
        empty = True
        for number, lines in enumerate(zip_longest(*streams), start=1):
            faults = [line for line in lines if isinstance(line, Fault)]
            if faults:
                yield from faults
                empty = False
                if any(fault.line is None for fault in faults):  # A missing or empty file: nothing to compare with.
                    return
                continue
            texts = [line[1] if isinstance(line, tuple) else "" for line in lines]
            if not any(text.strip() for text in texts):
                continue
            empty = False
            if None in lines:
                longer = next(name for name, text in zip(shown, texts, strict=True) if text.strip())
                message = f"the file ends before this line, which {longer} has. Align the files."
                yield Fault(shown[lines.index(None)], number, None, message)
                return
            yield from _row(number, texts, shown)
        if empty:
            yield Fault(shown[0], None, None, "the file holds no utterance.")

    def _example(self, split: str, row: _Row) -> Example:
        text = row.text
        if self.options.digits == "zero":
            text = _WORD.sub(lambda word: "0" if word.group().isdigit() else word.group(), text)
        tokens = tuple(word.span() for word in _WORD.finditer(text))
        spans = tuple(tags_to_spans(row.tags, tokens))
        pairs = pairs_from_spans(text, [span for span in spans if span.attribute])
        return Example(f"{split}-{row.line}", text, tokens, spans, pairs | {INTENT: frozenset({row.intent})})


def _row(number: int, texts: list[str], shown: list[str]) -> Iterator[_Row | Fault]:
    """Yield the utterance of a line of the three files, or every fault of it."""
    words, tags, intent = texts[0].split(), tuple(texts[1].split()), texts[2].strip()
    others: Counter[str] = Counter()
    faults = [
        Fault(shown[1], number, f"tag {position}", wrong_tag(tag))
        for position, tag in enumerate(tags, start=1)
        if not is_tag(tag)
    ]
    if not words:
        faults.append(Fault(shown[0], number, None, "the utterance is empty."))
    elif len(tags) != len(words):
        message = f"{len(tags)} tags for the {len(words)} words of {shown[0]}. Each word has one tag."
        faults.append(Fault(shown[1], number, None, message))
    if not intent:
        faults.append(Fault(shown[2], number, None, "the intent is empty."))
    yield from faults
    if not faults:
        yield _Row(number, texts[0], tuple(bio_tags(tags, others)), intent, others)


def _count_orphans(row: _Row, counts: Counter[str]) -> None:
    counts.update(+row.others)
    if found := orphans(row.tags):
        counts["values that begin with I"] += found


def _mapped(row: _Row, tags: frozenset[str], intents: frozenset[str], counts: Counter[str]) -> _Row:
    """Return the row with `_UNK` for each tag and intent that is not among those of training, counted."""
    unseen = [tag for tag in row.tags if tag not in tags]
    if unseen:
        counts["unseen tags"] += len(unseen)
    if row.intent not in intents:
        counts["unseen intents"] += 1
    mapped = tuple(tag if tag in tags else UNKNOWN for tag in row.tags)
    return replace(row, tags=mapped, intent=row.intent if row.intent in intents else UNKNOWN)
