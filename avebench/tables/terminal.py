"""A table in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avebench.files.printing import console as make_console
from avebench.files.printing import in_line
from avebench.tables.layout import Layout, lay_out, source_runs
from avebench.tables.table import Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable


def print_table(table: Table, console: Console | None = None, piped_width: int = 100_000) -> None:
    """Print the table to a terminal. Labels and figures are never cut: what does not fit beside stands below.

    Without `console`, standard output is used; if it is no terminal, lines are up to `piped_width` columns long.
    """
    from rich.text import Text

    if console is None:
        console = make_console(highlight=False)
        if not console.is_terminal:
            console = make_console(highlight=False, width=piped_width)
    shown = lay_out(table)
    if table.banner:
        console.print(Text(in_line(table.banner), style="bold yellow"))
    console.print(Text(in_line(table.title), style="bold"))
    if table.source:
        console.print(Text(in_line(table.source), style="dim"))
    for columns in _blocks(shown, console):
        console.print()
        _print_block(console, shown, columns)
    if shown.notes:
        console.print()
    for note in shown.notes:
        console.print(Text(note, style="dim"))


def _width(shown: Layout, columns: Sequence[int], console: Console) -> int:
    """Return the terminal columns that a block needs when nothing in it is wrapped."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=100_000), _grid(shown, columns)).maximum


def _print_block(console: Console, shown: Layout, columns: Sequence[int]) -> None:
    """Print one block. Figures that are wider than the terminal are left to it to wrap: cut they would be lost."""
    before = console.width
    if columns[-1] >= shown.lead:
        console.width = max(before, _width(shown, columns, console))
    console.print(_grid(shown, columns))
    console.width = before


def _blocks(shown: Layout, console: Console) -> list[list[int]]:
    """Return the columns of each block to print: whole sources if they fit beside each other, else fewer columns."""
    lead, figures = list(range(shown.lead)), list(range(shown.lead, len(shown.headings)))

    def fits(columns: list[int]) -> bool:
        return _width(shown, lead + columns, console) <= console.width

    parts = source_runs(shown, figures)
    whole = all(fits(part) for part in parts)
    if not whole:
        parts = [[column] for column in figures]
    blocks: list[list[int]] = []
    for part in parts:
        if blocks and (whole or len(source_runs(shown, blocks[-1] + part)) == 1) and fits(blocks[-1] + part):
            blocks[-1] += part
        else:
            blocks.append(list(part))
    return [lead + block for block in blocks] or [lead]


def _grid(shown: Layout, columns: Sequence[int]) -> RichTable:
    """Return one block: a table per source, its name above it, side by side; rows are level, for nothing is wrapped."""
    from rich.table import Table as RichTable

    runs = source_runs(shown, columns)
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for _ in runs:
        # Text columns that stand alone (a list of models) may wrap; beside figures they would put the rows out of step.
        grid.add_column(no_wrap=len(runs) > 1, overflow="fold")
    grid.add_row(*(_part(shown, run, wrap=len(runs) == 1) for run in runs))
    return grid


def _part(shown: Layout, run: Sequence[int], wrap: bool) -> RichTable:
    """Return the table of one source."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    source = shown.headings[run[0]][0]
    headed = any(shown_source for shown_source, _ in shown.headings)
    part = RichTable(
        box=box.SIMPLE_HEAD,
        title=Text(source or " ", style="bold") if headed else None,
        min_width=len(source),
        padding=(0, 1),
        pad_edge=False,
        show_edge=False,
    )
    for column in run:
        justify = "right" if column >= shown.lead else "left"
        part.add_column(
            Text(shown.headings[column][1]),
            justify=justify,  # type: ignore[arg-type]  # rich names the literal only in a private place.
            no_wrap=not wrap or column == 0,
            overflow="fold",
        )
    for place, (heading, lines) in enumerate(shown.sections):
        if place > 0:
            part.add_row()
        if heading:
            part.add_row(Text(heading, style="italic") if run[0] == 0 else Text(""))
        for line in lines:
            part.add_row(*(Text(line[column]) for column in run))
    return part
