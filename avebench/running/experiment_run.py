"""An experiment that was run: what is stored of its plans, and what failed. Everything shown of it is made of this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from avebench.nn.completions.contract import DEFAULT_MEANS, Means
from avebench.planning.cells import Cell
from avebench.planning.experiment import Experiment
from avebench.planning.plan import Plan
from avebench.planning.requested import note_requested
from avebench.running.missing_cells import run_missing, stored_results
from avebench.store.invariants import check_invariants
from avebench.store.results import Result, Store

if TYPE_CHECKING:
    from avebench.running.runner import Failure


@dataclass(frozen=True, slots=True)
class Execution:
    """On what cells are run: the device, how many at a time (None: one per core, on a GPU one)."""

    device: str = "auto"
    jobs: int | None = None
    debug: bool = False
    """Raise faults with their tracebacks."""
    means: Means = DEFAULT_MEANS
    """How systems that ask a language model ask it."""


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """The plans of an experiment, one per train fraction; by key the results that there are, and why others failed."""

    plans: Sequence[Plan]
    store: Store
    results: Mapping[str, Result]
    failures: Mapping[str, Failure]

    @property
    def plan(self) -> Plan:
        """Return the plan that speaks for the experiment: the last, of the largest train fraction."""
        return self.plans[-1]

    @property
    def experiment(self) -> Experiment:
        """Return the experiment as it is written."""
        return self.plan.experiment

    def cells(self) -> list[Cell]:
        """Return the cells of all plans."""
        return [cell for plan in self.plans for cell in plan.cells()]

    def exit_code(self) -> int:
        """Return 0, 1 if a cell failed, or 2 if what its row was given was at fault."""
        return max((2 if failure.unusable else 1 for failure in self.failures.values()), default=0)


def run_experiment(plans: Sequence[Plan], store: Store, execution: Execution) -> ExperimentRun:
    """Train and score what the plans of an experiment lack; AvebenchError if results contradict each other."""
    cells = [cell for plan in plans for cell in plan.cells()]
    failures = run_missing(
        cells, plans[0].name, store, execution.device, execution.jobs, execution.debug, execution.means
    )
    results = stored_results(cells, store, plans[0].experiment.metrics)
    check_invariants(list(results.values()))
    for plan in plans:
        note_requested(plan, results, store)
    return ExperimentRun(plans, store, results, failures)


def prepare(planned: Iterable[Sequence[Plan]], store: Store, *, fresh: bool) -> None:
    """Look whether the output folder can be used; with `fresh` forget what is to be run again.

    Once and before anything runs: tables share cells.
    """
    store.prepare()
    cells = [cell for plans in planned for plan in plans for cell in plan.cells()] if fresh else []
    for key in {key for cell in cells for key in (cell.key, cell.training_key)}:
        with store.lock(key):
            store.forget(key)
