"""A table as data: rows, columns and cells, each figure with its source.

A figure never loses its source: every column of figures belongs to one (`published`, `measured`, ...).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from avebench.files.errors import AvebenchError

MEASURED = "measured"
MARKED_PROTOCOLS = {
    "oracle": "[oracle]: the row is told the gold attributes of each product; not comparable with the other rows.",
    "annotated": "[annotated]: the row is told what the annotation speaks of; not comparable with the others.",
    "category": "[category]: the row is told the attributes of the product's category; not comparable with the others.",
}
"""Protocols that tell a row something at test time, marked on its label wherever it stands."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure of ours: the mean over `n` repetitions and its standard deviation (n - 1), None for one repetition.

    Where it is known, `values` holds the figure of each repetition and `cells` the key of the cell that it comes from.
    """

    mean: float
    sd: float | None
    n: int
    values: tuple[float, ...] = field(default=(), compare=False)
    cells: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if self.n < 1 or (self.n == 1) != (self.sd is None):
            raise ValueError(f"one repetition has no sd, several have one: n = {self.n}, sd = {self.sd}")
        if not math.isfinite(self.mean) or not math.isfinite(self.sd or 0.0):
            raise ValueError(f"a measured figure is finite: mean = {self.mean}, sd = {self.sd}")
        if len(self.values) not in {0, self.n} or len(self.cells) not in {0, self.n}:
            raise ValueError(f"{len(self.values)} values and {len(self.cells)} cells of {self.n} repetitions")


Cell = Measured | float | int | str | None
"""What we measured, a figure of another source, a text ("not built yet", "failed: out of memory"), or nothing."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: `name` in CSV and JSON, `heading` for people, `source` of its figures ("" where it holds none).

    People see `digits` decimals of its figures; CSV and JSON keep every digit.
    """

    name: str
    heading: str
    source: str = ""
    digits: int = 2


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row: a cell per column, marks explained in `Table.marks`, and what the row is told at test time."""

    label: str
    cells: Sequence[Cell]
    marks: Sequence[str] = ()
    protocol: str = "native"


@dataclass(frozen=True, slots=True)
class Section:
    """Rows that stand together, under a heading if it is not empty."""

    rows: Sequence[TableRow]
    heading: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people and programs. ValueError if a row and the columns disagree, or a source is mixed.

    `source` says where the published table stands; `banner` what a reader must know first (the demo set was used);
    `marks` explains every mark that a row carries, AvebenchError if one is missing.
    """

    title: str
    columns: Sequence[Column]
    sections: Sequence[Section]
    source: str = ""
    notes: Sequence[str] = ()
    banner: str = ""
    marks: Mapping[str, str] = field(default_factory=dict)
    label_heading: str = "Row"

    def __post_init__(self) -> None:
        if len({column_key(column) for column in self.columns}) != len(self.columns):
            raise ValueError("two columns have the same name and source")
        for row in self.rows():
            if len(row.cells) != len(self.columns):
                raise ValueError(f"row '{row.label}' has {len(row.cells)} cells, the table {len(self.columns)} columns")
            for column, cell in zip(self.columns, row.cells, strict=True):
                figure = isinstance(cell, int | float)
                if (isinstance(cell, Measured) and column.source != MEASURED) or (figure and column.source == MEASURED):
                    raise ValueError(f"row '{row.label}': {cell!r} has another source than its column '{column.name}'")
                if isinstance(cell, float) and not math.isfinite(cell):
                    raise ValueError(f"row '{row.label}', column '{column.name}': {cell} is not finite")
            for mark in row.marks:
                if mark not in self.marks:
                    raise AvebenchError(
                        f"Row '{row.label}' carries the mark '{mark}', which is explained nowhere. "
                        "Explain it in the table, or take it off the row."
                    )

    def rows(self) -> list[TableRow]:
        """Return the rows of all sections in order."""
        return [row for section in self.sections for row in section.rows]


def column_key(column: Column) -> str:
    """Return the name of a column that is its own in the whole table: with its source."""
    return f"{column.source}_{column.name}".replace(" ", "_") if column.source else column.name
