"""MAVE (Yang et al., WSDM 2022): Amazon product profiles of several paragraphs, evidences of values, known absences.

Google publishes labels, the user joins them with the Amazon metadata by the authors' script. A line of the result is
`{id, category, paragraphs: [{text, source}], attributes: [{key, evidences: [{value, pid, begin, end}]}]}`; attributes
of the negatives have no evidences. What is done to it is counted in `notes`:

* Text: the paragraphs joined by one newline; where each stands, with its source, is `Example.paragraphs`. Offsets of an
  evidence are moved accordingly. One whose offsets do not give its value is an error; one with `begin` -1 has no place:
  its value is a pair without a span.
* An attribute without evidences is a known absence; beside evidences of another line it is left out.
* The lines of one product (positives and negatives; the authors' script for splitting writes one per attribute) are one
  example, which stands where the last of them does. They must have the same paragraphs.
* Split: as its authors', by the sum of the bytes of the paragraphs as JSON, modulo 10: below 8 train, 8 valid (`eval`
  there), 9 test; or the folders that their script writes.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, Span
from avebench.contracts.tagging import word_units
from avebench.data.jsonlines import (
    FieldError,
    check_keys,
    checked_list,
    checked_object,
    checked_offset,
    checked_string,
    filled_string,
    parse_object,
)
from avebench.data.reading import examples_of, numbered_lines
from avebench.data.titles import longer_first
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="mave",
    summary="MAVE: 2.2 M English Amazon products of several paragraphs, 705 attributes, values and known absences.",
    languages=("en",),
    units="word",
    licence="Labels CC BY-NC 4.0; the texts are those of the Amazon review data (2018), not to be redistributed.",
    obtain="Join the labels of https://github.com/google-research-datasets/MAVE with All_Amazon_Meta.json as it says; "
    "put mave_positives.jsonl and mave_negatives.jsonl into one folder, or the folders train, eval and test that the "
    "authors' script for splitting makes of them.",
    reader=1,
    folders=("mave",),
    published={
        "products with a value": 2226509,
        "pairs of product and attribute with a value": 2987151,
        "pairs of product and attribute known to be absent": 1780428,
        "categories": 1257,
        "attributes": 705,
        "train pairs with a value": 2388842,
        "train pairs known to be absent": 1425936,
        "valid pairs with a value": 298696,
        "valid pairs known to be absent": 176978,
        "test pairs with a value": 299613,
        "test pairs known to be absent": 177514,
    },
    pictures=False,
)

POSITIVES, NEGATIVES = "mave_positives.jsonl", "mave_negatives.jsonl"
WHOLE = (".", "reproduce")
"""Where the joined files lie."""
DIVIDED = (".", "splits/PRODUCT", "PRODUCT")
"""Where the folders of the splits lie."""
FOLDERS = {"train": ("train",), "valid": ("eval", "valid"), "test": ("test",)}
KEYS = ("id", "category", "paragraphs", "attributes")
NO_PLACE = -1
SHARES = {"train": range(8), "valid": range(8, 9), "test": range(9, 10)}


class Options(DatasetOptions):
    """Switches of this reader: none of its own."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What one line says: attribute -> its values, each with its span or None; no values where it is absent."""

    shown: str
    number: int
    id: str
    category: str
    text: str
    paragraphs: tuple[tuple[int, int, str], ...]
    attributes: dict[str, list[tuple[str, Span | None]]]


@dataclass(slots=True)
class _Product:
    """What the lines of one product said so far, without the text."""

    category: str
    content: int
    """A hash of text and paragraphs."""
    lines: int = 0
    pairs: dict[str, set[str]] = field(default_factory=dict)
    spans: set[Span] = field(default_factory=set)
    absent: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Index:
    """What is to be known of the files before they are read: attributes with a value, and products of several lines."""

    attributes: tuple[str, ...]
    lines: dict[tuple[str, int], int]
    """Split and hash of an id -> how many lines it has there, if they are two or more."""


