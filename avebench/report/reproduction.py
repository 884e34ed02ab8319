"""Measured beside published figures, with an interval and a verdict in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from avebench.contracts.registry import plugin, plugins
from avebench.files.errors import AvebenchError
from avebench.planning.configs import Layers, resolve
from avebench.planning.plan import PlannedRow
from avebench.planning.published import Published, published_marks, published_of
from avebench.planning.settings import flattened
from avebench.report.evidence import Interval
from avebench.report.stored_tables import Sheet, settings_text
from avebench.scoring.significance import LEVEL
from avebench.tables.result_tables import (
    HEADINGS,
    NOT_BUILT,
    PUBLISHED,
    caveat_notes,
    measured_rows,
    metric_value,
    summary_of,
)
from avebench.tables.table import MARKED_PROTOCOLS, MEASURED, Cell, Column, Measured, Section, Table, TableRow

MARGIN = 1.0
"""Points within which a figure counts as reproduced."""
DEVIATIONS = 2.0
"""Standard deviations of the repetitions within which another training may well lie."""
SAMPLE = 0.99
"""Share of the published test examples below which a data set is only a part of the published one."""
REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED = "reproduced", "within noise", "not reproduced"
VERDICT = "verdict"
NOT_COMPARABLE, NO_INTERVAL, NOT_RUN = "not comparable", "no interval", "not run"
VERDICTS = {
    REPRODUCED: f"the whole {LEVEL:g} % interval lies within {MARGIN:g} point of the published figure.",
    WITHIN_NOISE: "not so, but the published figure lies in the interval, or at most "
    f"{DEVIATIONS:g} standard deviations of the repetitions from the mean.",
    NOT_REPRODUCED: "neither; with the difference in points.",
    NOT_COMPARABLE: "measured on other data or under other settings than what was published, so there is no verdict.",
    NO_INTERVAL: "comparable, but predictions and counts are missing, so there is no verdict.",
}
"""Every verdict and what it means."""


def verdict(published: float, measured: Measured, interval: Interval) -> str:
    """Return whether a measured figure, whose interval is given, reproduces the published one; `VERDICTS` says when."""
    low, high = interval
    difference = measured.mean - published
    if published - MARGIN <= low and high <= published + MARGIN:
        return REPRODUCED
    if low <= published <= high or abs(difference) <= DEVIATIONS * (measured.sd or 0.0):
        return WITHIN_NOISE
    return f"{NOT_REPRODUCED}: {abs(difference):.2f} {'above' if difference > 0 else 'below'}"


# ---------------------------------------------------------------------------------------------------------------------
# Comparability


def sheet_differences(sheet: Sheet) -> list[str]:
    """Return in what all rows of a sheet differ from what was published: data, fraction, profile."""
    plan = sheet.plan
    found = []
    if plan.data.name != plan.experiment.dataset:
        found.append(f"another data set ({plan.data.name}, not {plan.experiment.dataset})")
    else:
        size = next(iter(sheet.results.values())).scores.examples
        printed = _printed_size(plan.data.name)
        if printed and size < SAMPLE * printed:
            found.append(f"a part of the data ({size:,} of {printed:,.0f} test sentences)")
    if plan.train_fraction != 1:
        found.append(f"{plan.train_fraction:g} of the training products")
    if sheet.profile != "paper":
        found.append(f"profile {sheet.profile}")
    return found


def _printed_size(dataset: str) -> float | None:
    """Return the published number of test sentences; None where none is, or the data set's plug-in is not at hand."""
    try:
        return (plugin("datasets", dataset).card.published or {}).get("test sentences")
    except AvebenchError:
        return None


def row_differences(sheet: Sheet, planned: PlannedRow, published: Published) -> list[str]:
    """Return in what one row differs from what was published, apart from what all rows of its sheet differ in."""
    if published.range_given and planned.row.protocol not in MARKED_PROTOCOLS:
        return ["the published system was, or may have been, given the attributes"]
    if sheet_differences(sheet):
        return []
    known = [name for name in plugins("datasets") if any(one.startswith(name) for one in published.datasets)]
    if known and sheet.plan.data.name not in known:
        return [f"published on {' and '.join(published.datasets)}"]
    return _changed_options(sheet, planned)


