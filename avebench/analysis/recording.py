"""What `run --record` writes into `results/`: results, text-free predictions, per-example counts, the rendered table.

Nothing there holds a text, a value or a picture of a data set; counts and offsets are enough to compare two systems
from a plain clone. Of a system that gives values without spans the attributes and the counts are recorded. Everything
else only reads these files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from avebench.analysis.experiment_output import ExperimentOutput, write_figures
from avebench.analysis.range_cost.jobs import Costs, record_costs
from avebench.data.opening import open_dataset
from avebench.data.predictions import prediction_record, read_predictions
from avebench.files.atomic import write_atomically
from avebench.files.disk import unwritable
from avebench.files.leftovers import sweep_tree
from avebench.nn.weights import shown_name
from avebench.planning.plan import Plan
from avebench.running.experiment_run import ExperimentRun
from avebench.running.material import TEST, read_material
from avebench.store import recorded
from avebench.store.examplecounts import count_example
from avebench.store.recorded import Recording, slug
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
            record_results(plan, done.store, done.results, result_table(plan, done.results, done.failures))
    record_tables(done.plan, output.tables)
    write_figures(output, place(done.plan), "figure")
    if costs is not None:
        record_costs(costs.jobs, costs.found, place(done.plan))


def record_results(plan: Plan, store: Store, results: Mapping[str, Result], table: Table) -> None:
    """Write the results of a plan and its table under `results/` in the current folder; other repetitions stay.

    AvebenchError if what is recorded there cannot be read, or the folder cannot be written.
    """
    folder = place(plan)
    try:
        recorded.record(folder, _recordings(plan, store, results))
    except OSError as error:
        raise unwritable(
            error, folder, f"{folder} cannot be written ({error.strerror}). Record again where it can."
        ) from None
    record_tables(plan, [table])
    write_atomically(folder / "slices.md", render(slice_table(plan, results), "md"))


def _recordings(plan: Plan, store: Store, results: Mapping[str, Result]) -> Iterator[Recording]:
    """Yield every finished cell of a plan as it is recorded."""
    dataset = open_dataset(plan.data.name, plan.data.folder, dict(plan.data.options))
    read = cache(lambda repetition: read_material(dataset, plan.train_fraction, repetition))
    for planned in plan.rows:
        for cell in planned.cells:
            if cell.key not in results:
                continue
            material = read(cell.repetition)
            predictions = read_predictions(store.folder(cell.key) / TEST, material.test)
            yield Recording(
                slug(planned.row.label),
                cell.repetition,
                _portable(results[cell.key]),
                [prediction_record(one, text_free=True) for one in predictions],
                [
                    count_example(gold, prediction, material.rule.names(gold))
                    for gold, prediction in zip(material.test, predictions, strict=True)
                ],
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