class Dataset(FolderDataset):
    """Reads joined MAVE. `Example.id` and `product_id` are the product's id, `category` is its category.

    Streams: what is held is a number per line, and the annotation of products of which lines are still to come.
    """

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the products of `split`; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._products(split, counts))
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the attributes that have a value in one of the three splits, sorted."""
        return AttributeSchema(self._index.attributes)

    def check(self) -> Iterator[Fault]:
        """Yield every fault: lines that are wrong, evidences that are not where they say, products of two texts."""
        try:
            files = self._files()
        except AvebenchError as error:
            yield Fault(self.folder.name, None, None, str(error))
            return
        counts = Counter({"files of negatives missing": sum(path.name == POSITIVES for _, path in files)})
        counts["files of negatives missing"] -= sum(path.name == NEGATIVES for _, path in files)
        wrong = False
        for line in self._lines(None):
            if isinstance(line, Fault):
                wrong = True
                yield line
        for split in () if wrong else SPLITS:
            for product in self._products(split, counts):
                if isinstance(product, Fault):
                    yield product
                    continue
                counts[f"{split} products"] += 1
                counts["mentions"] += len(product.spans)
                counts["known absences"] += len(product.absent)
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the release as counted here, and the sizes of texts."""
        totals: Counter[str] = Counter()
        splits: Counter[str] = Counter()
        categories: set[str | None] = set()
        for split in SPLITS:
            for example in self.read(split):
                categories.add(example.category)
                totals["products with a value"] += bool(example.pairs)
                totals["pairs of product and attribute with a value"] += len(example.pairs)
                totals["pairs of product and attribute known to be absent"] += len(example.absent)
                totals["products"] += 1
                totals["paragraphs"] += len(example.paragraphs)
                totals["words and punctuation marks"] += len(example.tokens)
                totals["mentions"] += len(example.spans)
                splits[f"{split} products"] += 1
                splits[f"{split} pairs with a value"] += len(example.pairs)
                splits[f"{split} pairs known to be absent"] += len(example.absent)
        return {**totals, "categories": len(categories), "attributes": len(self.schema().attributes), **splits}

    def annotation_files(self) -> list[Path]:
        """Return the files of positives and negatives; AvebenchError if there are none, or those of a split lack."""
        return [path for _, path in self._files()]

    def _files(self) -> list[tuple[str | None, Path]]:
        """Return the files, each with its split; None for those that hold all."""
        for place in WHOLE:
            if (self.folder / place / POSITIVES).is_file():
                return [(None, path) for path in _both(self.folder / place)]
        for place in DIVIDED:
            found = {split: _folder(self.folder / place, split) for split in SPLITS}
            missing = [split for split, folder in found.items() if folder is None]
            if len(missing) < len(SPLITS):
                if missing:
                    names = " or ".join(FOLDERS[missing[0]])
                    raise AvebenchError(f"{self.folder / place} has no folder {names} with {POSITIVES}. Split all.")
                return [(split, path) for split, folder in found.items() if folder for path in _both(folder)]
        raise AvebenchError(
            f"{self.folder} holds neither {POSITIVES} nor folders train, eval and test with it. {self.card.obtain}"
        )

    @cached_property
    def _index(self) -> _Index:
        import numpy as np

        attributes: set[str] = set()
        ids = {split: array("q") for split in SPLITS}
        for split, line in examples_of(self._lines(None)):
            ids[split].append(hash(line.id))
            attributes.update(name for name, values in line.attributes.items() if values)
        lines: dict[tuple[str, int], int] = {}
        for split, hashes in ids.items():
            different, numbers = np.unique(np.frombuffer(hashes, np.int64), return_counts=True)
            each = zip(different[numbers > 1].tolist(), numbers[numbers > 1].tolist(), strict=True)
            lines |= {(split, one): number for one, number in each}
        return _Index(tuple(sorted(attributes)), lines)

    def _products(self, split: str, counts: Counter[str]) -> Iterator[Example | Fault]:
        """Yield the examples of a split, each when the last line of its product was read."""
        held: dict[str, _Product] = {}
        for record in self._lines(split):
            if isinstance(record, Fault):
                yield record
                continue
            _, line = record
            content = hash((line.text, line.paragraphs))
            product = held.setdefault(line.id, _Product(line.category, content))
            if product.content != content:
                message = f"the product '{line.id}' has other paragraphs in a line before. Join the labels again."
                yield Fault(line.shown, line.number, "paragraphs", message)
                continue
            _add(product, line, counts)
            if product.lines == self._index.lines.get((split, hash(line.id)), 1):
                yield _example(line, held.pop(line.id), counts)

    def _lines(self, only: str | None) -> Iterator[tuple[str, _Line] | Fault]:
        """Yield the lines of the files with their splits, those of one split alone if it is named."""
        for split, path in self._files():
            shown = path.relative_to(self.folder).as_posix()
            if only is not None and split not in (only, None):
                continue
            for numbered in numbered_lines(path, shown):
                if isinstance(numbered, Fault):
                    yield numbered
                    continue
                number, text = numbered
                if not text.strip():
                    continue
                try:
                    record = parse_object(text, KEYS)
                    of = split or _split(record)
                    if only in (of, None):
                        yield of, _line(shown, number, record)
                except FieldError as error:
                    yield Fault(shown, number, error.field, str(error))


def _both(folder: Path) -> list[Path]:
    """Return the files of positives and negatives; a release may be used without the negatives."""
    return [path for name in (POSITIVES, NEGATIVES) if (path := folder / name).is_file()]


def _folder(place: Path, split: str) -> Path | None:
    """Return the folder of a split, that of all attributes where there are several; None if there is none."""
    folders = (place / name / inner for name in FOLDERS[split] for inner in (".", "00_All"))
    return next((folder for folder in folders if (folder / POSITIVES).is_file()), None)


