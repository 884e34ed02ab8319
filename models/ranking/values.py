"""The closed list of values: those of the training products, and what every system that ranks them does with it.

Values that are equal once normalised (`avebench.scoring.pairs.normalise_value`, the comparison of every metric of
ranks) are one value, shown as it is spelt most often in training.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from avebench.contracts.examples import INTENT, AttributeSchema, Example, Prediction, ranked
from avebench.files.errors import AvebenchError, near_matches
from avebench.models.shared.asking import asked_of
from avebench.scoring.pairs import normalise_pairs, normalise_value

Listed = Sequence[tuple[str, Mapping[str, int]]]
"""Values with the number of training products that have them, by attribute."""


def learn_values(schema: AttributeSchema, train: Sequence[Example]) -> list[list[Any]]:
    """Return the list of [value, {attribute: products}] of training, the most frequent first, then by spelling."""
    known = set(schema.attributes)
    products: dict[str, Counter[str]] = defaultdict(Counter)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for attribute, values in gold_values(example, known).items():
            for value in values:
                products[value][attribute] += 1
            for spelling in example.pairs[attribute]:
                spellings[normalise_value(spelling)][spelling] += 1
    listed = []
    for value, counts in products.items():
        shown = min(spellings[value], key=lambda spelling: (-spellings[value][spelling], spelling))
        listed.append([shown, dict(sorted(counts.items()))])
    return sorted(listed, key=lambda one: (-sum(one[1].values()), one[0]))


def gold_values(example: Example, known: set[str]) -> dict[str, frozenset[str]]:
    """Return the normalised values of an example's annotated attributes that are `known`."""
    pairs = normalise_pairs(example.pairs)
    return {attribute: pairs[attribute] for attribute in pairs if attribute in known and attribute != INTENT}


def known_asked(example: Example, schema: AttributeSchema, system: str) -> tuple[str, ...]:
    """Return the attributes that are asked of an example; of a product that the harness asked nothing of, all.

    AvebenchError for one that the training data do not have.
    """
    asked, known = asked_of(example, schema), set(schema.attributes)
    for name in asked:
        if name not in known:
            raise AvebenchError(
                f"{system} ranks values for the attributes of its training alone and cannot be asked for '{name}'. "
                f"{near_matches(name, schema.attributes)}"
            )
    return asked


def answered(example: Example, scores: Mapping[str, Mapping[str, float]]) -> Prediction:
    """Return the prediction of scored values by attribute: the best value of each (ties: by spelling), and the ranks.

    An attribute without any value is not predicted. Every other has score 1: that the product has it, it was told.
    """
    best = {
        attribute: min(values, key=lambda value: (-values[value], value))
        for attribute, values in scores.items()
        if values
    }
    return Prediction(
        id=example.id,
        attributes=dict.fromkeys(best, 1.0),
        pairs={attribute: frozenset({value}) for attribute, value in best.items()},
        rankings={attribute: ranked(values) for attribute, values in scores.items()},
    )
