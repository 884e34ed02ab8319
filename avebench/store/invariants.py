"""What stored results of one table must agree in."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.files.errors import AvebenchError
from avebench.scoring.invariants import invariant_faults
from avebench.store.results import Result


def check_invariants(results: Sequence[Result]) -> None:
    """Raise AvebenchError if stored results of one table contradict themselves or each other."""
    gold: dict[tuple[str, str, int], tuple[int, str]] = {}
    for result in results:
        place = f"The result of row '{result.row}', repetition {result.repetition} (cell {result.key[:12]})"
        for name, metric in result.scores.metrics.items():
            known = gold.setdefault((name, result.split, result.scorer_version), (metric.gold, result.row))
            if known[0] != metric.gold:
                raise AvebenchError(
                    f"{place}: {name} counts {metric.gold} gold items, row '{known[1]}' counts {known[0]}. "
                    "Run the table again with --fresh."
                )
        for fault in invariant_faults(result.scores.metrics, result.scores.examples):
            raise AvebenchError(f"{place} contradicts itself: {fault}. Run it again with --fresh.")
