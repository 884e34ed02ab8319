"""What is counted per annotated (product, attribute) pair: MAVE's five counters, ImplicitAVE's two matches.

A pair is annotated if the attribute has gold values or is known to be absent; predictions of any other attribute are
not looked at. Strings that say that there is no value (`NO_VALUE`) are none.

**MAVE** (Yang et al., WSDM 2022; google-research, mave/benchmark/run_inference.py). A pair falls under one of

    a_a  gold has a value, the answer is right        n_a  gold has none, there is an answer
    a_b  gold has a value, the answer is wrong        n_n  gold has none, there is no answer
    a_n  gold has a value, there is no answer

    P = a_a / (a_a + a_b + n_a),   R = a_a / (a_a + a_b + a_n),   F1 = 2 P R / (P + R).

Strings are compared as SQuAD's scorer does: lower-cased, without punctuation, without articles, white space collapsed;
one that this leaves empty is none. Under `mave` the answer is the top span: the one with the highest score, of equal
scores, or without scores, the first in the text; of a system without spans, the first of its strings in alphabetical
order. It is right if it is any of the gold values. Under `mave_all` (all spans; this rule is ours, the authors only
publish that of the top span) every predicted string must be one of the gold values.

**ImplicitAVE** (Zou et al., Findings of ACL 2024), over pairs with a gold value. `option`: the one string that is
predicted is the gold option, compared normalised as everywhere (`pairs.normalise_value`). `containment`: the rule of
the authors' code, by which the lower-cased gold string stands anywhere in the lower-cased answer: one that lists
several options is right, and "Mints" is right for "Mint". Both are accuracies; theirs is called micro-F1.
"""

from __future__ import annotations

import itertools
import re
import string
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Protocol

from avebench.contracts.examples import INTENT, Example, Prediction
from avebench.data.annotation import places
from avebench.scoring.families import Counts, Family
from avebench.scoring.pairs import normalise_value

NO_VALUE = frozenset({"", "n/a", "none"})
"""Predicted strings, lower-cased, that say that there is no value (generative systems)."""
OF_ABSENCES: tuple[Family, ...] = ("mave", "mave_all", "mave_pairs")
"""Families that stand only where the annotation says of some attribute that it is absent."""
OF_OPTIONS: tuple[Family, ...] = ("option", "containment")
"""Families that stand only where some gold value has no place in the text, and no attribute has several values."""
QUERIED = frozenset({*OF_ABSENCES, *OF_OPTIONS})

_EMPTY = frozenset({""})
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def unspoken(gold: Iterable[Example]) -> frozenset[Family]:
    """Return the families that the annotation of these examples does not speak of: they are not counted."""
    absent = several = values = placed = 0
    for example in gold:
        absent += len(example.absent)
        several += any(len(held) > 1 for held in example.pairs.values())
        with_place, total = places(example)
        placed += with_place
        values += total
    families = [] if absent else [*OF_ABSENCES]
    return frozenset(families + ([*OF_OPTIONS] if several or placed == values else []))


@lru_cache(maxsize=1 << 16)
def squad_normalised(text: str) -> str:
    """Return a string as SQuAD's scorer compares it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


@lru_cache(maxsize=1 << 16)
def _answer(text: str) -> str:
    """Return a predicted string normalised, or the empty string if it says that there is no value."""
    return "" if text.lower() in NO_VALUE else squad_normalised(text)


def queried_counts(gold: Example, prediction: Prediction) -> dict[Family, Counts]:
    """Return the counts of an example's annotated pairs for each family of `OF_ABSENCES` and `OF_OPTIONS`.

    `mave_pairs` is {a_a + n_n, pairs, pairs} of the top span: with `mave` it gives the five counters back
    (`five_counters`). Of an attribute with several gold values, any is the gold option.
    """
    pairs = right = all_right = answered = valued = unanswered = asked = chosen = contained = 0
    for attribute, values in gold.pairs.items():
        if not values or attribute == INTENT:
            continue
        asked += 1
        targets = set(map(squad_normalised, values)) - _EMPTY
        given = prediction.pairs.get(attribute, _EMPTY)
        answers = set(map(_answer, given)) - _EMPTY
        valued += bool(targets)
        answered += bool(answers)
        unanswered += not answers and not targets
        if answers and answers <= targets:
            right += 1
            all_right += 1
        elif answers & targets:
            right += _top(attribute, gold.text, prediction) in targets
        said = [value for value in given if value.lower() not in NO_VALUE]
        chosen += len(said) == 1 and normalise_value(said[0]) in map(normalise_value, values)
        contained += any(value.lower() in answer.lower() for value in values for answer in said)
    pairs = asked
    for attribute in gold.absent:
        if attribute not in gold.pairs or not gold.pairs[attribute]:
            pairs += 1
            some = any(map(_answer, prediction.pairs.get(attribute, ())))
            answered += some
            unanswered += not some
    return {
        "mave": Counts(right, answered, valued),
        "mave_all": Counts(all_right, answered, valued),
        "mave_pairs": Counts(right + unanswered, pairs, pairs),
        "option": Counts(chosen, asked, asked),
        "containment": Counts(contained, asked, asked),
    }


def _top(attribute: str, text: str, prediction: Prediction) -> str:
    """Return the answer of an attribute that has several, normalised: the first in the order of scores and text."""
    strings = prediction.pairs[attribute]
    scores = prediction.span_scores or itertools.repeat(0.0)
    places = [
        (-score, span.start, span.end)
        for span, score in zip(prediction.spans or (), scores, strict=False)
        if span.attribute == attribute
    ]
    ordered = [text[start:end] for _, start, end in sorted(places)]
    return next(filter(None, map(_answer, [*(one for one in ordered if one in strings), *sorted(strings)])))


class Counted(Protocol):
    """The counts of a metric, stored or fresh."""

    @property
    def tp(self) -> int:
        """Return the number of true positives."""

    @property
    def predicted(self) -> int:
        """Return the number of predicted items."""

    @property
    def gold(self) -> int:
        """Return the number of gold items."""


def five_counters(metrics: Mapping[str, Counted | None]) -> dict[str, dict[str, int]]:
    """Return MAVE's counters of the top span and of all spans by name; empty where the metrics are not available.

    `metrics` are those of a result (`Result.scores.metrics`) or of `avebench score`.
    """
    pairs, top = metrics.get("mave_pair_accuracy"), metrics.get("mave_f1")
    found = {}
    for name, answered in (("top span", top), ("all spans", metrics.get("mave_all_f1"))):
        if pairs is None or top is None or answered is None:
            continue
        n_n = pairs.tp - top.tp
        n_a = pairs.gold - answered.gold - n_n
        a_b = answered.predicted - answered.tp - n_a
        a_n = answered.gold - answered.tp - a_b
        found[name] = {"a_a": answered.tp, "a_b": a_b, "a_n": a_n, "n_a": n_a, "n_n": n_n}
    return found
