"""The overview: a line per chapter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from avebench.comparison.contrasts import headline
from avebench.render import Column, Section, Table, TableRow
from avebench.report.chapters import Chapter
from avebench.report.reproduction import VERDICTS
from avebench.tables import HEADINGS, measured_rows, metric_value, summary_of


def overview_table(chapters: Sequence[Chapter]) -> Table:
    """Return a line per chapter: what was measured, the best row, and how often each verdict was given."""
    rows = []
    for chapter in chapters:
        sheet = chapter.sheet
        metric = headline(sheet.plan.experiment.metrics)
        shown = measured_rows(sheet.plan, sheet.results)
        means = {
            planned.row.label: summary.mean
            for planned, found in shown
            if planned.row.control is None and (summary := summary_of(found, (metric_value(r, metric) for r in found)))
        }
        best = max(means, key=lambda label: means[label], default=None)
        verdicts = Counter(
            str(row.cells[0]).partition(":")[0]
            for name, table in chapter.tables
            if name == "reproduction"
            for row in table.rows()
            if row.cells[0] is not None
        )
        repetitions = sorted({len(found) for _, found in shown})
        rows.append(
            TableRow(
                chapter.title,
                [
                    sheet.plan.experiment.title,
                    f"{len(shown)} of {len(sheet.plan.rows)}",
                    " / ".join(map(str, repetitions)),
                    f"{best} ({HEADINGS.get(metric, metric)} {means[best]:.2f})" if best else None,
                    ", ".join(f"{verdicts[name]} {name}" for name in VERDICTS if verdicts[name]) or None,
                ],
            )
        )
    columns = [
        Column("title", "Title"),
        Column("rows", "Rows measured"),
        Column("repetitions", "Repetitions"),
        Column("best", "Highest"),
        Column("verdicts", "Figures against published"),
    ]
    return Table("Overview", columns, [Section(rows)], label_heading="Table")
