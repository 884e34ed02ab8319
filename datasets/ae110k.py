"""AE-110K (Xu et al., ACL 2019): English AliExpress titles with (attribute, value) triples, `NULL` where absent.

A line is a title, an attribute and a value between U+0001; one example is one title with all its triples. What is done
to them, all of it counted in `notes`:

* HTML entities of titles, attributes and values become characters once (`Men&#39;s` -> `Men's`), so that a value that
  stands in the crawled title stands in the text. One that does not (it stood inside an entity) is left out. White space
  around values and attributes goes, inside attributes it is collapsed; titles stay as they are.
* Spans: every place where the value stands exactly, both ends on unit boundaries (words and punctuation marks). A value
  that stands only inside a longer word ("Swim" in "Swimwear"; the release matched strings) is a pair without a span.
  Spans of one attribute do not overlap, the longest value first; those of different attributes may.
* `NULL` is a known absence (`Example.absent`); beside a value of the same attribute it is left out.
* The split is by the SHA-256 of the title, lower-cased with white space collapsed: 70:10:20 (the release's README
  splits the triples 80:20). Titles that stand in several files, or differ in case and spacing only, share one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, Span
from avebench.contracts.tagging import word_units
from avebench.data.reading import examples_of, numbered_lines, split_of, title_key
from avebench.data.titles import exact_spans, longer_first, title_digest, unescape
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="ae110k",
    summary="AE-110K: English AliExpress titles, 2,761 attributes, values and known absences; no photos.",
    languages=("en",),
    units="word",
    licence="None stated; released for academic research.",
    obtain="Put publish_data.txt of https://github.com/cubenlp/ACL19_Scaling_Up_Open_Tagging, or its parts "
    "opentags.{train,dev,test}, into one folder.",
    reader=1,
    folders=("ae110k", "ae110k-sample"),
    published={
        "products": 52703,
        "attributes": 2761,
        "triples": 110484,
        "attributes with 1,000 triples or more": 13,
        "attributes with 100 to 999 triples": 49,
        "attributes with 10 to 99 triples": 208,
        "attributes with fewer than 10 triples": 2491,
    },
    pictures=False,
)

WHOLE = "publish_data.txt"
PARTS = ("opentags.train", "opentags.dev", "opentags.test")
NULL = "NULL"
COLUMNS = ("title", "attribute", "value")


class Options(DatasetOptions):
    """Switches of this reader."""

    min_titles: int = Field(default=0, ge=0)
    """Attributes with a value in fewer training titles are left out, from gold too; 9 of 10 attributes are rare."""


@dataclass(frozen=True, slots=True)
class _Triple:
    file: str
    line: int
    title: str
    attribute: str
    value: str


@dataclass(slots=True)
class _Title:
    """What is annotated of one title: attribute -> values, and the attributes that are absent."""

    values: dict[str, set[str]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)


class Dataset(FolderDataset):
    """Reads triples. Holds the titles of one split at a time: the triples of a title stand anywhere in the files.

    `Example.id` is a hash of the title; `product_id` is shared by titles that differ in case and spacing only. Spans
    that share a unit stand in text order, the longer first: the first of them is the one that tags can express.
    """

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the titles of `split` in the order of their first triples; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        kept = None if self.options.min_titles == 0 else frozenset(self.schema().attributes)
        for text, title in self._titles(split, counts).items():
            yield _example(text, title, kept, counts)
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the attributes that have a value, of the three splits or as `min_titles` says of train, sorted."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        titles: Counter[str] = Counter()
        splits = ("train",) if self.options.min_titles else SPLITS
        for split in splits:
            for text, title in self._titles(split, Counter()).items():
                titles.update(name for name, values in title.values.items() if any(value in text for value in values))
        return AttributeSchema(tuple(sorted(n for n, count in titles.items() if count >= self.options.min_titles)))

    def check(self) -> Iterator[Fault]:
        """Yield every line that is no triple; what the reader mends on its own is counted, not a fault."""
        try:
            self._files()
        except AvebenchError as error:
            yield Fault(self.folder.name, None, None, str(error))
            return
        counts: Counter[str] = Counter()
        titles: dict[str, dict[str, _Title]] = {split: {} for split in SPLITS}
        for triple in self._triples():
            if isinstance(triple, Fault):
                yield triple
                continue
            counts["triples"] += 1
            _add(titles[split_of(triple.title)], triple, counts)
        for split, held in titles.items():
            counts[f"{split} titles"] = len(held)
            for text, title in held.items():
                counts["mentions"] += len(_example(text, title, None, counts).spans)
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the release's README as counted here, and those per split.

        A product is a title; attributes are counted with white space collapsed, which may unite a few.
        """
        titles: set[str] = set()
        files: dict[str, set[str]] = {}
        attributes: Counter[str] = Counter()
        absences = 0
        for triple in examples_of(self._triples()):
            titles.add(triple.title)
            files.setdefault(title_key(triple.title), set()).add(triple.file)
            attributes[triple.attribute] += 1
            absences += triple.value == NULL
        sizes = list(attributes.values())
        figures: dict[str, Any] = {
            "products": len(titles),
            "attributes": len(attributes),
            "triples": sum(sizes),
            "attributes with 1,000 triples or more": sum(size >= 1000 for size in sizes),
            "attributes with 100 to 999 triples": sum(100 <= size < 1000 for size in sizes),
            "attributes with 10 to 99 triples": sum(10 <= size < 100 for size in sizes),
            "attributes with fewer than 10 triples": sum(size < 10 for size in sizes),
            "triples with NULL": absences,
            "titles in more than one file": sum(len(names) > 1 for names in files.values()),
            "attributes with a value": len(self.schema().attributes),
        }
        for split in SPLITS:
            examples = list(self.read(split))
            figures |= {
                f"{split} titles": len(examples),
                f"{split} titles without value": sum(not example.pairs for example in examples),
                f"{split} values": sum(len(values) for example in examples for values in example.pairs.values()),
                f"{split} mentions": sum(len(example.spans) for example in examples),
                f"{split} known absences": sum(len(example.absent) for example in examples),
            }
        return figures

    def annotation_files(self) -> list[Path]:
        """Return the files of triples that are there; AvebenchError if none is."""
        return self._files()

    def _files(self) -> list[Path]:
        whole = self.folder / WHOLE
        files = [whole] if whole.is_file() else [path for name in PARTS if (path := self.folder / name).is_file()]
        if not files:
            raise AvebenchError(f"{self.folder} holds neither {WHOLE} nor {' nor '.join(PARTS)}. {self.card.obtain}")
        return files

    def _triples(self) -> Iterator[_Triple | Fault]:
        """Yield the triples of all files, entities made characters; blank lines are passed over."""
        for path in self._files():
            for numbered in numbered_lines(path, path.name):
                if isinstance(numbered, Fault):
                    yield numbered
                elif numbered[1].strip():
                    yield _triple(path.name, *numbered)

    def _titles(self, split: str, counts: Counter[str]) -> dict[str, _Title]:
        titles: dict[str, _Title] = {}
        for triple in examples_of(self._triples()):
            if split_of(triple.title) == split:
                _add(titles, triple, counts)
        return titles


