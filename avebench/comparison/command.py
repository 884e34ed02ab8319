"""The command `compare`: rows of one table on the same test examples, which is better, how surely, and where.

What is not finished is trained by the same runner as `run`; MLflow is not told, `avebench run` does that. Finished
rows are compared without torch, from the output folder or from what `run --record` left under `results/`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avebench.comparison.alike import check_alike
from avebench.comparison.contrasts import Comparison, compare_systems, headline
from avebench.comparison.finished import (
    CellsFailedError,
    Finished,
    finish_rows,
    recorded_files,
    recorded_rows,
)
from avebench.comparison.verdict import answers, comparison_table, example_lines, only_right_ids, rendered
from avebench.data import is_here
from avebench.errors import AvebenchError, near_matches
from avebench.experiment import Experiment, Row, experiment_names, experiment_path, load_experiment
from avebench.metrics import METRICS
from avebench.plan import Request, make_plan
from avebench.predictions import read_predictions
from avebench.recording import recorded_folder
from avebench.registry import plugins
from avebench.render import Table, print_table
from avebench.results import Store
from avebench.tables import check_invariants


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be compared, beside the options that `run` has as well.

    `names` are labels of rows or, where only one row has it, names of models. `experiment` None: the first packaged one
    that has all of them. `repetitions` None: one, or of recorded rows all.
    """

    names: Sequence[str]
    experiment: str | None
    repetitions: int | None
    recorded: bool = False
    metric: str | None = None
    examples: int = 0


def compare(question: Question, request: Request, *, device: str, jobs: int | None, format: str, debug: bool) -> int:
    """Compare rows and print the answer; return the exit code. AvebenchError for what cannot be compared."""
    if len(question.names) < 2:
        raise AvebenchError("Name at least two rows to compare, for instance: avebench compare dictionary virc-text.")
    if question.metric is not None and question.metric not in METRICS:
        raise AvebenchError(f"--metric {question.metric}: {near_matches(question.metric, METRICS)}")
    try:
        experiment, finished = _recorded(question, request) or _finished(question, request, device, jobs, debug)
    except CellsFailedError as failed:
        return failed.code
    check_alike(finished.systems)
    check_invariants([result for system in finished.systems for result in system.results])
    metric = question.metric or headline(experiment.metrics)
    comparison = compare_systems(finished.systems, metric, experiment.metrics)
    fraction = "" if request.train_fraction == 1 else f", {request.train_fraction:g} of the training products"
    title = f"{' against '.join(system.label for system in finished.systems)} on {finished.dataset}{fraction}"
    table = comparison_table(
        comparison, f"{title} ({experiment.title})", finished.banner, finished.notes, whole=format in {"csv", "json"}
    )
    show(comparison, finished, table, question.examples, format)
    return 0


def _finished(
    question: Question, request: Request, device: str, jobs: int | None, debug: bool
) -> tuple[Experiment, Finished]:
    """Return the rows of a plan, trained where they are not finished; CellsFailedError if a cell fails."""
    name, experiment, rows = choose_rows(question.names, question.experiment)
    labels = [row.label for row in rows]
    plan = make_plan(replace(request, experiment=name, rows=labels, repetitions=question.repetitions or 1))
    return experiment, finish_rows(plan, Store(request.out), labels, device=device, jobs=jobs, debug=debug)


def _recorded(question: Question, request: Request) -> tuple[Experiment, Finished] | None:
    """Return the rows as recorded, if that is asked for or the data is not here; None if they are to be trained.

    They are those of the first experiment of which all are recorded. AvebenchError if that is asked for and none is, or
    if options are given that recorded results cannot follow.
    """
    away = request.dataset is not None and request.data is None and not is_here(request.dataset)
    if not question.recorded and not away:
        return None
    tried = []
    for name, experiment, rows in _candidates(question.names, question.experiment):
        for dataset in [request.dataset] if request.dataset else [experiment.dataset, _built_in()]:
            folder = recorded_folder(Path(name).stem, dataset, request.train_fraction)
            tried.append(str(folder))
            if not all(recorded_files(folder, row.label) for row in rows):
                continue
            if request.settings or request.profile or request.missing_images:
                why = (
                    "" if question.recorded else f"The data set {dataset} is not here; there is only what is recorded. "
                )
                raise AvebenchError(
                    f"{why}Recorded results are compared as they are: leave --profile, --set and the encoders out."
                )
            finished = recorded_rows(folder, rows, question.repetitions, request.data)
            foreign = experiment.foreign(dataset, finished.systems[0].results[0].fingerprint)
            return experiment, replace(finished, banner=foreign and f"{foreign}.")
    if not question.recorded:
        return None
    raise AvebenchError(
        f"No results of all of {', '.join(question.names)} are recorded in {' or '.join(tried)}. "
        "Leave --recorded out to train what is missing."
    )


