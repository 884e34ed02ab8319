"""The overview: a line per chapter; and what stands at the head of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from avebench.analysis.comparison.contrasts import headline
from avebench.planning.published import published_of
from avebench.report.chapters import Chapter
from avebench.report.reproduction import NOT_COMPARABLE, stored_table_differences, verdicts_in
from avebench.report.stored_tables import StoredTable
from avebench.tables.result_tables import HEADINGS, measured_rows, metric_value, summary_of
from avebench.tables.table import MARKED_PROTOCOLS, Column, Section, Table, TableRow


def overview_table(chapters: Sequence[Chapter]) -> Table:
    """Return a line per chapter: what was measured, the best row, and how often each verdict was given."""
    rows = []
    for chapter in chapters:
        stored_table = chapter.stored_table
        shown = measured_rows(stored_table.plan, stored_table.results)
        repetitions = sorted({len(found) for _, found in shown})
        cells = [
            stored_table.plan.experiment.title,
            f"{len(shown)} of {len(stored_table.plan.rows)}" if shown else None,
            " / ".join(map(str, repetitions)),
            _highest(stored_table) if shown else None,
            _verdicts(chapter),
        ]
        rows.append(TableRow(chapter.title, cells))
    columns = [
        Column("title", "Title"),
        Column("rows", "Rows measured"),
        Column("repetitions", "Repetitions"),
        Column("best", "Highest"),
        Column("verdicts", "Figures against published"),
    ]
    notes = ["Highest: the row of the highest mean, without controls and rows that are told attributes; not a test."]
    return Table("Overview", columns, [Section(rows)], notes=notes, label_heading="Table")


def _highest(stored_table: StoredTable) -> str | None:
    """Return the row of the highest mean of the table's first F1 or accuracy, of those that compete."""
    metric = headline(stored_table.plan.experiment.metrics)
    means = {
        planned.row.label: summary.mean
        for planned, found in measured_rows(stored_table.plan, stored_table.results)
        if planned.row.control is None
        and planned.row.held_out is None
        and planned.row.protocol not in MARKED_PROTOCOLS
        and (summary := summary_of(found, (metric_value(result, metric) for result in found)))
    }
    best = max(means, key=lambda label: means[label], default=None)
    return f"{best} ({HEADINGS.get(metric, metric)} {means[best]:.2f})" if best else None


def _verdicts(chapter: Chapter) -> str | None:
    """Return how often each verdict was given, and why nothing is comparable."""
    said: Counter[str] = Counter()
    for name, table in chapter.tables:
        if name == "reproduction":
            said += verdicts_in(table)
    text = ", ".join(f"{number} {name}" for name, number in said.items())
    why = ", ".join(stored_table_differences(chapter.stored_table)) if NOT_COMPARABLE in said else ""
    return (f"{text}: {why}" if why else text) or None


def facts(stored_table: StoredTable) -> list[tuple[str, str]]:
    """Return what was run, on which data and when, and what stands beside it, as (name, text)."""
    plan, results = stored_table.plan, list(stored_table.results.values())
    table = ("Table", plan.experiment.source.place() if plan.experiment.source else plan.name)
    if not results:
        return [table, ("Data", f"{plan.data.shown} {plan.data.fingerprint[:12]}".strip())]
    shown = measured_rows(plan, stored_table.results)
    some = results[0]
    repetitions = " / ".join(str(number) for number in sorted({len(found) for _, found in shown}))
    encoders = sorted({weight.name for result in results for weight in result.weights.values()})
    revisions = sorted({f"{r.revision[:7] or 'unknown'}{' (changed)' if r.dirty else ''}" for r in results})
    published = {known.place for row in plan.rows if (known := published_of(row.row)) is not None}
    differences = ", ".join(stored_table_differences(stored_table))
    judged = f"not comparable with what was measured: {differences}" if differences else "judged figure by figure below"
    return [
        table,
        (
            "Data",
            f"{plan.data.shown} {plan.data.fingerprint[:12]}; {some.scores.examples:,} examples of {some.split}, "
            f"{some.train_examples:,} of training",
        ),
        ("Measured", f"{len(shown)} of {len(plan.rows)} rows, {repetitions} repetitions"),
        ("Published", f"{', '.join(sorted(published))}; {judged}." if published else "nothing"),
        (
            "Settings",
            f"profile {stored_table.profile}" + (f"; pretrained encoders: {', '.join(encoders)}" if encoders else ""),
        ),
        ("Finished", " to ".join(dict.fromkeys(day(end(r.finished for r in results)) for end in (min, max)))),
        ("Revisions", ", ".join(revisions)),
    ]


def day(moment: float) -> str:
    """Return a Unix time as people read it."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
