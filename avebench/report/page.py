"""The page: every chapter as one HTML file that loads nothing, with the provenance of each number behind it.

Texts of data are escaped by the templates; what scripts read is JSON in which no tag can end. A content security policy
lets the page's own script run and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from avebench.planning.experiment import OwnPublished, Row
from avebench.planning.published import published_of, published_sources
from avebench.report.chapters import Chapter, Style
from avebench.report.overview import day, facts, overview_table
from avebench.report.reproduction import VERDICTS
from avebench.report.stored_cells import StoredCell
from avebench.tables.layout import cell_text, row_label, table_notes
from avebench.tables.result_tables import PUBLISHED
from avebench.tables.table import MEASURED, Cell, Column, Measured, Table

OPEN_PARTS = {"table", "reproduction", "attention", "sweep"}
"""Parts of a chapter that are open when the page is opened."""


@dataclass(frozen=True, slots=True)
class ShownCell:
    """One cell of a table: what people read, what it is sorted by, and where it comes from.

    `kind` is `text`, `number`, `published` or `measured`. `cells` are the numbers of the cells behind a measured figure
    in the page's data, `values` their figures; `published` is the key of the published row. `bar` is 0 to 100.
    """

    text: str
    sort: str
    kind: str
    cells: str = ""
    values: str = ""
    published: str = ""
    bar: float | None = None


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as the template draws it: runs of columns by source, headings, and the rows of each section."""

    caption: str
    source: str
    style: Style
    runs: list[tuple[str, int]]
    headings: list[tuple[str, bool]]
    sections: list[tuple[str, list[tuple[str, list[ShownCell]]]]]
    notes: list[str]
    label_heading: str


@dataclass(slots=True)
class _Provenance:
    """What the page knows of each cell: configs, versions and machines that cells share stand once."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    published: dict[str, Any] = field(default_factory=dict)
    _numbers: dict[str, int] = field(default_factory=dict)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, cell: StoredCell) -> None:
        """Take a cell in, once."""
        result = cell.result
        if result.key in self._numbers:
            return
        self._numbers[result.key] = len(self.cells)
        kept = result.model_dump(
            mode="json",
            exclude={"scores", "scores_extended", "history", "validation", "diagnostics", "started", "version"},
        )
        for name in ("config", "versions", "hardware", "weights", "dataset_options"):
            kept[name] = self._share(kept[name])
        # A script's numbers are not exact from 2^53 on.
        kept |= {"seed": str(result.seed), "finished": day(result.finished)}
        kept |= {"file": str(cell.file), "predictions": str(cell.predictions)}
        self.cells.append(kept)

    def _share(self, content: Any) -> int:
        place = self._places.setdefault(repr(content), len(self.shared))
        if place == len(self.shared):
            self.shared.append(content)
        return place

    def numbers(self, keys: Sequence[str]) -> str:
        """Return the numbers of cells, separated by blanks."""
        return " ".join(str(self._numbers[key]) for key in keys if key in self._numbers)

    def add_published(self, row: Row) -> None:
        """Take what is published of a row in."""
        published = published_of(row)
        if published is None:
            return
        own = isinstance(row.published, OwnPublished)
        reference = "" if own else published_sources().get(published.place.partition(" ")[0], "")
        shown = {"place": published.place, "reference": reference, "caveats": published.caveats}
        self.published[_published_key(row)] = shown


def _published_key(row: Row) -> str:
    """Return the name under which the page keeps what is published of a row; empty if nothing is."""
    if isinstance(row.published, OwnPublished):
        return f"{row.published.source}/{row.label}"
    return row.published or ""


def page(chapters: Sequence[Chapter], gaps: Sequence[str], read: str) -> str:
    """Return the whole page; `gaps` say what could not be shown at all, `read` where results were looked for."""
    from jinja2 import Environment, PackageLoader
    from markupsafe import Markup

    provenance = _Provenance()
    for chapter in chapters:
        for cell in chapter.stored_table.cells.values():
            provenance.add(cell)
        for planned in chapter.stored_table.plan.rows:
            provenance.add_published(planned.row)
    templates = files("avebench.report") / "templates"
    script, style = ((templates / name).read_text(encoding="utf-8") for name in ("report.js", "report.css"))
    environment = Environment(
        loader=PackageLoader("avebench.report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["svg"] = lambda drawing: Markup(drawing.svg())
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    return environment.get_template("report.html").render(
        chapters=chapters,
        gaps=gaps,
        read=read,
        overview=_shown(overview_table(chapters), None, "plain", provenance) if chapters else None,
        shown=lambda table, chapter, style: _shown(table, chapter, style, provenance),
        links={chapter.title: chapter.name for chapter in chapters},
        facts=facts,
        verdicts=VERDICTS,
        open_parts=OPEN_PARTS,
        data={"cells": provenance.cells, "shared": provenance.shared, "published": provenance.published},
        script=Markup(script),
        style=Markup(style),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _shown(table: Table, chapter: Chapter | None, style: Style, provenance: _Provenance) -> ShownTable:
    """Lay a table out: label, columns without a source, then the figures source by source, n behind the measured."""
    sources = list(dict.fromkeys(["", *(column.source for column in table.columns)]))
    several = any(isinstance(cell, Measured) and cell.n > 1 for row in table.rows() for cell in row.cells)
    with_n = several and style != "bars"
    by_source = [(source, [p for p, c in enumerate(table.columns) if c.source == source]) for source in sources]
    runs = [(source, len(places) + (with_n and source == MEASURED)) for source, places in by_source]
    headings = []
    for source, places in by_source:
        headings += [(table.columns[place].heading, bool(source)) for place in places]
        headings += [("n", True)] if with_n and source == MEASURED else []
    published = {}
    if chapter is not None:
        published = {one.row.label: _published_key(one.row) for one in chapter.stored_table.plan.rows}

    def line(label: str, cells: Sequence[Cell]) -> list[ShownCell]:
        found = []
        for source, places in by_source:
            group = [(table.columns[place], cells[place]) for place in places]
            found += [_shown_cell(c, cell, published.get(label, ""), style, provenance) for c, cell in group]
            if with_n and source == MEASURED:
                numbers = " / ".join(dict.fromkeys(str(cell.n) for _, cell in group if isinstance(cell, Measured)))
                found.append(ShownCell(numbers, numbers, "number"))
        return found

    sections = [
        (section.heading, [(row_label(row), line(row.label, row.cells)) for row in section.rows])
        for section in table.sections
        if section.rows
    ]
    return ShownTable(
        table.title, table.source, style, runs, headings, sections, table_notes(table), table.label_heading
    )


def _shown_cell(column: Column, cell: Cell, published: str, style: Style, provenance: _Provenance) -> ShownCell:
    text = cell_text(cell, column.digits)
    match cell:
        case None:
            return ShownCell("", "", "text")
        case Measured():
            values = " ".join(map(repr, cell.values))
            bar = cell.mean if style == "bars" else None
            return ShownCell(
                text,
                _sort_key(cell.mean),
                "measured",
                provenance.numbers(cell.cells),
                values if cell.cells else "",
                bar=bar,
            )
        case str():
            return ShownCell(text, text, "number" if style == "matrix" else "text")
        case _:
            key = published if column.source == PUBLISHED else ""
            return ShownCell(text, _sort_key(cell), "published" if key else "number", published=key)


def _sort_key(number: float) -> str:
    """Return a number as what its column is sorted by."""
    return f"{number:.8g}" if isinstance(number, float) else repr(number)
