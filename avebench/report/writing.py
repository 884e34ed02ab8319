"""`avebench report`: read what is stored, put the chapters together, write them in one format."""

from __future__ import annotations

import csv
import dataclasses
import gc
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avebench.analysis.recording import RESULTS
from avebench.files.atomic import write_atomically
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError
from avebench.files.leftovers import sweep
from avebench.files.printing import in_line, spreadsheet_cell
from avebench.report.attention import with_attention
from avebench.report.chapters import Chapter, make_chapters, named
from avebench.report.evidence import Examiner
from avebench.report.experiment_chapters import cost_chapters, fraction_chapters, statistics_chapters
from avebench.report.stored_tables import Stored, read_stored
from avebench.store.folder import RUNS
from avebench.store.recorded import recorded_folders
from avebench.tables.markup import latex_with_macros
from avebench.tables.render import render
from avebench.tables.table import Measured

PAGE = Path("report.html")


def write_report(
    names: Sequence[str], *, out: Path, recorded: bool, data: Path | None, output: Path | None, format: str
) -> Path | None:
    """Write the report of the named tables, or of all that have results, and return its file.

    Without `output` a page goes to `report.html`, every other format to standard output, for which None is returned.
    AvebenchError if a name is unknown, there is no folder `out`, or the file cannot be written.
    """
    collecting = gc.isenabled()
    gc.disable()  # Nearly all that is made lasts until the end: looking for what does not costs a tenth of the time.
    try:
        return _write_report(names, out, recorded, data, output, format)
    finally:
        if collecting:
            gc.enable()


def _write_report(
    names: Sequence[str], out: Path, recorded: bool, data: Path | None, output: Path | None, format: str
) -> Path | None:
    stored = read_stored(names, out, recorded=recorded)
    # The usual folder is not there before the first run, and the page says so; a folder that was named should be.
    if not recorded and not out.is_dir() and out != RUNS:
        raise AvebenchError(f"There is no folder {out}. Run a table first, or name where one was run with --out.")
    chapters = _chapters(stored, names, out, recorded, data)
    if format == "html":
        chapters = with_attention(chapters, out)
    read = f"Results read from {out}/{f' and {RESULTS}/' if recorded else ''}."
    if not chapters:
        stored.gaps.append(_nothing(out, recorded))
    text = written(chapters, stored.gaps, read, format)
    target = output or (PAGE if format == "html" else None)
    if target is None:
        sys.stdout.write(text)
        return None
    try:
        sweep(target.parent, target.name)
        write_atomically(target, text.encode(errors="surrogateescape"))  # Paths of a locale without UTF-8.
    except OSError as error:
        raise unwritable(
            error, target, f"{target} cannot be written ({error.strerror}). Choose another with --output."
        ) from None
    return target


def _chapters(stored: Stored, names: Sequence[str], out: Path, recorded: bool, data: Path | None) -> list[Chapter]:
    """Return all chapters in the order of the experiments; one over all train fractions stands before each of them."""
    asked, stored_tables, gaps = stored.experiments, stored.stored_tables, stored.gaps
    swept = [
        metric for one in stored_tables if one.plan.experiment.thresholds for metric in one.plan.experiment.metrics
    ]
    chapters = [
        *statistics_chapters(asked, stored_tables, data, by_name=bool(names), gaps=gaps),
        *cost_chapters(asked, out, recorded=recorded, by_name=bool(names), gaps=gaps),
        *fraction_chapters(stored_tables),
        *make_chapters(stored_tables, Examiner(data, swept)),
    ]
    order = list(asked)
    return named(sorted(chapters, key=lambda chapter: order.index(chapter.stored_table.plan.name)))


def _nothing(out: Path, recorded: bool) -> str:
    more = "" if recorded or not recorded_folders(RESULTS) else " What is recorded is shown with --recorded."
    return f"There is no finished cell under {out}. Run a table first: avebench run table6.{more}"