def _triple(shown: str, line: int, text: str) -> _Triple | Fault:
    columns = text.split("\x01")
    if len(columns) != len(COLUMNS):
        message = f"{len(columns)} columns; it must be 3 (title, attribute, value) between U+0001."
        return Fault(shown, line, None, message)
    title, attribute, value = map(unescape, columns)
    attribute, value = " ".join(attribute.split()), value.strip()
    for name, content in zip(COLUMNS, (title.strip(), attribute, value), strict=True):
        if not content:
            hint = f" Write {NULL} where the product does not have the attribute." if name == "value" else ""
            return Fault(shown, line, name, f"it is empty.{hint}")
    return _Triple(shown, line, title, attribute, value)


def _add(titles: dict[str, _Title], triple: _Triple, counts: Counter[str]) -> None:
    """Add a triple to its title; one that is there already is counted."""
    title = titles.setdefault(triple.title, _Title())
    if triple.value == NULL:
        held, item = title.absent, triple.attribute
    else:
        held, item = title.values.setdefault(triple.attribute, set()), triple.value
    if item in held:
        counts["triples repeated"] += 1
    held.add(item)


def _example(text: str, title: _Title, kept: frozenset[str] | None, counts: Counter[str]) -> Example:
    """Return the example of a title with the `kept` attributes (None: all)."""
    tokens = word_units(text)
    spans: list[Span] = []
    pairs: dict[str, frozenset[str]] = {}
    for attribute, values in title.values.items():
        if kept is not None and attribute not in kept:
            counts["values of rare attributes left out"] += len(values)
            continue
        found = frozenset(value for value in values if value in text)
        if len(found) < len(values):
            counts["values not in the title left out"] += len(values) - len(found)
        if not found:
            continue
        pairs[attribute] = found
        marked = exact_spans(attribute, found, text, tokens)
        spans.extend(marked)
        inside = found - {text[span.start : span.end] for span in marked}
        if inside:
            counts["values without a span"] += len(inside)
    if contradicted := title.absent & pairs.keys():
        counts["absences beside a value left out"] += len(contradicted)
    absent = {name for name in title.absent - pairs.keys() if kept is None or name in kept}
    return Example(
        id=title_digest(text),
        text=text,
        tokens=tokens,
        spans=longer_first(spans),
        pairs=pairs,
        product_id=title_digest(title_key(text)),
        absent=frozenset(absent),
    )
