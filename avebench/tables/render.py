"""One table, many outputs: terminal, Markdown, LaTeX, CSV, JSON.

A figure never loses its source: every column of figures belongs to one (`published`, `measured`, ...), and the source
stands above the column in all formats. Text outputs round, to two decimals by default; CSV and JSON keep every digit.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import string
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from avebench.files.errors import AvebenchError
from avebench.files.printing import console as make_console
from avebench.files.printing import in_line, spreadsheet_cell, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

MEASURED = "measured"
FORMATS = ("terminal", "md", "latex", "csv", "json")
TOLD = {
    "oracle": "[oracle]: the row is told the gold attributes of each product; not comparable with the other rows.",
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
        if len({_key(column) for column in self.columns}) != len(self.columns):
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


def emit(table: Table, format: str, piped_width: int = 100_000) -> None:
    """Print the table to standard output in one of `FORMATS`; `piped_width` is its width where that is no terminal."""
    if format == "terminal":
        print_table(table, piped_width=piped_width)
    else:
        sys.stdout.write(render(table, format))


def render(table: Table, format: str) -> str:
    """Return the table as `md`, `latex`, `csv` or `json`, ending in a line feed; ValueError for another format."""
    writers = {"md": _markdown, "latex": _latex, "csv": _csv, "json": _json}
    if format not in writers:
        raise ValueError(f"unknown format '{format}'; known: {', '.join(writers)}")
    return writers[format](table)


def _key(column: Column) -> str:
    return f"{column.source}_{column.name}".replace(" ", "_") if column.source else column.name


# ---------------------------------------------------------------------------------------------------------------------
# What is shown to people: the same strings in the terminal, Markdown and LaTeX


@dataclass(frozen=True, slots=True)
class _Shown:
    """A table as strings. The first `lead` headings have no source; a section's rows follow its heading."""

    headings: list[tuple[str, str]]
    sections: list[tuple[str, list[list[str]]]]
    notes: list[str]
    lead: int


def _shown(table: Table) -> _Shown:
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
    return _Shown(headings, sections, [in_line(note) for note in table_notes(table)], lead)


def _several(table: Table) -> bool:
    return any(isinstance(cell, Measured) and cell.n > 1 for row in table.rows() for cell in row.cells)


def row_label(row: TableRow) -> str:
    """Return the label with its marks and what the row is told."""
    told = f" [{row.protocol}]" if row.protocol in TOLD else ""
    return row.label + (" " + "".join(row.marks) if row.marks else "") + told


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
    notes += [text for protocol, text in TOLD.items() if any(row.protocol == protocol for row in rows)]
    for row in rows:
        texts = [cell for cell, column in zip(row.cells, table.columns, strict=True) if column.source]
        details = [cell for cell in texts if isinstance(cell, str) and ":" in cell]
        notes += [f"{row.label}: {detail}" for detail in dict.fromkeys(details)]
    return [*notes, *table.notes]


# ---------------------------------------------------------------------------------------------------------------------
# Terminal


def print_table(table: Table, console: Console | None = None, piped_width: int = 100_000) -> None:
    """Print the table to a terminal. Labels and figures are never cut: what does not fit beside stands below.

    Without `console`, standard output is used; if it is no terminal, lines are up to `piped_width` columns long.
    """
    from rich.text import Text

    if console is None:
        console = make_console(highlight=False)
        if not console.is_terminal:
            console = make_console(highlight=False, width=piped_width)
    shown = _shown(table)
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


def _runs(shown: _Shown, columns: Sequence[int]) -> list[list[int]]:
    """Return the columns in runs of one source."""
    runs: list[list[int]] = []
    for column in columns:
        if runs and shown.headings[runs[-1][-1]][0] == shown.headings[column][0]:
            runs[-1].append(column)
        else:
            runs.append([column])
    return runs


