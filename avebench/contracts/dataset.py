"""The contract of a data set plug-in, and faults found in its files.

A plug-in is one module with three names: `CARD` (a `DatasetCard` written with literals only), `Options` (a pydantic
model of the reader's switches, all part of the fingerprint) and `Dataset`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from avebench.contracts.examples import AttributeSchema, Example, Units, example_record
from avebench.files.errors import AvebenchError

if TYPE_CHECKING:
    import pandas

SPLITS = ("train", "valid", "test")


class DataDescription(BaseModel):
    """A data set as its owner names it. Nothing of it enters a fingerprint: two folders of the same files are one."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(default="", max_length=80, pattern=r"^[^\x00-\x1f\x7f/\\]*$")
    languages: tuple[str, ...] = ()
    units: str | None = None
    """Units of the reader, where `--option units` does not say otherwise."""
    licence: str = ""
    description: str = ""
    published: dict[str, float] = {}
    """Published figures by the names that `data stats` counts."""


@dataclass(frozen=True, slots=True)
class DatasetCard:
    """What a data set is and how a user obtains it. Every field is a literal in the plug-in's source.

    `published` holds figures of the papers as `name -> value`. `folders` are the names under `$AVEBENCH_DATA` that it
    accepts; empty where the data set is generated. `reader` is raised whenever the examples of the same files change.
    `built_in` marks the generated set that stands in where a table's own is not on the machine. `own` says that the
    folder is the user's own data, which is shown by its name (`avebench.data.owndata`).
    """

    name: str
    summary: str
    languages: tuple[str, ...]
    units: Units
    licence: str
    obtain: str
    reader: int
    folders: tuple[str, ...] = ()
    published: dict[str, float] | None = None
    fingerprint: str = ""
    pictures: bool = True
    built_in: bool = False
    own: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in the files: where (file, line counted from 1, field) and what."""

    file: str
    line: int | None
    field: str | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}, line {self.line}"
        return f"{place}: {self.message}" if self.field is None else f"{place}, field '{self.field}': {self.message}"


class DatasetOptions(BaseModel):
    """Switches that every reader has. Unknown keys are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    added: ClassVar[frozenset[str]] = frozenset()
    """Switches that came after results were stored: at their defaults they are no part of the fingerprint."""

    missing_images: Literal["error", "blank"] = "error"
    """What a missing or broken picture means: stop, or a blank picture that is counted."""

    def identity(self) -> dict[str, Any]:
        """Return what of the options is part of the fingerprint, as plain JSON."""
        fields = type(self).model_fields
        unset = {name for name in self.added if getattr(self, name) == fields[name].default}
        return self.model_dump(mode="json", exclude=unset)


class Dataset(ABC):
    """One data set in one folder, read as a stream."""

    repeats_ids: ClassVar[bool] = False
    """Whether published files use an id more than once, also in two splits: then that is counted, else refused."""

    def __init__(self, card: DatasetCard, folder: Path | None, options: Any) -> None:
        self.card = card
        self.folder = folder
        self.options = options
        self.description: DataDescription | None = None
        """What the owner of a folder says of it; None for a published data set."""
        self.notes: dict[str, int] = {}
        """Counts of what the reader did on its own (dropped lines, blank pictures), stored with every result."""

    @abstractmethod
    def read(self, split: str) -> Iterator[Example]:
        """Yield the examples of `split` in file order; AvebenchError names file, line and field of what is broken."""

    def __iter__(self) -> Iterator[Example]:
        """Yield the examples of all splits, the training split first."""
        for split in SPLITS:
            yield from self.read(split)

    def to_pandas(self, split: str | None = None) -> pandas.DataFrame:
        """Return one row per example of a split, of all splits with the column `split`.

        Columns are the keys of gold JSON Lines: id, text, tokens, spans, pairs, absent, product_id, category,
        paragraphs and image, the path of the picture's file, or a list of several. AvebenchError as `read`.
        """
        import pandas

        splits = SPLITS if split is None else (split,)
        rows = [({} if split else {"split": name}) | example_record(one) for name in splits for one in self.read(name)]
        return pandas.DataFrame(rows)

    @abstractmethod
    def schema(self) -> AttributeSchema:
        """Return the attributes in their fixed order."""

    @abstractmethod
    def check(self) -> Iterator[Fault]:
        """Yield every fault of the files."""

    @abstractmethod
    def statistics(self) -> dict[str, Any]:
        """Return counted figures by name, those of the card's `published` under the same names."""

    @abstractmethod
    def annotation_files(self) -> list[Path]:
        """Return the files whose bytes are the annotation."""

    def picture_folders(self) -> list[Path]:
        """Return the folders that hold picture files; the names and sizes in them are part of the fingerprint."""
        return []

    def fingerprint(self) -> str:
        """Return the SHA-256 of annotation bytes, picture names and sizes, reader version and options; never of a path.

        Remembered per file by size and modification time (`avebench.files.cache.file_digest`).
        """
        from avebench.files.cache import file_digest
        from avebench.files.folders import folder_digest

        digest = hashlib.sha256()
        digest.update(json.dumps([self.card.name, self.card.reader, self.options.identity()]).encode())
        assert self.folder is not None
        for path in sorted(self.annotation_files()):
            line = f"{path.relative_to(self.folder).as_posix()}\x1f{file_digest(path)}\n"
            digest.update(line.encode(errors="surrogateescape"))
        for folder in self.picture_folders():
            digest.update(f"{folder_digest(folder)}\n".encode())
        return digest.hexdigest()


class FolderDataset(Dataset):
    """A data set whose files lie in a folder, without which it is not opened."""

    folder: Path

    def __init__(self, card: DatasetCard, folder: Path | None, options: Any) -> None:
        if folder is None:
            lacks = "is your own folder. Name it with --data DIR." if card.own else f"needs its folder. {card.obtain}"
            raise AvebenchError(f"The data set '{card.name}' {lacks}")
        super().__init__(card, folder, options)

    def note(self, split: str, counts: Mapping[str, int]) -> None:
        """Keep what was counted while `split` was read."""
        self.notes.update({f"{split}: {name}": count for name, count in counts.items()})


def check_split(split: str, splits: tuple[str, ...] = SPLITS) -> None:
    """Raise AvebenchError unless `split` is one of `splits`."""
    if split not in splits:
        raise AvebenchError(f"There is no split '{split}'. Known: {', '.join(splits)}.")