def _changed_options(sheet: Sheet, planned: PlannedRow) -> list[str]:
    """Return the options that `--set` or an encoder option changed from the paper's, with what they are."""
    defaults = sheet.plan.experiment.defaults.options
    try:
        own = flattened(resolve(planned.row, Layers("paper", defaults=defaults)).config)
    except AvebenchError:  # The plug-in is not at hand: its results are taken as they are.
        return []
    used = flattened(planned.cells[0].config)
    changed = {name: value for name, value in used.items() if own.get(name) != value}
    return [f"other options ({settings_text(changed)})"] if changed else []


# ---------------------------------------------------------------------------------------------------------------------
# The table


def reproduction_table(sheet: Sheet, intervals: Mapping[str, Mapping[str, Interval]]) -> Table:
    """Return every metric of every row: published, measured, interval, difference and verdict, a section per metric.

    `intervals` holds those that are known by label and metric. What is not comparable has no difference; of a table of
    which nothing is published only what was measured is shown.
    """
    plan = sheet.plan
    published = {row.row.label: known for row in plan.rows if (known := published_of(row.row)) is not None}
    results = {planned.row.label: found for planned, found in measured_rows(plan, sheet.results)}
    sections = []
    for metric in plan.experiment.metrics:
        lines = []
        for planned in sorted(plan.rows, key=lambda planned: planned.row.reference):
            label = planned.row.label
            found = results.get(label, [])
            measured = summary_of(found, (metric_value(result, metric) for result in found))
            printed = published[label].figures.get(metric) if label in published else None
            if measured is None and printed is None:
                continue
            interval = intervals.get(label, {}).get(metric)
            said = _said(sheet, planned, published.get(label), printed, measured, interval)
            low, high = interval or (None, None)
            apart = measured.mean - printed if measured and printed is not None and _is_judged(said) else None
            cells: list[Cell] = [measured, low, high]
            if published:
                cells = [said, printed, *cells, apart]
            lines.append(TableRow(label, cells, planned.row.marks, planned.row.protocol))
        if lines:
            sections.append(Section(lines, HEADINGS.get(metric, metric)))
    columns = [Column("figure", "%", MEASURED), *(Column(end, end, f"{LEVEL:g} % interval") for end in ("low", "high"))]
    if published:
        columns = [Column(VERDICT, "Verdict"), Column("figure", "%", PUBLISHED), *columns]
        columns.append(Column("points", "points", "difference"))
    return Table(
        f"{plan.experiment.title}: {'published and measured' if published else 'measured, with intervals'}",
        columns,
        sections,
        notes=_notes(sheet, published),
        banner=plan.banner,
        marks=published_marks(),
    )


def verdicts_in(table: Table) -> Counter[str]:
    """Return how often each of `VERDICTS` stands in a table of this kind, in their order."""
    place = next((place for place, column in enumerate(table.columns) if column.name == VERDICT), None)
    said = Counter(str(row.cells[place]).partition(":")[0] for row in table.rows() if place is not None)
    return Counter({name: said[name] for name in VERDICTS if said[name]})


def _is_judged(said: str | None) -> bool:
    return (said or "").partition(":")[0] in {REPRODUCED, WITHIN_NOISE, NOT_REPRODUCED}


def _said(
    sheet: Sheet,
    planned: PlannedRow,
    published: Published | None,
    printed: float | None,
    measured: Measured | None,
    interval: Interval | None,
) -> str | None:
    """Return the verdict on one figure; None where nothing is published or nothing measured to be judged."""
    if measured is None:
        return NOT_BUILT if planned.row.planned else NOT_RUN
    if published is None or printed is None:
        return None
    own = row_differences(sheet, planned, published)
    if own or sheet_differences(sheet):
        return ": ".join([NOT_COMPARABLE, ", ".join(own)]) if own else NOT_COMPARABLE
    return verdict(printed, measured, interval) if interval else NO_INTERVAL


def _notes(sheet: Sheet, published: Mapping[str, Published]) -> list[str]:
    """Return how the verdicts are found, why nothing is comparable, and the caveats of the published rows."""
    notes = [
        f"The interval is the {LEVEL:g} % percentile bootstrap over test products of the mean over the repetitions; it "
        "says nothing of another training, which the standard deviation does."
    ]
    if published:
        notes += [f"{name}: {meaning}" for name, meaning in VERDICTS.items()]
        differences = sheet_differences(sheet)
        if differences:
            notes.append(f"{NOT_COMPARABLE}, all rows: {', '.join(differences)}.")
    return [*notes, *caveat_notes(published)]
