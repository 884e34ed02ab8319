"""The command `compare`: rows of one table on the same test examples, which is better, how surely, and where.

What is not finished is trained by the same runner as `run`; MLflow is not told, `avebench run` does that. Finished
rows are compared without torch, from the output folder or from what `run --record` left under `results/`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from avebench.analysis.comparison.comparability import check_alike
from avebench.analysis.comparison.contrasts import Comparison, compare_systems, headline
from avebench.analysis.comparison.finished_rows import (
    CellsFailedError,
    Finished,
    finish_rows,
    recorded_by_row,
    recorded_rows,
)
from avebench.analysis.comparison.verdict import answers, comparison_table, example_lines, only_right_ids, rendered
from avebench.analysis.recording import recorded_folder
from avebench.contracts.registry import plugins
from avebench.data.opening import is_here
from avebench.files.errors import AvebenchError, near_matches
from avebench.planning.experiment import Experiment
from avebench.planning.plan import Request, make_plan
from avebench.planning.rows import candidates, choose_rows
from avebench.running.devices import check_device
from avebench.scoring.metrics import METRICS
from avebench.store.results import Store
from avebench.tables.render import Table, print_table
from avebench.tables.result_tables import check_invariants


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
    check_device(device)
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
    for name, experiment, rows in candidates(question.names, question.experiment):
        for dataset in [request.dataset] if request.dataset else [experiment.dataset, _built_in()]:
            folder = recorded_folder(Path(name).stem, dataset, request.train_fraction)
            tried.append(str(folder))
            recorded = recorded_by_row(folder, rows)
            if not all(recorded):
                continue
            if request.settings or request.profile or request.missing_images:
                why = (
                    "" if question.recorded else f"The data set {dataset} is not here; there is only what is recorded. "
                )
                raise AvebenchError(
                    f"{why}Recorded results are compared as they are: leave --profile, --set and the encoders out."
                )
            finished = recorded_rows(folder, rows, recorded, question.repetitions, request.data)
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
    from avebench.files.printing import console as made

    console = made(highlight=False)
    for sentence in said:
        # Wrapped between words in a terminal, one line each elsewhere.
        console.print(sentence, markup=False, soft_wrap=not console.is_terminal)
    console.print()
    print_table(table)
    if not examples:
        return
    gold = finished.gold or []
    predictions = [{one.id: one for one in read(gold)} if gold else {} for read in finished.predictions]
    print()
    for line in example_lines(comparison, examples, {example.id: example for example in gold}, predictions):
        print(line)


def _built_in() -> str:
    return next(known.name for known in plugins("datasets").values() if known.card.built_in)
