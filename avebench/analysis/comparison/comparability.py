"""What must hold before results are put side by side: they may be compared, and their counts add up."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.analysis.comparison.contrasts import System
from avebench.files.errors import AvebenchError
from avebench.scoring.metrics import METRICS
from avebench.store.examplecounts import ExampleCounts, columns_of
from avebench.store.results import Result
from avebench.tables.table import MARKED_PROTOCOLS


def check_comparable(systems: Sequence[System]) -> None:
    """Raise AvebenchError, which names the fields that differ, unless the systems may be compared."""
    fields: dict[str, list[set[str]]] = {
        name: [{str(getattr(result, name))[:12] for result in system.results} for system in systems]
        for name in ("fingerprint", "split", "train_fraction", "profile", "chunk_scheme", "scorer_version")
    }
    fields["held-out attributes"] = [
        {"; ".join(", ".join(result.held_out_attributes) or "none" for result in system.results)} for system in systems
    ]
    fields["repetitions"] = [{" ".join(str(result.repetition) for result in system.results)} for system in systems]
    # Who is told attributes is not compared with who is not, nor with who is told others.
    fields["protocol"] = [
        {system.protocol if system.protocol in MARKED_PROTOCOLS else "told nothing"} for system in systems
    ]
    differing = []
    for name, values in fields.items():
        if len(set().union(*values)) > 1:
            each = zip(systems, values, strict=True)
            found = ", ".join(f"{system.label}: {' and '.join(sorted(value))}" for system, value in each)
            differing.append(f"{name} ({found})")
    if differing:
        names = " and ".join(system.label for system in systems)
        raise AvebenchError(
            f"{names} cannot be compared: they differ in {'; '.join(differing)}. Run them again with the same options."
        )


def check_totals(result: Result, counted: Sequence[ExampleCounts], label: str) -> None:
    """Raise AvebenchError unless the counts of the examples add up to those of the result."""
    counts = columns_of(counted).counts
    totals = {family: tuple(table.sum(axis=0).tolist()) for family, table in counts.items()}
    for name, metric in result.scores.metrics.items():
        total = totals.get(METRICS[name][0], (0, 0, 0))
        if total != (metric.tp, metric.predicted, metric.gold):
            raise AvebenchError(
                f"The counts of {label}, repetition {result.repetition}, do not add up to its {name} "
                f"({total[0]} of {metric.tp} true positives). Run the row again with 'avebench run --fresh'."
            )
