"""One table, many outputs: terminal, Markdown, LaTeX, CSV, JSON."""

from __future__ import annotations

import sys

from avebench.tables.csv_json import csv_text, json_text
from avebench.tables.markup import latex, markdown
from avebench.tables.table import Table
from avebench.tables.terminal import print_table

FORMATS = ("terminal", "md", "latex", "csv", "json")


def emit(table: Table, format: str, piped_width: int = 100_000) -> None:
    """Print the table to standard output in one of `FORMATS`; `piped_width` is its width where that is no terminal."""
    if format == "terminal":
        print_table(table, piped_width=piped_width)
    else:
        sys.stdout.write(render(table, format))


def render(table: Table, format: str) -> str:
    """Return the table as `md`, `latex`, `csv` or `json`, ending in a line feed; ValueError for another format."""
    writers = {"md": markdown, "latex": latex, "csv": csv_text, "json": json_text}
    if format not in writers:
        raise ValueError(f"unknown format '{format}'; known: {', '.join(writers)}")
    return writers[format](table)
