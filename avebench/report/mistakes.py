"""What kind of mistake a wrong span is, and which attributes are taken for which.

Spans that are right are set aside. Each other gold span is paired with at most one other predicted span that overlaps
it: first those of the same boundaries, then those of the same attribute, then the rest, the largest overlap first. A
pair is one mistake, `wrong boundary` if the attribute is right and `wrong attribute` otherwise; a gold span without a
partner is `missed`, a predicted one `spurious`. So `missed` and both kinds of pairs add up to gold minus true
positives, `spurious` and both kinds of pairs to predicted minus true positives.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from avebench.contracts.examples import Example, Prediction, Span
from avebench.planning.plan import Plan, PlannedRow
from avebench.store.results import Result
from avebench.tables.result_tables import measured_rows, summary_of
from avebench.tables.table import MEASURED, Column, Section, Table, TableRow

Kind = Literal["missed", "wrong attribute", "wrong boundary", "spurious"]
KINDS: tuple[Kind, ...] = get_args(Kind)
CONFUSIONS = 15
"""How many pairs of attributes are listed, the most frequent ones."""
SHOWN_PER_KIND = 2
"""How many examples of a kind are kept for show, each of another attribute."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One wrong span: `gold` is None for a spurious one, `predicted` for a missed one."""

    kind: Kind
    gold: Span | None
    predicted: Span | None

    @property
    def attribute(self) -> str:
        """Return the attribute that it is counted under: the gold one, if there is one."""
        return (self.gold or self.predicted).attribute  # type: ignore[union-attr]  # Never both None.


def mistakes_of(gold: Iterable[Span], predicted: Iterable[Span]) -> list[Mistake]:
    """Return the mistakes of one example, ordered by kind as in `KINDS` and by place in the text."""
    gold_set, predicted_set = set(gold), set(predicted)
    missed, spurious = gold_set - predicted_set, predicted_set - gold_set
    pairs = sorted(
        (_rank(one, other), -_overlap(one, other), one, other)
        for one in missed
        for other in spurious
        if _overlap(one, other) > 0
    )
    found = []
    for _, _, one, other in pairs:
        if one in missed and other in spurious:
            missed.remove(one)
            spurious.remove(other)
            found.append(
                Mistake("wrong boundary" if one.attribute == other.attribute else "wrong attribute", one, other)
            )
    found += [Mistake("missed", one, None) for one in missed]
    found += [Mistake("spurious", None, other) for other in spurious]
    return sorted(found, key=lambda mistake: (KINDS.index(mistake.kind), _place(mistake)))


def _overlap(one: Span, other: Span) -> int:
    return min(one.end, other.end) - max(one.start, other.start)


def _rank(one: Span, other: Span) -> int:
    if (one.start, one.end) == (other.start, other.end):
        return 0
    return 1 if one.attribute == other.attribute else 2


def _place(mistake: Mistake) -> tuple[int, int, str]:
    span = mistake.gold or mistake.predicted
    assert span is not None
    return span.start, span.end, span.attribute


@dataclass(slots=True)
class Mistakes:
    """The mistakes of one system on many examples.

    `confused` counts pairs of (gold attribute, predicted attribute). `shown` holds, per kind, examples with the mistake
    and all that was predicted for them.
    """

    kinds: Counter[Kind] = field(default_factory=Counter)
    confused: Counter[tuple[str, str]] = field(default_factory=Counter)
    shown: dict[Kind, list[tuple[Example, Prediction, Mistake]]] = field(default_factory=dict)


def count_mistakes(gold: Sequence[Example], predictions: Sequence[Prediction]) -> Mistakes | None:
    """Return the mistakes of parallel examples and predictions; None if the system does not point at the text."""
    counted = Mistakes()
    for example, prediction in zip(gold, predictions, strict=True):
        if prediction.spans is None:
            return None
        for mistake in mistakes_of(example.spans, prediction.spans):
            counted.kinds[mistake.kind] += 1
            if mistake.kind == "wrong attribute" and mistake.gold and mistake.predicted:
                counted.confused[mistake.gold.attribute, mistake.predicted.attribute] += 1
            kept = counted.shown.setdefault(mistake.kind, [])
            if len(kept) < SHOWN_PER_KIND and all(other.attribute != mistake.attribute for _, _, other in kept):
                kept.append((example, prediction, mistake))
    return counted


