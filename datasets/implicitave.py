"""ImplicitAVE (Zou et al., Findings of ACL 2024): product titles and photos, values to be inferred from closed options.

Reads the TSV files of the release, quoted as in CSV: `id, images, category, texts, attribute_names, attribute_values`.
What is done to them is counted in `notes`:

* The title's `[Title] ` is taken off; the rest, out of which the authors cut values that stood there, stays as it is.
* Rows of one product with the same title are one example of several attributes. Rows with another title are another
  example of the same `product_id`: of each title another value was cut out, which would stand in the other.
* A value must be one of the options of its attribute, in the domain's `options_<Domain>.json` where there is one, else
  in any options file that has the attribute (the release has one for several domains of clothing).
* Values need not stand in the title: they are pairs. One that stands there all the same, lower-cased and on whole
  units, has a span at every free place, the longest value first; such spans are silver.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.tagging import word_units
from avebench.data.jsonlines import FieldError, checked_pairs, json_object
from avebench.data.pictures import PictureCheck, picture_at
from avebench.data.quoted import quoted_rows
from avebench.data.reading import Marker, examples_of, numbered_lines
from avebench.files.errors import AvebenchError, near_matches

CARD = DatasetCard(
    name="implicitave",
    summary="ImplicitAVE: 70,214 English titles with photos, one of closed options to be inferred for 25 attributes.",
    languages=("en",),
    units="word",
    licence="None stated; texts and pictures are those of Amazon products (MAVE). Not to be redistributed.",
    obtain="Put data/training_data and data/evaluation_data of https://github.com/HenryPengZou/ImplicitAVE into one "
    "folder, with the pictures that it links in their folders images/.",
    reader=1,
    folders=("implicitave",),
    published={
        "train rows": 54881,
        "valid rows": 13723,
        "test rows": 1610,
        "Clothing rows in train": 15132,
        "Food rows in train": 2893,
        "Footwear rows in train": 17091,
        "Home rows in train": 9292,
        "Clothing rows in test": 226,
        "Food rows in test": 390,
        "Footwear rows in test": 317,
        "Home rows in test": 457,
        "attributes with options": 25,
        "options": 158,
    },
)

COLUMNS = ("id", "images", "category", "texts", "attribute_names", "attribute_values")
PARTS = {"train": "training_data", "valid": "training_data", "test": "evaluation_data"}
"""Split -> part of the release, whose TSV files lie in `texts` and whose pictures lie in `images`."""
FILES = {"train": "train.tsv", "valid": "val.tsv"}
TEST_SUFFIX = "_annotated_final.tsv"
TITLE = "[Title] "

OptionLists = Mapping[str, tuple[str, ...]]
"""Attribute -> its options."""


class Options(DatasetOptions):
    """Switches of this reader."""

    categories: Literal["product", "domain"] = "product"
    """What an example's category is: the kind of product ("Mugs"), or one of the five domains ("Home")."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a file: its domain and line, and what it says."""

    domain: str
    line: int
    product: str
    image: str
    category: str
    text: str
    attribute: str
    value: str


@dataclass(slots=True)
class _Title:
    """The rows of one product with one title: the first of them, and attribute -> values."""

    row: _Row
    values: dict[str, set[str]] = field(default_factory=dict)


