"""Which test examples the attention of two rows is shown on, by a fixed rule (journal Figures 7 and 8).

An example is right with a row if exactly the gold values are predicted. It is wrong if a value is predicted that is not
gold ("wrong"), or if no part of a gold value is predicted ("missed"). Of each of the four groups the examples with the
smallest SHA-256 of their id are taken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from avebench.contracts.examples import Example, Prediction, Span, printable
from avebench.contracts.tagging import tags_of
from avebench.planning.cells import Cell
from avebench.planning.experiment import Attention
from avebench.planning.plan import Plan
from avebench.tables.table import Column, Section, Table, TableRow

Pair = tuple[str, str]
"""Labels of the two rows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One example to show: the group that it stands for, and what the two rows predict of it.

    `units` are the positions in `example.tokens` of the words of a value, be it gold or predicted by either row: whose
    attention is worth a look.
    """

    group: str
    example: Example
    predictions: tuple[Prediction, Prediction]
    units: tuple[int, ...]

    def marked(self, labels: Pair) -> list[tuple[str, tuple[Span, ...]]]:
        """Return the values that are gold, and those that each row predicts, with the name of who says so."""
        found = zip(labels, (one.spans or () for one in self.predictions), strict=True)
        return [("gold", self.example.spans), *found]

    def few_units(self, most: int) -> tuple[int, ...]:
        """Return at most `most` of the units, in order: the first of every value, then the second of every value."""
        spans = {*self.example.spans, *(span for one in self.predictions for span in one.spans or ())}
        turns: dict[int, int] = {}
        for span in spans:
            ends = ((unit, *self.example.tokens[unit]) for unit in self.units)
            for turn, unit in enumerate(unit for unit, start, end in ends if span.start < end and start < span.end):
                turns[unit] = min(turn, turns.get(unit, turn))
        return tuple(sorted(sorted(turns, key=lambda unit: (turns[unit], unit))[:most]))


@dataclass(frozen=True, slots=True)
class AttentionExamples:
    """The examples that two rows of a plan are shown on, group by group, and the cells that predicted them."""

    labels: Pair
    cells: tuple[Cell, Cell]
    shown: Sequence[Shown]


def groups(labels: Pair) -> tuple[str, str, str, str]:
    """Return the names of the groups of examples, in the order in which they are shown."""
    first, second = labels
    return f"{second} right, {first} wrong", f"{first} right, {second} wrong", "both wrong", "both right"


def choose(
    gold: Sequence[Example], predictions: Sequence[Sequence[Prediction]], labels: Pair, attention: Attention
) -> list[Shown]:
    """Return the examples to show, group by group; `predictions` are the two rows', parallel to `gold`.

    Only examples with a picture and at least one value can be shown.
    """
    names = groups(labels)
    by_verdict = {(False, True): names[0], (True, False): names[1], (False, False): names[2], (True, True): names[3]}
    found: dict[str, list[Shown]] = {name: [] for name in names}
    for example, first, second in zip(gold, *predictions, strict=True):
        verdicts = tuple(_verdict(example, one, attention.error) for one in (first, second))
        units = _units(example, (first, second))
        if example.picture is None or None in verdicts or not units:
            continue
        group = by_verdict[verdicts]  # type: ignore[index]  # Neither is None.
        found[group].append(Shown(group, example, (first, second), units))
    return [one for shown in found.values() for one in sorted(shown, key=_rank)[: attention.examples]]


def _rank(shown: Shown) -> str:
    return hashlib.sha256(shown.example.id.encode()).hexdigest()


def _verdict(example: Example, prediction: Prediction, error: str) -> bool | None:
    """Return whether a prediction is right; None if it is neither right nor wrong in the way that is asked for."""
    spans = prediction.spans or ()
    if set(spans) == set(example.spans):
        return True
    if error == "wrong":
        return False if set(spans) - set(example.spans) else None
    missed = [value for value in example.spans if not any(_overlap(value, span) for span in spans)]
    return False if missed else None


def _overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _units(example: Example, predictions: Sequence[Prediction]) -> tuple[int, ...]:
    tags = [tags_of(spans, example.tokens) for spans in (example.spans, *(one.spans or () for one in predictions))]
    return tuple(place for place in range(len(example.tokens)) if any(found[place] for found in tags))


def examples_table(plan: Plan, labels: Pair, shown: Sequence[Shown]) -> Table:
    """Return which examples are shown and what is marked in them, as offsets: no text of the data set."""
    columns = [Column(name, name) for name in ("gold", *labels)]
    sections = []
    for group in groups(labels):
        rows = [
            TableRow(one.example.id, [_places(spans) for _, spans in one.marked(labels)])
            for one in shown
            if one.group == group
        ]
        empty = TableRow("none", ["no example of the test set", None, None])
        sections.append(Section(rows or [empty], group))
    notes = ["Each value as its attribute and its characters from - to. Taken in the order of a hash of their ids."]
    return Table(
        f"Examples of: {plan.experiment.title}",
        columns,
        sections,
        notes=[plan.experiment.note, *notes],
        banner=plan.banner,
        label_heading="Example",
    )


def _places(spans: Sequence[Span]) -> str:
    return "; ".join(f"{span.attribute} {span.start}-{span.end}" for span in sorted(spans, key=_order)) or "nothing"


def _order(span: Span) -> tuple[int, int, str]:
    return span.start, span.end, span.attribute


def example_lines(labels: Pair, shown: Sequence[Shown]) -> Iterator[str]:
    """Yield, for the terminal alone, the chosen examples with texts and values."""
    group = ""
    for one in shown:
        if one.group != group:
            group = one.group
            yield group
        yield f"  {one.example.id}: {printable(one.example.text)}"
        for name, spans in one.marked(labels):
            yield f"    {name}: {values_text(one.example.text, spans)}"


def values_text(text: str, spans: Sequence[Span]) -> str:
    """Return values as people read them, in the order of the text."""
    values = [f"{span.attribute} = {text[span.start : span.end]}" for span in sorted(spans, key=_order)]
    return printable("; ".join(values)) or "nothing"
