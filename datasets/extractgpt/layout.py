"""The layout of ExtractGPT's files (Brinkmann et al. 2023): product titles with a category and scored target values.

A line is `{"input": title, "category": name, "target_scores": {attribute: {value or "n/a": 1}}}`. One line is one
example; what is done to it is counted in `notes`:

* HTML entities of titles, attributes and values become characters once, as the reader of AE-110K does; white space
  around values and attributes goes, inside attributes it is collapsed. Titles stay as they are.
* Spans: every place where the value stands exactly, both ends on unit boundaries. A value that stands inside a longer
  word only, or not at all (normalised values), is a pair without a span. Spans of one attribute do not overlap, the
  longest value first; those of different attributes may.
* "n/a" is a known absence (`Example.absent`); beside a value of the same attribute it is left out. (ExtractGPT's own
  score takes the one that is listed first.) What is not listed is unknown.
* There is no validation split: the titles of train whose SHA-256, lower-cased with white space collapsed, is 7 modulo
  10 are `valid`, the others `train`. So a title and its like never stand in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.dataset import DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, Span
from avebench.contracts.tagging import word_units
from avebench.data.jsonlines import FieldError, checked_object, checked_string, filled_string, parse_object
from avebench.data.reading import examples_of, numbered_lines, split_of, title_key
from avebench.data.titles import exact_spans, longer_first, title_digest, unescape
from avebench.files.errors import AvebenchError

KEYS = ("input", "category", "target_scores")
ABSENT = "n/a"
TEST_FILE = "test.jsonl"


class Options(DatasetOptions):
    """Switches of this reader."""

    train_file: Literal["train", "train_0.2"] = "train"
    """Where training and validation come from: all training titles, or the published fifth of them."""


class Dataset(FolderDataset):
    """Reads titles with targets. `Example.id` is file and line, `product_id` is shared by titles that are alike."""

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the titles of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._records(self._file(split), counts, split))
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the attributes that have a value in one of the three splits, sorted."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        files = (self._file("train"), TEST_FILE)
        examples = (example for shown in files for example in examples_of(self._records(shown, Counter())))
        return AttributeSchema(tuple(sorted({attribute for example in examples for attribute in example.pairs})))

    def check(self) -> Iterator[Fault]:
        """Yield every line that is not of this layout; what the reader mends on its own is counted, not a fault."""
        counts: Counter[str] = Counter()
        for shown in (self._file("train"), TEST_FILE):
            for record in self._records(shown, counts):
                if isinstance(record, Fault):
                    yield record
                    continue
                counts[f"{_split(shown, record.text)} titles"] += 1
                counts["mentions"] += len(record.spans)
                counts["known absences"] += len(record.absent)
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the files as they lie, and those per split."""
        files: Counter[str] = Counter()
        splits: Counter[str] = Counter()
        of_category: set[tuple[str | None, str]] = set()
        for shown in (self._file("train"), TEST_FILE):
            for example in examples_of(self._records(shown, Counter())):
                values = sum(map(len, example.pairs.values()))
                files[f"titles in {shown}"] += 1
                files[f"pairs of title and attribute in {shown}"] += len(example.pairs) + len(example.absent)
                files[f"pairs with a value in {shown}"] += len(example.pairs)
                files[f"values in {shown}"] += values
                of_category.update((example.category, name) for name in (*example.pairs, *example.absent))
                split = _split(shown, example.text)
                splits[f"{split} titles"] += 1
                splits[f"{split} titles without value"] += not example.pairs
                splits[f"{split} values"] += values
                splits[f"{split} mentions"] += len(example.spans)
                splits[f"{split} known absences"] += len(example.absent)
        return {
            **files,
            "categories": len({category for category, _ in of_category}),
            "attributes of a category": len(of_category),
            "attributes with a value": len(self.schema().attributes),
            **splits,
        }

    def annotation_files(self) -> list[Path]:
        """Return the files of training and test titles; AvebenchError if one is missing."""
        files = [self.folder / self._file("train"), self.folder / TEST_FILE]
        for path in files:
            if not path.is_file():
                raise AvebenchError(f"{path} is missing. {self.card.obtain}")
        return files

    def _file(self, split: str) -> str:
        return TEST_FILE if split == "test" else f"{self.options.train_file}.jsonl"

    def _records(self, shown: str, counts: Counter[str], split: str | None = None) -> Iterator[Example | Fault]:
        """Yield what the lines of a file hold, those of `split` alone if one is given; blank lines are passed over."""
        for numbered in numbered_lines(self.folder / shown, shown):
            if isinstance(numbered, Fault):
                yield numbered
                continue
            number, line = numbered
            if not line.strip():
                continue
            try:
                record = parse_object(line, KEYS)
                title = unescape(filled_string(record, "input"))
                if split is None or _split(shown, title) == split:
                    yield _example(f"{shown.removesuffix('.jsonl')}-{number}", title, record, counts)
            except FieldError as error:
                yield Fault(shown, number, error.field, str(error))


def _split(shown: str, title: str) -> str:
    """Return the split of a title that stands in the file `shown`."""
    if shown == TEST_FILE:
        return "test"
    return "valid" if split_of(title) == "valid" else "train"


def _example(name: str, title: str, record: dict[str, Any], counts: Counter[str]) -> Example:
    """Return the example of a line; FieldError names the field that breaks the layout."""
    tokens = word_units(title)
    spans: list[Span] = []
    pairs: dict[str, frozenset[str]] = {}
    absent: set[str] = set()
    for attribute, values in _targets(record).items():
        held = frozenset(values - {ABSENT})
        if not held:
            absent.add(attribute)
            continue
        counts["absences beside a value left out"] += ABSENT in values
        marked = exact_spans(attribute, held, title, tokens)
        pairs[attribute] = held
        spans.extend(marked)
        counts["values without a span"] += len(held - {title[span.start : span.end] for span in marked})
        counts["values not in the title"] += sum(value not in title for value in held)
    return Example(
        id=name,
        text=title,
        tokens=tokens,
        spans=longer_first(spans),
        pairs=pairs,
        product_id=title_digest(title_key(title)),
        category=filled_string(record, "category"),
        absent=frozenset(absent),
    )


def _targets(record: dict[str, Any]) -> dict[str, set[str]]:
    """Return attribute -> values, "n/a" among them where it stands; FieldError for what is no score of a value."""
    if "target_scores" not in record:
        raise FieldError("target_scores", "the key is missing.")
    targets: dict[str, set[str]] = {}
    shape = '{attribute: {value or "n/a": 1}}'
    for name, scores in checked_object(record["target_scores"], "target_scores", shape).items():
        attribute = " ".join(unescape(checked_string(name, "target_scores")).split())
        field = f"target_scores.{attribute}"
        values = targets.setdefault(attribute, set())
        for value, score in checked_object(scores, field, '{value or "n/a": 1}').items():
            stripped = unescape(checked_string(value, field)).strip()
            if not stripped:
                raise FieldError(field, "a value is empty. Write n/a where the product does not have the attribute.")
            if score != 1 or isinstance(score, bool):
                raise FieldError(
                    f"{field}.{stripped}", "a value that is right has the score 1; others do not stand here."
                )
            values.add(stripped)
        if not attribute or not values:
            raise FieldError(field, "an attribute has a name and at least one value, or n/a.")
    return targets
