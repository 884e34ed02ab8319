"""The counts of single examples, all that a paired comparison needs; and the text-free file of the earlier layout.

A line of such a file, one per repetition of a row (`store.recorded` packs them), is `{id, product?, slices: [name],
counts: {family: [tp, predicted, gold]}, attributes?: {family: {attribute: [tp, predicted, gold]}}}`. Without `product`
an example is a product of its own. Files written before `product` and `attributes` were stored have neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from avebench.contracts.examples import Example, Prediction, product_of
from avebench.data.jsonlines import json_lines
from avebench.files.errors import AvebenchError
from avebench.scoring.families import Counts, Family
from avebench.scoring.metrics import RunningScores
from avebench.scoring.queried import unspoken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AttributeFamily = Literal["tag", "string"]
ByAttribute = Mapping[AttributeFamily, Mapping[str, Counts]]
KEYS = ("id", "product", "slices", "counts", "attributes")


@dataclass(frozen=True, slots=True)
class ExampleCounts:
    """What one system gets right in one example.

    `counts` has the families of `scoring.metrics.METRICS` that can be counted. `attributes` counts spans ("tag", where
    the system points at the text) and value strings ("string") per attribute; None where a file does not hold them.
    """

    id: str
    product: str
    slices: frozenset[str]
    counts: Mapping[Family, Counts]
    attributes: ByAttribute | None

    def right(self, family: Family) -> bool:
        """Return whether everything of a family is found and nothing else."""
        counts = self.counts[family]
        return counts.tp == counts.predicted == counts.gold


@dataclass(frozen=True, slots=True)
class CountColumns:
    """The counts of n examples in columns: ids, products, and per family true positives, predicted and gold (n, 3).

    A family that an example cannot be counted in is 0 there. `by_attribute` says whether counts per attribute, and with
    them the products, are known.
    """

    ids: Sequence[str]
    products: Sequence[str]
    counts: Mapping[Family, NDArray[np.int64]]
    by_attribute: bool


class ColumnarCounts(Sequence[ExampleCounts]):
    """The counts of examples, held in columns; `make` makes those of single examples when one is asked for."""

    def __init__(self, columns: CountColumns, make: Callable[[], list[ExampleCounts]]) -> None:
        self.columns = columns
        self._make = make
        self._made: list[ExampleCounts] | None = None

    def __len__(self) -> int:
        return len(self.columns.ids)

    @overload
    def __getitem__(self, place: int) -> ExampleCounts: ...
    @overload
    def __getitem__(self, place: slice) -> list[ExampleCounts]: ...
    def __getitem__(self, place: int | slice) -> ExampleCounts | list[ExampleCounts]:
        if self._made is None:
            self._made = self._make()
        return self._made[place]


def columns_of(counted: Sequence[ExampleCounts]) -> CountColumns:
    """Return counts of examples in columns."""
    import numpy as np

    if isinstance(counted, ColumnarCounts):
        return counted.columns
    counts = {}
    for family in dict.fromkeys(family for one in counted for family in one.counts):
        table = np.zeros((len(counted), 3), np.int64)
        for line, one in zip(table, counted, strict=True):
            if (n := one.counts.get(family)) is not None:
                line[:] = n.tp, n.predicted, n.gold
        counts[family] = table
    by_attribute = all(one.attributes is not None for one in counted)
    return CountColumns([one.id for one in counted], [one.product for one in counted], counts, by_attribute)


def count_examples(
    gold: Sequence[Example], predictions: Sequence[Prediction], slices: Callable[[Example], Iterable[str]]
) -> list[ExampleCounts]:
    """Return the counts of every example, which belongs to the `slices` that are named for it.

    What the annotation of these examples does not speak of is not counted. ValueError if predictions are not parallel.
    """
    left_out, counted = unspoken(gold), []
    for example, prediction in zip(gold, predictions, strict=True):
        scores = RunningScores(unspoken=left_out)
        scores.add(example, prediction)
        by_attribute = _by_attribute(scores, prediction)
        named = frozenset(slices(example))
        counted.append(ExampleCounts(example.id, product_of(example), named, scores.totals, by_attribute))
    return counted


def attribute_counts(gold: Example, prediction: Prediction) -> ByAttribute:
    """Return the counts per attribute; ValueError if the ids differ."""
    scores = RunningScores()
    scores.add(gold, prediction)
    return _by_attribute(scores, prediction)


def _by_attribute(scores: RunningScores, prediction: Prediction) -> ByAttribute:
    if prediction.spans is None:
        return {"string": scores.string_attributes}
    return {"tag": scores.span_attributes, "string": scores.string_attributes}


def read_counts(path: Path) -> list[ExampleCounts]:
    """Read a counts file; AvebenchError names file, and line where there is one, of what is wrong."""
    found = []
    for line, record in json_lines(path, KEYS):
        try:
            attributes = record.get("attributes")
            found.append(
                ExampleCounts(
                    record["id"],
                    record.get("product", record["id"]),
                    frozenset(record["slices"]),
                    _counts(record["counts"]),
                    None if attributes is None else {family: _counts(inner) for family, inner in attributes.items()},
                )
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise AvebenchError(
                f"{path}, line {line}: this is no line of a counts file. Record the results again."
            ) from None
    return found


def _counts(record: Mapping[str, Any]) -> dict[Any, Counts]:
    counted = {}
    for name, (tp, predicted, gold) in record.items():
        counted[name] = Counts(int(tp), int(predicted), int(gold))
    return cast(dict[Any, Counts], counted)
