"""Your own tagged data as CoNLL columns: a folder with one file of BIO columns per split, any number of types.

A token per line, an empty line after each sentence; tabs separate the columns if the first line holds one, otherwise
spaces, so that a space can be a token between tabs. Tags need not be consistent: chunks are read by conlleval's lenient
rule (an orphan `I-x` opens a chunk), so that IOB1 and IOB2 are both read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from avebench.conll import Row, is_gold_tag, sentences_of
from avebench.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, check_split
from avebench.dataset import Dataset as BaseDataset
from avebench.errors import AvebenchError
from avebench.examples import AttributeSchema, Example, pairs_from_spans
from avebench.reading import examples_of, numbered_lines
from avebench.tagging import orphans, tags_to_spans

CARD = DatasetCard(
    name="conll",
    summary="Your own tagged data: a folder with train.conll, valid.conll and test.conll, BIO tags in columns.",
    languages=("any",),
    units="word",
    licence="yours",
    obtain="It is your own folder: name it with --data DIR. It holds train, valid (or dev) and test with one of the "
    "endings .conll, .bio, .iob, .iob2, .tsv, .txt: a token and its tag per line, an empty line after each sentence.",
    reader=1,
    folders=("conll",),
    pictures=False,
)

NAMES = {"train": ("train",), "valid": ("valid", "dev"), "test": ("test",)}
ENDINGS = (".conll", ".bio", ".iob", ".iob2", ".tsv", ".txt")


class Options(DatasetOptions):
    """Switches of this reader."""

    units: Literal["character", "word"] = "word"
    """The text is made of the tokens: joined by single spaces if they are words, by nothing if they are characters."""
    token_column: int = Field(default=1, ge=1)
    """Column of the token, counted from 1."""
    tag_column: int | None = Field(default=None, ge=1)
    """Column of the tag, counted from 1; None: the last."""


class Dataset(BaseDataset):
    """Reads BIO columns. `Example.id` is the split and the number of the sentence in it, counted from 1."""

    folder: Path
    options: Options

    def __init__(self, card: DatasetCard, folder: Path | None, options: Options) -> None:
        if folder is None:
            raise AvebenchError("The data set 'conll' is your own folder. Name it with --data DIR.")
        super().__init__(card, folder, options)
        self._schema: AttributeSchema | None = None

    def read(self, split: str) -> Iterator[Example]:
        """Yield the sentences of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._records(split, counts))
        self.notes.update({f"{split}: {name}": count for name, count in counts.items()})

    def schema(self) -> AttributeSchema:
        """Return the types of the three splits, sorted."""
        if self._schema is None:
            types = {
                span.attribute
                for split in SPLITS
                for example in examples_of(self._records(split, Counter()))
                for span in example.spans
            }
            self._schema = AttributeSchema(tuple(sorted(types)), self.options.units)
        return self._schema

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
        self.notes.update(counts)

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
        for sentence in sentences_of(numbered_lines(path, path.name), path.name, None):
            if isinstance(sentence, Fault):
                yield sentence
                continue
            number += 1
            faults = [fault for row in sentence if (fault := self._row_fault(path.name, row)) is not None]
            yield from faults
            if not faults:
                yield self._example(f"{split}-{number}", sentence, counts)

    def _row_fault(self, shown: str, row: Row) -> Fault | None:
        columns = (self.options.token_column, self.options.tag_column or len(row.columns))
        if max(columns) > len(row.columns) or columns[0] == columns[1]:
            message = (
                f"{len(row.columns)} columns; the token should be column {columns[0]} and the tag column {columns[1]}. "
                "Set the options token_column and tag_column."
            )
            return Fault(shown, row.line, None, message)
        tag = row.columns[columns[1] - 1]
        if is_gold_tag(tag):
            return None
        return Fault(shown, row.line, "tag", f"'{tag}' is no BIO tag. Write O, B-attribute or I-attribute.")

    def _example(self, name: str, sentence: list[Row], counts: Counter[str]) -> Example:
        """Return the sentence with the text that its tokens make."""
        joint = " " if self.options.units == "word" else ""
        words = [row.columns[self.options.token_column - 1] for row in sentence]
        tags = [row.columns[(self.options.tag_column or 0) - 1] for row in sentence]
        tokens: list[tuple[int, int]] = []
        position = 0
        for word in words:
            tokens.append((position, position + len(word)))
            position += len(word) + len(joint)
        if found := orphans(tags):
            counts["values that begin with I"] += found
        text = joint.join(words)
        spans = tuple(tags_to_spans(tags, tokens))
        return Example(name, text, tuple(tokens), spans, pairs_from_spans(text, spans))
