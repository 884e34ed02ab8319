"""The counts of single examples, all that a paired comparison needs; and the text-free file that holds them.

A line of a counts file is `{id, product?, slices: [name], counts: {family: [tp, predicted, gold]},
attributes?: {family: {attribute: [tp, predicted, gold]}}}`. Without `product` an example is a product of its own. Files
written before `product` and `attributes` were stored have neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from avebench.contracts.examples import Example, Prediction, product_of
from avebench.data.jsonlines import json_lines
from avebench.files.errors import AvebenchError
from avebench.scoring.counts import Counts, Family
from avebench.scoring.metrics import RunningScores

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


def count_example(gold: Example, prediction: Prediction, slices: Iterable[str]) -> ExampleCounts:
    """Return the counts of one example, which belongs to the named slices; ValueError if the ids differ."""
    scores = RunningScores()
    scores.add(gold, prediction)
    return ExampleCounts(gold.id, product_of(gold), frozenset(slices), scores.totals, _by_attribute(scores, prediction))


def attribute_counts(gold: Example, prediction: Prediction) -> ByAttribute:
    """Return the counts per attribute; ValueError if the ids differ."""
    scores = RunningScores()
    scores.add(gold, prediction)
    return _by_attribute(scores, prediction)


def _by_attribute(scores: RunningScores, prediction: Prediction) -> ByAttribute:
    if prediction.spans is None:
        return {"string": scores.string_attributes}
    return {"tag": scores.span_attributes, "string": scores.string_attributes}


def to_line(counted: ExampleCounts) -> str:
    """Return the line of a counts file, ending in a line feed."""
    record: dict[str, Any] = {"id": counted.id}
    if counted.product != counted.id:
        record["product"] = counted.product
    record["slices"] = sorted(counted.slices)
    record["counts"] = {family: _triple(counts) for family, counts in counted.counts.items()}
    if counted.attributes is not None:
        record["attributes"] = {
            family: {name: _triple(counts) for name, counts in sorted(found.items())}
            for family, found in counted.attributes.items()
        }
    return json.dumps(record, ensure_ascii=False) + "\n"


def _triple(counts: Counts) -> list[int]:
    return [counts.tp, counts.predicted, counts.gold]


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
