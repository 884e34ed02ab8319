"""Texts that run over what a pretrained encoder reads at once: counted, and said where a number stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avebench.contracts.examples import Example
from avebench.store.results import OverLimit, Result

WINDOWS = "They are read in overlapping windows."
CUT = "Their ends are tagged O, so that values there count as missed."
BEFORE = "This was measured before they could be read in windows; --fresh measures it anew."


def values_behind(example: Example, beyond: int) -> int:
    """Return how many gold values do not lie wholly before the last `beyond` units of an example.

    These are its spans; where it has none, the values that stand in the text, but not before these units.
    """
    if not beyond:
        return 0
    limit = example.tokens[-beyond][0]
    if example.spans:
        return sum(span.end > limit for span in example.spans)
    values = [value for found in example.pairs.values() for value in found]
    return sum(value in example.text and value not in example.text[:limit] for value in values)


@dataclass(slots=True)
class LongTexts:
    """How many examples run over the `limit` of an encoder, how many of them are cut, and gold values behind it."""

    limit: int | None = None
    over: int = 0
    cut: int = 0
    values: int = 0

    def count(self, example: Example, beyond: int, *, cut: bool) -> None:
        """Count an example whose last `beyond` units lie behind the limit."""
        self.over += beyond > 0
        self.cut += cut
        self.values += values_behind(example, beyond)

    def add(self, other: LongTexts) -> None:
        """Count what another has counted as well."""
        self.limit = other.limit if self.limit is None else self.limit
        self.over, self.cut, self.values = self.over + other.over, self.cut + other.cut, self.values + other.values

    def over_limit(self, train: int | None, train_cut: int | None) -> OverLimit | None:
        """Return it for a result, with the training examples over the limit and cut there; None without a limit."""
        if self.limit is None and not self.over and not train:
            return None
        return OverLimit(limit=self.limit, test=self.over, train=train, train_cut=train_cut, values=self.values)

    def said(self) -> list[str]:
        """Return in words how long texts were read, empty where there was none."""
        windows, limit = self.over - self.cut, _limit(self.limit)
        found = [f"Texts that run over {limit}, read in overlapping windows: {windows:,}."] if windows else []
        return [*found, f"Texts that run over {limit}, their ends tagged O: {self.cut:,}."] if self.cut else found


def long_text_notes(rows: Sequence[tuple[str, Sequence[Result]]]) -> list[str]:
    """Return which rows, given by label with their results, read texts over the limit, how many, and how."""
    by_text: dict[str, list[str]] = {}
    for label, results in rows:
        for text in _texts(results):
            by_text.setdefault(text, []).append(label)
    return [f"{', '.join(labels)}: {text}" for text, labels in by_text.items()]


def _texts(results: Sequence[Result]) -> Iterator[str]:
    """Yield what is to be said of a row: of repetitions that read long texts alike, the one with the most."""
    told: dict[str, Result] = {}
    for result in results:
        way = _way(result)
        if way and (way not in told or _most(result) > _most(told[way])):
            told[way] = result
    for way, result in told.items():
        yield f"{long_text_counts(result)}. {way}"


def _way(result: Result) -> str:
    """Return how the long texts of a result were read; empty where there was none."""
    found = result.over_limit
    if found is None:
        return f"{CUT} {BEFORE}" if result.truncated else ""
    if not found.test and not found.train:
        return ""
    return CUT if result.truncated or found.train_cut else WINDOWS


def _most(result: Result) -> tuple[int, int]:
    found = result.over_limit
    return (result.truncated, 0) if found is None else (found.test, found.train or 0)


def long_text_counts(result: Result) -> str:
    """Return how many texts of a result run over the limit, and what lies behind it, without a full stop."""
    found = result.over_limit or OverLimit(limit=None, test=result.truncated, train=None, train_cut=None, values=0)
    training = "" if found.train is None else f" (and {found.train:,} of {result.train_examples:,} in training)"
    counted = f"{found.test:,} of {result.scores.examples:,} test texts{training} run over {_limit(found.limit)}"
    if result.over_limit is None:
        return counted
    return f"{counted}; {found.values:,} gold value{'s lie' if found.values != 1 else ' lies'} behind it"


def _limit(limit: int | None) -> str:
    return "the encoder's limit" if limit is None else f"the encoder's limit of {limit:,}"
