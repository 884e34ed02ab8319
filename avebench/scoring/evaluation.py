"""From predictions to the stored scores of a split."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.scoring.families import Counts
from avebench.scoring.invariants import invariant_faults
from avebench.scoring.metrics import output_range, score
from avebench.scoring.slices import SliceRule


class CountTriple(BaseModel):
    """True positives, predicted and gold spans."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tp: int
    predicted: int
    gold: int


class MetricValue(BaseModel):
    """One metric: `value` in %, with the counts behind it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    tp: int
    predicted: int
    gold: int


class SliceCounts(CountTriple):
    """The counts of one slice, and how many examples it has."""

    examples: int


class SplitScores(BaseModel):
    """What one split says: metrics, counts per attribute and per slice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples: int
    """Number of examples scored; equals the number of gold examples."""
    metrics: dict[str, MetricValue]
    """Metric name -> value in % and counts."""
    per_attribute: dict[str, CountTriple]
    """Attribute -> span counts (string pairs where the system cannot point at the text)."""
    per_slice: dict[str, SliceCounts]
    """Slice -> number of examples and the same counts."""
    mean_selected_range: float
    """Mean number of predicted attributes per example, N_m of the journal."""
    c_o: float
    """Classification outputs of one tagger over all attributes, (2N + 1) S1 (journal Eq. 1), at the mean length."""
    c_m: float
    """Classification outputs with N_m selected attributes, N + 3 S1 N_m (journal Eq. 2), at the mean length."""


def score_split(
    schema: AttributeSchema, gold: Sequence[Example], predictions: Sequence[Prediction], rule: SliceRule
) -> SplitScores:
    """Return the scores of one split in the form of the results store, checked against the gold examples.

    ValueError unless there is one prediction per gold example, in order; RuntimeError if the scores contradict them.
    """
    scores = score(gold, predictions, rule.names)
    faults = invariant_faults(scores.metrics(), scores.examples, gold)
    if faults:
        raise RuntimeError(f"the scores contradict the gold examples: {'; '.join(faults)}")
    c_o, c_m = output_range(len(schema.attributes), scores.mean_length, scores.mean_selected_range)
    return SplitScores(
        examples=scores.examples,
        metrics={
            name: MetricValue(value=metric.value, tp=metric.tp, predicted=metric.predicted, gold=metric.gold)
            for name, metric in scores.metrics().items()
            if metric is not None
        },
        per_attribute={name: _triple(counts) for name, counts in scores.per_attribute().items()},
        per_slice={
            name: SliceCounts(examples=examples, **_triple(counts).model_dump())
            for name, (examples, counts) in scores.per_slice().items()
        },
        mean_selected_range=scores.mean_selected_range,
        c_o=c_o,
        c_m=c_m,
    )


def validation_metrics(gold: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return every available metric of a validation split in %."""
    metrics = score(gold, predictions).metrics()
    return {name: metric.value for name, metric in metrics.items() if metric is not None}


def _triple(counts: Counts) -> CountTriple:
    return CountTriple(tp=counts.tp, predicted=counts.predicted, gold=counts.gold)
