"""Metrics as mergeable counts: tagging, classification, accuracy on MAE, string sets, intent and sentence accuracy.

Every metric is a pure function from a gold example and its prediction to counts, and a ratio of summed counts (micro
average over the corpus, 0/0 is 0). Values are in %. The rules stand beside each function.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isclose
from typing import TYPE_CHECKING, Any, Literal, Protocol

from avebench.contracts.examples import INTENT, PAD, Example, Prediction, gold_attributes
from avebench.scoring.pairs import normalise_pairs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCORER_VERSION = 1
"""Raised whenever a metric may change; scores are keyed by (cell, scorer version)."""

ClsSource = Literal["head", "tags", "derived"]
Family = Literal["tag", "cls", "cls_with_pad", "mae", "mae_by_attribute", "string", "annotated", "intent", "sentence"]

_NAMES: tuple[tuple[str, Family], ...] = (
    ("tag_{}", "tag"),
    ("cls_{}", "cls"),
    ("cls_{}_with_pad", "cls_with_pad"),
    ("string_{}", "string"),
    ("annotated_{}", "annotated"),
)
NO_VALUE = frozenset({"", "n/a", "none"})
"""Predicted strings, lower-cased, that say that there is no value (generative systems)."""
METRICS: dict[str, tuple[Family, str]] = {
    name.format(measure): (family, measure) for name, family in _NAMES for measure in ("precision", "recall", "f1")
} | {
    "mae_accuracy": ("mae", "recall"),
    "mae_accuracy_by_attribute": ("mae_by_attribute", "recall"),
    "intent_accuracy": ("intent", "recall"),
    "sentence_accuracy": ("sentence", "recall"),
}
"""Metric name -> (what is counted, which ratio of the counts)."""

LATER_METRICS = frozenset({"annotated_precision", "annotated_recall", "annotated_f1"})
"""Metrics that results of this scorer version may lack: they came later and changed no other."""


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, predicted and gold items; counts of two shards add up. An accuracy has predicted = gold."""

    tp: int = 0
    predicted: int = 0
    gold: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.predicted + other.predicted, self.gold + other.gold)

    @property
    def precision(self) -> float:
        """Return tp / predicted in %, 0 if nothing is predicted."""
        return 100.0 * self.tp / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Return tp / gold in %, 0 if there is no gold item."""
        return 100.0 * self.tp / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Return the harmonic mean of precision and recall in %, that is 2 tp / (predicted + gold)."""
        return 200.0 * self.tp / (self.predicted + self.gold) if self.predicted + self.gold else 0.0


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure in %, at full precision, with the counts behind it."""

    value: float
    tp: int
    predicted: int
    gold: int


def set_counts(gold: Collection[object], predicted: Collection[object]) -> Counts:
    """Return the counts of two sets; repeated members count once."""
    gold_set, predicted_set = set(gold), set(predicted)
    return Counts(len(gold_set & predicted_set), len(predicted_set), len(gold_set))


def predicted_attributes(prediction: Prediction, source: ClsSource = "head") -> frozenset[str]:
    """Return the predicted attributes, without `[PAD]`.

    `head`: those of `prediction.attributes`, which the system itself decides on. `tags`: read off its spans. `derived`:
    those with at least one value (query and generative systems).
    """
    if source == "head":
        found = set(prediction.attributes)
    elif source == "tags":
        found = {span.attribute for span in prediction.spans or ()}
    else:
        found = {attribute for attribute, values in prediction.pairs.items() if values}
    return frozenset(found) - {INTENT, PAD, ""}


def tag_counts(gold: Example, prediction: Prediction) -> Counts | None:
    """Return the counts of the sets of (attribute, start, end); None if the system cannot point at the text."""
    return None if prediction.spans is None else set_counts(gold.spans, prediction.spans)


def cls_counts(
    gold: Example, prediction: Prediction, source: ClsSource = "head", *, with_pad: bool = False
) -> Counts | None:
    """Return the counts of the attribute sets; None if they are to be read off spans that the system does not give.

    With `with_pad` an empty set on either side becomes {[PAD]}, as the released DRAM code trains and scores "no
    attribute" as a label; a prediction that names `[PAD]` beside attributes keeps it.
    """
    if source == "tags" and prediction.spans is None:
        return None
    wanted, found = gold_attributes(gold), predicted_attributes(prediction, source)
    if with_pad:
        wanted = wanted or frozenset({PAD})
        if not found or (source == "head" and PAD in prediction.attributes):
            found = found | {PAD}
    return set_counts(wanted, found)


def accuracy_counts(
    gold: Mapping[str, Collection[str]], predicted: Mapping[str, Collection[str]], *, by_attribute: bool = False
) -> Counts:
    """Return the accuracy on MAE of one product (arXiv Eq. 9, appendix A.3) as {correct, annotated, annotated} pairs.

    For each annotated attribute the predicted set of values must equal the gold set; attributes that are not annotated
    are ignored. An attribute weighs as many pairs as it has distinct gold values, all or nothing, as in the released
    code; with `by_attribute` it weighs one. Values are compared normalised (`avebench.scoring.pairs.normalise_value`).
    """
    wanted, found = normalise_pairs(gold), normalise_pairs(predicted)
    wanted.pop(INTENT, None)
    weights = {attribute: 1 if by_attribute else len(values) for attribute, values in wanted.items()}
    correct = sum(weight for attribute, weight in weights.items() if found.get(attribute) == wanted[attribute])
    return Counts(correct, sum(weights.values()), sum(weights.values()))


def _strings(pairs: Mapping[str, Collection[str]]) -> set[tuple[str, str]]:
    return {(attribute, value) for attribute, values in pairs.items() if attribute != INTENT for value in values}


def string_counts(gold: Example, prediction: Prediction) -> Counts:
    """Return the counts of the sets of (attribute, value string), as AtTGen scores; strings are compared as is."""
    return set_counts(_strings(gold.pairs), _strings(prediction.pairs))


def annotated_counts(gold: Example, prediction: Prediction) -> Counts:
    """Return the counts over the attributes that the annotation speaks of, as ExtractGPT scores; the rest is ignored.

    Those are the attributes with a value and those known to be `absent`. Predicted are the ones for which some value is
    given; one is right if it has gold values and every string predicted for it is one of them, compared as is. So
    precision is VC / (NV + VC + VW), recall VC / (VN + VC + VW).
    """
    wanted = {attribute: frozenset(values) for attribute, values in gold.pairs.items() if values}
    wanted.pop(INTENT, None)
    right = found = 0
    for attribute in wanted.keys() | gold.absent:
        strings = {value for value in prediction.pairs.get(attribute, ()) if value.lower() not in NO_VALUE}
        found += bool(strings)
        right += bool(strings) and strings <= wanted.get(attribute, frozenset())
    return Counts(right, found, len(wanted))


def intent_counts(gold: Example, prediction: Prediction) -> Counts | None:
    """Return {right, 1, 1} for the intent, an exact match of labels; None if the example has no intent."""
    wanted = gold.pairs.get(INTENT)
    return Counts(int(prediction.pairs.get(INTENT) == wanted), 1, 1) if wanted else None


def sentence_counts(gold: Example, prediction: Prediction) -> Counts | None:
    """Return {right, 1, 1}: the intent is right and the spans are exactly the gold ones; None without intent or spans.

    Slot-Gated compares tags. Predictions hold no tags: an orphan `I-x` that decodes to the gold span counts as right.
    """
    intent = intent_counts(gold, prediction)
    if intent is None or prediction.spans is None:
        return None
    return Counts(int(intent.tp == 1 and set(gold.spans) == set(prediction.spans)), 1, 1)


def example_counts(gold: Example, prediction: Prediction, source: ClsSource = "head") -> dict[Family, Counts]:
    """Return the counts of every family that can be counted for this example; ValueError if the ids differ."""
    if gold.id != prediction.id:
        raise ValueError(f"the prediction of '{prediction.id}' stands beside the gold example '{gold.id}'")
    counted: dict[Family, Counts | None] = {
        "tag": tag_counts(gold, prediction),
        "cls": cls_counts(gold, prediction, source),
        "cls_with_pad": cls_counts(gold, prediction, source, with_pad=True),
        "mae": accuracy_counts(gold.pairs, prediction.pairs),
        "mae_by_attribute": accuracy_counts(gold.pairs, prediction.pairs, by_attribute=True),
        "string": string_counts(gold, prediction),
        "annotated": annotated_counts(gold, prediction),
        "intent": intent_counts(gold, prediction),
        "sentence": sentence_counts(gold, prediction),
    }
    return {family: counts for family, counts in counted.items() if counts is not None}


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
class Scores:
    """Counts of many examples. Those of disjoint shards add up to those of the whole, in any order and grouping.

    `counted` is the number of examples for which a family could be counted; a family that misses one is not available.
    """

    source: ClsSource = "head"
    examples: int = 0
    selected: int = 0
    units: int = 0
    totals: dict[Family, Counts] = field(default_factory=dict)
    counted: dict[Family, int] = field(default_factory=dict)
    span_attributes: dict[str, Counts] = field(default_factory=dict)
    string_attributes: dict[str, Counts] = field(default_factory=dict)
    slices: dict[str, Scores] = field(default_factory=dict)

    def add(self, gold: Example, prediction: Prediction, slices: Iterable[str] = ()) -> None:
        """Count one example, which belongs to the named slices; ValueError if the ids differ."""
        shard = Scores(self.source, 1, len(predicted_attributes(prediction, self.source)), len(gold.tokens))
        shard.totals = example_counts(gold, prediction, self.source)
        shard.counted = dict.fromkeys(shard.totals, 1)
        shard.span_attributes = _by_attribute(
            {(span.attribute, span) for span in gold.spans}, {(span.attribute, span) for span in prediction.spans or ()}
        )
        shard.string_attributes = _by_attribute(_strings(gold.pairs), _strings(prediction.pairs))
        self.merge(shard)
        for name in slices:
            self.slices.setdefault(name, Scores(self.source)).merge(shard)

    def merge(self, other: Scores) -> None:
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
            self.slices.setdefault(name, Scores(self.source)).merge(shard)

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
) -> Scores:
    """Return the scores of parallel examples and predictions; `slices` gives the names of the slices of an example.

    ValueError if the sequences differ in length or an id does not match.
    """
    scores = Scores(source)
    for example, prediction in zip(gold, predictions, strict=True):
        scores.add(example, prediction, slices(example) if slices else ())
    return scores


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
    for pattern, _ in _NAMES:
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
        "string_f1": sum(len(_strings(example.pairs)) for example in gold),
    }
    for name, number in expected.items():
        figure = metrics.get(name)
        if figure is not None and figure.gold != number:
            faults.append(f"{name}: tp + fn is {figure.gold}, the gold examples hold {number}")
    return faults
