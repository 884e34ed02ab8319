"""What an example and its prediction count for each metric: true positives, predicted and gold items.

Every family of counts is a pure function; the rules stand beside each. Counts of disjoint shards add up.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from avebench.contracts.examples import INTENT, PAD, Example, Prediction, gold_attributes
from avebench.scoring.families import ClsSource, Counts, Family
from avebench.scoring.pairs import normalise_pairs
from avebench.scoring.queried import NO_VALUE, QUERIED, queried_counts
from avebench.scoring.rankings import ranking_counts


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


def value_strings(pairs: Mapping[str, Collection[str]]) -> set[tuple[str, str]]:
    """Return the pairs of attribute and value string, without the intent."""
    return {(attribute, value) for attribute, values in pairs.items() if attribute != INTENT for value in values}


def string_counts(gold: Example, prediction: Prediction) -> Counts:
    """Return the counts of the sets of (attribute, value string), as AtTGen scores; strings are compared as is."""
    return set_counts(value_strings(gold.pairs), value_strings(prediction.pairs))


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


def example_counts(
    gold: Example, prediction: Prediction, source: ClsSource = "head", unspoken: Collection[Family] = ()
) -> dict[Family, Counts]:
    """Return the counts of every family that can be counted for this example; ValueError if the ids differ.

    Those that are `unspoken`, as `scoring.queried.unspoken` finds for whole data, are left out.
    """
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
    if not QUERIED.issubset(unspoken):
        counted |= {
            family: counts for family, counts in queried_counts(gold, prediction).items() if family not in unspoken
        }
    counted |= ranking_counts(gold, prediction)
    return {family: counts for family, counts in counted.items() if counts is not None}
