"""What rankings of closed values count: hits at a rank and reciprocal ranks, as whole numbers."""

from __future__ import annotations

import math

from avebench.contracts.examples import INTENT, RANKED, Example, Prediction
from avebench.scoring.families import Counts, Family
from avebench.scoring.pairs import normalise_pairs, normalise_value

HITS: dict[Family, int] = {"hits_1": 1, "hits_5": 5, "hits_10": 10, "hits_20": 20}
"""Family -> worst rank that is a hit."""
WHOLE_RANK = math.lcm(*range(1, RANKED + 1))
"""What rank 1 counts as a reciprocal rank, 232,792,560: of every rank that is looked at the share is a whole number."""


def gold_ranks(gold: Example, prediction: Prediction) -> list[int | None]:
    """Return the rank of each annotated attribute's gold value, of several the best; None if it is not ranked.

    Values are compared normalised, as in the accuracy on MAE. An attribute that is not ranked at all has no rank.
    """
    wanted = normalise_pairs(gold.pairs)
    wanted.pop(INTENT, None)
    rankings = prediction.rankings or {}
    return [
        min((rank for value, rank in rankings.get(name, {}).items() if normalise_value(value) in values), default=None)
        for name, values in wanted.items()
    ]


def ranking_counts(gold: Example, prediction: Prediction) -> dict[Family, Counts]:
    """Return {right, queries, queries} of each rank that hits go to, and of reciprocal ranks; empty without rankings.

    A query is an annotated attribute of a product (Logan et al. 2017), whose gold value is `gold_ranks`'. A reciprocal
    rank is in units of 1 / `WHOLE_RANK`, exactly; beyond rank 20 it is 0.
    """
    if prediction.rankings is None:
        return {}
    ranks = gold_ranks(gold, prediction)
    found = [rank for rank in ranks if rank is not None and rank <= RANKED]
    hits = {family: Counts(sum(rank <= k for rank in found), len(ranks), len(ranks)) for family, k in HITS.items()}
    whole = WHOLE_RANK * len(ranks)
    return {**hits, "reciprocal_rank": Counts(sum(WHOLE_RANK // rank for rank in found), whole, whole)}
