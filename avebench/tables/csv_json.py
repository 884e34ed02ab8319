"""A table in CSV and in JSON, for programs: every digit is kept."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from avebench.files.printing import spreadsheet_cell
from avebench.tables.layout import table_notes
from avebench.tables.table import Cell, Measured, Section, Table, TableRow, column_key


def csv_text(table: Table) -> str:
    """Return one line per row. sd, n and texts have columns of their own, so that a column of figures holds figures."""
    lines = [dict(_csv_cells(table, section, row)) for section in table.sections for row in section.rows]
    used = {name for line in lines for name, value in line.items() if value != ""}
    # Columns that every table has stay even when they are empty; sd, n, status only where something stands in them.
    fixed = dict.fromkeys(["label", "section", "marks", "protocol", *(column_key(column) for column in table.columns)])
    names = list(dict.fromkeys(name for line in lines for name in line)) or list(fixed)
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, [name for name in names if name in used or name in fixed], extrasaction="ignore", lineterminator="\n"
    )
    writer.writerow({name: spreadsheet_cell(name) for name in writer.fieldnames})
    writer.writerows({name: spreadsheet_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _csv_cells(table: Table, section: Section, row: TableRow) -> list[tuple[str, str]]:
    cells = [
        ("label", row.label),
        ("section", section.heading),
        ("marks", "".join(row.marks)),
        ("protocol", row.protocol),
    ]
    texts: dict[str, list[str]] = {}
    for column, cell in zip(table.columns, row.cells, strict=True):
        key = column_key(column)
        if isinstance(cell, Measured):
            cells.append((key, repr(cell.mean)))
            cells += [(f"{key}_sd", "" if cell.sd is None else repr(cell.sd)), (f"{key}_n", str(cell.n))]
        elif isinstance(cell, str) and column.source:
            cells += [(key, ""), (f"{key}_sd", ""), (f"{key}_n", "")]
            texts.setdefault(column.source, []).append(cell)
        else:
            cells.append((key, "" if cell is None else str(cell)))
    for source in dict.fromkeys(column.source for column in table.columns if column.source):
        said = "; ".join(dict.fromkeys(texts.get(source, [])))
        cells.append((f"{source}_status".replace(" ", "_"), said))
    return [*cells, ("banner", table.banner)]


def json_text(table: Table) -> str:
    """Return an object; the figures of a row stand under their source, then under the column's name."""
    rows = []
    for section in table.sections:
        for row in section.rows:
            content: dict[str, Any] = {
                "label": row.label,
                "section": section.heading,
                "marks": list(row.marks),
                "protocol": row.protocol,
            }
            for column, cell in zip(table.columns, row.cells, strict=True):
                place = content.setdefault(column.source, {}) if column.source else content.setdefault("columns", {})
                place[column.name] = _json_cell(cell) if column.source else cell
            rows.append(content)
    head = {"title": table.title, "source": table.source, "banner": table.banner}
    columns = [{"name": one.name, "heading": one.heading, "source": one.source} for one in table.columns]
    tail = {"columns": columns, "rows": rows, "notes": table_notes(table)}
    return json.dumps({**head, **tail}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _json_cell(cell: Cell) -> Any:
    if isinstance(cell, Measured):
        known = {"values": list(cell.values), "cells": list(cell.cells)} if cell.cells else {}
        return {"value": cell.mean, "sd": cell.sd, "n": cell.n, **known}
    return {"text": cell} if isinstance(cell, str) else cell
