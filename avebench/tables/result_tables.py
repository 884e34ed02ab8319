"""From stored results to tables: pure functions of a plan and its results."""

from __future__ import annotations

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Literal

from avebench.contracts.examples import RANKED
from avebench.data.annotation import annotation_notes
from avebench.nn.weights import shown_name
from avebench.planning.plan import Plan, PlannedRow
from avebench.planning.published import Published, published_marks, published_of
from avebench.scoring.evaluation import CountTriple, SliceCounts
from avebench.scoring.families import Counts
from avebench.scoring.rankings import HITS
from avebench.scoring.slices import CATEGORY
from avebench.store.longtexts import long_text_notes
from avebench.store.results import Result
from avebench.store.writtenanswers import written_notes
from avebench.tables.completions import asked_notes
from avebench.tables.table import MEASURED, Cell, Column, Measured, Section, Table, TableRow

PUBLISHED = "published"
NOT_BUILT = "not built yet"
CANNOT_RUN = "cannot run here"
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
    "annotated_precision": "annotated P",
    "annotated_recall": "annotated R",
    "annotated_f1": "annotated F1",
    "intent_accuracy": "intent",
    "sentence_accuracy": "sentence",
    "mave_precision": "MAVE P",
    "mave_recall": "MAVE R",
    "mave_f1": "MAVE F1",
    "mave_all_precision": "MAVE P, all",
    "mave_all_recall": "MAVE R, all",
    "mave_all_f1": "MAVE F1, all",
    "mave_pair_accuracy": "MAVE pairs",
    "option_accuracy": "option",
    "containment_accuracy": "containment",
    "hits_1": "hits@1",
    "hits_5": "hits@5",
    "hits_10": "hits@10",
    "hits_20": "hits@20",
    "mrr": "MRR",
}
"""Column headings; a metric that is not named here stands under its own name."""
RANKINGS = frozenset({*HITS, "mrr"})
"""Metrics of systems that rank a closed list of values."""
RANKS_READ = (
    "hits@k and MRR, of systems that rank a closed list of values: per annotated attribute of a product the rank of "
    "its gold value, of several the best. Values that are scored alike all have the worst of their ranks. MRR counts "
    f"ranks beyond {RANKED} as 0, so that the whole one is at most (100 - hits@{RANKED}) / {RANKED + 1} higher."
)