def written(chapters: Sequence[Chapter], gaps: Sequence[str], read: str, format: str) -> str:
    """Return the report as `html`, `md`, `latex`, `csv` or `json`. Texts of the data are in the page alone."""
    if format == "html":
        from avebench.report.page import page

        return page(chapters, gaps, read)
    return {"md": _markdown, "latex": _latex, "csv": _csv, "json": _json}[format](chapters, gaps)


def _markdown(chapters: Sequence[Chapter], gaps: Sequence[str]) -> str:
    parts = ["# avebench report\n"]
    parts += ["\n".join(f"- {in_line(gap)}" for gap in gaps) + "\n"] if gaps else []
    for chapter in chapters:
        parts.append(f"## {in_line(chapter.title)}\n")
        parts += ["\n".join(f"- {in_line(gap)}" for gap in chapter.gaps) + "\n"] if chapter.gaps else []
        parts += [render(table, "md") for _, table in chapter.tables]
    return "\n".join(parts)


def _latex(chapters: Sequence[Chapter], gaps: Sequence[str]) -> str:
    """Return every table with a command per figure, named after the chapter, the table, the row and the column."""
    taken: set[str] = set()
    parts = [f"% {in_line(gap)}\n" for gap in gaps]
    for chapter in chapters:
        parts += [f"% {in_line(line)}\n" for line in (chapter.title, *chapter.gaps)]
        parts += [latex_with_macros(table, f"{chapter.name} {name}", taken) for name, table in chapter.tables]
    return "\n".join(parts)


CSV_COLUMNS = (
    "experiment",
    "dataset",
    "train_fraction",
    "profile",
    "settings",
    "table",
    "section",
    "row",
    "column",
    "repetition",
    "value",
    "cell",
)


def _csv(chapters: Sequence[Chapter], gaps: Sequence[str]) -> str:
    """Return a line per measured number and repetition, with the key of the cell that it comes from.

    A mean of which the repetitions are not known is a line of its own, without either.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for chapter in chapters:
        stored_table = chapter.stored_table
        place = (
            stored_table.plan.name,
            stored_table.plan.data.name,
            f"{stored_table.plan.train_fraction:g}",
            stored_table.profile,
            json.dumps(dict(stored_table.settings), ensure_ascii=False) if stored_table.settings else "",
        )
        for name, table in chapter.tables:
            for section in table.sections:
                for row in section.rows:
                    for column, cell in zip(table.columns, row.cells, strict=True):
                        if isinstance(cell, Measured):
                            line = (name, section.heading, row.label, column.name)
                            for value, key in zip(cell.values, cell.cells, strict=True) if cell.cells else ():
                                repetition = stored_table.cells[key].result.repetition
                                cells = (*place, *line, str(repetition), repr(value), key)
                                writer.writerow(map(spreadsheet_cell, cells))
                            if not cell.cells:
                                writer.writerow(map(spreadsheet_cell, (*place, *line, "", repr(cell.mean), "")))
    return stream.getvalue()


def _json(chapters: Sequence[Chapter], gaps: Sequence[str]) -> str:
    """Return everything but texts of the data: tables, results by cell key, mistakes shown, and what is missing."""
    content = {"gaps": list(gaps), "chapters": [_chapter_json(chapter) for chapter in chapters]}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _chapter_json(chapter: Chapter) -> dict[str, Any]:
    stored_table = chapter.stored_table
    return {
        "name": chapter.name,
        "title": chapter.title,
        "experiment": stored_table.plan.name,
        "dataset": stored_table.plan.data.name,
        "fingerprint": stored_table.plan.data.fingerprint,
        "train_fraction": stored_table.plan.train_fraction,
        "profile": stored_table.profile,
        "settings": dict(stored_table.settings),
        "gaps": list(chapter.gaps),
        "mistakes": [
            {"row": row, "example": one.example, **dataclasses.asdict(one.mistake)}
            for part in chapter.parts
            for row, some in part.samples.items()
            for one in some
        ],
        "tables": [{"part": name, **json.loads(render(table, "json"))} for name, table in chapter.tables],
        "cells": {
            key: {
                "file": str(cell.file),
                "predictions": str(cell.predictions),
                "result": cell.result.model_dump(mode="json"),
            }
            for key, cell in stored_table.cells.items()
        },
    }
