"""`avebench score`: the exact metrics of anybody's predictions."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avebench.commands.options import DataFolder, Format, Formats, Plugins, ReaderOptions, register
from avebench.files.errors import AvebenchError

if TYPE_CHECKING:
    from avebench.contracts.examples import Example
    from avebench.scoring.families import Counts
    from avebench.scoring.prediction_files import Scores
    from avebench.tables.table import Table, TableRow


class Scheme(StrEnum):
    """Chunk scheme."""

    lenient = "lenient"
    strict = "strict"


class Values(StrEnum):
    """How tagged tokens become the strings of values."""

    joined = "joined"
    released = "released"


def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="Prediction JSONL, BIO columns as CoNLL (gold, predicted), - for standard input, or a recorded folder."
        ),
    ],
    gold: Annotated[Path | None, typer.Option(help="Gold JSONL, or a file of gold BIO columns.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Take the gold annotation from this data set instead.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "test",
    data: DataFolder = None,
    option: ReaderOptions = None,
    scheme: Annotated[Scheme, typer.Option(help="How BIO tags become spans.")] = Scheme.lenient,
    values: Annotated[
        Values, typer.Option(help="How tagged tokens become values; released: word pieces, as DRAM's code does.")
    ] = Values.joined,
    row: Annotated[str | None, typer.Option(help="Which row of a recorded folder.")] = None,
    repetition: Annotated[int, typer.Option(min=0, help="Which repetition of it.")] = 0,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Score anybody's predictions with the exact metrics.

    Examples: avebench score predictions.jsonl --gold test.jsonl; avebench score results/table6/demo --row DRAM
    """
    from avebench.data.opening import open_dataset
    from avebench.planning.settings import parse_settings
    from avebench.scoring.prediction_files import score_file
    from avebench.tables.render import emit

    register(plugin)
    if gold is not None and dataset is not None:
        raise AvebenchError("Give --gold or --dataset, not both.")
    examples = None
    if dataset is not None:
        examples = list(open_dataset(dataset, data, parse_settings(option or [])).read(split))
    if row is not None or predictions.is_dir():
        found = _recorded_scores(predictions, row, repetition, examples, data)
    else:
        found = score_file(predictions, examples or gold, scheme.value, released=values is Values.released)
    emit(report_table(found), format.value)


def _recorded_scores(
    folder: Path, row: str | None, repetition: int, gold: Sequence[Example] | None, data: Path | None
) -> Scores:
    """Return the scores of one recorded repetition; `gold` is by default that of the data set it was recorded on."""
    from avebench.contracts.held_out import only
    from avebench.data.opening import open_dataset
    from avebench.scoring.prediction_files import score_predictions
    from avebench.store.recorded import recorded_cells, slug

    cells = recorded_cells(folder) if folder.is_dir() else []
    known = list(dict.fromkeys(cell.row for cell in cells))
    if not cells:
        raise AvebenchError(f"{folder} holds no recorded results. Name a folder that `run --record` wrote.")
    if row is None or slug(row) not in known:
        raise AvebenchError(f"--row: {folder} holds the rows {', '.join(known)}. Name one of them.")
    chosen = {cell.repetition: cell for cell in cells if cell.row == slug(row)}
    if repetition not in chosen:
        numbers = ", ".join(map(str, sorted(chosen)))
        raise AvebenchError(f"--repetition {repetition}: recorded of {row} are {numbers}. Give one of these.")
    result = chosen[repetition].result()
    if gold is None:
        dataset = open_dataset(result.dataset, data, result.dataset_options)
        if dataset.fingerprint() != result.fingerprint:
            raise AvebenchError(
                f"The data set {result.dataset} here is another than was recorded in {folder}. Name its own by --data."
            )
        gold = only(list(dataset.read(result.split)), result.held_out_attributes)
    return score_predictions(gold, chosen[repetition].predictions(gold), f"{folder.name} {row} {repetition}")


def report_table(report: Scores) -> Table:
    """Return the report as a table: the metrics that are available, then the attributes (F1), then the slices."""
    from avebench.tables.table import MEASURED, Column, Measured, Section, Table, TableRow

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


def _notes(report: Scores) -> list[str]:
    """Return how the file was scored, what range it selected, and what it cannot be scored on."""
    from avebench.data.annotation import places_note
    from avebench.scoring.queried import five_counters

    scheme = "spans as given" if report.scheme is None else f"chunk scheme {report.scheme}"
    selected = f"Mean selected range N_m {report.mean_selected_range:.2f}"
    if report.output_range is not None:
        selected += ", classification outputs C_o {:.0f} and C_m {:.0f}".format(*report.output_range)
    notes = [
        f"{report.examples} examples, {scheme}, cls_source {report.cls_source}, scorer {report.scorer_version}.",
        f"{selected}.",
        *(f"{name}: {count:,}." for name, count in report.notes.items()),
        *(
            f"MAVE's counters, {name}: {', '.join(f'{counter} {count:,}' for counter, count in counters.items())}."
            for name, counters in five_counters(report.metrics).items()
        ),
    ]
    if report.places is not None and report.places[0] < report.places[1]:
        notes.append(places_note(*report.places))
    if report.metrics["mrr"] is not None:
        from avebench.contracts.examples import RANKED
        from avebench.scoring.rankings import WHOLE_RANK

        notes.append(f"mrr counts reciprocal ranks in units of 1/{WHOLE_RANK:,}; beyond rank {RANKED} they are 0.")
    missing = [name for name, metric in report.metrics.items() if metric is None]
    return [*notes, f"Not available for this file: {', '.join(missing)}."] if missing else notes


def _counts_row(name: str, counts: Counts) -> TableRow:
    from avebench.tables.table import Measured, TableRow

    label = name or "(no attribute)"  # Chunks that a `[PAD]` opens are of empty type.
    return TableRow(label, [Measured(counts.f1, None, 1), counts.tp, counts.predicted, counts.gold])
