"""What must hold in every set of scores, and what contradicts it, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Protocol

from avebench.contracts.examples import Example, gold_attributes
from avebench.scoring.counts import value_strings
from avebench.scoring.families import Counts
from avebench.scoring.metrics import METRICS, TRIPLES


class Figure(Protocol):
    """A stored or a fresh metric: anything with a value and its counts."""

    @property
    def value(self) -> float:
        """Return the value in %."""

    @property
    def tp(self) -> int:
        """Return the number of true positives."""

    @property
    def predicted(self) -> int:
        """Return the number of predicted items."""

    @property
    def gold(self) -> int:
        """Return the number of gold items."""


def invariant_faults(
    metrics: Mapping[str, Figure | None], examples: int, gold: Sequence[Example] | None = None
) -> list[str]:
    """Return what contradicts itself in a set of scores, in words; an empty list if nothing does.

    F1 is the harmonic mean of precision and recall; every value follows from its counts; with the `gold` examples also:
    tp + fn is the number of gold items counted afresh, and as many examples are scored as there are.
    """
    faults = []
    for name, figure in metrics.items():
        if figure is None:
            continue
        counts = Counts(figure.tp, figure.predicted, figure.gold)
        if not 0 <= counts.tp <= min(counts.predicted, counts.gold):
            faults.append(f"{name}: {counts.tp} true positives of {counts.predicted} predicted and {counts.gold} gold")
        elif not isclose(figure.value, getattr(counts, METRICS[name][1]), rel_tol=1e-9, abs_tol=1e-9):
            faults.append(f"{name}: {figure.value} does not follow from its counts {counts}")
    for pattern, _ in TRIPLES:
        p, r, f1 = (metrics.get(pattern.format(measure)) for measure in ("precision", "recall", "f1"))
        if p and r and f1:
            mean = 2 * p.value * r.value / (p.value + r.value) if p.value + r.value else 0.0
            if not isclose(f1.value, mean, rel_tol=1e-9, abs_tol=1e-9):
                faults.append(f"{pattern.format('f1')}: {f1.value} is not the harmonic mean of {p.value} and {r.value}")
    if gold is not None:
        faults.extend(_gold_faults(metrics, examples, gold))
    return faults


def _gold_faults(metrics: Mapping[str, Figure | None], examples: int, gold: Sequence[Example]) -> list[str]:
    """Return where the numbers of examples and of gold items are not those of the gold examples."""
    faults = [] if examples == len(gold) else [f"{examples} examples are scored, {len(gold)} are gold"]
    expected = {
        "tag_f1": sum(len(set(example.spans)) for example in gold),
        "cls_f1": sum(len(gold_attributes(example)) for example in gold),
        "cls_f1_with_pad": sum(max(1, len(gold_attributes(example))) for example in gold),
        "string_f1": sum(len(value_strings(example.pairs)) for example in gold),
    }
    for name, number in expected.items():
        figure = metrics.get(name)
        if figure is not None and figure.gold != number:
            faults.append(f"{name}: tp + fn is {figure.gold}, the gold examples hold {number}")
    return faults
