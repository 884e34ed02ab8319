"""A user's own data: a folder with train.jsonl, valid.jsonl and test.jsonl in the gold JSONL format."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from avebench.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, check_split
from avebench.dataset import Dataset as BaseDataset
from avebench.errors import AvebenchError, near_matches
from avebench.examples import AttributeSchema, Example, Span, Units, pairs_from_spans
from avebench.pictures import picture_at, picture_fault
from avebench.reading import examples_of, is_encodable, numbered_lines
from avebench.tagging import text_units

CARD = DatasetCard(
    name="jsonl",
    summary="Your own data: a folder with train.jsonl, valid.jsonl and test.jsonl.",
    languages=("any",),
    units="word",
    licence="yours",
    obtain="It is your own folder: name it with --data DIR. One JSON object per line with the keys id, text, "
    "product_id?, tokens?, spans?, pairs?, image?, category?.",
    reader=1,
    folders=("jsonl",),
)

KEYS = ("id", "text", "product_id", "tokens", "spans", "pairs", "image", "category")
SPAN_KEYS = ("attribute", "start", "end")


class Options(DatasetOptions):
    """Switches of this reader."""

    units: Units = "word"
    """Units of a line without `tokens`: words and punctuation marks, or characters (Chinese)."""


class _WrongFieldError(Exception):
    """A field of a line that breaks the format."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Dataset(BaseDataset):
    """Reads gold JSONL. Offsets are Unicode code points of `text`, end exclusive; faults name file, line and field."""

    folder: Path
    options: Options

    def __init__(self, card: DatasetCard, folder: Path | None, options: Options) -> None:
        if folder is None:
            raise AvebenchError("The data set 'jsonl' is your own folder. Name it with --data DIR.")
        super().__init__(card, folder, options)
        self._schema: AttributeSchema | None = None

    def read(self, split: str) -> Iterator[Example]:
        """Yield the examples of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._records(split, set(), counts))
        self.notes.update({f"{split}: {name}": count for name, count in counts.items()})

    def schema(self) -> AttributeSchema:
        """Return the attributes of the three splits, sorted."""
        if self._schema is None:
            attributes: set[str] = set()
            for split in SPLITS:
                for example in examples_of(self._records(split, set(), Counter())):
                    attributes.update(example.pairs)
            self._schema = AttributeSchema(tuple(sorted(attributes)), self.options.units)
        return self._schema

    def check(self) -> Iterator[Fault]:
        """Yield every fault of the three files and of the pictures they name."""
        seen: set[int] = set()
        counts: Counter[str] = Counter()
        for split in SPLITS:
            for record in self._records(split, seen, Counter(), line := [0]):
                if isinstance(record, Fault):
                    yield record
                    continue
                counts[f"{split} examples"] += 1
                counts["spans"] += len(record.spans)
                counts["values"] += sum(map(len, record.pairs.values()))
                if record.picture is not None and (wrong := picture_fault(self.folder / record.picture.name)):
                    counts["pictures missing or broken"] += 1
                    yield Fault(f"{split}.jsonl", line[0], "image", f"{wrong}: {record.picture.name}.")
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return examples, products, attributes, values and mentions, over all splits and per split."""
        figures: dict[str, Any] = {}
        products: set[str] = set()
        values: set[tuple[str, str]] = set()
        for split in SPLITS:
            count = mentions = empty = 0
            for example in self.read(split):
                count += 1
                mentions += len(example.spans)
                empty += not example.pairs
                products.add(example.product_id)
                values.update((attribute, value) for attribute, held in example.pairs.items() for value in held)
            figures |= {f"{split} examples": count, f"{split} mentions": mentions, f"{split} without attribute": empty}
        return {
            "products": len(products),
            "attributes": len({attribute for attribute, _ in values}),
            "values": len(values),
            **figures,
        }

    def annotation_files(self) -> list[Path]:
        """Return the three JSONL files; AvebenchError if one is missing."""
        files = [self.folder / f"{split}.jsonl" for split in SPLITS]
        for path in files:
            if not path.is_file():
                raise AvebenchError(
                    f"{path} is missing. A data set of your own needs train.jsonl, valid.jsonl, test.jsonl."
                )
        return files

    def picture_folders(self) -> list[Path]:
        """Return the folder and all folders in it, sorted."""
        walk = os.walk(self.folder, followlinks=True)
        return sorted(Path(root) for root, _, _ in walk)

    def _records(
        self, split: str, seen: set[int], counts: Counter[str], line: list[int] | None = None
    ) -> Iterator[Example | Fault]:
        """Yield what each line holds; `seen` collects hashes of the ids, `line[0]` is set to the current line."""
        shown = f"{split}.jsonl"
        for numbered in numbered_lines(self.folder / shown, shown):
            if isinstance(numbered, Fault):
                yield numbered
                continue
            number, text = numbered
            if line is not None:
                line[0] = number
            if not text.strip():
                yield Fault(shown, number, None, "the line is empty. Write one JSON object per line.")
                continue
            try:
                example = self._example(_object(text), counts)
                if hash(example.id) in seen:
                    raise _WrongFieldError(
                        "id", f"the id '{example.id}' was used before. Give every line an id of its own."
                    )
                seen.add(hash(example.id))
                yield example
            except json.JSONDecodeError as error:
                yield Fault(
                    shown, number, None, f"not JSON, character {error.pos + 1}: {error.msg}. Is the line cut off?"
                )
            except _WrongFieldError as error:
                yield Fault(shown, number, error.field, str(error))

    def _example(self, record: dict[str, Any], counts: Counter[str]) -> Example:
        name = _string(record, "id", required=True)
        text = _string(record, "text", required=True)
        tokens = _tokens(record, text) if "tokens" in record else text_units(text, self.options.units)
        spans = _spans(record, text)
        image = _image(record)
        return Example(
            id=name,
            text=text,
            tokens=tokens,
            spans=spans,
            pairs=_pairs(record, text, spans),
            product_id=_string(record, "product_id") or name,
            picture=picture_at(self.folder / image, image, self.options.missing_images, counts) if image else None,
            category=_string(record, "category") or None,
        )


