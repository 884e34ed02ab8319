"""What the report says, in order: a chapter per stored table, in parts that hold tables, figures and examples."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from avebench.analysis.comparison.contrasts import Comparison
from avebench.analysis.sweep import Swepts, sweep_figure, sweep_table
from avebench.files.errors import AvebenchError
from avebench.planning.plan import Plan
from avebench.report.costs import cost_table
from avebench.report.differences import compare_rows, matrix_table, pairs_table
from avebench.report.evidence import Evidence, Examiner
from avebench.report.figures import Drawing, cost_against_quality, drawings_of, learning_curves, precision_recall
from avebench.report.mistakes import Sample, confusion_table, kinds_table, samples_of, with_mistakes
from avebench.report.reproduction import reproduction_table
from avebench.report.stored_tables import StoredTable, settings_text
from avebench.report.thresholds import TAUS, threshold_tables
from avebench.store.invariants import check_invariants
from avebench.store.results import Result
from avebench.tables.result_tables import attribute_table, result_table, slice_table
from avebench.tables.table import Table

Style = Literal["plain", "bars", "matrix"]


@dataclass(frozen=True, slots=True)
class Overlay:
    """A drawing of attention, as JPEG, with its width in pixels as people see it; what it shows, in short and whole."""

    jpeg: bytes
    width: int
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Part:
    """Tables, figures, samples of mistakes by row, or overlays by group under a heading; `name` is that of its files.

    `said` are sentences that stand above.
    """

    name: str
    heading: str
    tables: tuple[Table, ...] = ()
    style: Style = "plain"
    figures: tuple[Drawing, ...] = ()
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    overlays: Mapping[str, Sequence[Overlay]] = field(default_factory=dict)
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Chapter:
    """A stored table as it is read: `name` is unique among the chapters, `gaps` say what is missing.

    The stored table of what no cell stands behind, such as statistics of data, has none.
    """

    name: str
    stored_table: StoredTable
    title: str
    parts: tuple[Part, ...]
    comparison: Comparison | None
    gaps: tuple[str, ...]

    @property
    def tables(self) -> list[tuple[str, Table]]:
        """Return the tables with the names of their parts."""
        return [(part.name, table) for part in self.parts for table in part.tables]


# ---------------------------------------------------------------------------------------------------------------------
# Parts that need results alone


def result_parts(plan: Plan, results: Mapping[str, Result]) -> list[Part]:
    """Return what results show without their predictions: the table, its breakdown, learning curves and cost."""
    parts = [Part("table", "The table", (result_table(plan, results, failed=()),))]
    curves = learning_curves(plan, results)
    if curves:
        parts.append(Part("learning", "Learning curves", figures=tuple(curves)))
    parts.append(Part("attributes", "Attributes", (attribute_table(plan, results),), "bars"))
    for name, heading, table in (
        ("slices", "Slices", slice_table(plan, results, "slice")),
        ("categories", "Categories", slice_table(plan, results, "category")),
    ):
        if table.rows():
            parts.append(Part(name, heading, (table,), "bars"))
    figures = tuple(cost_against_quality(plan, results))
    parts.append(Part("cost", "Cost against quality", (cost_table(plan, results),), figures=figures))
    return parts


def with_overlays(chapter: Chapter, overlays: Mapping[str, Sequence[Overlay]], said: Sequence[str]) -> Chapter:
    """Return the chapter with a part that shows pictures with attention, behind its table."""
    part = Part("attention", "Attention over the picture", overlays=overlays, said=tuple(said))
    return replace(chapter, parts=(chapter.parts[0], part, *chapter.parts[1:]))


# ---------------------------------------------------------------------------------------------------------------------
# Chapters


def _chapter(stored_table: StoredTable, examiner: Examiner) -> Chapter:
    """Return what results and predictions of a stored table show."""
    plan, results = stored_table.plan, stored_table.results
    cells = {row.row.label: [stored_table.cells[cell.key] for cell in row.cells] for row in plan.rows if row.cells}
    evidence = {label: [examiner.evidence(cell) for cell in own] for label, own in cells.items()}
    comparison, reasons = compare_rows(stored_table, _known(evidence, "counts"))
    parts = result_parts(plan, results)
    table, *rest = parts
    intervals = {label: examiner.intervals(own, plan.experiment.metrics) for label, own in cells.items()}
    chapter = [table, Part("reproduction", _reproduction_heading(plan), (reproduction_table(stored_table, intervals),))]
    if comparison is not None:
        chapter.append(Part("differences", "Rows against each other", (matrix_table(comparison),), "matrix"))
        chapter.append(Part("pairs", "Every two rows", (pairs_table(comparison),)))
    chapter += [
        *rest[:-1],
        *_mistake_parts(stored_table, evidence),
        *_threshold_parts(stored_table, evidence),
        rest[-1],
    ]
    gaps = [*_gaps(stored_table, evidence), *reasons]
    return Chapter(
        "", stored_table, stored_table_title(stored_table), tuple(chapter), comparison, tuple(dict.fromkeys(gaps))
    )


def _known(
    evidence: Mapping[str, Sequence[Evidence]], name: Literal["counts", "mistakes", "sweep"]
) -> dict[str, list[Any]]:
    """Return what the predictions of each repetition show, by label, of the rows for which all of it is known."""
    found = {label: [getattr(one, name) for one in own] for label, own in evidence.items()}
    return {label: values for label, values in found.items() if all(value is not None for value in values)}


def _reproduction_heading(plan: Plan) -> str:
    return "Published and measured" if any(row.row.published for row in plan.rows) else "Intervals"


def stored_table_title(stored_table: StoredTable) -> str:
    """Return table, data, profile, train fraction and settings in a line."""
    plan = stored_table.plan
    fraction = [] if plan.train_fraction == 1 else [f"{plan.train_fraction:g} of the training products"]
    settings = [settings_text(stored_table.settings)] if stored_table.settings else []
    return f"{plan.name} on {plan.data.shown} ({', '.join([stored_table.profile, *fraction, *settings])})"


def _gaps(stored_table: StoredTable, evidence: Mapping[str, Sequence[Evidence]]) -> list[str]:
    """Return what is missing of a stored table, a sentence each."""
    gaps = list(stored_table.notes)
    try:
        check_invariants(list(stored_table.results.values()))
    except AvebenchError as error:
        gaps.append(str(error))
    not_run = [row.row.label for row in stored_table.plan.rows if not row.cells and not row.row.planned]
    planned = [row.row.label for row in stored_table.plan.rows if row.row.planned]
    gaps += [f"Not run: {', '.join(not_run)}."] if not_run else []
    gaps += [f"Not built yet: {', '.join(planned)}."] if planned else []
    gaps += [gap for found in evidence.values() for one in found for gap in one.gaps]
    without = [label for label, found in evidence.items() if any(not one.mistakes and not one.gaps for one in found)]
    gaps += [f"No spans, so no mistakes by kind: {', '.join(without)}."] if without else []
    return gaps


def _mistake_parts(stored_table: StoredTable, evidence: Mapping[str, Sequence[Evidence]]) -> list[Part]:
    """Return the mistakes by kind with examples, and which attributes are taken for which, where they are known."""
    rows = with_mistakes(stored_table.plan, stored_table.results, _known(evidence, "mistakes"))
    if not rows:
        return []
    title = stored_table.plan.experiment.title
    parts = [Part("mistakes", "Mistakes", (kinds_table(title, rows),), samples=samples_of(rows))]
    confusion = confusion_table(title, rows)
    return [*parts, Part("confusion", "Attributes taken for each other", (confusion,))] if confusion.rows() else parts


def _threshold_parts(stored_table: StoredTable, evidence: Mapping[str, Sequence[Evidence]]) -> list[Part]:
    """Return precision against recall, and F1, over the threshold; nothing if no row stores candidates."""
    sweeps = _known(evidence, "sweep")
    if not sweeps:
        return []
    tables = threshold_tables(stored_table.plan, stored_table.results, sweeps)
    figures = precision_recall(stored_table.plan, stored_table.results, sweeps)
    part = Part("thresholds", "Precision and recall over the threshold", tuple(tables), figures=tuple(figures))
    return [*_sweep_parts(stored_table, sweeps), part]


def _sweep_parts(stored_table: StoredTable, sweeps: Mapping[str, Swepts]) -> list[Part]:
    """Return the sweep that a table is about, with what a paper says of its thresholds."""
    plan = stored_table.plan
    thresholds = plan.experiment.thresholds
    if not thresholds or not set(thresholds) <= set(TAUS):
        return []
    places = [TAUS.index(threshold) for threshold in thresholds]
    swept = {label: [[one[place] for place in places] for one in found] for label, found in sweeps.items()}
    table = sweep_table(plan, swept, result_table(plan, stored_table.results, ()), ())
    return [Part("sweep", "The sweep", (table,), figures=drawings_of(sweep_figure(plan, swept)))]


def make_chapters(stored_tables: Sequence[StoredTable], examiner: Examiner) -> list[Chapter]:
    """Return a chapter per stored table, without a name yet."""
    return [_chapter(stored_table, examiner) for stored_table in stored_tables]


def named(chapters: Sequence[Chapter]) -> list[Chapter]:
    """Return the chapters with names that are unique and fit an address, and titles that are unique."""
    titles = [chapter.title for chapter in chapters]
    found: dict[str, Chapter] = {}
    for chapter in chapters:
        plan = chapter.stored_table.plan
        fraction = "" if plan.train_fraction == 1 else f"{plan.train_fraction:g}"
        words = f"{plan.name} {plan.data.name} {fraction}".lower()
        name = re.sub(r"[^a-z0-9]+", "-", words).strip("-") or "table"
        name = next(free for n in itertools.count(1) if (free := name if n == 1 else f"{name}-{n}") not in found)
        data = f", data {plan.data.fingerprint[:8]}, {name}" if titles.count(chapter.title) > 1 else ""
        found[name] = replace(chapter, name=name, title=chapter.title + data)
    return list(found.values())