class Dataset(FolderDataset):
    """Reads titles with closed options. `Example.id` is split, domain and first line, `product_id` the product's id."""

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the titles of `split`, domain by domain in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        for domain, path in self._files(split):
            for title in _titles(examples_of(self._rows(domain, path, counts)), counts):
                yield self._example(split, title, counts)
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the attributes that have a value in one of the three splits, sorted."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        files = [one for split in SPLITS for one in self._files(split)]
        rows = (row for domain, path in files for row in examples_of(self._rows(domain, path, Counter())))
        return AttributeSchema(tuple(sorted({row.attribute for row in rows})))

    def check(self) -> Iterator[Fault]:
        """Yield every fault of rows and options, and every picture that is missing or broken."""
        try:
            self.annotation_files()
            self._lists  # noqa: B018  # Read, and found to be sound.
        except AvebenchError as error:
            yield Fault(self.folder.name, None, None, str(error))
            return
        counts: Counter[str] = Counter()
        pictures = PictureCheck(self.options.missing_images, counts)
        for split in SPLITS:
            for domain, path in self._files(split):
                rows: list[_Row] = []
                for row in self._rows(domain, path, counts):
                    if isinstance(row, Fault):
                        yield row
                        continue
                    rows.append(row)
                    place = self._picture(split, row.image)
                    if row.image and (wrong := pictures.fault(place)) is not None:
                        yield Fault(
                            path.relative_to(self.folder).as_posix(), row.line, "images", f"{wrong}: {row.image}."
                        )
                for title in _titles(iter(rows), counts):
                    counts[f"{split} examples"] += 1
                    counts["mentions"] += len(self._example(split, title, counts).spans)
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return rows per split and domain, options, and what of the values stands in the titles."""
        figures: Counter[str] = Counter()
        for split in SPLITS:
            for domain, path in self._files(split):
                rows = sum(1 for _ in examples_of(self._rows(domain, path, Counter())))
                figures[f"{split} rows"] += rows
                figures[f"{domain} rows in {split}"] += rows
        figures["attributes with options"] = sum(map(len, self._lists.values()))
        figures["options"] = sum(len(options) for one in self._lists.values() for options in one.values())
        figures["attributes"] = len(self.schema().attributes)
        products: set[str] = set()
        for split in SPLITS:
            for example in self.read(split):
                products.add(example.product_id)
                figures[f"{split} examples"] += 1
                figures[f"{split} values"] += sum(map(len, example.pairs.values()))
                figures[f"{split} mentions"] += len(example.spans)
        return {**figures, "products": len(products)}

    def annotation_files(self) -> list[Path]:
        """Return the files of rows and of options; AvebenchError if a split has none, or there are no options."""
        files = [path for split in SPLITS for _, path in self._files(split)]
        return [*files, *self._option_files()]

    def picture_folders(self) -> list[Path]:
        """Return the folders of the photos that are there."""
        folders = [self._part(part) / "images" for part in dict.fromkeys(PARTS.values())]
        return [folder for folder in (*folders, self.folder / "images") if folder.is_dir()]

    def _part(self, part: str) -> Path:
        inner = self.folder / "data" / part
        return inner if inner.is_dir() else self.folder / part

    def _texts(self, part: str) -> Path:
        inner = self._part(part) / "texts"
        return inner if inner.is_dir() else self._part(part)

    def _files(self, split: str) -> list[tuple[str, Path]]:
        """Return (domain, file) of a split, by domain; AvebenchError if there is none.

        Evaluation rows lie in `<Domain>_annotated_final.tsv`, or in the only TSV file of a domain's folder.
        """
        texts = self._texts(PARTS[split])
        if split == "test":
            whole = {path.name.removesuffix(TEST_SUFFIX): path for path in _visible(texts, f"*{TEST_SUFFIX}")}
            inner = {path.parent.name: path for path in _visible(texts, "*/*.tsv")}
            found = inner | whole
        else:
            found = {path.parent.name: path for path in _visible(texts, f"*/{FILES[split]}")}
        if not found:
            name = FILES.get(split, f"<Domain>{TEST_SUFFIX}")
            raise AvebenchError(f"{texts} holds no {name} of a domain. {self.card.obtain}")
        return sorted(found.items())

    def _option_files(self) -> list[Path]:
        places = [self._texts(part) for part in dict.fromkeys(PARTS.values())] + [self.folder]
        found = [
            path for place in places for pattern in ("", "*/") for path in _visible(place, f"{pattern}options_*.json")
        ]
        if not found:
            raise AvebenchError(f"{self.folder} holds no options_<Domain>.json beside its texts. {self.card.obtain}")
        return sorted(set(found))

    @cached_property
    def _lists(self) -> dict[str, OptionLists]:
        """Domain (as the file is called) -> attribute -> its options; AvebenchError names what is wrong."""
        found: dict[str, OptionLists] = {}
        for path in self._option_files():
            shown = path.relative_to(self.folder).as_posix()
            try:
                text = "\n".join(line for _, line in examples_of(numbered_lines(path, shown)))
                pairs = checked_pairs(json_object(text), "options")
                empty = next((name for name, values in pairs.items() if not name.strip() or not values), None)
                if empty is not None:
                    raise FieldError("options", "an attribute has a name and at least one option.")
            except FieldError as error:
                message = f"it is to be one JSON object {{attribute: [option]}}: {error}"
                raise AvebenchError(str(Fault(shown, None, error.field, message))) from None
            options = {name: tuple(sorted(values)) for name, values in pairs.items()}
            domain = path.stem.removeprefix("options_")
            if found.setdefault(domain, options) != options:
                raise AvebenchError(f"{shown}: the folder holds other options for {domain} as well. Keep one file.")
        return found

    def _choices(self, domain: str, attribute: str) -> tuple[str, ...]:
        """Return the options of an attribute: those of its domain, or else of all domains that have it."""
        own = self._lists.get(domain)
        lists = [own] if own is not None else self._lists.values()
        return tuple(sorted({option for one in lists for option in one.get(attribute, ())}))

    def _rows(self, domain: str, path: Path, counts: Counter[str]) -> Iterator[_Row | Fault]:
        """Yield what the rows of a file say."""
        shown = path.relative_to(self.folder).as_posix()
        for record in quoted_rows(path, shown, COLUMNS):
            if isinstance(record, Fault):
                yield record
                continue
            line, fields = record
            try:
                yield self._row(domain, line, fields, counts)
            except FieldError as error:
                yield Fault(shown, line, error.field, str(error))

    def _row(self, domain: str, line: int, fields: dict[str, str], counts: Counter[str]) -> _Row:
        for name in COLUMNS:
            if not fields[name].strip() and name != "images":
                raise FieldError(name, "it is empty.")
        image = fields["images"].strip()
        if image in {".", ".."} or re.search(r"[/\\\0]", image):
            raise FieldError("images", f"'{image}' is no name of a file in images/.")
        text = fields["texts"].removeprefix(TITLE)
        counts[f"'{TITLE}' taken off"] += text != fields["texts"]
        if not text.strip():
            raise FieldError("texts", "there is no title.")
        attribute, value = fields["attribute_names"].strip(), fields["attribute_values"].strip()
        options = self._choices(domain, attribute)
        if not options:
            known = {name for one in self._lists.values() for name in one}
            raise FieldError("attribute_names", f"'{attribute}' has no options. {near_matches(attribute, known)}")
        if value not in options:
            message = f"'{value}' is not among the options of '{attribute}'. {near_matches(value, options)}"
            raise FieldError("attribute_values", message)
        return _Row(domain, line, fields["id"].strip(), image, fields["category"].strip(), text, attribute, value)

    def _example(self, split: str, title: _Title, counts: Counter[str]) -> Example:
        row = title.row
        marker = Marker(row.text, word_units(row.text))
        values = [(attribute, value) for attribute, held in title.values.items() for value in held]
        for attribute, value in sorted(values, key=lambda one: (-len(one[1]), one)):
            form = [value[start:end].lower() for start, end in word_units(value)]
            stands = marker.mark(attribute, marker.occurrences(form), len(form))
            counts["values found in the title" if stands else "values without a span"] += 1
        place = self._picture(split, row.image)
        return Example(
            id=f"{split}-{row.domain}-{row.line}",
            text=row.text,
            tokens=tuple(marker.tokens),
            spans=marker.in_text_order(),
            pairs={attribute: frozenset(held) for attribute, held in title.values.items()},
            product_id=row.product,
            picture=picture_at(place, row.image, self.options.missing_images, counts) if row.image else None,
            category=row.domain if self.options.categories == "domain" else row.category,
        )

    def _picture(self, split: str, name: str) -> Path:
        """Return where a picture lies: beside the texts of its part, or in one folder for both."""
        own = self._part(PARTS[split]) / "images"
        return (own if own.is_dir() else self.folder / "images") / name


def _visible(folder: Path, pattern: str) -> list[Path]:
    return [path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith(".")]


def _titles(rows: Iterator[_Row], counts: Counter[str]) -> list[_Title]:
    """Return the rows of a file by product and title, in the order of the first of each."""
    titles: dict[tuple[str, str], _Title] = {}
    for row in rows:
        known = titles.setdefault((row.product, row.text), _Title(row))
        counts["rows merged with others of the same title"] += known.row is not row
        held = known.values.setdefault(row.attribute, set())
        counts["rows repeated"] += row.value in held
        held.add(row.value)
        counts["attributes of two options"] += len(held) > 1 and known.row is not row
    return list(titles.values())
