"""MEPAVE (Zhu et al., EMNLP 2020): Chinese product sentences of seven fashion categories with tagged values and photos.

Reads the files of the full release and of the public sample as they are. As in the reference converters everything is
lower-cased, one character is one token, and a line whose text holds a space or whose marks do not rebuild its text is
dropped; here that is counted in `notes`, and more than 1 % of a split is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import SPLITS, DatasetCard, DatasetOptions, Fault, FolderDataset, check_split
from avebench.contracts.examples import AttributeSchema, Example, Span, pairs_from_spans
from avebench.contracts.tagging import character_units
from avebench.data.pictures import PictureCheck, picture_at
from avebench.data.reading import examples_of, numbered_lines
from avebench.files.errors import AvebenchError

CARD = DatasetCard(
    name="mepave",
    summary="MEPAVE: 87,194 Chinese product sentences, 26 attributes, photos; also its public sample of 90 lines.",
    languages=("zh",),
    units="character",
    licence="By application to its authors; not to be redistributed.",
    obtain="Apply to the authors as https://github.com/jd-aig/JAVE says; that repository also holds the public sample "
    "(data/). Put jdair.jave.{train,valid,test}.txt and product_images/ into one folder.",
    reader=1,
    folders=("mepave", "mepave-sample"),
    published={
        "products": 34041,
        "instances": 87194,
        "attributes": 26,
        "values": 2129,
        "categories": 7,
        "train sentences": 71194,
        "valid sentences": 8000,
        "test sentences": 8000,
        "longest sentence": 46,
    },
)

FILES = ("jdair.jave.{}.txt", "jdai.jave.fashion.{}.sample")
"""File names of the full release and of the public sample."""
DROPPED_AT_MOST = 0.01

_MARK = re.compile(r"<(/?)([^<>]+)>")


class Options(DatasetOptions):
    """Switches of this reader: only how a missing picture is taken."""


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A line that the reference converters drop, and why."""

    fault: Fault


