r"""MAE (Logan, Humeau, Singh 2017) as an extraction task, "MAE-text": a value counts where it stands in the text.

Neither the matching rule nor the subset of the papers is published. The rule here is the harness's own: text = title +
space + text, cut by the option `cut`; values are compared lower-cased on whole units (`\w+|[^\w\s]`), the longest
first, marked at every free place, never overwriting; attributes with fewer than `min_products` training products are
dropped; products without a match stay. `valid` is 2 % of the official training products, by the hash of their id;
`test` is the official validation set, which the papers report on; `official-test` is the later test set, where the user
has it.

Of a product's pictures the first `max_pictures` are read. The fingerprint covers the names of all of them, which are
annotation bytes, and the files of the picture folder, whatever the number read; `max_pictures` is part of it only where
it is not the default.

Of a product the text is `tokens` where it has them, else `clean_text`, else `text` (fields differ between versions of
the release); tokens in Penn Treebank form (`-lrb-`) are turned back. MAE has 2.2 M products: everything here streams,
and what has to be known beforehand (attribute counts, repeated ids) takes one pass that is remembered on disk.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from avebench.contracts.dataset import DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.data.pictures import PictureCheck, pictures_at
from avebench.data.reading import Marker
from avebench.datasets.mae.cutting import CUT, cutter, vocabulary_file
from avebench.datasets.mae.files import array_elements
from avebench.datasets.mae.products import Product, product_of
from avebench.files.cache import cache_folder, file_digest, read_memo, write_memo
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="mae",
    summary="MAE-text: 2.2 M English products with silver labels by matching their specifications in the text.",
    languages=("en",),
    units="word",
    licence="None stated; texts and pictures come from shops. Not to be redistributed.",
    obtain="See https://rloganiv.github.io/mae/ for train.zip, val.zip and the pictures. Unpack to the folders train/, "
    "val/ (test/ if you have it) and mumie-img/ of one folder.",
    reader=1,
    folders=("mae",),
    published={"products": 2200000, "instances": 7600000, "attributes": 2100, "values": 23600},
)

SOURCES = {"train": "train", "valid": "train", "test": "val", "official-test": "test"}
"""Split -> folder of the release."""
HELD_OUT_ONE_IN = 50


class Options(DatasetOptions):
    """Switches of this reader."""

    added: ClassVar[frozenset[str]] = frozenset({"max_pictures"})

    missing_images: Literal["error", "blank"] = "blank"
    """The picture archive of the release is known to be damaged: by default blank, and counted."""
    cut: str = "words:100"
    """How much text is kept: `words:N` units, or `pieces:N:VOCABULARY` word pieces of an encoder or a vocab.txt."""
    min_products: int = Field(default=10, ge=1)
    """Attributes with a value in fewer training products are dropped."""
    max_pictures: int = Field(default=4, ge=1)
    """Pictures of a product beyond these are left out (MAE-model's code leaves out the product)."""

    @field_validator("cut")
    @classmethod
    def _is_known(cls, cut: str) -> str:
        match = CUT.fullmatch(cut)
        if match is None or (match["unit"] == "pieces") != (match["vocabulary"] is not None):
            raise ValueError("write words:100, or pieces:126:VOCABULARY with a named vocabulary")
        return cut


class Dataset(FolderDataset):
    """Reads the folders of the release product by product. `Example.id` and `product_id` are the diffbotUri."""

    options: Options
    repeats_ids = True

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are here: `official-test` only where the user has it."""
        return tuple(split for split, source in SOURCES.items() if source != "test" or (self.folder / "test").is_dir())

    def read(self, split: str) -> Iterator[Example]:
        """Yield the products of `split` in file order; AvebenchError names file and line of what is no JSON.

        Odd fields are counted in `notes`, beside the products, pairs and attributes that are kept.
        """
        check_split(split, self.splits)
        kept = frozenset(self.schema().attributes)
        repeated = frozenset(self._survey["repeated"].get(SOURCES[split], ()))
        seen: set[int] = set()
        counts: Counter[str] = Counter({"attributes kept": len(kept)})
        for product in self._products(SOURCES[split]):
            if split in {"train", "valid"} and is_held_out(product.id) != (split == "valid"):
                continue
            if (key := _hash(product.id)) in repeated:
                if key in seen:
                    counts["products repeated"] += 1
                    continue
                seen.add(key)
            counts.update(f"{field}: {what}" for field, what in product.oddities)
            example = self._example(product, kept, counts)
            if example is not None:
                counts["products kept"] += 1
                counts["pairs kept"] += sum(map(len, example.pairs.values()))
                yield example
        self.note(split, counts)

    def schema(self) -> AttributeSchema:
        """Return, sorted, the attributes that have a value in the text of `min_products` training products."""
        counts: dict[str, int] = self._survey["attributes"]
        kept = (attribute for attribute, products in counts.items() if products >= self.options.min_products)
        return AttributeSchema(tuple(sorted(kept)), "word")

    def check(self) -> Iterator[Fault]:
        """Yield every fault: what is no JSON, odd fields, ids used again, pictures missing or broken."""
        counts: Counter[str] = Counter()
        pictures = PictureCheck(self.options.missing_images, counts)
        for source in self._sources():
            hashes = array("Q")
            for shown, line, record in self._records(source):
                if isinstance(record, Fault):
                    yield record
                    continue
                product = product_of(record, f"{shown}:{line}")
                counts[f"{source} products"] += 1
                hashes.append(_hash(product.id))
                for field, what in product.oddities:
                    counts[f"{field}: {what}"] += 1
                    yield Fault(shown, line, field, f"{what}.")
                for name in product.images[: self.options.max_pictures]:
                    if (wrong := pictures.fault(self._pictures() / name)) is not None:
                        yield Fault(shown, line, "images", f"{wrong}: {name}.")
            if repeated := _repeated(hashes):
                yield Fault(f"{source}/", None, "diffbotUri", f"{len(repeated)} ids are used more than once.")
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the journal's Table 2 as counted before matching, and what matching keeps per split."""
        figures: dict[str, Any] = {**self._survey["release"], "attributes kept": len(self.schema().attributes)}
        for split in self.splits:
            for _ in self.read(split):
                pass
            for what in ("products kept", "pairs kept"):
                figures[f"{split} {what}"] = self.notes.get(f"{split}: {what}", 0)
        return figures

    def annotation_files(self) -> list[Path]:
        """Return the JSON files of all folders; AvebenchError if train/ or val/ is missing or empty."""
        return [path for source in self._sources() for path in self._files(source)]

    def picture_folders(self) -> list[Path]:
        """Return the flat folder of pictures."""
        return [self._pictures()]

    def fingerprint(self) -> str:
        """Return the data set's fingerprint; with `cut = pieces` the bytes of the vocabulary are part of it."""
        vocabulary = vocabulary_file(self.options.cut)
        own = super().fingerprint()
        return own if vocabulary is None else hashlib.sha256(f"{own}\x1f{file_digest(vocabulary)}".encode()).hexdigest()

    def _sources(self) -> list[str]:
        return [source for source in ("train", "val", "test") if source != "test" or (self.folder / "test").is_dir()]

    def _files(self, source: str) -> list[Path]:
        files = sorted((self.folder / source).glob("*.json"))
        if not files:
            raise AvebenchError(f"{self.folder / source} holds no *.json file. {self.card.obtain}")
        return files

    def _pictures(self) -> Path:
        other = self.folder / "images"
        flat = self.folder / "mumie-img"
        return other if other.is_dir() and not flat.is_dir() else flat

    def _records(self, source: str) -> Iterator[tuple[str, int, dict[str, Any] | Fault]]:
        """Yield (file, line, object or fault) of every element of every file of a folder."""
        for path in self._files(source):
            shown = f"{source}/{path.name}"
            for element in array_elements(path, shown):
                if isinstance(element, Fault):
                    yield shown, 0, element
                    continue
                line, value = element
                wrong = Fault(shown, line, None, "an element of the array is not an object; each must be one product.")
                yield shown, line, value if isinstance(value, dict) else wrong

    def _products(self, source: str) -> Iterator[Product]:
        for number, (shown, _, record) in enumerate(self._records(source)):
            if isinstance(record, Fault):
                raise AvebenchError(f"{record} Run `avebench data check mae` for all faults.")
            yield product_of(record, f"{shown}:{number}")

    @cached_property
    def _cut_text(self) -> Callable[[str], tuple[tuple[int, int], ...]]:
        return cutter(self.options.cut)

    def _mark(self, product: Product, kept: frozenset[str] | None, counts: Counter[str]) -> Marker:
        """Mark the values of `kept` attributes (None: of all), the longest first."""
        marker = Marker(product.text, self._cut_text(product.text))
        forms = []
        for attribute, value in product.specs:
            if kept is None or attribute in kept:
                units = [value[start:end].lower() for start, end in word_units(value)]
                forms.append((-len(units), -len(value), attribute, units))
        for _, _, attribute, units in sorted(forms):
            positions = marker.occurrences(units)
            if not positions:
                counts["values not in the text"] += 1
            elif not marker.mark(attribute, positions, len(units)):
                counts["values whose place is taken"] += 1
        return marker

    def _example(self, product: Product, kept: frozenset[str], counts: Counter[str]) -> Example | None:
        """Return the example, its text ending with the cut; None, counted, if nothing of a text is left."""
        marker = self._mark(product, kept, counts)
        if not marker.tokens:
            counts["products without text"] += 1
            return None
        text = product.text[: marker.tokens[-1][1]]
        spans = marker.in_text_order()
        most = self.options.max_pictures
        if len(product.images) > most:
            counts[f"products with more than {most} pictures"] += 1
        pictures = pictures_at(self._pictures(), product.images[:most], self.options.missing_images, counts)
        return Example(
            product.id,
            text,
            tuple(marker.tokens),
            spans,
            pairs_from_spans(text, spans),
            product_id=product.id,
            picture=pictures[0] if pictures else None,
            further_pictures=pictures[1:],
        )

    @cached_property
    def _survey(self) -> dict[str, Any]:
        """What one pass over all files finds, remembered by fingerprint: attribute counts, repeated ids, raw totals."""
        memo = cache_folder() / "mae" / f"{self.fingerprint()}.json"
        if (known := read_memo(memo)) is not None:
            remembered: dict[str, Any] = json.loads(known)
            return remembered
        found = self._take_survey()
        write_memo(memo, json.dumps(found, ensure_ascii=False))
        return found

    def _take_survey(self) -> dict[str, Any]:
        attributes: Counter[str] = Counter()
        names: set[str] = set()
        values = _Distinct()
        repeated: dict[str, list[int]] = {}
        release: Counter[str] = Counter()
        for source in self._sources():
            hashes = array("Q")
            for product in self._products(source):
                hashes.append(_hash(product.id))
                release["products"] += 1
                release["instances"] += len(product.specs)
                for attribute, value in product.specs:
                    names.add(attribute)
                    values.add(_hash(f"{attribute}\x1f{value}"))
                if source == "train" and not is_held_out(product.id):
                    attributes.update({span.attribute for span in self._mark(product, None, Counter()).spans})
            repeated[source] = _repeated(hashes)
        totals = {**release, "attributes": len(names), "values": values.count()}
        return {"attributes": dict(sorted(attributes.items())), "repeated": repeated, "release": totals}


class _Distinct:
    """Counts distinct 64-bit hashes in 8 bytes each."""

    def __init__(self) -> None:
        self._known = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def add(self, value: int) -> None:
        self._recent.add(value)
        if len(self._recent) >= 50_000:
            self.count()

    def count(self) -> int:
        """Return how many distinct values were added so far."""
        recent = np.fromiter(self._recent, dtype=np.uint64, count=len(self._recent))
        self._known = np.union1d(self._known, recent)
        self._recent.clear()
        return len(self._known)


def _repeated(hashes: array[int]) -> list[int]:
    """Return the hashes that occur more than once, sorted."""
    if not hashes:
        return []
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    found: list[int] = np.unique(ordered[1:][ordered[1:] == ordered[:-1]]).tolist()
    return found


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_held_out(product_id: str) -> bool:
    """Return True for the one in 50 of the official training products that form `valid`."""
    return _hash(f"valid:{product_id}") % HELD_OUT_ONE_IN == 0
