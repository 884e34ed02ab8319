"""Fashion Product Images: English titles with photos, silver labels by matching the attribute cells in the title.

The construction is the project's own, defined once: attributes in priority order, forms of a value, marking without
overwriting, and a split by the hash of the title (titles repeat across ids: a split by id would leak test titles).
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.data.pictures import PictureCheck, picture_at
from avebench.data.reading import Marker, examples_of, numbered_lines, split_of, title_key
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="fashion",
    summary="Fashion Product Images: English titles and photos, silver labels for 5 attributes by matching.",
    languages=("en",),
    units="word",
    licence="MIT as stated on its Kaggle page.",
    obtain="Download 'Fashion Product Images' (paramaggarwal) from Kaggle; put styles.csv and images/ into one folder.",
    reader=1,
    folders=("fashion",),
)

FILE = "styles.csv"
ATTRIBUTES = ("gender", "articleType", "baseColour", "usage", "subCategory")
"""Priority order: a later attribute never overwrites an earlier one."""
COLUMNS = ("id", "masterCategory", *ATTRIBUTES, "productDisplayName")


class Options(DatasetOptions):
    """Switches of this reader: only how a missing picture is taken."""


class Dataset(FolderDataset):
    """Reads styles.csv. `Example.id` and `product_id` are the id, `category` is masterCategory.

    Cells that do not stand in the title are unknown, not absent. A row without a title is no example: it is counted.
    """

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the products of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(
            record if isinstance(record, Fault) else self._example(record, counts)
            for record in self._rows(Counter())
            if isinstance(record, Fault) or split_of(record["productDisplayName"]) == split
        )
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the five attributes in priority order."""
        return AttributeSchema(ATTRIBUTES, "word")

    def check(self) -> Iterator[Fault]:
        """Yield every fault of styles.csv, and every picture that is missing or broken."""
        counts: Counter[str] = Counter()
        pictures = PictureCheck(self.options.missing_images, counts)
        for row in self._rows(counts):
            if isinstance(row, Fault):
                yield row
                continue
            counts[f"{split_of(row['productDisplayName'])} products"] += 1
            counts["mentions"] += len(self._example(row, Counter()).spans)
            path = self.folder / "images" / f"{row['id']}.jpg"
            if (wrong := pictures.fault(path)) is not None:
                yield Fault(f"images/{path.name}", None, None, f"{wrong}.")
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return products per split, values, mentions per attribute, and the share of products by their attributes."""
        figures: dict[str, Any] = {"products": 0, "titles": 0}
        titles: set[str] = set()
        values: set[tuple[str, str]] = set()
        mentions: Counter[str] = Counter()
        usual = 0
        for split in SPLITS:
            count = 0
            for example in self.read(split):
                count += 1
                titles.add(title_key(example.text))
                values.update((attribute, value.lower()) for attribute, held in example.pairs.items() for value in held)
                mentions.update(span.attribute for span in example.spans)
                usual += set(example.pairs) == {"gender", "articleType", "baseColour"}
            figures[f"{split} products"] = count
            figures["products"] += count
        figures["titles"] = len(titles)
        figures["attributes"] = len(mentions)
        figures["values"] = len(values)
        figures |= {f"mentions of {attribute}": mentions[attribute] for attribute in ATTRIBUTES}
        share = 100 * usual / max(1, figures["products"])
        return figures | {"products with exactly gender, articleType and baseColour (%)": round(share, 1)}

    def annotation_files(self) -> list[Path]:
        """Return styles.csv; AvebenchError if it is missing."""
        path = self.folder / FILE
        if not path.is_file():
            raise AvebenchError(f"{path} is missing. {self.card.obtain}")
        return [path]

    def picture_folders(self) -> list[Path]:
        """Return the folder of the photos."""
        return [self.folder / "images"]

    def _rows(self, counts: Counter[str]) -> Iterator[dict[str, str] | Fault]:
        """Yield each row by column name, with the fields beyond the last column joined into the title."""
        header: list[str] | None = None
        seen: set[str] = set()
        for numbered in numbered_lines(self.folder / FILE, FILE):
            if isinstance(numbered, Fault):
                yield numbered
                continue
            number, line = numbered
            fields, wrong = _fields(line)
            if wrong is not None:
                yield Fault(FILE, number, None, wrong)
                if header is None:
                    return
                continue
            if header is None:
                missing = [column for column in COLUMNS if column not in fields]
                if missing or fields[-1] != "productDisplayName":
                    lacks = (
                        f"the column {', '.join(missing)} is missing" if missing else "productDisplayName must be last"
                    )
                    yield Fault(FILE, number, None, f"{lacks}. Is this the styles.csv of Fashion Product Images?")
                    return
                header = fields
                continue
            if len(fields) < len(header):
                yield Fault(FILE, number, None, f"{len(fields)} columns; it must be {len(header)} as in the header.")
                continue
            last = len(header) - 1
            row = dict(zip(header, [*fields[:last], ",".join(fields[last:])], strict=True))
            if not row["id"].isdigit() or row["id"] in seen:
                odd = "was used before" if row["id"] in seen else "is not a number"
                yield Fault(FILE, number, "id", f"'{row['id']}' {odd}.")
                continue
            seen.add(row["id"])
            if row["productDisplayName"].strip():
                yield row
            else:
                counts["products without title"] += 1

    def _example(self, row: dict[str, str], counts: Counter[str]) -> Example:
        text = row["productDisplayName"]
        marker = Marker(text, word_units(text))
        for attribute in ATTRIBUTES:
            for form in forms(row[attribute]):
                positions = marker.occurrences(form)
                if positions:
                    marker.mark(attribute, positions, len(form))
                    break
        spans = marker.in_text_order()
        name = f"{row['id']}.jpg"
        return Example(
            id=row["id"],
            text=text,
            tokens=tuple(marker.tokens),
            spans=spans,
            pairs=pairs_from_spans(text, spans),
            product_id=row["id"],
            picture=picture_at(self.folder / "images" / name, name, self.options.missing_images, counts),
            category=row["masterCategory"] or None,
        )


def _fields(line: str) -> tuple[list[str], str | None]:
    """Return the fields of a line, or what is wrong with it."""
    if "\r" in line or "\0" in line:
        return [], "a carriage return or a zero stands within the line. Take it out, and keep each product on a line."
    try:
        fields = next(csv.reader([line]), [])
    except csv.Error:
        return [], f"a field is longer than {csv.field_size_limit():,} characters. Is a line end missing?"
    try:
        list(csv.reader([line], strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            return [], "a quote is not closed before the end of the line. Close it, and keep each product on a line."
    return fields, None


def forms(value: str) -> list[list[str]]:
    """Return the lower-cased units of a value, and those of the value without a final `s`."""
    lowered = value.lower()
    spellings = [lowered, lowered.removesuffix("s")]
    return [[spelling[start:end] for start, end in word_units(spelling)] for spelling in dict.fromkeys(spellings)]
