"""F1 against the share of the training products: every row trained at every fraction, a table and a figure."""

from __future__ import annotations

import statistics
from collections.abc import Container, Mapping, Sequence

from avebench.figures import Figure, Line, Panel
from avebench.plan import Plan
from avebench.render import MEASURED, Cell, Column, Section, Table, TableRow
from avebench.results import Result
from avebench.tables import HEADINGS, empty_cells, summary


def _values(plan: Plan, label: str, metric: str, results: Mapping[str, Result]) -> list[float]:
    """Return a metric of every finished repetition of a row."""
    cells = next(planned.cells for planned in plan.rows if planned.row.label == label)
    scores = [results[cell.key].scores.metrics for cell in cells if cell.key in results]
    return [metrics[metric].value for metrics in scores if metric in metrics]


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
                values = _values(plan, planned.row.label, metric, results)
                cells.append(summary(values) if values else empty_cells(plan.rows[place], failed, 1)[0])
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
            found = {p.train_fraction: _values(p, planned.row.label, metric, results) for p in plans}
            found = {fraction: values for fraction, values in found.items() if values}
            points = [(fraction, statistics.fmean(values)) for fraction, values in found.items()]
            spread = [statistics.stdev(values) if len(values) > 1 else None for values in found.values()]
            if points:
                lines.append(Line(planned.row.label, points, spread))
        heading = HEADINGS.get(metric, metric)
        panels.append(Panel(heading, "share of the training products", f"{heading} (%)", lines, log_x=True))
    return Figure(experiment.title, panels, f"Measured on {plans[0].data.name}, test.")
