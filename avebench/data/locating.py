"""Finding the values of a data set without spans in its texts: what taggers need, made by one plain rule.

A value is found where its units stand in the text, compared lower-cased on whole units: longer values first, every free
occurrence. What is found so is silver: a value may stand in a text and mean something else there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import Dataset, Fault
from avebench.contracts.examples import INTENT, AttributeSchema, Example, Units
from avebench.contracts.tagging import text_units
from avebench.data.reading import Marker


class LocatedDataset(Dataset):
    """A data set whose values are marked in its texts; what spans it had are replaced. Counted in `notes`."""

    def __init__(self, inner: Dataset) -> None:
        super().__init__(inner.card, inner.folder, inner.options)
        self.inner = inner

    def read(self, split: str) -> Iterator[Example]:
        """Yield the examples of `split` with the spans of their values."""
        counts: Counter[str] = Counter()
        for example in self.inner.read(split):
            yield self._located(example, counts)
        for what in ("values found once", "values found several times", "values not found"):
            self.notes[f"{split}: {what}"] = counts[what]

    def _located(self, example: Example, counts: Counter[str]) -> Example:
        marker = Marker(example.text, example.tokens)
        units = self.schema().units
        values = [(name, value) for name, held in example.pairs.items() if name != INTENT for value in held]
        forms = {(name, value): _units_of(value, units) for name, value in values}
        for name, value in sorted(values, key=lambda one: (-len(forms[one]), one)):
            form = forms[name, value]
            found = marker.mark(name, marker.occurrences(form), len(form))
            times = {0: "not found", 1: "found once"}.get(found, "found several times")
            counts[f"values {times}"] += 1
        return replace(example, spans=marker.in_text_order())

    def schema(self) -> AttributeSchema:
        """Return the attributes of the data set."""
        return self.inner.schema()

    def check(self) -> Iterator[Fault]:
        """Yield the faults of the data set."""
        return self.inner.check()

    def statistics(self) -> dict[str, Any]:
        """Return the figures of the data set as it is."""
        return self.inner.statistics()

    def annotation_files(self) -> list[Path]:
        """Return the annotation files of the data set."""
        return self.inner.annotation_files()

    def picture_folders(self) -> list[Path]:
        """Return the picture folders of the data set."""
        return self.inner.picture_folders()


def _units_of(value: str, units: Units) -> list[str]:
    return [value[start:end].lower() for start, end in text_units(value, units)]
