"""The rows of a stored table against each other: who is ahead, by how much, and how surely after Holm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from avebench.analysis.comparison.comparability import check_comparable
from avebench.analysis.comparison.contrasts import Comparison, System, compare_systems, headline
from avebench.analysis.comparison.verdict import ALPHA
from avebench.files.errors import AvebenchError
from avebench.report.stored_tables import StoredTable
from avebench.scoring.significance import LEVEL, RESAMPLES
from avebench.store.examplecounts import ExampleCounts
from avebench.tables.result_tables import HEADINGS, measured_rows
from avebench.tables.table import Cell, Column, Section, Table, TableRow

STAR = "*"
RowCounts = Mapping[str, Sequence[Sequence[ExampleCounts]]]
"""Label -> the counts of every test example in every repetition, for rows of which all are known."""


def compare_rows(stored_table: StoredTable, counts: RowCounts) -> tuple[Comparison | None, list[str]]:
    """Return the comparison of every two rows in the table's first F1 or accuracy, and why a row is not in it.

    It is that of `avebench compare`, with its figures. None if fewer than two rows can be compared.
    """
    metric = headline(stored_table.plan.experiment.metrics)
    systems, reasons = [], []
    for planned, results in measured_rows(stored_table.plan, stored_table.results):
        label = planned.row.label
        if label not in counts:
            reasons.append(f"{label} is not compared: the counts of its examples are not known.")
        elif any(metric not in result.scores.metrics for result in results):
            reasons.append(f"{label} is not compared: it has no {metric}.")
        else:
            systems.append(System(label, planned.row.protocol, tuple(results), tuple(counts[label])))
    alike = _alike(systems, reasons)
    if len(alike) < 2:
        return None, reasons
    try:
        return compare_systems(alike, metric, whole_only=True), reasons
    except AvebenchError as error:
        return None, [*reasons, str(error)]


def _alike(systems: list[System], reasons: list[str]) -> list[System]:
    """Return the systems that may be compared with the first of those that have the most common repetitions."""
    numbers = [tuple(result.repetition for result in system.results) for system in systems]
    if not numbers:
        return []
    usual = Counter(numbers).most_common(1)[0][0]
    first = systems[numbers.index(usual)]
    alike = []
    for system in systems:
        try:
            check_comparable([first, system] if system is not first else [first])
        except AvebenchError as error:
            reasons.append(str(error))
            continue
        alike.append(system)
    return alike


def matrix_table(comparison: Comparison) -> Table:
    """Return row minus column in points with the p-value after Holm, for every two systems."""
    line = comparison.lines[0]
    labels = [system.label for system in comparison.systems]
    rows = []
    for i, label in enumerate(labels):
        cells: list[Cell] = []
        for j in range(len(labels)):
            if i == j:
                cells.append(None)
                continue
            sign, pair = (1, (i, j)) if i < j else (-1, (j, i))
            adjusted = line.adjusted[pair]
            star = STAR if adjusted < ALPHA else ""
            # Adding 0 makes of -0.0, which a tiny difference is rounded to, a plain zero.
            points = round(sign * line.difference(pair), 2) + 0.0
            cells.append(f"{points:+.2f}{star} ({_p_value(adjusted)})")
        rows.append(TableRow(label, cells))
    metric = HEADINGS.get(comparison.metric, comparison.metric)
    notes = [
        f"Row minus column in points of {metric}; in brackets p by approximate randomisation over "
        f"{comparison.products:,} products ({RESAMPLES:,} resamples), after Holm over {len(comparison.pairs)} pairs. "
        f"{STAR} below {ALPHA:g}.",
        "p is about other test products, not about another training.",
    ]
    columns = [Column(label, label) for label in labels]
    return Table(f"Differences in {metric}", columns, [Section(rows)], notes=notes)


def _p_value(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def pairs_table(comparison: Comparison) -> Table:
    """Return every pair of systems with difference, interval and p-values, a pair per row."""
    line = comparison.lines[0]
    metric = HEADINGS.get(comparison.metric, comparison.metric)
    rows = []
    for pair in comparison.pairs:
        a, b = (comparison.systems[place].label for place in pair)
        found = line.contrasts[pair]
        figures = [found.difference, found.low, found.high, found.p_randomisation, found.p_bootstrap]
        rows.append(TableRow(f"{a} minus {b}", [*figures, line.adjusted[pair]]))
    source = f"difference in {metric}"
    columns = [
        Column("difference", "points", source),
        Column("low", f"{LEVEL:g} % low", source),
        Column("high", "high", source),
        Column("p_randomisation", "p rand.", source, digits=4),
        Column("p_bootstrap", "p boot.", source, digits=4),
        Column("p_holm", "p Holm", source, digits=4),
    ]
    notes = ["Interval: paired bootstrap over products. p rand.: approximate randomisation; p boot.: paired bootstrap."]
    return Table(f"Pairs of rows in {metric}", columns, [Section(rows)], notes=notes, label_heading="Pair")
