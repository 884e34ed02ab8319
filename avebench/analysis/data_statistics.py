"""Statistics of a data set beside published ones: all that is counted, or the lines and columns of a paper's table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from avebench.data.opening import StatisticsRow, open_dataset, stats_rows
from avebench.planning.plan import Plan
from avebench.planning.published import Published, published_rows
from avebench.tables.result_tables import PUBLISHED
from avebench.tables.table import Cell, Column, Section, Table, TableRow

COUNTED = "counted"
UNITS = {"_millions": 1e6, "_thousands": 1e3}
"""How a figure of published.toml that is printed in a larger unit is called."""
TOTAL = "Total"


def statistics_table(name: str, fingerprint: str, rows: Iterable[StatisticsRow]) -> Table:
    """Return published beside counted statistics of a data set."""
    lines = []
    for row in rows:
        published = None if row.published is None else _number(row.published)
        lines.append(TableRow(row.name, [published, _number(row.counted)]))
    columns = [Column("published", "Published"), Column("counted", "Counted")]
    return Table(
        f"Statistics of {name}",
        columns,
        [Section(lines)],
        notes=[f"Fingerprint {fingerprint}."],
        label_heading="Figure",
    )


def _number(value: object) -> str:
    """Return a figure as people read it: thousands apart, two decimals for fractions."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:,.2f}"


def counted_statistics(plan: Plan) -> dict[str, Any]:
    """Return all that is counted in the plan's data set, by name; AvebenchError if two of its splits share an id."""
    data = plan.data
    return {row.name: row.counted for row in stats_rows(open_dataset(data.name, data.folder, dict(data.options)))}


def published_statistics_table(plan: Plan, counted: Mapping[str, Any]) -> Table:
    """Return the table of the paper with what is `counted` in the plan's data set beside it.

    The lines of a table are categories and their total; of a category a data set counts `<category> <figure>`, in total
    `<figure>`. A table of one line is the total.
    """
    experiment, data = plan.experiment, plan.data
    prefix = f"{experiment.statistics}/"
    published = {key.removeprefix(prefix): row for key, row in published_rows().items() if key.startswith(prefix)}
    scaled = {label: _scaled(row) for label, row in published.items()}
    names = list(dict.fromkeys(name for figures in scaled.values() for name in figures))
    columns = [Column(name, name, PUBLISHED) for name in names] + [Column(name, name, COUNTED) for name in names]
    lines = []
    for label, figures in scaled.items():
        whole = label == TOTAL or len(scaled) == 1
        cells: list[Cell] = [figures.get(name) for name in names]
        cells += _counted(counted, "" if whole else f"{label} ", names)
        lines.append(TableRow(label, cells))
    places = sorted({row.place for row in published.values()})
    return Table(
        experiment.title,
        columns,
        [Section(lines)],
        source=experiment.source.place() if experiment.source else "",
        notes=[
            experiment.note,
            f"Counted in {data.name} {data.fingerprint[:12]}; all that is counted: avebench data stats {data.name}.",
            f"Published: {', '.join(places)}, of {experiment.dataset}.",
        ],
        banner=plan.banner,
        label_heading="Category",
    )


def _scaled(row: Published) -> dict[str, int]:
    """Return the figures of a published line in units of one."""
    figures = {}
    for name, value in row.figures.items():
        unit = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
        figures[name.removesuffix(unit)] = round(value * UNITS.get(unit, 1))
    return figures


def _counted(counted: Mapping[str, Any], prefix: str, names: Iterable[str]) -> list[Cell]:
    """Return the counted figures of a line; where none is counted, that is said once."""
    found = [counted.get(prefix + name) for name in names]
    return [value if isinstance(value, int) else "not counted" for value in found]
