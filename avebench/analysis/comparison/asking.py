"""What `compare` is asked, and the answer: which row is better, from finished cells or from what is recorded.

Finished rows are compared without torch, from the output folder or from what `run --record` left under `results/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from avebench.analysis.comparison.comparability import check_comparable
from avebench.analysis.comparison.contrasts import Comparison, compare_systems, headline
from avebench.analysis.comparison.finished_rows import (
    Finished,
    finish_rows,
    recorded_files,
    recorded_rows,
)
from avebench.analysis.comparison.verdict import answers, comparison_table
from avebench.analysis.recording import recorded_folder
from avebench.contracts.registry import plugins
from avebench.data.opening import is_here
from avebench.files.errors import AvebenchError, near_matches
from avebench.planning.experiment import Experiment
from avebench.planning.plan import make_plan
from avebench.planning.request import Request
from avebench.planning.rows import candidates, choose_rows
from avebench.running.experiment_run import Execution
from avebench.scoring.metrics import METRICS
from avebench.store.invariants import check_invariants
from avebench.store.results import Store
from avebench.tables.frames import to_frame
from avebench.tables.table import Table

if TYPE_CHECKING:
    import pandas


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


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows compared: the comparison, and the rows with the counts of every example that it is made of."""

    comparison: Comparison
    finished: Finished
    title: str

    def __str__(self) -> str:
        """Return the sentences that say which row is better, by how much, how surely, and where."""
        return "\n".join(answers(self.comparison))

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per metric, attribute, slice and category: the figures of the rows, and how they differ."""
        return to_frame(self.table(whole=True))

    def table(self, *, whole: bool) -> Table:
        """Return the comparison as a table; `whole` with every line, for programs."""
        return comparison_table(self.comparison, self.title, self.finished.banner, self.finished.notes, whole=whole)


def ask(question: Question, request: Request, execution: Execution) -> Answer:
    """Return how rows compare, trained where they are not finished.

    AvebenchError for what cannot be compared; CellsFailedError if a cell fails.
    """
    if len(question.names) < 2:
        raise AvebenchError("Name at least two rows to compare, for instance: avebench compare dictionary virc-text.")
    if question.metric is not None and question.metric not in METRICS:
        raise AvebenchError(f"--metric {question.metric}: {near_matches(question.metric, METRICS)}")
    experiment, finished = _recorded(question, request) or _finished(question, request, execution)
    check_comparable(finished.systems)
    check_invariants([result for system in finished.systems for result in system.results])
    comparison = compare_systems(finished.systems, question.metric or headline(experiment.metrics), experiment.metrics)
    fraction = "" if request.train_fraction == 1 else f", {request.train_fraction:g} of the training products"
    title = f"{' against '.join(system.label for system in finished.systems)} on {finished.dataset}{fraction}"
    return Answer(comparison, finished, f"{title} ({experiment.title})")


def _finished(question: Question, request: Request, execution: Execution) -> tuple[Experiment, Finished]:
    """Return the rows of a plan, trained where they are not finished; CellsFailedError if a cell fails."""
    name, experiment, rows = choose_rows(question.names, question.experiment)
    labels = [row.label for row in rows]
    plan = make_plan(replace(request, experiment=name, rows=labels, repetitions=question.repetitions or 1))
    return experiment, finish_rows(
        plan, Store(request.out), labels, device=execution.device, jobs=execution.jobs, debug=execution.debug
    )


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


def _built_in() -> str:
    return next(known.name for known in plugins("datasets").values() if known.card.built_in)