def _object(text: str) -> dict[str, Any]:
    """Return the JSON object of a line; _WrongFieldError for an unknown or repeated key."""

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _WrongFieldError(twice, "the key stands twice in one object.")
        return found

    try:
        record = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise _WrongFieldError("id", "the line is nested too deeply.") from None
    if not isinstance(record, dict):
        raise _WrongFieldError("id", f"the line is {_kind(record)} of JSON. Write one JSON object per line.")
    for key in record:
        if key not in KEYS:
            raise _WrongFieldError(key, f"unknown key. {near_matches(key, KEYS)}")
    return record


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


def _string(record: dict[str, Any], key: str, *, required: bool = False) -> str:
    """Return a string field; the empty string if it is absent or null and not required."""
    value = record.get(key)
    if value is None and not required:
        return ""
    if key not in record:
        raise _WrongFieldError(key, "the key is missing.")
    if not isinstance(value, str):
        raise _WrongFieldError(key, f"a string is needed, not {_kind(value)}.")
    if not value.strip():
        raise _WrongFieldError(key, "the string is empty.")
    if not is_encodable(value):
        raise _WrongFieldError(key, "the string holds half of a surrogate pair. Write the character itself.")
    return value


def _range(item: list[Any], text: str, field: str) -> tuple[int, int]:
    """Return (start, end) if it is a non-empty range of `text`."""
    start, end = item
    for offset in (start, end):
        if not isinstance(offset, int) or isinstance(offset, bool):
            raise _WrongFieldError(field, f"an offset is a whole number, not {json.dumps(offset)}.")
    if not 0 <= start < end <= len(text):
        raise _WrongFieldError(
            field, f"[{start}, {end}) is no range of the text, which has {len(text)} characters (end exclusive)."
        )
    return start, end


def _tokens(record: dict[str, Any], text: str) -> tuple[tuple[int, int], ...]:
    listed = record["tokens"]
    if not isinstance(listed, list):
        raise _WrongFieldError("tokens", f"a list of [start, end] is needed, not {_kind(listed)}.")
    tokens: list[tuple[int, int]] = []
    for position, item in enumerate(listed):
        field = f"tokens[{position}]"
        if not isinstance(item, list) or len(item) != 2:
            raise _WrongFieldError(field, "each token is [start, end].")
        token = _range(item, text, field)
        if tokens and token[0] < tokens[-1][1]:
            raise _WrongFieldError(field, f"it starts at {token[0]}, before the token in front of it ends.")
        tokens.append(token)
    return tuple(tokens)


def _spans(record: dict[str, Any], text: str) -> tuple[Span, ...]:
    listed = record.get("spans", [])
    if not isinstance(listed, list):
        raise _WrongFieldError("spans", f"a list of {{attribute, start, end}} is needed, not {_kind(listed)}.")
    spans: list[Span] = []
    for position, item in enumerate(listed):
        field = f"spans[{position}]"
        if not isinstance(item, dict):
            raise _WrongFieldError(field, f"each span is an object, not {_kind(item)}.")
        for key in item:
            if key not in SPAN_KEYS:
                raise _WrongFieldError(f"{field}.{key}", f"unknown key. {near_matches(key, SPAN_KEYS)}")
        for key in SPAN_KEYS:
            if key not in item:
                raise _WrongFieldError(f"{field}.{key}", "the key is missing.")
        try:
            attribute = _string(item, "attribute", required=True)
        except _WrongFieldError as error:
            raise _WrongFieldError(f"{field}.attribute", str(error)) from None
        span = Span(attribute, *_range([item["start"], item["end"]], text, field))
        if span in spans:
            raise _WrongFieldError(field, "the same span stands twice.")
        spans.append(span)
    return tuple(spans)


def _pairs(record: dict[str, Any], text: str, spans: tuple[Span, ...]) -> dict[str, frozenset[str]]:
    """Return the pairs as given, or else what the spans cover; every attribute of a span must have a given pair."""
    covered = pairs_from_spans(text, spans)
    if record.get("pairs") is None:
        return covered
    given = record["pairs"]
    if not isinstance(given, dict):
        raise _WrongFieldError("pairs", f"an object {{attribute: [value]}} is needed, not {_kind(given)}.")
    pairs: dict[str, frozenset[str]] = {}
    for attribute, values in given.items():
        field = f"pairs.{attribute}"
        if not attribute.strip() or not is_encodable(attribute):
            raise _WrongFieldError("pairs", "an attribute name is empty or cannot be stored as UTF-8.")
        if not isinstance(values, list) or not values:
            raise _WrongFieldError(field, "a list with at least one value is needed.")
        for value in values:
            _string({field: value}, field, required=True)
        pairs[attribute] = frozenset(values)
    for attribute in covered:
        if attribute not in pairs:
            raise _WrongFieldError(
                "pairs", f"the attribute '{attribute}' has a span but no pair. Add it, or leave pairs out."
            )
    return pairs


def _image(record: dict[str, Any]) -> str:
    """Return the picture's path relative to the folder, or the empty string."""
    image = _string(record, "image")
    path = PurePosixPath(image)
    if path.is_absolute() or ".." in path.parts or "\\" in image or "\0" in image:
        raise _WrongFieldError(
            "image", f"'{image}' leaves the folder. Give a path inside the folder, with forward slashes."
        )
    return image