def summary(values: Sequence[float], cells: Sequence[str] = ()) -> Measured:
    """Return mean and standard deviation (n - 1); one value is a bare figure. `cells` are the keys of the values."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Measured(statistics.fmean(values), sd, len(values), tuple(values), tuple(cells))


def summary_of(results: Sequence[Result], figures: Iterable[float | None]) -> Measured | None:
    """Return the summary of one figure of each result, which knows its cells; None if no result has it."""
    found = {result.key: figure for result, figure in zip(results, figures, strict=True) if figure is not None}
    return summary(list(found.values()), list(found)) if found else None


def result_table(plan: Plan, results: Mapping[str, Result], failed: Container[str], notes: Sequence[str] = ()) -> Table:
    """Return the table of a plan: published and measured figures apart, reference rows below those of the paper."""
    experiment = plan.experiment
    rows = {planned.row.label: planned for planned in plan.rows}
    published = {label: known for label, p in rows.items() if (known := published_of(p.row)) is not None}
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
    return Table(
        title=experiment.title,
        columns=columns,
        sections=sections,
        source=experiment.source.place() if experiment.source else "",
        notes=[
            *_notes(plan, list(results.values()), published),
            *reading_notes(measured_rows(plan, results)),
            *notes,
        ],
        banner=plan.banner,
        marks=published_marks(),
    )


def _measured(
    planned: PlannedRow, found: Sequence[Result], failed: Container[str], metrics: Sequence[str]
) -> list[Cell]:
    """Return the measured cells of a row; without any result, what stands in their way."""
    if not found:
        return empty_cells(planned, failed, len(metrics))
    return [summary_of(found, (metric_value(result, metric) for result in found)) for metric in metrics]


def metric_value(result: Result, metric: str) -> float | None:
    """Return a metric of a result in %, None where it has none."""
    found = result.scores.metrics.get(metric)
    return None if found is None else found.value


def empty_cells(planned: PlannedRow, failed: Container[str], number: int) -> list[Cell]:
    """Return `number` cells of a row without any result, the first of which says what stands in the way."""
    stopped = any(cell.key in failed for cell in planned.cells)
    text = NOT_BUILT if planned.row.planned else "failed" if stopped else "not run"
    if planned.missing:
        text = f"{CANNOT_RUN}: {planned.missing}"
    return [text, *[None] * (number - 1)]


def _notes(plan: Plan, results: Sequence[Result], published: Mapping[str, Published]) -> list[str]:
    """Return what a reader must know: data, fraction, budget, scheme, source and caveats of the published rows."""
    notes = [plan.experiment.note] if plan.experiment.note else []
    fraction = (
        "" if plan.train_fraction == 1 else f", {plan.train_fraction:g} of the training products (validation whole)"
    )
    profiles = {cell.profile for cell in plan.cells()}
    data = f"Measured on {plan.data.shown} {plan.data.fingerprint[:12]}{fraction}"
    notes.append(f"{data}; profile {' / '.join(sorted(profiles))}." if profiles else f"{data}.")
    encoders = sorted({shown_name(weight["name"]) for cell in plan.cells() for weight in cell.weights.values()})
    if encoders:
        notes.append(f"Pretrained encoders: {', '.join(encoders)}.")
    if results:
        scheme = " / ".join(sorted({result.chunk_scheme for result in results}))
        version = " / ".join(sorted({str(result.scorer_version) for result in results}))
        notes.append(f"Chunk scheme {scheme}, scorer version {version}; the checkpoint is chosen on validation.")
    if any(name in RANKINGS for result in results for name in result.scores.metrics.keys() & plan.experiment.metrics):
        notes.append(RANKS_READ)
    places = sorted({row.place for row in published.values()})
    if places:
        notes.append(f"Published: {', '.join(places)}.")
    return [*notes, *caveat_notes(published)]


def reading_notes(rows: Sequence[tuple[PlannedRow, Sequence[Result]]]) -> list[str]:
    """Return which rows read texts that are too long to be read at once, wrote in vain, and might still rise."""
    notes = long_text_notes([(planned.row.label, found) for planned, found in rows])
    notes += _asking_notes(rows)
    notes += written_notes([(planned.row.label, found) for planned, found in rows])
    notes += asked_notes([(planned.row.label, found) for planned, found in rows])
    rising = []
    for planned, found in rows:
        last = sum(_ends_best(result) for result in found)
        if last:
            rising.append(f"{planned.row.label} ({last} of {len(found)})")
    notes += annotation_notes(
        next((result.annotation for _, found in rows for result in found if result.annotation), {})
    )
    if rising:
        notes.append(f"Still rising, best on validation at the last step (repetitions): {', '.join(rising)}.")
    return notes


def _asking_notes(rows: Sequence[tuple[PlannedRow, Sequence[Result]]]) -> list[str]:
    """Return what the rows were asked for, how much of the gold annotation that leaves out, and what was held out."""
    means: list[str] = []
    held_out: dict[int, tuple[str, ...]] = {}
    for planned, found in rows:
        asked = [one for one in found if one.mean_asked is not None]
        if asked:
            means.append(_asked_text(planned.row.label, asked))
        held_out |= {one.repetition: one.held_out_attributes for one in found if one.held_out_attributes}
    notes = [f"Attributes asked for per example: {'; '.join(means)}."] if means else []
    if held_out:
        named = [f"#{repetition} {', '.join(names)}" for repetition, names in sorted(held_out.items())]
        notes.append(f"Tested on held-out attributes alone, by repetition: {'; '.join(named)}.")
    return notes


def _asked_text(label: str, asked: Sequence[Result]) -> str:
    """Return how many attributes a row was asked for, who named them, and how many gold ones it was not asked for."""
    mean = sum(one.mean_asked or 0.0 for one in asked) / len(asked)
    sources = sorted({one.range_from for one in asked if one.range_from})
    caps = sorted({one.config["cap"] for one in asked if one.config.get("cap")})
    missed = [one.not_asked for one in asked if one.not_asked]
    said = [f"those of {' / '.join(sources)}"] if sources else []
    said += [f"at most {' / '.join(map(str, caps))}, of most training texts"] if caps else []
    said += [f"{sum(missed) / len(asked):,.0f} gold ones not asked for"] if missed else []
    return f"{label} {mean:.1f}" + (f" ({', '.join(said)})" if said else "")


def _ends_best(result: Result) -> bool:
    """Return whether the best of several validations was the last; False where `last` is taken whatever it is."""
    return result.selection != "last" and len(result.history) > 1 and result.best_step == result.steps


def caveat_notes(published: Mapping[str, Published]) -> list[str]:
    """Return the caveats of published rows, given by label, each with the labels that it is about."""
    by_caveat: dict[str, list[str]] = {}
    for label, row in published.items():
        for caveat in row.caveats:
            by_caveat.setdefault(caveat, []).append(label)
    return [f"{', '.join(labels)}: {caveat}" for caveat, labels in by_caveat.items()]


FEW = 200
"""A slice of fewer examples says too little for a figure of its own to be read."""


def slice_table(plan: Plan, results: Mapping[str, Result], kind: Literal["slice", "category"] | None = None) -> Table:
    """Return F1 per slice, slices as rows and the table's rows as columns; the examples left out by the fraction apart.

    With `kind` only categories, which are slices too, or only the others. F1 is of spans, or of value strings where a
    system cannot point at the text. The number of examples is that of the first result: with a train fraction below 1
    the slice `unseen` differs between repetitions.
    """
    shown = measured_rows(plan, results)
    sections, pictured = [], True
    for left_out, heading in ((False, "test"), (True, "test_extended: training products left out")):
        sizes = {
            name: counts.examples
            for _, found in reversed(shown)
            for result in reversed(found)
            for name, counts in _slices(result, left_out).items()
            if kind in {None, "category" if name.startswith(CATEGORY) else "slice"}
        }
        examples = {_examples_of(result, left_out) for _, found in shown for result in found}
        if (
            "no-image" in sizes and {sizes["no-image"]} == examples
        ):  # A set without pictures: the slice would be the whole of it.
            del sizes["no-image"]
            pictured = False
        lines = []
        for name, size in sorted(sizes.items()):
            cells: list[Cell] = [str(size), "too few" if size < FEW else None]
            for _, found in shown:
                counts = (_slices(result, left_out).get(name) for result in found)
                cells.append(summary_of(found, map(_f1, counts)))
            lines.append(TableRow(name.removeprefix(CATEGORY) if kind else name, cells))
        if lines:
            sections.append(Section(lines, heading))
    notes = [f"A slice of fewer than {FEW} examples is marked 'too few'. Slices are decided from data alone."]
    notes += [] if pictured else ["No example has a picture, so that there is no slice of those without."]
    word = kind or "slice"
    columns = [Column("n", "n"), Column("remark", ""), *_row_columns(shown)]
    return Table(
        f"{plan.experiment.title}: F1 per {word}",
        columns,
        sections,
        notes=notes,
        banner=plan.banner,
        label_heading=word.capitalize(),
    )


def _examples_of(result: Result, left_out: bool) -> int | None:
    """Return the number of examples of test, or of what the train fraction left out; None where nothing was."""
    scores = result.scores_extended if left_out else result.scores
    return None if scores is None else scores.examples


def attribute_table(plan: Plan, results: Mapping[str, Result]) -> Table:
    """Return F1 per attribute on test, attributes as rows with their number of gold items, the table's rows as columns.

    F1 is of spans, or of value strings where a system cannot point at the text.
    """
    shown = measured_rows(plan, results)
    gold = {
        name: counts.gold
        for _, found in reversed(shown)
        for result in reversed(found)
        for name, counts in result.scores.per_attribute.items()
    }
    lines = []
    for name in sorted(gold):
        cells: list[Cell] = [gold[name]]
        for _, found in shown:
            counts = (result.scores.per_attribute.get(name) for result in found)
            cells.append(summary_of(found, map(_f1, counts)))
        lines.append(TableRow(name, cells))
    columns = [Column("gold", "gold"), *_row_columns(shown)]
    title = f"{plan.experiment.title}: F1 per attribute"
    return Table(title, columns, [Section(lines)], banner=plan.banner, label_heading="Attribute")


def measured_rows(plan: Plan, results: Mapping[str, Result]) -> list[tuple[PlannedRow, list[Result]]]:
    """Return the rows of a plan that have results, with these in the order of the repetitions."""
    found = [(row, [results[cell.key] for cell in row.cells if cell.key in results]) for row in plan.rows]
    return [(row, own) for row, own in found if own]


def _row_columns(shown: Sequence[tuple[PlannedRow, object]]) -> list[Column]:
    return [Column(planned.row.label, planned.row.label, MEASURED) for planned, _ in shown]


def _slices(result: Result, left_out: bool) -> Mapping[str, SliceCounts]:
    scores = result.scores_extended if left_out else result.scores
    return {} if scores is None else scores.per_slice


def _f1(counts: CountTriple | None) -> float | None:
    return None if counts is None else Counts(counts.tp, counts.predicted, counts.gold).f1


def plan_table(
    plan: Plan, status: Mapping[str, str], seconds: Mapping[str, float | None], notes: Sequence[str] = ()
) -> Table:
    """Return what a run would do: one line per cell with its status and the minutes expected of it."""
    lines = []
    for planned in plan.rows:
        if not planned.cells:
            lines.append(TableRow(planned.row.label, [None, CANNOT_RUN if planned.missing else NOT_BUILT, None, None]))
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
        title=f"Plan of {plan.name} on {plan.data.shown}",
        columns=[
            Column("repetition", "Repetition"),
            Column("status", "Status"),
            Column("minutes", "Minutes"),
            Column("cell", "Cell"),
        ],
        sections=[Section(lines)],
        banner=plan.banner,
        notes=[total + (f", {unknown} unknown." if unknown else "."), *notes],
    )
