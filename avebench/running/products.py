"""Products to predict, from a file in the gold JSONL format: a stream that one broken line does not end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.dataset import Fault
from avebench.contracts.examples import Example, Units
from avebench.data.gold import KEYS, gold_example, image_paths
from avebench.data.jsonlines import FieldError, check_keys, json_object
from avebench.data.pictures import pictures_at
from avebench.data.reading import is_encodable, numbered_lines
from avebench.files.errors import AvebenchError

GOLD = ("spans", "pairs", "absent")
"""Keys of the gold annotation, which a product may have and nobody looks at."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product: the line it stands in, counted from 1, and what a system is shown of it."""

    line: int
    example: Example


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that is no product: its id where it has one, and why."""

    line: int
    id: str | None
    error: str


def read_products(
    path: Path, units: Units, missing_images: Literal["error", "blank"], notes: Counter[str]
) -> Iterator[Product | Rejected]:
    """Yield what each line of a file holds, in order; empty lines are passed over.

    Texts without `tokens` are cut into `units`. Pictures are found from the folder of the file, and opened when a
    system asks for them; with `missing_images` "blank" those that are missing or broken are none, counted in `notes`.
    AvebenchError if the file cannot be read or is empty.
    """
    seen: set[int] = set()
    for numbered in numbered_lines(path, str(path)):
        if isinstance(numbered, Fault):
            if numbered.line is None:
                raise AvebenchError(str(numbered))
            yield Rejected(numbered.line, None, numbered.message)
            continue
        number, text = numbered
        if not text.strip():
            continue
        record: dict[str, Any] = {}
        try:
            record = json_object(text)
            check_keys(record, KEYS)
            example = _example(record, path.parent, units, missing_images, notes)
            if hash(example.id) in seen:
                raise FieldError("id", f"the id '{example.id}' was used before. Give every line an id of its own.")
        except FieldError as error:
            yield Rejected(
                number, _id(record), str(error) if error.field is None else f"field '{error.field}': {error}"
            )
            continue
        seen.add(hash(example.id))
        yield Product(number, example)


def _example(
    record: dict[str, Any], folder: Path, units: Units, missing_images: Literal["error", "blank"], notes: Counter[str]
) -> Example:
    shown = {key: value for key, value in record.items() if key not in GOLD}
    pictures = pictures_at(folder, image_paths(shown), missing_images, notes)
    return gold_example(shown, units, pictures)


def _id(record: dict[str, Any]) -> str | None:
    """Return the id of a broken record, if it can be written back."""
    name = record.get("id")
    return name if isinstance(name, str) and is_encodable(name) else None
