"""What of a table is shown to people: the same strings in the terminal, Markdown, LaTeX and HTML.

The source stands above the columns of its figures in all formats; figures are rounded, to two decimals by default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avebench.files.printing import in_line
from avebench.tables.table import MARKED_PROTOCOLS, MEASURED, Cell, Measured, Table, TableRow


@dataclass(frozen=True, slots=True)
class Layout:
    """A table as strings. The first `lead` headings have no source; a section's rows follow its heading."""

    headings: list[tuple[str, str]]
    sections: list[tuple[str, list[list[str]]]]
    notes: list[str]
    lead: int


def lay_out(table: Table) -> Layout:
    """Lay the table out: label, protocol if it matters, text columns, then the figures source by source."""
    with_protocol = any(row.protocol != "native" for row in table.rows())
    several = _several(table)
    sources = list(dict.fromkeys(["", *(column.source for column in table.columns)]))
    order = {
        source: [place for place, column in enumerate(table.columns) if column.source == source] for source in sources
    }
    headings = [("", table.label_heading), *([("", "Protocol")] if with_protocol else [])]
    headings += [("", table.columns[place].heading) for place in order[""]]
    lead = len(headings)
    for source in sources[1:]:
        headings += [(source, table.columns[place].heading) for place in order[source]]
        headings += [(source, "n")] if source == MEASURED and several else []

    def line(row: TableRow) -> list[str]:
        cells = [in_line(row_label(row)), *([row.protocol] if with_protocol else [])]
        cells += [in_line(cell_text(row.cells[place])) for place in order[""]]
        for source in sources[1:]:
            group = [row.cells[place] for place in order[source]]
            cells += _group(group, [table.columns[place].digits for place in order[source]])
            if source == MEASURED and several:
                cells.append(" / ".join(dict.fromkeys(str(cell.n) for cell in group if isinstance(cell, Measured))))
        return cells

    sections = [
        (in_line(section.heading), [line(row) for row in section.rows]) for section in table.sections if section.rows
    ]
    headings = [(source, in_line(heading)) for source, heading in headings]
    return Layout(headings, sections, [in_line(note) for note in table_notes(table)], lead)


def _several(table: Table) -> bool:
    return any(isinstance(cell, Measured) and cell.n > 1 for row in table.rows() for cell in row.cells)


def row_label(row: TableRow) -> str:
    """Return the label with its marks and what the row is told."""
    protocol = f" [{row.protocol}]" if row.protocol in MARKED_PROTOCOLS else ""
    return row.label + (" " + "".join(row.marks) if row.marks else "") + protocol


def cell_text(cell: Cell, digits: int = 2) -> str:
    """Return a cell as people read it: `digits` decimals, no spread where there is none."""
    match cell:
        case None:
            return ""
        case str():
            return cell
        case Measured(mean, None, _):
            return f"{mean:z.{digits}f}"
        case Measured(mean, sd, _):
            return f"{mean:z.{digits}f} ± {sd:.{digits}f}"
        case float():
            return f"{cell:z.{digits}f}"
        case _:
            return f"{cell:,}"


def _group(cells: Sequence[Cell], digits: Sequence[int]) -> list[str]:
    """Return the cells of one source: a text that fills several is said once, its detail after a colon in a note."""
    texts: list[str] = []
    said: set[str] = set()
    for cell, decimals in zip(cells, digits, strict=True):
        if isinstance(cell, str):
            texts.append("" if cell in said else in_line(cell.partition(":")[0]))
            said.add(cell)
        else:
            texts.append(cell_text(cell, decimals))
    return texts


def table_notes(table: Table) -> list[str]:
    """Return what stands under the table: spread, marks in use, protocols that are told something, failures, notes."""
    rows = table.rows()
    notes = []
    if _several(table):
        notes.append("measured: mean ± standard deviation (n - 1) over n repetitions; the bare figure where n is 1.")
    elif any(isinstance(cell, Measured) for row in rows for cell in row.cells):
        notes.append("measured: one repetition.")
    notes += [f"{mark} {text}" for mark, text in table.marks.items() if any(mark in row.marks for row in rows)]
    notes += [text for protocol, text in MARKED_PROTOCOLS.items() if any(row.protocol == protocol for row in rows)]
    for row in rows:
        texts = [cell for cell, column in zip(row.cells, table.columns, strict=True) if column.source]
        details = [cell for cell in texts if isinstance(cell, str) and ":" in cell]
        notes += [f"{row.label}: {detail}" for detail in dict.fromkeys(details)]
    return [*notes, *table.notes]


def source_runs(shown: Layout, columns: Sequence[int]) -> list[list[int]]:
    """Return the columns in runs of one source."""
    runs: list[list[int]] = []
    for column in columns:
        if runs and shown.headings[runs[-1][-1]][0] == shown.headings[column][0]:
            runs[-1].append(column)
        else:
            runs.append([column])
    return runs
