"""F1 against the share of the training products: every row trained at every fraction, a table and a figure."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from avebench.planning.plan import Plan
from avebench.store.results import Result
from avebench.tables.figures import Figure, Line, Panel
from avebench.tables.result_tables import HEADINGS, empty_cells, metric_value, summary_of
from avebench.tables.table import MEASURED, Cell, Column, Measured, Section, Table, TableRow


def _summary(plan: Plan, label: str, metric: str, results: Mapping[str, Result]) -> Measured | None:
    """Return a metric over the finished repetitions of a row; None without any."""
    cells = next(planned.cells for planned in plan.rows if planned.row.label == label)
    found = [results[cell.key] for cell in cells if cell.key in results]
    return summary_of(found, (metric_value(result, metric) for result in found))


def fraction_table(plans: Sequence[Plan], results: Mapping[str, Result], plain: Table, failed: Container[str]) -> Table:
    """Return a column per fraction and a section per metric; `plain` is the ordinary table of the last plan."""
    experiment = plans[0].experiment
    columns = [Column(f"{plan.train_fraction:g}", f"{plan.train_fraction:g}", MEASURED) for plan in plans]
    sections = []
    for metric in experiment.metrics:
        lines = []
        for place, planned in enumerate(plans[0].rows):
            cells: list[Cell] = []
            for plan in plans:
                measured = _summary(plan, planned.row.label, metric, results)
                cells.append(measured or empty_cells(plan.rows[place], failed, 1)[0])
            lines.append(TableRow(planned.row.label, cells, planned.row.marks, planned.row.protocol))
        sections.append(Section(lines, HEADINGS.get(metric, metric)))
    return Table(
        experiment.title,
        columns,
        sections,
        source=plain.source,
        notes=[_sizes(plans, results), *plain.notes],
        banner=plain.banner,
    )


def _sizes(plans: Sequence[Plan], results: Mapping[str, Result]) -> str:
    """Return how many training examples the fractions are, over the repetitions."""
    parts = []
    for plan in plans:
        sizes = sorted({results[cell.key].train_examples for cell in plan.cells() if cell.key in results})
        if sizes:
            counted = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
            parts.append(f"{counted} at {plan.train_fraction:g}")
    return f"Columns: share of the training products; training examples: {', '.join(parts) or 'unknown'}."


def fraction_figure(plans: Sequence[Plan], results: Mapping[str, Result]) -> Figure:
    """Return a panel per metric with a line per row; the band is a standard deviation over the repetitions."""
    experiment = plans[0].experiment
    panels = []
    for metric in experiment.metrics:
        lines = []
        for planned in plans[0].rows:
            by_fraction = {plan.train_fraction: _summary(plan, planned.row.label, metric, results) for plan in plans}
            found = {fraction: one for fraction, one in by_fraction.items() if one is not None}
            points = [(fraction, one.mean) for fraction, one in found.items()]
            spread = [one.sd for one in found.values()]
            if points:
                lines.append(Line(planned.row.label, points, spread))
        heading = HEADINGS.get(metric, metric)
        panels.append(Panel(heading, "share of the training products", f"{heading} (%)", lines, log_x=True))
    return Figure(experiment.title, panels, f"Measured on {plans[0].data.shown}, test.")