# ---------------------------------------------------------------------------------------------------------------------
# As people read them

Measured = list[tuple[PlannedRow, list[Result], list[Mistakes]]]
"""The rows of a table whose mistakes are known, with their results and the mistakes of each repetition."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One mistake in an example, its text cut into pieces: (piece, attributes that are gold there, as predicted).

    `gold` and `predicted` are the words of the mistake itself, empty where it has none.
    """

    example: str
    mistake: Mistake
    gold: str
    predicted: str
    pieces: tuple[tuple[str, str, str], ...]


def with_mistakes(plan: Plan, results: Mapping[str, Result], mistakes: Mapping[str, Sequence[Mistakes]]) -> Measured:
    """Return the measured rows whose `mistakes` of every repetition are given, by label."""
    return [
        (planned, found, list(mistakes[planned.row.label]))
        for planned, found in measured_rows(plan, results)
        if planned.row.label in mistakes
    ]


def kinds_table(title: str, rows: Measured) -> Table:
    """Return how many mistakes of each kind every row makes."""
    lines = [
        TableRow(
            planned.row.label,
            [summary_of(found, (one.kinds[kind] for one in mistakes)) for kind in KINDS],
            protocol=planned.row.protocol,
        )
        for planned, found, mistakes in rows
    ]
    notes = [
        "Mean number over the repetitions. A wrong span is paired with at most one gold span that it overlaps: wrong "
        "boundary if the attribute is right, otherwise wrong attribute; missed and spurious spans have no partner."
    ]
    columns = [Column(kind, kind, MEASURED, digits=1) for kind in KINDS]
    return Table(f"{title}: mistakes by kind", columns, [Section(lines)], notes=notes)


def confusion_table(title: str, rows: Measured) -> Table:
    """Return how often which attribute is taken for which, a column per row of the table."""
    total: Counter[tuple[str, str]] = Counter()
    for _, _, mistakes in rows:
        for one in mistakes:
            total.update(one.confused)
    lines = [
        TableRow(
            f"{pair[0]} → {pair[1]}",
            [summary_of(found, (one.confused[pair] for one in mistakes)) for _, found, mistakes in rows],
        )
        for pair, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]
    ]
    more = f" The {CONFUSIONS} most frequent of {len(total)} pairs." if len(total) > CONFUSIONS else ""
    return Table(
        f"{title}: attributes taken for each other",
        [Column(planned.row.label, planned.row.label, MEASURED, digits=1) for planned, _, _ in rows],
        [Section(lines)],
        notes=[f"Wrong attributes: gold → predicted, mean number over the repetitions.{more}"],
        label_heading="Gold → predicted",
    )


def samples_of(rows: Measured) -> dict[str, list[Sample]]:
    """Return examples of the mistakes of each row in its first repetition, by label, kind by kind."""
    return {
        planned.row.label: [
            Sample(
                example.id,
                mistake,
                _words(example, mistake.gold),
                _words(example, mistake.predicted),
                _pieces(example.text, example.spans, prediction.spans or ()),
            )
            for kind in KINDS
            for example, prediction, mistake in mistakes[0].shown.get(kind, [])
        ]
        for planned, _, mistakes in rows
    }


def _words(example: Example, span: Span | None) -> str:
    return example.text[span.start : span.end] if span else ""


def _pieces(text: str, gold: Sequence[Span], predicted: Sequence[Span]) -> tuple[tuple[str, str, str], ...]:
    cuts = sorted({0, len(text), *(place for span in (*gold, *predicted) for place in (span.start, span.end))})

    def names(spans: Sequence[Span], start: int) -> str:
        return ", ".join(sorted({span.attribute for span in spans if span.start <= start < span.end}))

    return tuple((text[a:b], names(gold, a), names(predicted, a)) for a, b in itertools.pairwise(cuts))
