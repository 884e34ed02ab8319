"""Metrics as mergeable counts: spans, attributes, accuracy on MAE, strings, intents and sentences, ranks of values.

A metric is a ratio of summed counts (micro average over the corpus, 0/0 is 0), in %. What is counted stands in
`avebench.scoring.counts`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from avebench.contracts.examples import Example, Prediction
from avebench.scoring.counts import example_counts, predicted_attributes, value_strings
from avebench.scoring.families import ClsSource, Counts, Family
from avebench.scoring.queried import OF_ABSENCES, unspoken

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCORER_VERSION = 1
"""Raised whenever a metric may change; scores are keyed by (cell, scorer version)."""

TRIPLES: tuple[tuple[str, Family], ...] = (
    ("tag_{}", "tag"),
    ("cls_{}", "cls"),
    ("cls_{}_with_pad", "cls_with_pad"),
    ("string_{}", "string"),
    ("annotated_{}", "annotated"),
    ("mave_{}", "mave"),
    ("mave_all_{}", "mave_all"),
)
"""Pattern of names -> what is counted, of the metrics that come as precision, recall and F1."""
METRICS: dict[str, tuple[Family, str]] = {
    name.format(measure): (family, measure) for name, family in TRIPLES for measure in ("precision", "recall", "f1")
} | {
    "mae_accuracy": ("mae", "recall"),
    "mae_accuracy_by_attribute": ("mae_by_attribute", "recall"),
    "intent_accuracy": ("intent", "recall"),
    "sentence_accuracy": ("sentence", "recall"),
    "mave_pair_accuracy": ("mave_pairs", "recall"),
    "option_accuracy": ("option", "recall"),
    "containment_accuracy": ("containment", "recall"),
    "hits_1": ("hits_1", "recall"),
    "hits_5": ("hits_5", "recall"),
    "hits_10": ("hits_10", "recall"),
    "hits_20": ("hits_20", "recall"),
    "mrr": ("reciprocal_rank", "recall"),
}
"""Metric name -> (what is counted, which ratio of the counts)."""

LATER_METRICS = frozenset({"annotated_precision", "annotated_recall", "annotated_f1"})
"""Metrics that results of this scorer version may lack: they came later and changed no other.

Those of rankings are none of them: no earlier prediction has rankings.
"""
LATER_OF_ABSENCES = frozenset(name for name, (family, _) in METRICS.items() if family in OF_ABSENCES)
"""Metrics that came later as well, and stand only where the annotation knows absences."""


def later_metrics(annotation: Mapping[str, Mapping[str, int]]) -> frozenset[str]:
    """Return the metrics that a result may lack for its age, from the figures that it stores of its annotation."""
    absences = annotation.get("test", {}).get("absent", 0) > 0
    return LATER_METRICS | LATER_OF_ABSENCES if absences else LATER_METRICS


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure in %, at full precision, with the counts behind it."""

    value: float
    tp: int
    predicted: int
    gold: int


def per_example_counts(
    gold: Sequence[Example], predictions: Sequence[Prediction], metric: str, source: ClsSource = "head"
) -> NDArray[np.int64]:
    """Return the counts (tp, predicted, gold) behind `metric` for every example, (n, 3).

    ValueError if the sequences are not parallel or an example cannot be counted; KeyError for an unknown metric.
    """
    import numpy as np

    family = METRICS[metric][0]
    table = np.zeros((len(gold), 3), dtype=np.int64)
    for row, example, prediction in zip(table, gold, predictions, strict=True):
        counts = example_counts(example, prediction, source).get(family)
        if counts is None:
            raise ValueError(f"{metric} is not available for example '{example.id}'")
        row[:] = counts.tp, counts.predicted, counts.gold
    return table


def output_range(attributes: int, length: float, selected: float) -> tuple[float, float]:
    """Return (C_o, C_m), the numbers of classification outputs of journal Eq. 1 and 2.

    C_o = (2N + 1) S1 for one tagger over all N `attributes` and text `length` S1 in units; C_m = N + 3 S1 N_m with N_m
    `selected` attributes. Querying all attributes is more output than one tagger.
    """
    return (2 * attributes + 1) * length, attributes + 3 * length * selected