def _width(shown: _Shown, columns: Sequence[int], console: Console) -> int:
    """Return the terminal columns that a block needs when nothing in it is wrapped."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=100_000), _grid(shown, columns)).maximum


def _print_block(console: Console, shown: _Shown, columns: Sequence[int]) -> None:
    """Print one block. Figures that are wider than the terminal are left to it to wrap: cut they would be lost."""
    before = console.width
    if columns[-1] >= shown.lead:
        console.width = max(before, _width(shown, columns, console))
    console.print(_grid(shown, columns))
    console.width = before


def _blocks(shown: _Shown, console: Console) -> list[list[int]]:
    """Return the columns of each block to print: whole sources if they fit beside each other, else fewer columns."""
    lead, figures = list(range(shown.lead)), list(range(shown.lead, len(shown.headings)))

    def fits(columns: list[int]) -> bool:
        return _width(shown, lead + columns, console) <= console.width

    parts = _runs(shown, figures)
    whole = all(fits(part) for part in parts)
    if not whole:
        parts = [[column] for column in figures]
    blocks: list[list[int]] = []
    for part in parts:
        if blocks and (whole or len(_runs(shown, blocks[-1] + part)) == 1) and fits(blocks[-1] + part):
            blocks[-1] += part
        else:
            blocks.append(list(part))
    return [lead + block for block in blocks] or [lead]


def _grid(shown: _Shown, columns: Sequence[int]) -> RichTable:
    """Return one block: a table per source, its name above it, side by side; rows are level, for nothing is wrapped."""
    from rich.table import Table as RichTable

    runs = _runs(shown, columns)
    grid = RichTable.grid(padding=(0, 2, 0, 0))
    for _ in runs:
        # Text columns that stand alone (a list of models) may wrap; beside figures they would put the rows out of step.
        grid.add_column(no_wrap=len(runs) > 1, overflow="fold")
    grid.add_row(*(_part(shown, run, wrap=len(runs) == 1) for run in runs))
    return grid


def _part(shown: _Shown, run: Sequence[int], wrap: bool) -> RichTable:
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


# ---------------------------------------------------------------------------------------------------------------------
# Markdown and LaTeX


def _markdown(table: Table) -> str:
    from tabulate import tabulate

    shown = _shown(table)
    headings = [f"{source} {heading}".strip() for source, heading in shown.headings]
    lines: list[list[str]] = []
    for section, rows in shown.sections:
        if section:
            lines.append([f"**{_escape_markdown(section)}**", *[""] * (len(headings) - 1)])
        lines += [[_escape_markdown(cell) for cell in row] for row in rows]
    body = tabulate(
        lines,
        headers=[_escape_markdown(heading) for heading in headings],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=["left" if place < shown.lead else "right" for place in range(len(headings))] if lines else None,
    )
    parts = [f"> {_escape_markdown(table.banner)}"] if table.banner else []
    parts.append(
        f"**{_escape_markdown(table.title)}**" + (f" ({_escape_markdown(table.source)})" if table.source else "")
    )
    parts.append(body)
    if shown.notes:
        parts.append("\n".join(f"- {_escape_markdown(note)}" for note in shown.notes))
    return "\n\n".join(parts) + "\n"


def _escape_markdown(text: str) -> str:
    text = visible(text)
    for character in "\\|*_<`[":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "[": "{[}",
    "]": "{]}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "*": r"$^{*}$",
    "−": r"$-$",
    "–": "--",
    "→": r"$\rightarrow$",
}
"""Characters that LaTeX reads as commands, and the marks of our tables. A bracket may not follow a line's end."""


def escape_latex(text: str) -> str:
    """Return `text` so that LaTeX prints it as it stands."""
    return " ".join("".join(LATEX.get(character, character) for character in visible(text)).split())


_DIGITS = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"]
_SPELLED = {"+": "Plus", **{str(number): word for number, word in enumerate(_DIGITS)}}
"""What stands in the name of a LaTeX command, which takes letters only."""