def _split(record: dict[str, Any]) -> str:
    """Return the split of a product by the rule of the authors (mave/benchmark/data/split_json_lines_main.py)."""
    share = sum(json.dumps(record.get("paragraphs")).encode()) % 10
    return next(split for split, shares in SHARES.items() if share in shares)


def _line(shown: str, number: int, record: dict[str, Any]) -> _Line:
    """Return what a line says; FieldError names the field that breaks the format."""
    if "paragraphs" not in record:
        raise FieldError("paragraphs", "the key is missing. Join the labels with the Amazon metadata.")
    texts: list[str] = []
    paragraphs: list[tuple[int, int, str]] = []
    start = 0
    for position, item in enumerate(checked_list(record["paragraphs"], "paragraphs", "{text, source}")):
        inside = f"paragraphs[{position}]."
        part = checked_object(item, inside[:-1], "{text, source}")
        check_keys(part, ("text", "source"), inside)
        if "text" not in part:
            raise FieldError(f"{inside}text", "the key is missing.")
        texts.append(checked_string(part["text"], f"{inside}text"))
        paragraphs.append((start, start + len(texts[-1]), filled_string(part, "source", inside)))
        start += len(texts[-1]) + 1
    text = "\n".join(texts)
    if not text.strip():
        raise FieldError("paragraphs", "no paragraph has a text.")
    name, category = filled_string(record, "id"), filled_string(record, "category")
    return _Line(shown, number, name, category, text, tuple(paragraphs), _attributes(record, texts, paragraphs))


def _attributes(
    record: dict[str, Any], texts: list[str], paragraphs: list[tuple[int, int, str]]
) -> dict[str, list[tuple[str, Span | None]]]:
    """Return attribute -> its values, each with the span of its evidence in the whole text."""
    if "attributes" not in record:
        raise FieldError("attributes", "the key is missing.")
    found: dict[str, list[tuple[str, Span | None]]] = {}
    for position, item in enumerate(checked_list(record["attributes"], "attributes", "{key, evidences}")):
        inside = f"attributes[{position}]."
        attribute = checked_object(item, inside[:-1], "{key, evidences}")
        check_keys(attribute, ("key", "evidences"), inside)
        values = found.setdefault(filled_string(attribute, "key", inside), [])
        listed = checked_list(attribute.get("evidences", []), f"{inside}evidences", "{value, pid, begin, end}")
        for place, evidence in enumerate(listed):
            values.append(_evidence(evidence, attribute["key"], f"{inside}evidences[{place}]", texts, paragraphs))
    return found


def _evidence(
    item: object, attribute: str, field: str, texts: list[str], paragraphs: list[tuple[int, int, str]]
) -> tuple[str, Span | None]:
    """Return the value of an evidence and its span, None where it has no place; FieldError if it is not there."""
    evidence = checked_object(item, field, "{value, pid, begin, end}")
    check_keys(evidence, ("value", "pid", "begin", "end"), f"{field}.")
    value = filled_string(evidence, "value", f"{field}.")
    pid, begin, end = (checked_offset(evidence, key, f"{field}.") for key in ("pid", "begin", "end"))
    if begin == NO_PLACE:
        return value, None
    if not 0 <= pid < len(texts):
        raise FieldError(f"{field}.pid", f"there is no paragraph {pid}; the product has {len(texts)}, from 0.")
    if not 0 <= begin < end or texts[pid][begin:end] != value:
        there = texts[pid][max(0, begin) : max(0, end)][:80]
        message = f"the characters {begin} to {end} of paragraph {pid} are '{there}', not '{value[:80]}'."
        raise FieldError(field, f"{message} Join the labels with the same metadata that they were made for.")
    return value, Span(attribute, paragraphs[pid][0] + begin, paragraphs[pid][0] + end)


def _add(product: _Product, line: _Line, counts: Counter[str]) -> None:
    """Add what a line says to its product."""
    product.lines += 1
    counts["lines of a product merged"] += product.lines > 1
    counts["products of two categories, the first kept"] += line.category != product.category
    for attribute, values in line.attributes.items():
        if not values:
            product.absent.add(attribute)
            continue
        product.pairs.setdefault(attribute, set()).update(value for value, _ in values)
        product.spans.update(span for _, span in values if span is not None)
        counts["evidences without a place"] += sum(span is None for _, span in values)


def _example(line: _Line, product: _Product, counts: Counter[str]) -> Example:
    """Return the example of a product, of which `line` is the last."""
    counts["absences beside a value left out"] += len(product.absent & product.pairs.keys())
    return Example(
        id=line.id,
        text=line.text,
        tokens=word_units(line.text),
        spans=longer_first(product.spans),
        pairs={attribute: frozenset(values) for attribute, values in product.pairs.items()},
        product_id=line.id,
        category=product.category,
        absent=frozenset(product.absent - product.pairs.keys()),
        paragraphs=line.paragraphs,
    )
