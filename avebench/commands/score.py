"""The scores of a file of predictions, as `avebench score` prints them."""

from __future__ import annotations

from pathlib import Path

from avebench.scoring.counts import Counts
from avebench.scoring.prediction_files import Report
from avebench.tables.table import MEASURED, Column, Measured, Section, Table, TableRow


def report_table(report: Report) -> Table:
    """Return the report as a table: the metrics that are available, then the attributes (F1), then the slices."""
    columns = [
        Column("value", "%", MEASURED),
        Column("tp", "tp"),
        Column("predicted", "predicted"),
        Column("gold", "gold"),
    ]
    rows = [
        TableRow(name, [Measured(metric.value, None, 1), metric.tp, metric.predicted, metric.gold])
        for name, metric in report.metrics.items()
        if metric is not None
    ]
    sections = [
        Section(rows),
        Section([_counts_row(name, it) for name, it in report.per_attribute.items()], "F1 per attribute"),
    ]
    if report.per_slice:
        named = [_counts_row(f"{name} (n = {number})", it) for name, (number, it) in report.per_slice.items()]
        sections.append(Section(named, "F1 per slice"))
    return Table(
        f"Scores of {Path(report.predictions).name}", columns, sections, notes=_notes(report), label_heading="Metric"
    )


def _notes(report: Report) -> list[str]:
    """Return how the file was scored, what range it selected, and what it cannot be scored on."""
    scheme = "spans as given" if report.scheme is None else f"chunk scheme {report.scheme}"
    selected = f"Mean selected range N_m {report.mean_selected_range:.2f}"
    if report.output_range is not None:
        selected += ", classification outputs C_o {:.0f} and C_m {:.0f}".format(*report.output_range)
    notes = [
        f"{report.examples} examples, {scheme}, cls_source {report.cls_source}, scorer {report.scorer_version}.",
        f"{selected}.",
        *(f"{name}: {count:,}." for name, count in report.notes.items()),
    ]
    missing = [name for name, metric in report.metrics.items() if metric is None]
    return [*notes, f"Not available for this file: {', '.join(missing)}."] if missing else notes


def _counts_row(name: str, counts: Counts) -> TableRow:
    label = name or "(no attribute)"  # Chunks that a `[PAD]` opens are of empty type.
    return TableRow(label, [Measured(counts.f1, None, 1), counts.tp, counts.predicted, counts.gold])
