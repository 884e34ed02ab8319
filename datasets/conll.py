"""Your own tagged data as CoNLL columns: a folder with one file of tag columns per split, any number of types.

A token per line, an empty line after each sentence; tabs separate the columns if the first line holds one, otherwise
spaces, so that a space can be a token between tabs. Tags need not be consistent: chunks are read by conlleval's lenient
rule (an orphan `I-x` opens a chunk), so that IOB1 and IOB2 are both read; BIOES, BMES, BILOU and tags in lower case are
read as the BIO tags that they stand for, and counted. Comments that begin with `#` are passed over. A token that is
tagged `UNK` has no label: it stays in the text and is no unit, so that nothing is trained or scored on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, pairs_from_spans
from avebench.contracts.tagging import orphans, tags_to_spans
from avebench.data.columntags import UNLABELLED, Scheme, bio_tags, is_tag, wrong_tag
from avebench.data.conll import Comments, Row, count_unlabelled, sentences_of
from avebench.data.reading import examples_of, numbered_lines
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="conll",
    summary="Your own tagged data: a folder with train.conll, valid.conll and test.conll, BIO(ES) tags in columns.",
    languages=("any",),
    units="word",
    licence="yours",
    obtain="It is your own folder: name it with --data DIR. It holds train, valid (or dev) and test with one of the "
    "endings .conll, .bio, .iob, .iob2, .bioes, .iobes, .bilou, .bmes, .tsv, .txt, or none: a token and its tag per "
    "line, an empty line after each sentence.",
    reader=1,
    folders=("conll",),
    pictures=False,
    own=True,
)

NAMES = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
ENDINGS = (".conll", ".bio", ".iob", ".iob2", ".bioes", ".iobes", ".bilou", ".bmes", ".tsv", ".txt", "")


class Options(DatasetOptions):
    """Switches of this reader."""

    units: Literal["character", "word"] = "word"
    """The text is made of the tokens: joined by single spaces if they are words, by nothing if they are characters."""
    token_column: int = Field(default=1, ge=1)
    """Column of the token, counted from 1."""
    tag_column: int | None = Field(default=None, ge=1)
    """Column of the tag, counted from 1; None: the last."""
    scheme: Scheme = "auto"
    """Which tags there may be: those of one scheme, or all that are known."""
    comments: Comments = "auto"
    """Which lines that begin with `#` are comments: those that are no tokens with a tag, all, or none."""
    unlabelled: str = UNLABELLED
    """Tag of a token that nobody has labelled; empty: every token is labelled."""

    added: ClassVar[frozenset[str]] = frozenset({"scheme", "comments", "unlabelled"})


class Dataset(FolderDataset):
    """Reads BIO columns. `Example.id` is the split and the number of the sentence in it, counted from 1."""

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the sentences of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._records(split, counts))
        self.note(split, +counts)

    def schema(self) -> AttributeSchema:
        """Return the types of the three splits, sorted."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        types = {
            span.attribute
            for split in SPLITS
            for example in examples_of(self._records(split, Counter()))
            for span in example.spans
        }
        return AttributeSchema(tuple(sorted(types)), self.options.units)

    def check(self) -> Iterator[Fault]:
        """Yield every fault of the three files."""
        counts: Counter[str] = Counter()
        for split in SPLITS:
            try:
                for record in self._records(split, counts):
                    if isinstance(record, Fault):
                        yield record
                    else:
                        counts[f"{split} sentences"] += 1
                        counts["mentions"] += len(record.spans)
            except AvebenchError as error:
                yield Fault(split, None, None, str(error))
        self.notes.update(+counts)

    def statistics(self) -> dict[str, Any]:
        """Return types, values, and per split sentences, tokens, mentions, and sentences without a value."""
        types: set[str] = set()
        values: set[tuple[str, str]] = set()
        figures: dict[str, Any] = {}
        for split in SPLITS:
            counts: Counter[str] = Counter()
            for example in self.read(split):
                counts["sentences"] += 1
                counts["tokens"] += len(example.tokens)
                counts["mentions"] += len(example.spans)
                counts["without a value"] += not example.spans
                counts["longest"] = max(counts["longest"], len(example.tokens))
                types.update(example.pairs)
                values.update((name, value) for name, held in example.pairs.items() for value in held)
            figures |= {
                f"{split} sentences": counts["sentences"],
                f"{split} tokens": counts["tokens"],
                f"{split} mentions": counts["mentions"],
                f"{split} sentences without a value": counts["without a value"],
                f"{split} longest sentence": counts["longest"],
            }
        return {"attributes": len(types), "values": len(values), **figures}

    def annotation_files(self) -> list[Path]:
        """Return the three files; AvebenchError if one is missing, or if there are two for a split."""
        return [self._file(split) for split in SPLITS]

    def _file(self, split: str) -> Path:
        names = [f"{name}{ending}" for name in NAMES[split] for ending in ENDINGS]
        found = [name for name in names if (self.folder / name).is_file()]
        if not found:
            raise AvebenchError(
                f"{self.folder} holds no file of the split '{split}'. Name it one of {', '.join(names)}."
            )
        if len(found) > 1:
            raise AvebenchError(f"{self.folder} holds {' and '.join(found)} for the split '{split}'. Leave one there.")
        return self.folder / found[0]

    def _records(self, split: str, counts: Counter[str]) -> Iterator[Example | Fault]:
        """Yield each sentence, and the faults of its lines in front of it; AvebenchError if the file is missing."""
        path = self._file(split)
        number = 0
        unlabelled = True
        for sentence in sentences_of(
            numbered_lines(path, path.name),
            path.name,
            None,
            counts,
            comments=self.options.comments,
            tag_column=self.options.tag_column,
            known=self._is_known,
        ):
            if isinstance(sentence, Fault):
                unlabelled = False
                yield sentence
                continue
            number += 1
            faults = [fault for row in sentence if (fault := self._row_fault(path.name, row)) is not None]
            yield from faults
            if faults:
                unlabelled = False
                continue
            example = self._example(f"{split}-{number}", sentence, counts)
            if example.tokens:
                unlabelled = False
                yield example
        if unlabelled:
            yield Fault(path.name, None, None, f"no token has a label: all tags are {self.options.unlabelled}.")

    def _is_known(self, tag: str) -> bool:
        return is_tag(tag, self.options.scheme) or (tag == self.options.unlabelled and tag != "")

    def _row_fault(self, shown: str, row: Row) -> Fault | None:
        columns = (self.options.token_column, self.options.tag_column or len(row.columns))
        if max(columns) > len(row.columns) or columns[0] == columns[1]:
            message = (
                f"{len(row.columns)} columns; the token should be column {columns[0]} and the tag column {columns[1]}. "
                "Set the options token_column and tag_column."
            )
            return Fault(shown, row.line, None, message)
        tag = row.columns[columns[1] - 1]
        return None if self._is_known(tag) else Fault(shown, row.line, "tag", wrong_tag(tag, self.options.scheme))

    def _example(self, name: str, sentence: list[Row], counts: Counter[str]) -> Example:
        """Return the sentence with the text that its tokens make; those without a label are no units of it."""
        joint = " " if self.options.units == "word" else ""
        words = [row.columns[self.options.token_column - 1] for row in sentence]
        tags = [row.columns[(self.options.tag_column or 0) - 1] for row in sentence]
        tokens: list[tuple[int, int]] = []
        position = 0
        for word in words:
            tokens.append((position, position + len(word)))
            position += len(word) + len(joint)
        text = joint.join(words)
        labelled = [place for place, tag in enumerate(tags) if tag != self.options.unlabelled]
        count_unlabelled(counts, len(tags), len(labelled), self.options.unlabelled)
        tokens, tags = [tokens[place] for place in labelled], bio_tags([tags[place] for place in labelled], counts)
        if found := orphans(tags):
            counts["values that begin with I"] += found
        spans = tuple(tags_to_spans(tags, tokens))
        return Example(name, text, tuple(tokens), spans, pairs_from_spans(text, spans))
