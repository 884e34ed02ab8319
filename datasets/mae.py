r"""MAE (Logan, Humeau, Singh 2017) as an extraction task, "MAE-text": a value counts where it stands in the text.

Neither the matching rule nor the subset of the papers is published. The rule here is the harness's own: text = title +
space + text, cut by the option `cut`; values are compared lower-cased on whole units (`\w+|[^\w\s]`), the longest
first, marked at every free place, never overwriting; attributes with fewer than `min_products` training products are
dropped; products without a match stay. `valid` is 2 % of the official training products, by the hash of their id;
`test` is the official validation set, which the papers report on; `official-test` is the later test set, where the user
has it.

Of a product the text is `tokens` where it has them, else `clean_text`, else `text` (fields differ between versions of
the release); tokens in Penn Treebank form (`-lrb-`) are turned back. MAE has 2.2 M products: everything here streams,
and what has to be known beforehand (attribute counts, repeated ids) takes one pass that is remembered on disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator

from avebench.contracts.dataset import Dataset as BaseDataset
from avebench.contracts.dataset import DatasetCard, DatasetOptions, Fault, check_split
from avebench.contracts.examples import AttributeSchema, Example, Picture, pairs_from_spans
from avebench.contracts.tagging import word_units
from avebench.data.pictures import PictureCheck, picture_at
from avebench.data.reading import Marker, is_encodable
from avebench.datasets.mae_files import array_elements
from avebench.files.cache import cache_folder, file_digest, read_memo, write_memo
from avebench.files.errors import AvebenchError
from avebench.files.places import expanded, is_file
from avebench.nn.weights import encoder_folder

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

_PTB = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}", "``": '"', "''": '"'}
_CUT = re.compile(r"(?P<unit>words|pieces):(?P<count>[1-9][0-9]*)(?::(?P<vocabulary>.+))?")


class Options(DatasetOptions):
    """Switches of this reader."""

    missing_images: Literal["error", "blank"] = "blank"
    """The picture archive of the release is known to be damaged: by default blank, and counted."""
    cut: str = "words:100"
    """How much text is kept: `words:N` units, or `pieces:N:VOCABULARY` word pieces of an encoder or a vocab.txt."""
    min_products: int = Field(default=10, ge=1)
    """Attributes with a value in fewer training products are dropped."""

    @field_validator("cut")
    @classmethod
    def _is_known(cls, cut: str) -> str:
        match = _CUT.fullmatch(cut)
        if match is None or (match["unit"] == "pieces") != (match["vocabulary"] is not None):
            raise ValueError("write words:100, or pieces:126:VOCABULARY with a named vocabulary")
        return cut


@dataclass(frozen=True, slots=True)
class _Product:
    """What one object of the release says, before anything is matched."""

    id: str
    text: str
    specs: tuple[tuple[str, str], ...]
    image: str
    oddities: tuple[tuple[str, str], ...]
    """(field, what is odd about it)."""


class Dataset(BaseDataset):
    """Reads the folders of the release product by product. `Example.id` and `product_id` are the diffbotUri."""

    folder: Path
    options: Options
    repeats_ids = True

    def __init__(self, card: DatasetCard, folder: Path | None, options: Options) -> None:
        if folder is None:
            raise AvebenchError(f"The data set 'mae' needs its folder. {card.obtain}")
        super().__init__(card, folder, options)

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
        self.notes.update({f"{split}: {name}": count for name, count in counts.items()})

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
                product = _product(record, f"{shown}:{line}")
                counts[f"{source} products"] += 1
                hashes.append(_hash(product.id))
                for field, what in product.oddities:
                    counts[f"{field}: {what}"] += 1
                    yield Fault(shown, line, field, f"{what}.")
                if product.image and (wrong := pictures.fault(self._pictures() / product.image)) is not None:
                    yield Fault(shown, line, "images", f"{wrong}: {product.image}.")
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
        vocabulary = _vocabulary_file(self.options.cut)
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

    def _products(self, source: str) -> Iterator[_Product]:
        for number, (shown, _, record) in enumerate(self._records(source)):
            if isinstance(record, Fault):
                raise AvebenchError(f"{record} Run `avebench data check mae` for all faults.")
            yield _product(record, f"{shown}:{number}")

    @cached_property
    def _cut_text(self) -> Callable[[str], tuple[tuple[int, int], ...]]:
        return cutter(self.options.cut)

    def _mark(self, product: _Product, kept: frozenset[str] | None, counts: Counter[str]) -> Marker:
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

    def _example(self, product: _Product, kept: frozenset[str], counts: Counter[str]) -> Example | None:
        """Return the example, its text ending with the cut; None, counted, if nothing of a text is left."""
        marker = self._mark(product, kept, counts)
        if not marker.tokens:
            counts["products without text"] += 1
            return None
        text = product.text[: marker.tokens[-1][1]]
        spans = marker.in_text_order()
        picture: Picture | None = None
        if product.image:
            path = self._pictures() / product.image
            picture = picture_at(path, product.image, self.options.missing_images, counts)
        pairs = pairs_from_spans(text, spans)
        return Example(product.id, text, tuple(marker.tokens), spans, pairs, product_id=product.id, picture=picture)

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


def _product(record: dict[str, Any], place: str) -> _Product:
    """Return what an object says; whatever is missing or of the wrong kind is an oddity, never an error."""
    odd: list[tuple[str, str]] = []

    def string(field: str) -> str:
        value = record.get(field)
        if isinstance(value, str):
            return value if is_encodable(value) else value.encode(errors="replace").decode()
        if value is not None:
            odd.append((field, "not a string"))
        return ""

    name = string("diffbotUri").strip()
    if not name:
        odd.append(("diffbotUri", "missing"))
    tokens = record.get("tokens")
    if isinstance(tokens, list) and tokens and all(isinstance(token, str) and is_encodable(token) for token in tokens):
        body, tokenised = " ".join(tokens), True
    elif clean := string("clean_text"):
        body, tokenised = clean, True
    else:
        body, tokenised = string("text"), False
    title = string("clean_title") if tokenised else ""
    text = " ".join(
        part for part in (from_ptb(title) or string("title"), from_ptb(body) if tokenised else body) if part
    )
    odd.extend(
        (field, "missing") for field, part in (("title", title or record.get("title")), ("text", body)) if not part
    )
    return _Product(name or place, text, _specs(record, odd), _image(record, odd), tuple(odd))


def from_ptb(text: str) -> str:
    r"""Return space-joined Penn Treebank tokens with their bracket and quote forms turned back, and `\/` to `/`."""
    return " ".join(_PTB.get(token.lower(), token.replace("\\/", "/").replace("\\*", "*")) for token in text.split())


def _specs(record: dict[str, Any], odd: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    specs = record.get("specs")
    if not isinstance(specs, dict) or not specs:
        odd.append(("specs", "missing" if specs is None else "empty" if specs == {} else "not an object"))
        return ()
    kept = []
    for attribute, value in specs.items():
        if not isinstance(value, str):
            odd.append(("specs", "a value that is not a string"))
        elif not value.strip() or not attribute.strip():
            odd.append(("specs", "an empty attribute or value"))
        elif is_encodable(attribute) and is_encodable(value):
            kept.append((attribute, value))
    return tuple(kept)


def _image(record: dict[str, Any], odd: list[tuple[str, str]]) -> str:
    """Return the name of the first picture, or the empty string."""
    images = record.get("images")
    if not images:
        odd.append(("images", "missing"))
        return ""
    first = images[0] if isinstance(images, list) else None
    if not isinstance(first, str) or not first or first in {".", ".."} or re.search(r"[/\\\0]", first):
        odd.append(("images", "not a list of file names"))
        return ""
    return first


def _vocabulary_file(cut: str) -> Path | None:
    """Return the tokenizer file that a cut in pieces names; AvebenchError if it is not here."""
    match = _CUT.fullmatch(cut)
    assert match is not None
    name = match["vocabulary"]
    if name is None:
        return None
    if is_file(expanded(Path(name))):
        return expanded(Path(name))
    folder = encoder_folder(name)
    for file in ("tokenizer.json", "vocab.txt"):
        if (folder / file).is_file():
            return folder / file
    raise AvebenchError(f"The data set 'mae', option 'cut': {folder} has neither tokenizer.json nor vocab.txt.")


def cutter(cut: str) -> Callable[[str], tuple[tuple[int, int], ...]]:
    """Return the function from a text to the character ranges of its units that lie wholly inside the cut.

    A vocab.txt is read as that of an uncased BERT. AvebenchError if the vocabulary is not on this machine.
    """
    match = _CUT.fullmatch(cut)
    assert match is not None
    count = int(match["count"])
    vocabulary = _vocabulary_file(cut)
    if vocabulary is None:
        return lambda text: _first_units(text, count)
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    if vocabulary.suffix == ".json":
        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    else:
        tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def units_inside(text: str) -> tuple[tuple[int, int], ...]:
        units = word_units(text)
        # Almost every unit is a piece or more: the rest of a long text is encoded only when it has to be.
        for ahead in (2 * count, len(units)):
            if not units[:ahead]:
                return ()
            pieces = tokenizer.encode(text[: units[:ahead][-1][1]], add_special_tokens=False).offsets
            if len(pieces) > count:
                # The first piece outside may lie within a unit, which is then outside as well.
                return tuple(unit for unit in units[:ahead] if unit[1] <= pieces[count][0])
        return units

    return units_inside


def _first_units(text: str, count: int) -> tuple[tuple[int, int], ...]:
    """Return the first `count` units, without cutting all of a long text into units."""
    units = word_units(text[: 10 * count])
    # The last unit of a beginning may go on behind it; with one more than needed that does not matter.
    return (units if len(units) > count else word_units(text))[:count]
