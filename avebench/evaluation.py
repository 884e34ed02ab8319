"""From predictions to the stored scores of a split."""

from __future__ import annotations

from collections.abc import Sequence

from avebench import results
from avebench.examples import AttributeSchema, Example, Prediction
from avebench.metrics import Counts, invariant_faults, output_range, score
from avebench.slices import SliceRule


def score_split(
    schema: AttributeSchema, gold: Sequence[Example], predictions: Sequence[Prediction], rule: SliceRule
) -> results.Scores:
    """Return the scores of one split in the form of the results store, checked against the gold examples.

    ValueError unless there is one prediction per gold example, in order; RuntimeError if the scores contradict them.
    """
    scores = score(gold, predictions, rule.names)
    faults = invariant_faults(scores.metrics(), scores.examples, gold)
    if faults:
        raise RuntimeError(f"the scores contradict the gold examples: {'; '.join(faults)}")
    c_o, c_m = output_range(len(schema.attributes), scores.mean_length, scores.mean_selected_range)
    return results.Scores(
        examples=scores.examples,
        metrics={
            name: results.MetricValue(value=metric.value, tp=metric.tp, predicted=metric.predicted, gold=metric.gold)
            for name, metric in scores.metrics().items()
            if metric is not None
        },
        per_attribute={name: _triple(counts) for name, counts in scores.per_attribute().items()},
        per_slice={
            name: results.SliceCounts(examples=examples, **_triple(counts).model_dump())
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


def _triple(counts: Counts) -> results.CountTriple:
    return results.CountTriple(tp=counts.tp, predicted=counts.predicted, gold=counts.gold)