def show(comparison: Comparison, finished: Finished, table: Table, examples: int, format: str) -> None:
    """Print a comparison. Texts of the data set are printed in the terminal format alone."""
    said = answers(comparison)
    if format != "terminal":
        ids = only_right_ids(comparison, examples) if examples else {}
        sys.stdout.write(rendered(table, said, ids, format))
        return
    from rich.console import Console

    console = Console(highlight=False)
    for sentence in said:
        # Wrapped between words in a terminal, one line each elsewhere.
        console.print(sentence, markup=False, soft_wrap=not console.is_terminal)
    console.print()
    print_table(table)
    if not examples:
        return
    gold = finished.gold or []
    predictions = [
        {one.id: one for one in read_predictions(paths[0], gold)} if gold else {} for paths in finished.predictions
    ]
    print()
    for line in example_lines(comparison, examples, {example.id: example for example in gold}, predictions):
        print(line)


# ---------------------------------------------------------------------------------------------------------------------
# Which rows of which table

Chosen = tuple[str, Experiment, list[Row]]
"""Name (or path) and content of an experiment, and the rows of it."""


def find_rows(names: Sequence[str], experiment: Experiment) -> list[Row]:
    """Return the built rows of these names, in any case; AvebenchError for one that none, or more than one, row has."""
    built = [row for row in experiment.rows if not row.planned]
    rows = []
    for name in names:
        labelled = [row for row in experiment.rows if row.label.casefold() == name.casefold()]
        found = labelled or [row for row in built if row.model.casefold() == name.casefold()]
        if not found:
            known = {row.label for row in built} | {row.model for row in built}
            raise AvebenchError(f"'{experiment.title}' has no row '{name}'. {near_matches(name, known)}")
        if len(found) > 1:
            raise AvebenchError(
                f"The model '{name}' stands in several rows of '{experiment.title}': "
                f"{', '.join(row.label for row in found)}. Name the row."
            )
        if found[0].planned:
            raise AvebenchError(f"The row '{found[0].label}' of '{experiment.title}' is not built yet.")
        if found[0] in rows:
            raise AvebenchError(f"'{name}' is the row '{found[0].label}', which is named twice. Name different rows.")
        rows.append(found[0])
    return rows


def choose_rows(names: Sequence[str], experiment: str | None) -> Chosen:
    """Return name, content and rows of the named experiment, or else of the first packaged one that has all rows."""
    return _candidates(names, experiment)[0]


def _candidates(names: Sequence[str], experiment: str | None) -> list[Chosen]:
    """Return the named experiment, or else every packaged one that has all rows; AvebenchError if there is none."""
    if experiment is not None:
        loaded = load_experiment(experiment_path(experiment))
        return [(experiment, loaded, find_rows(names, loaded))]
    packaged = {name: load_experiment(experiment_path(name)) for name in experiment_names()}
    # What is made of rows of other tables would only be a second place for the same rows.
    packaged = {name: loaded for name, loaded in packaged.items() if loaded.kind == "table" and not loaded.alias}
    found = [(name, loaded, rows) for name, loaded in packaged.items() if (rows := _rows_or_none(names, loaded))]
    if found:
        return found
    known = {name for loaded in packaged.values() for row in loaded.rows for name in (row.label, row.model)}
    places = []
    for wanted in names:
        having = [loaded for loaded in packaged.values() if _has(wanted, loaded)]
        if not having:
            raise AvebenchError(f"No packaged experiment has a row '{wanted}'. {near_matches(wanted, known)}")
        usable = [name for name, loaded in packaged.items() if _rows_or_none([wanted], loaded)]
        if not usable:
            find_rows([wanted], having[0])  # Says whether the row is not built or the model has several.
        places.append(f"{wanted} ({', '.join(usable)})")
    raise AvebenchError(f"No packaged experiment has all of these rows: {', '.join(places)}. Name rows of one table.")


def _has(name: str, experiment: Experiment) -> bool:
    return any(name.casefold() in {row.label.casefold(), row.model.casefold()} for row in experiment.rows)


def _rows_or_none(names: Sequence[str], experiment: Experiment) -> list[Row] | None:
    try:
        return find_rows(names, experiment)
    except AvebenchError:
        return None


def _built_in() -> str:
    return next(known.name for known in plugins("datasets").values() if known.card.built_in)
