"""A user's own data: a folder with train.jsonl, valid.jsonl and test.jsonl in the gold JSONL format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import INTENT, AttributeSchema, Example, Units, gold_attributes
from avebench.data.gold import KEYS, gold_example, image_paths
from avebench.data.jsonlines import FieldError, parse_object
from avebench.data.pictures import PictureCheck, pictures_at
from avebench.data.reading import examples_of, numbered_lines
from avebench.files.errors import AvebenchError
from avebench.files.folders import folders_in

CARD = DatasetCard(
    name="jsonl",
    summary="Your own data: a folder with train.jsonl, valid.jsonl and test.jsonl.",
    languages=("any",),
    units="word",
    licence="yours",
    obtain="It is your own folder: name it with --data DIR. One JSON object per line with the keys id, text, "
    "product_id?, tokens?, spans?, pairs?, absent?, image?, category?, paragraphs?.",
    reader=1,
    folders=("jsonl",),
    own=True,
)


class Options(DatasetOptions):
    """Switches of this reader."""

    units: Units = "word"
    """Units of a line without `tokens`: words and punctuation marks, or characters (Chinese)."""


class Dataset(FolderDataset):
    """Reads gold JSONL. Offsets are Unicode code points of `text`, end exclusive; faults name file, line and field."""

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the examples of `split` in file order; AvebenchError at the first fault."""
        check_split(split)
        counts: Counter[str] = Counter()
        yield from examples_of(self._records(split, set(), counts))
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return the attributes and the intents of the three splits, sorted."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        attributes: set[str] = set()
        intents: set[str] = set()
        without: tuple[str, str] | None = None
        for split in SPLITS:
            for example in examples_of(self._records(split, set(), None)):
                attributes.update(gold_attributes(example))
                intents.update(example.pairs.get(INTENT, ()))
                without = without if INTENT in example.pairs else without or (split, example.id)
        if intents and without is not None:
            raise AvebenchError(str(_no_intent(*without)))
        return AttributeSchema(tuple(sorted(attributes)), self.options.units, tuple(sorted(intents)))

    def check(self) -> Iterator[Fault]:
        """Yield every fault of the three files and of the pictures they name."""
        seen: set[int] = set()
        counts: Counter[str] = Counter()
        pictures = PictureCheck(self.options.missing_images, counts)
        without: tuple[str, str] | None = None
        for split in SPLITS:
            for record in self._records(split, seen, None, at := [0]):
                if isinstance(record, Fault):
                    yield record
                    continue
                counts[f"{split} examples"] += 1
                if INTENT in record.pairs:
                    counts["intents"] += 1
                else:
                    without = without or (split, record.id)
                counts["mentions"] += len(record.spans)
                named = gold_attributes(record)
                counts["attribute and value pairs"] += sum(len(record.pairs[attribute]) for attribute in named)
                for picture in record.pictures:
                    if wrong := pictures.fault(self.folder / picture.name):
                        yield Fault(f"{split}.jsonl", at[0], "image", f"{wrong}: {picture.name}.")
        if counts["intents"] and without is not None:
            yield _no_intent(*without)
        self.notes.update(+counts)

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
                attributes = gold_attributes(example)
                empty += not attributes
                products.add(example.product_id)
                values.update((attribute, value) for attribute in attributes for value in example.pairs[attribute])
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
        """Return the folder and all folders in it, sorted, through symbolic links wherever they lead, but no loops."""
        return sorted(folders_in(self.folder))

    def _records(
        self, split: str, seen: set[int], counts: Counter[str] | None, at: list[int] | None = None
    ) -> Iterator[Example | Fault]:
        """Yield what each line holds; `seen` collects hashes of the ids, `at[0]` is set to the current line.

        Missing pictures are taken as the options say and counted; without `counts` they are not looked for. Empty
        lines are passed over, as wherever gold JSONL is read.
        """
        shown = f"{split}.jsonl"
        empty = True
        for numbered in numbered_lines(self.folder / shown, shown):
            if isinstance(numbered, Fault):
                empty = False
                yield numbered
                continue
            number, text = numbered
            if at is not None:
                at[0] = number
            if not text.strip():
                continue
            empty = False
            try:
                yield self._example(text, seen, counts)
            except FieldError as error:
                yield Fault(shown, number, error.field, str(error))
        if empty:
            yield Fault(shown, None, None, "the file holds no example.")

    def _example(self, text: str, seen: set[int], counts: Counter[str] | None) -> Example:
        """Return the example of a line; FieldError names the field that breaks the format."""
        record = parse_object(text, KEYS)
        policy = "error" if counts is None else self.options.missing_images
        noted = Counter() if counts is None else counts
        pictures = pictures_at(self.folder, image_paths(record), policy, noted)
        example = gold_example(record, self.options.units, pictures)
        if hash(example.id) in seen:
            raise FieldError("id", f"the id '{example.id}' was used before. Give every line an id of its own.")
        seen.add(hash(example.id))
        return example


def _no_intent(split: str, name: str) -> Fault:
    """Return the fault of the first example without an intent where others have one."""
    message = f"'{name}' has no intent, others do. Give every line of the three files one ('pairs.{INTENT}'), or none."
    return Fault(f"{split}.jsonl", None, "pairs", message)