def latex_with_macros(table: Table, prefix: str, taken: set[str]) -> str:
    r"""Return the table in LaTeX with a `\newcommand` for every cell of figures, by which the table prints it.

    A command is named after `prefix`, row, source and column, where a row's label stands in several sections after the
    section too; in letters only, and by more letters where that name is in `taken`, to which all names are added.
    """
    shown = _shown(table)
    labels = [row[0] for _, rows in shown.sections for row in rows]
    names, macros = {}, []
    for section, (heading, rows) in enumerate(shown.sections):
        for line, row in enumerate(rows):
            apart = [heading] if labels.count(row[0]) > 1 else []
            for place in range(shown.lead, len(row)):
                if row[place]:
                    name = _free_name(_letters([prefix, *apart, row[0], *shown.headings[place]]), taken)
                    names[section, line, place] = rf"\{name}"
                    macros.append(rf"\newcommand{{\{name}}}{{{escape_latex(row[place])}}}")
    return "\n".join([*macros, _latex(table, names)])


def _letters(parts: Sequence[str]) -> str:
    """Return the words of `parts` as one name of ASCII letters, each word with a capital."""
    spelled = "".join(_SPELLED.get(character, character) for character in " ".join(parts))
    return "".join(word[0].upper() + word[1:] for word in re.findall("[A-Za-z]+", spelled))


def _free_name(name: str, taken: set[str]) -> str:
    """Return `name`, or `name` with the first letters that make it new, and add it to `taken`."""
    letters = (itertools.product(string.ascii_uppercase, repeat=number) for number in itertools.count())
    endings = map("".join, itertools.chain.from_iterable(letters))
    free = next(name + ending for ending in endings if name + ending not in taken)
    taken.add(free)
    return free


def _latex(table: Table, commands: Mapping[tuple[int, int, int], str] = MappingProxyType({})) -> str:
    """Return a `table` environment; it needs the package booktabs.

    `commands` stand in the cells of their section, row and column, instead of what the cells hold.
    """
    shown = _shown(table)
    figures = len(shown.headings) - shown.lead
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title + (f' ({table.source})' if table.source else ''))}}}",
        rf"\begin{{tabular}}{{{'l' * shown.lead}{'r' * figures}}}",
        r"\toprule",
    ]
    lines += _latex_sources(shown)
    lines += [" & ".join(escape_latex(heading) for _, heading in shown.headings) + r" \\"]
    for section, (heading, rows) in enumerate(shown.sections):
        lines.append(r"\midrule")
        if heading:
            lines.append(rf"\multicolumn{{{len(shown.headings)}}}{{l}}{{\emph{{{escape_latex(heading)}}}}} \\")
        for line, row in enumerate(rows):
            cells = [commands.get((section, line, place)) or escape_latex(cell) for place, cell in enumerate(row)]
            lines.append(" & ".join(cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    remarks = [table.banner] if table.banner else []
    lines += [rf"\par\smallskip\footnotesize {escape_latex(note)}" for note in [*remarks, *shown.notes]]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_sources(shown: _Shown) -> list[str]:
    """Return the line of sources above the headings, and the rules under it; nothing if no column has a source."""
    runs = _runs(shown, range(len(shown.headings)))
    names, rules = [], []
    for run in runs:
        source = shown.headings[run[0]][0]
        if source:
            names.append(rf"\multicolumn{{{len(run)}}}{{c}}{{{escape_latex(source)}}}")
            rules.append(rf"\cmidrule(lr){{{run[0] + 1}-{run[-1] + 1}}}")
        else:
            names += [""] * len(run)
    return [" & ".join(names) + r" \\", " ".join(rules)] if rules else []


# ---------------------------------------------------------------------------------------------------------------------
# CSV and JSON: every digit


def _csv(table: Table) -> str:
    """Return one line per row. sd, n and texts have columns of their own, so that a column of figures holds figures."""
    lines = [dict(_csv_cells(table, section, row)) for section in table.sections for row in section.rows]
    used = {name for line in lines for name, value in line.items() if value != ""}
    # Columns that every table has stay even when they are empty; sd, n, status only where something stands in them.
    fixed = dict.fromkeys(["label", "section", "marks", "protocol", *(_key(column) for column in table.columns)])
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
        key = _key(column)
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


def _json(table: Table) -> str:
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
