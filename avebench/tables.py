"""From stored results to tables: pure functions of a plan and its results."""

from __future__ import annotations

import statistics
from collections.abc import Container, Mapping, Sequence

from avebench.errors import AvebenchError
from avebench.experiment import Published, published_marks, published_rows
from avebench.metrics import Counts, invariant_faults
from avebench.plan import Plan, PlannedRow
from avebench.render import MEASURED, Cell, Column, Measured, Section, Table, TableRow
from avebench.results import Result, SliceCounts

PUBLISHED = "published"
NOT_BUILT = "not built yet"
HEADINGS = {
    "tag_precision": "P",
    "tag_recall": "R",
    "tag_f1": "TAG-F1",
    "cls_precision": "CLS-P",
    "cls_recall": "CLS-R",
    "cls_f1": "CLS-F1",
    "cls_f1_with_pad": "CLS-F1 [PAD]",
    "mae_accuracy": "accuracy",
    "string_f1": "string F1",
    "intent_accuracy": "intent",
    "sentence_accuracy": "sentence",
}
"""Column headings; a metric that is not named here stands under its own name."""


def summary(values: Sequence[float]) -> Measured:
    """Return mean and standard deviation (n - 1); one value is a bare figure."""
    return Measured(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def result_table(plan: Plan, results: Mapping[str, Result], failed: Container[str], notes: Sequence[str] = ()) -> Table:
    """Return the table of a plan: published and measured figures apart, reference rows below those of the paper."""
    experiment = plan.experiment
    rows = {planned.row.label: planned for planned in plan.rows}
    published = {label: published_rows()[p.row.published] for label, p in rows.items() if p.row.published}
    shown = [metric for metric in experiment.metrics if any(metric in row.figures for row in published.values())]
    columns = [Column(metric, HEADINGS.get(metric, metric), PUBLISHED) for metric in shown]
    columns += [Column(metric, HEADINGS.get(metric, metric), MEASURED) for metric in experiment.metrics]
    lines: dict[bool, list[TableRow]] = {False: [], True: []}
    for label, planned in rows.items():
        found = [results[cell.key] for cell in planned.cells if cell.key in results]
        figures = published[label].figures if label in published else {}
        cells: list[Cell] = [figures.get(metric) for metric in shown]
        cells += _measured(planned, found, failed, experiment.metrics)
        lines[planned.row.reference].append(TableRow(label, cells, planned.row.marks, planned.row.protocol))
    sections = [Section(lines[False])]
    if lines[True]:
        sections.append(Section(lines[True], "reference rows, not in the paper"))
    source = f"{experiment.source.paper}, Table {experiment.source.table}" if experiment.source else ""
    return Table(
        title=experiment.title,
        columns=columns,
        sections=sections,
        source=source,
        notes=[*_notes(plan, list(results.values()), published), *notes],
        banner=plan.banner,
        marks=published_marks(),
    )


def _measured(
    planned: PlannedRow, found: Sequence[Result], failed: Container[str], metrics: Sequence[str]
) -> list[Cell]:
    """Return the measured cells of a row; without any result, what stands in their way."""
    if not found:
        stopped = any(cell.key in failed for cell in planned.cells)
        text = NOT_BUILT if planned.row.planned else "failed" if stopped else "not run"
        return [text if place == 0 else None for place in range(len(metrics))]
    cells: list[Cell] = []
    for metric in metrics:
        values = [result.scores.metrics[metric].value for result in found if metric in result.scores.metrics]
        cells.append(summary(values) if values else None)
    return cells


def _notes(plan: Plan, results: Sequence[Result], published: Mapping[str, Published]) -> list[str]:
    """Return what a reader must know: data, fraction, budget, scheme, source and caveats of the published rows."""
    notes = [plan.experiment.note] if plan.experiment.note else []
    fraction = (
        "" if plan.train_fraction == 1 else f", {plan.train_fraction:g} of the training products (validation whole)"
    )
    profiles = {cell.profile for cell in plan.cells()}
    data = f"Measured on {plan.data.name} {plan.data.fingerprint[:12]}{fraction}"
    notes.append(f"{data}; profile {' / '.join(sorted(profiles))}." if profiles else f"{data}.")
    encoders = sorted({weight["name"] for cell in plan.cells() for weight in cell.weights.values()})
    if encoders:
        notes.append(f"Pretrained encoders: {', '.join(encoders)}.")
    if results:
        scheme = " / ".join(sorted({result.chunk_scheme for result in results}))
        version = " / ".join(sorted({str(result.scorer_version) for result in results}))
        notes.append(f"Chunk scheme {scheme}, scorer version {version}; the checkpoint is chosen on validation.")
    places = sorted({row.place for row in published.values()})
    if places:
        notes.append(f"Published: {', '.join(places)}.")
    by_caveat: dict[str, list[str]] = {}
    for label, row in published.items():
        for caveat in row.caveats:
            by_caveat.setdefault(caveat, []).append(label)
    notes += [f"{', '.join(labels)}: {caveat}" for caveat, labels in by_caveat.items()]
    return notes


FEW = 200
"""A slice of fewer examples says too little for a figure of its own to be read."""


def slice_table(plan: Plan, results: Mapping[str, Result]) -> Table:
    """Return F1 per slice, slices as rows and the table's rows as columns; the examples left out by the fraction apart.

    F1 is of spans, or of value strings where a system cannot point at the text. The number of examples is that of the
    first result: with a train fraction below 1 the slice `unseen` differs between repetitions.
    """
    shown = [planned for planned in plan.rows if any(cell.key in results for cell in planned.cells)]
    columns = [Column("n", "n"), Column("remark", "")]
    columns += [Column(planned.row.label, planned.row.label, MEASURED) for planned in shown]
    sections = []
    for field, heading in (("scores", "test"), ("scores_extended", "test_extended: training products left out")):
        found = [
            [scores for cell in planned.cells if cell.key in results and (scores := getattr(results[cell.key], field))]
            for planned in shown
        ]
        names = sorted({name for row in found for scores in row for name in scores.per_slice})
        lines = []
        for name in names:
            size = next(scores.per_slice[name].examples for row in found for scores in row if name in scores.per_slice)
            cells: list[Cell] = [str(size), "too few" if size < FEW else None]
            for row in found:
                values = [_f1(scores.per_slice[name]) for scores in row if name in scores.per_slice]
                cells.append(summary(values) if values else None)
            lines.append(TableRow(name, cells))
        if lines:
            sections.append(Section(lines, heading))
    notes = [f"A slice of fewer than {FEW} examples is marked 'too few'. Slices are decided from data alone."]
    title = f"{plan.experiment.title}: F1 per slice"
    return Table(title, columns, sections, notes=notes, banner=plan.banner, label_heading="Slice")


def _f1(counts: SliceCounts) -> float:
    return Counts(counts.tp, counts.predicted, counts.gold).f1


def plan_table(plan: Plan, status: Mapping[str, str], seconds: Mapping[str, float | None]) -> Table:
    """Return what a run would do: one line per cell with its status and the minutes expected of it."""
    lines = []
    for planned in plan.rows:
        if planned.row.planned:
            lines.append(TableRow(planned.row.label, [None, NOT_BUILT, None, None]))
        for cell in planned.cells:
            expected = seconds[cell.key]
            minutes = (
                "" if status[cell.key] == "finished" else "unknown" if expected is None else f"{expected / 60:.1f}"
            )
            lines.append(TableRow(cell.row, [str(cell.repetition), status[cell.key], minutes, cell.key[:12]]))
    known = [seconds[key] or 0.0 for key in status if status[key] != "finished" and seconds[key] is not None]
    unknown = sum(status[key] != "finished" and seconds[key] is None for key in status)
    todo = sum(value != "finished" for value in status.values())
    total = f"{len(status)} cells, {todo} to run; {sum(known) / 60:.1f} minutes of one process expected"
    return Table(
        title=f"Plan of {plan.name} on {plan.data.name}",
        columns=[
            Column("repetition", "Repetition"),
            Column("status", "Status"),
            Column("minutes", "Minutes"),
            Column("cell", "Cell"),
        ],
        sections=[Section(lines)],
        banner=plan.banner,
        notes=[total + (f", {unknown} unknown." if unknown else ".")],
    )


def check_invariants(results: Sequence[Result]) -> None:
    """Raise AvebenchError if stored results of one table contradict themselves or each other."""
    gold: dict[tuple[str, str, int], tuple[int, str]] = {}
    for result in results:
        place = f"The result of row '{result.row}', repetition {result.repetition} (cell {result.key[:12]})"
        for name, metric in result.scores.metrics.items():
            known = gold.setdefault((name, result.split, result.scorer_version), (metric.gold, result.row))
            if known[0] != metric.gold:
                raise AvebenchError(
                    f"{place}: {name} counts {metric.gold} gold items, row '{known[1]}' counts {known[0]}. "
                    "Run the table again with --fresh."
                )
        for fault in invariant_faults(result.scores.metrics, result.scores.examples):
            raise AvebenchError(f"{place} contradicts itself: {fault}. Run it again with --fresh.")