class Dataset(FolderDataset):
    """Reads cid, sid, text, tagged text. `Example.id` is the sid, `product_id` the cid, which sentences may share.

    A sentence without attribute, labelled `[PAD]` by the reference converters, has no spans and no pairs.
    """

    options: Options

    def read(self, split: str) -> Iterator[Example]:
        """Yield the sentences of `split` in file order; AvebenchError at the first fault.

        Lines that are dropped are counted; above 1 % of the split that is an AvebenchError after the last line.
        """
        check_split(split)
        counts: Counter[str] = Counter({"lines dropped": 0})
        first: Fault | None = None
        kept = 0

        def undropped() -> Iterator[Example | Fault]:
            nonlocal first, kept
            for record in self._records(split, set(), counts):
                if isinstance(record, _Dropped):
                    counts["lines dropped"] += 1
                    first = first or record.fault
                else:
                    kept += 1
                    yield record

        yield from examples_of(undropped())
        self.note(split, counts)
        dropped = counts["lines dropped"]
        if first is not None and dropped > DROPPED_AT_MOST * (dropped + kept):
            raise AvebenchError(
                f"{first} {dropped} of {dropped + kept} lines of '{split}' had to be dropped, more than 1 %. "
                "Run `avebench data check mepave` for all of them and mend the file."
            )

    def schema(self) -> AttributeSchema:
        """Return the sorted set of the attributes of the three splits; without the `[PAD]` of the released code."""
        return self._schema

    @cached_property
    def _schema(self) -> AttributeSchema:
        attributes = {attribute for split in SPLITS for example in self.read(split) for attribute in example.pairs}
        return AttributeSchema(tuple(sorted(attributes)), "character")

    def check(self) -> Iterator[Fault]:
        """Yield every fault: lines that are wrong or would be dropped, repeated ids, pictures missing or broken."""
        seen: set[str] = set()
        counts: Counter[str] = Counter()
        pictures = PictureCheck(self.options.missing_images, counts)
        for split in SPLITS:
            for record in self._records(split, seen, Counter()):
                if not isinstance(record, Example):
                    counts["lines wrong"] += 1
                    yield record.fault if isinstance(record, _Dropped) else record
                    continue
                counts[f"{split} sentences"] += 1
                counts["mentions"] += len(record.spans)
                name = _picture_name(record.product_id)
                if (wrong := pictures.fault(self._pictures() / name)) is not None:
                    yield Fault(f"{self._pictures().name}/{name}", None, None, f"{wrong} ({record.product_id}).")
        self.notes.update(counts)

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the paper's Table 1 as counted here, split sizes, and how far products overlap."""
        products: dict[str, set[str]] = {split: set() for split in SPLITS}
        sizes: Counter[str] = Counter()
        values: set[tuple[str, str]] = set()
        by_attributes: Counter[int] = Counter()
        mentions = several = longest = 0
        for split in SPLITS:
            for example in self.read(split):
                products[split].add(example.product_id)
                sizes[split] += 1
                values.update((attribute, value) for attribute, held in example.pairs.items() for value in held)
                by_attributes[len(example.pairs)] += 1
                mentions += len(example.spans)
                several += len(example.spans) > len(example.pairs)
                longest = max(longest, len(example.text))
        return {
            "products": len(set.union(*products.values())),
            "instances": sizes.total(),
            "attributes": len({attribute for attribute, _ in values}),
            "values": len(values),
            "categories": "no category in the release",
            **{f"{split} sentences": sizes[split] for split in SPLITS},
            "longest sentence": longest,
            "mentions": mentions,
            "sentences without attribute": by_attributes[0],
            "sentences with several mentions of one attribute": several,
            **{
                f"products in both {one} and {two}": len(products[one] & products[two])
                for one, two in combinations(SPLITS, 2)
            },
            **{f"{split} lines dropped": self.notes[f"{split}: lines dropped"] for split in SPLITS},
        }

    def annotation_files(self) -> list[Path]:
        """Return the three files; AvebenchError if one is missing."""
        return [self._file(split) for split in SPLITS]

    def picture_folders(self) -> list[Path]:
        """Return the folder of the photos."""
        return [self._pictures()]

    def _file(self, split: str) -> Path:
        """Return the file of a split, of the release before that of the sample, in the folder or in its `data`."""
        for pattern in FILES:
            for folder in (self.folder, self.folder / "data"):
                path = folder / pattern.format(split)
                if path.is_file():
                    return path
        expected = " nor ".join(pattern.format(split) for pattern in FILES)
        raise AvebenchError(f"{self.folder} holds neither {expected} (also looked in data/). {self.card.obtain}")

    def _pictures(self) -> Path:
        inner = self.folder / "data" / "product_images"
        return inner if inner.is_dir() else self.folder / "product_images"

    def _records(self, split: str, seen: set[str], counts: Counter[str]) -> Iterator[Example | Fault | _Dropped]:
        """Yield what each line holds; `seen` collects the sids."""
        path = self._file(split)
        shown = path.relative_to(self.folder).as_posix()
        for numbered in numbered_lines(path, shown):
            if isinstance(numbered, Fault):
                yield numbered
                continue
            number, line = numbered
            columns = line.split("\t")
            if len(columns) != 4:
                yield Fault(
                    shown,
                    number,
                    None,
                    f"{len(columns)} columns; it must be 4 (cid, sid, text, tagged text) between tabs.",
                )
                continue
            cid, sid, text, tagged = (column.lower() for column in columns)
            if not re.fullmatch(r"c_\d+", cid):
                yield Fault(shown, number, "cid", f"'{cid}' is not 'c_' and digits.")
            elif not sid or sid in seen:
                yield Fault(shown, number, "sid", f"'{sid}' was used before." if sid else "it is empty.")
            else:
                seen.add(sid)
                parsed = _parse(text, tagged)
                if isinstance(parsed, str):
                    yield _Dropped(Fault(shown, number, "tagged text" if " " not in text else "text", parsed))
                else:
                    yield self._example(sid, cid, text, parsed, counts)

    def _example(self, sid: str, cid: str, text: str, spans: tuple[Span, ...], counts: Counter[str]) -> Example:
        name = _picture_name(cid)
        picture = picture_at(self._pictures() / name, name, self.options.missing_images, counts)
        pairs = pairs_from_spans(text, spans)
        return Example(sid, text, character_units(text), spans, pairs, product_id=cid, picture=picture)


def _picture_name(cid: str) -> str:
    return cid.removeprefix("c_") + ".jpg"


def _parse(text: str, tagged: str) -> tuple[Span, ...] | str:
    """Return the values that `<attribute>value</attribute>` marks, or why the line cannot be used."""
    if not text:
        return "the text is empty."
    if " " in text:
        return "the text holds a space."
    spans: list[Span] = []
    plain: list[str] = []
    length = position = 0
    opened: tuple[str, int] | None = None
    for mark in _MARK.finditer(tagged):
        plain.append(tagged[position : mark.start()])
        length += mark.start() - position
        position = mark.end()
        closing, attribute = mark.groups()
        if not closing and opened is None:
            opened = (attribute, length)
        elif closing and opened is not None and opened[0] == attribute:
            if length == opened[1]:
                return f"the marks of '{attribute}' hold no value."
            spans.append(Span(attribute, opened[1], length))
            opened = None
        else:
            return f"unbalanced tag '{mark.group()}'."
    if opened is not None:
        return f"unbalanced tag '<{opened[0]}>': it is never closed."
    plain.append(tagged[position:])
    if "".join(plain) != text:
        return "the tagged text without its marks is not the text."
    return tuple(spans)
