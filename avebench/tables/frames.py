"""Tables as pandas data frames, with every digit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from avebench.tables.layout import table_notes
from avebench.tables.table import Measured, Section, Table, TableRow, column_key

if TYPE_CHECKING:
    import pandas


def to_frame(table: Table) -> pandas.DataFrame:
    """Return one row per row of a table, by its label, and one column per column, named as in CSV.

    A measured figure brings its standard deviation over repetitions and their number (`..._sd`, `..._n`); text in the
    place of figures ("not built yet") stands in `<source>_status`. `attrs` holds title, source, banner and notes.
    """
    import pandas

    rows = [_row(table, section, row) for section in table.sections for row in section.rows]
    frame = pandas.DataFrame(rows, index=pandas.Index([row.label for row in table.rows()], name=table.label_heading))
    frame = frame.dropna(axis="columns", how="all")
    notes = table_notes(table)
    frame.attrs |= {"title": table.title, "source": table.source, "banner": table.banner, "notes": notes}
    return frame


def _row(table: Table, section: Section, row: TableRow) -> dict[str, Any]:
    cells: dict[str, Any] = {"section": section.heading or None, "marks": " ".join(row.marks) or None}
    cells["protocol"] = row.protocol
    for column, cell in zip(table.columns, row.cells, strict=True):
        key = column_key(column)
        if isinstance(cell, Measured):
            cells |= {key: cell.mean, f"{key}_sd": cell.sd, f"{key}_n": cell.n}
        elif isinstance(cell, str) and column.source:
            cells |= {key: None, f"{column.source}_status".replace(" ", "_"): cell}
        else:
            cells[key] = cell
    return cells
