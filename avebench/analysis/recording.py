"""What `run --record` writes into `results/`: results, text-free predictions, per-example counts, the rendered table.

Nothing there holds a text, a value or a picture of a data set; counts and offsets are enough to compare two systems
from a plain clone. Everything else only reads these files.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from avebench.analysis.experiment_output import ExperimentOutput, write_figures
from avebench.analysis.range_cost.jobs import Costs, record_costs
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions, write_predictions
from avebench.files.atomic import write_atomically
from avebench.files.leftovers import sweep_tree
from avebench.nn.weights import shown_name
from avebench.planning.plan import Plan
from avebench.running.cell_run import TEST
from avebench.running.experiment_run import ExperimentRun
from avebench.running.material import read_material
from avebench.store.examplecounts import count_example, to_line
from avebench.store.results import Result, Store, dump
from avebench.tables.render import render
from avebench.tables.result_tables import result_table, slice_table
from avebench.tables.table import Table

RESULTS = Path("results")


def slug(label: str) -> str:
    """Return a row's label as a folder name that every file system takes."""
    return re.sub(r"[^\w.+-]+", "-", label).strip("-.") or "row"


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
    """Write the results of a plan and its table under `results/` in the current folder."""
    folder = place(plan)
    dataset = open_dataset(plan.data.name, plan.data.folder, dict(plan.data.options))
    read = cache(lambda repetition: read_material(dataset, plan.train_fraction, repetition))
    for planned in plan.rows:
        for cell in planned.cells:
            if cell.key not in results:
                continue
            row = folder / slug(planned.row.label)
            material = read(cell.repetition)
            predictions = read_predictions(store.folder(cell.key) / TEST, material.test)
            write_predictions(row / f"{cell.repetition}.predictions.jsonl.gz", predictions, text_free=True)
            text = "".join(
                to_line(count_example(gold, prediction, material.rule.names(gold)))
                for gold, prediction in zip(material.test, predictions, strict=True)
            )
            # A fixed time stamp: the same counts are the same bytes.
            write_atomically(row / f"{cell.repetition}.counts.jsonl.gz", gzip.compress(text.encode(), mtime=0))
            write_atomically(row / f"{cell.repetition}.json", dump(_portable(results[cell.key])))
    record_tables(plan, [table])
    write_atomically(folder / "slices.md", render(slice_table(plan, results), "md"))


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
