"""Records of the two JSON formats that stand in memory: dictionaries, objects of the contracts, rows of a data frame.

They go through the same reader as the lines of a file, so the same faults are found, and named by their place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import Fault
from avebench.contracts.examples import Example, Prediction, example_record
from avebench.data.jsonlines import FieldError, parse_object
from avebench.data.predictions import prediction_record
from avebench.files.errors import AvebenchError


@dataclass(frozen=True, slots=True)
class MemoryRecords:
    """Records called `name`, counted from 0; `keys` are those that one may have."""

    name: str
    items: Any
    """A sequence of them, or a data frame."""
    unit: str = "record"

    def read(self, keys: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield (position, record); AvebenchError for what is no record of the format."""
        for position, item in enumerate(_items(self.items)):
            try:
                text = json.dumps(_record(item), ensure_ascii=False, allow_nan=False, default=_plain)
                yield position, parse_object(text, keys)
            except FieldError as error:
                raise self.fault(position, error.field, str(error)) from None
            except (TypeError, ValueError) as error:
                raise self.fault(position, None, f"it cannot be read as a record: {error}.") from None

    def fault(self, position: int | None, field: str | None, message: str) -> AvebenchError:
        """Return the error that says which record is wrong, and what."""
        place = self.name if position is None else f"{self.name}[{position}]"
        return AvebenchError(str(Fault(place, None, field, message)))


def _items(items: Any) -> Iterable[Any]:
    """Return what is iterated: of a data frame its rows, without the cells that are empty."""
    if hasattr(items, "to_dict") and hasattr(items, "columns"):
        return ({key: value for key, value in row.items() if not _empty(value)} for row in items.to_dict("records"))
    return items  # type: ignore[no-any-return]


def _empty(value: Any) -> bool:
    return (
        value is None or type(value).__name__ in {"NAType", "NaTType"} or (isinstance(value, float) and value != value)
    )


def _record(item: Any) -> Any:
    """Return a dictionary as it is, an example or a prediction as the record of its line."""
    if isinstance(item, Prediction):
        return prediction_record(item)
    if isinstance(item, Example):
        return example_record(item)
    if isinstance(item, Mapping):
        return dict(item)
    raise TypeError(f"a {type(item).__name__} is none; give a dictionary")


def _plain(value: Any) -> Any:
    """Return what JSON has for a value of numpy, a set or a path; TypeError for anything else."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Path):
        return str(value)
    plain: Callable[[], Any] | None = getattr(value, "tolist", None)
    if plain is None:
        raise TypeError(f"a value is a {type(value).__name__}")
    return plain()
