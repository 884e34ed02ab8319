"""What `run --record` writes into `results/`: results, text-free predictions, per-example counts, the rendered table.

Nothing there holds a text, a value or a picture of a data set; counts and offsets are enough to compare two systems
from a plain clone. Of a system that gives values without spans the attributes and the counts are recorded. Everything
else only reads these files.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from avebench.analysis.experiment_output import ExperimentOutput, write_figures
from avebench.analysis.range_cost.jobs import Costs, record_costs
from avebench.data.predictions import prediction_record, read_predictions
from avebench.files.atomic import write_atomically
from avebench.files.disk import unwritable
from avebench.files.leftovers import sweep_tree
from avebench.nn.weights import shown_name
from avebench.planning.cells import cell_of
from avebench.planning.plan import Plan, PlannedRow
from avebench.running.experiment_run import ExperimentRun
from avebench.running.material import TEST, materials_of
from avebench.store import recorded
from avebench.store.examplecounts import count_examples
from avebench.store.recorded import Recording, recorded_cells, slug
from avebench.store.results import Result, Store
from avebench.tables.render import render
from avebench.tables.result_tables import result_table, slice_table
from avebench.tables.table import Table

RESULTS = Path("results")


def recorded_folder(experiment: str, dataset: str, train_fraction: float) -> Path:
    """Return `results/<experiment>/<dataset>`, with the train fraction behind the data set where it is below 1."""
    return RESULTS / experiment / (dataset if train_fraction == 1 else f"{dataset}-{train_fraction:g}")


def place(plan: Plan) -> Path:
    """Return the folder under `results/` of a plan."""
    return recorded_folder(plan.name, plan.data.name, plan.train_fraction)


def place_name(plan: Plan) -> str:
    """Return `<experiment>-<dataset>`, with the train fraction behind it where it is below 1, as a file name."""
    return "-".join(place(plan).relative_to(RESULTS).parts)


def record(done: ExperimentRun, output: ExperimentOutput, costs: Costs | None) -> None:
    """Write the results of an experiment, and what it shows, under `results/` in the current folder."""
    for plan in done.plans:
        sweep_tree(place(plan))
        if plan.rows:
            record_results(plan, done.store, done.results, done.failures)
    if done.experiment.kind != "table":
        record_tables(done.plan, output.tables)
    write_figures(output, place(done.plan), "figure")
    if costs is not None:
        record_costs(costs.jobs, costs.found, place(done.plan))


def record_results(plan: Plan, store: Store, results: Mapping[str, Result], failed: Container[str]) -> None:
    """Write the results of a plan under `results/` in the current folder; other rows and repetitions stay.

    The table is of all that the folder then holds, so that a table can be recorded row by row. AvebenchError if what is
    recorded there cannot be read, or the folder cannot be written.
    """
    folder = place(plan)
    try:
        recorded.record(folder, _recordings(plan, store, results))
    except OSError as error:
        raise unwritable(
            error, folder, f"{folder} cannot be written ({error.strerror}). Record again where it can."
        ) from None
    whole, found, notes = _as_recorded(plan, folder)
    record_tables(plan, [result_table(whole, found, failed, notes)])
    write_atomically(folder / "slices.md", render(slice_table(whole, found), "md"))


def _as_recorded(plan: Plan, folder: Path) -> tuple[Plan, dict[str, Result], list[str]]:
    """Return a plan with every row of its table as the folder holds it, the results, and what must be said of them.

    What was recorded of other data, or under another profile, is not shown beside the plan's; the note says so.
    """
    profiles = {cell.profile for cell in plan.cells()}
    labels = {slug(row.label): row.label for row in plan.experiment.rows}
    by_row: dict[str, list[Result]] = {}
    others: set[str] = set()
    for kept in recorded_cells(folder):
        result = kept.result()
        if result.fingerprint == plan.data.fingerprint and result.profile in profiles:
            by_row.setdefault(kept.row, []).append(result)
        else:
            others.add(labels.get(kept.row, kept.row))
    planned = {one.row.label: one for one in plan.rows}
    rows = []
    for row in plan.experiment.rows:
        own = sorted(by_row.get(slug(row.label), []), key=lambda result: result.repetition)
        if own:
            rows.append(PlannedRow(row, tuple(cell_of(row.label, result, plan.data) for result in own)))
        elif row.label in planned or row.planned:
            rows.append(planned.get(row.label, PlannedRow(row, ())))
    notes = [f"Recorded of other data or under another profile, and not shown: {', '.join(sorted(others))}."]
    found = {result.key: result for own in by_row.values() for result in own}
    return replace(plan, rows=tuple(rows)), found, notes if others else []


def _recordings(plan: Plan, store: Store, results: Mapping[str, Result]) -> Iterator[Recording]:
    """Yield every finished cell of a plan as it is recorded."""
    read = materials_of(plan.data, plan.train_fraction)
    for planned in plan.rows:
        for cell in planned.cells:
            if cell.key not in results:
                continue
            material = read(cell)
            predictions = read_predictions(store.folder(cell.key) / TEST, material.test)
            yield Recording(
                slug(planned.row.label),
                cell.repetition,
                _portable(results[cell.key]),
                [prediction_record(one, text_free=True) for one in predictions],
                count_examples(material.test, predictions, material.rule.names),
            )


def _portable(result: Result) -> Result:
    """Return a result that names weights by their own names: where they lie on this machine helps nobody elsewhere."""
    config = {name: shown_name(value) if isinstance(value, str) else value for name, value in result.config.items()}
    weights = {
        role: weight.model_copy(update={"name": shown_name(weight.name)}) for role, weight in result.weights.items()
    }
    return result.model_copy(update={"config": config, "weights": weights})


def record_tables(plan: Plan, tables: Sequence[Table]) -> None:
    """Write the tables that an experiment shows, the first as `table`, under `results/` in the current folder."""
    for number, table in enumerate(tables, 1):
        for name in ("md", "json"):
            write_atomically(place(plan) / f"table{'' if number == 1 else f'-{number}'}.{name}", render(table, name))