@dataclass(slots=True)
class RunningScores:
    """Counts of many examples. Those of disjoint shards add up to those of the whole, in any order and grouping.

    `counted` is the number of examples for which a family could be counted; a family that misses one is not available.
    Nor is one of the `unspoken`, which are not counted.
    """

    source: ClsSource = "head"
    examples: int = 0
    selected: int = 0
    units: int = 0
    totals: dict[Family, Counts] = field(default_factory=dict)
    counted: dict[Family, int] = field(default_factory=dict)
    span_attributes: dict[str, Counts] = field(default_factory=dict)
    string_attributes: dict[str, Counts] = field(default_factory=dict)
    slices: dict[str, RunningScores] = field(default_factory=dict)
    unspoken: frozenset[Family] = frozenset()

    def add(self, gold: Example, prediction: Prediction, slices: Iterable[str] = ()) -> None:
        """Count one example, which belongs to the named slices; ValueError if the ids differ."""
        shard = RunningScores(self.source, 1, len(predicted_attributes(prediction, self.source)), len(gold.tokens))
        shard.totals = example_counts(gold, prediction, self.source, self.unspoken)
        shard.counted = dict.fromkeys(shard.totals, 1)
        shard.span_attributes = _by_attribute(
            {(span.attribute, span) for span in gold.spans}, {(span.attribute, span) for span in prediction.spans or ()}
        )
        shard.string_attributes = _by_attribute(value_strings(gold.pairs), value_strings(prediction.pairs))
        self.merge(shard)
        for name in slices:
            self.slices.setdefault(name, RunningScores(self.source)).merge(shard)

    def merge(self, other: RunningScores) -> None:
        """Add the counts of another shard; ValueError if its classification counts have another source."""
        if self.source != other.source:
            raise ValueError(f"counts of cls_source '{self.source}' and '{other.source}' do not add up")
        self.examples += other.examples
        self.selected += other.selected
        self.units += other.units
        for family, number in other.counted.items():
            self.counted[family] = self.counted.get(family, 0) + number
        _merge_counts(self.totals, other.totals)
        _merge_counts(self.span_attributes, other.span_attributes)
        _merge_counts(self.string_attributes, other.string_attributes)
        for name, shard in other.slices.items():
            self.slices.setdefault(name, RunningScores(self.source)).merge(shard)

    def counts(self, family: Family) -> Counts | None:
        """Return the summed counts of a family, None if it is not available.

        It is not if some example could not be counted (no spans, no intent), nor the spans of a gold file without any.
        """
        if not self.examples or self.counted.get(family, 0) < self.examples:
            return None
        total = self.totals[family]
        gold_without_spans = family == "tag" and not total.gold and self.totals["string"].gold > 0
        return None if gold_without_spans else total

    def metric(self, name: str) -> Metric | None:
        """Return one metric in %, None if it is not available; KeyError if there is none of that name."""
        family, ratio = METRICS[name]
        counts = self.counts(family)
        return None if counts is None else Metric(getattr(counts, ratio), counts.tp, counts.predicted, counts.gold)

    def metrics(self) -> dict[str, Metric | None]:
        """Return every metric by name, None where it is not available: that is not the same as 0."""
        return {name: self.metric(name) for name in METRICS}

    def per_attribute(self) -> dict[str, Counts]:
        """Return attribute -> counts of spans, or of value strings where spans are not available; sorted by name."""
        return dict(sorted((self.string_attributes if self.counts("tag") is None else self.span_attributes).items()))

    def per_slice(self) -> dict[str, tuple[int, Counts]]:
        """Return slice -> (number of examples, counts of the kind that `per_attribute` has); sorted by name."""
        family: Family = "string" if self.counts("tag") is None else "tag"
        return {name: (shard.examples, shard.totals[family]) for name, shard in sorted(self.slices.items())}

    @property
    def mean_selected_range(self) -> float:
        """Return the mean number of predicted attributes per example, N_m of journal Eq. 2."""
        return self.selected / self.examples if self.examples else 0.0

    @property
    def mean_length(self) -> float:
        """Return the mean number of units per example, S1 of journal Eq. 1."""
        return self.units / self.examples if self.examples else 0.0


def _merge_counts(into: dict[Any, Counts], more: Mapping[Any, Counts]) -> None:
    for name, counts in more.items():
        into[name] = into[name] + counts if name in into else counts


def _by_attribute(gold: set[Any], predicted: set[Any]) -> dict[str, Counts]:
    """Return the counts of two sets of (attribute, item) per attribute."""
    tp = Counter(attribute for attribute, _ in gold & predicted)
    wanted = Counter(attribute for attribute, _ in gold)
    found = Counter(attribute for attribute, _ in predicted)
    return {attribute: Counts(tp[attribute], found[attribute], wanted[attribute]) for attribute in wanted | found}


def score(
    gold: Iterable[Example],
    predictions: Iterable[Prediction],
    slices: Callable[[Example], Iterable[str]] | None = None,
    source: ClsSource = "head",
) -> RunningScores:
    """Return the scores of parallel examples and predictions; `slices` gives the names of the slices of an example.

    What the annotation does not speak of is not counted. ValueError if the sequences differ in length or an id does not
    match.
    """
    gold = gold if isinstance(gold, Sequence) else list(gold)
    scores = RunningScores(source, unspoken=unspoken(gold))
    for example, prediction in zip(gold, predictions, strict=True):
        scores.add(example, prediction, slices(example) if slices else ())
    return scores
