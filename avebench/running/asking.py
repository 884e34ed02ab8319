"""What a query system is asked for: the attributes of every example, by the protocol of its row.

A system sees these names and nothing of the gold annotation that some protocols take them from.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from avebench.contracts.examples import AttributeSchema, Example, gold_attributes
from avebench.contracts.model import Negatives
from avebench.contracts.seeds import derive_seed


class Asking:
    """The attributes that are asked of an example under a protocol, in the order of the schema.

    `train` are the training examples, whose categories decide what `category` asks for: of a product without a
    category, or with one that training does not have, everything. Where that, or `all`, is more than `cap` attributes,
    the `cap` that most training examples have are asked for. `ranges` maps the id of an example to the attributes that
    another row predicts, for `predicted`.
    """

    def __init__(
        self,
        protocol: str,
        schema: AttributeSchema,
        train: Iterable[Example] = (),
        ranges: Mapping[str, frozenset[str]] | None = None,
        cap: int | None = None,
    ) -> None:
        self._protocol = protocol
        self._order = schema.attributes
        self._ranges = ranges or {}
        self._of_category: dict[str, set[str]] = {}
        frequency: Counter[str] = Counter()
        for example in train if protocol == "category" or cap is not None else ():
            frequency.update(gold_attributes(example))
            if example.category is not None:
                self._of_category.setdefault(example.category, set()).update(gold_attributes(example))
        self._cap = cap
        self._frequent = sorted(schema.attributes, key=lambda name: -frequency[name])

    def asked(self, example: Example) -> tuple[str, ...] | None:
        """Return what is asked of one example; None under the protocol `native`."""
        if self._protocol == "native":
            return None
        if self._protocol in {"oracle", "annotated"}:
            wanted = gold_attributes(example) | (example.absent if self._protocol == "annotated" else frozenset())
        elif self._protocol == "predicted":
            wanted = self._ranges[example.id]
        elif self._protocol == "category" and example.category in self._of_category:
            wanted = self._capped(frozenset(self._of_category[example.category or ""]))
        elif self._cap is None:
            return self._order
        else:
            wanted = self._capped(frozenset(self._order))
        known = [attribute for attribute in self._order if attribute in wanted]
        # What training does not have can be asked all the same.
        return (*known, *sorted(wanted - set(known)))

    def _capped(self, wanted: frozenset[str]) -> frozenset[str]:
        """Return the attributes, or the most frequent of them where they are too many."""
        if self._cap is None or len(wanted) <= self._cap:
            return wanted
        return frozenset([name for name in self._frequent if name in wanted][: self._cap])

    def of(self, examples: Sequence[Example]) -> list[Example]:
        """Return the examples with what is asked of each."""
        return [replace(example, asked=self.asked(example)) for example in examples]


def mean_asked(examples: Sequence[Example]) -> float | None:
    """Return the mean number of attributes that are asked of an example; None where the system is not asked."""
    numbers = [len(example.asked) for example in examples if example.asked is not None]
    return sum(numbers) / len(numbers) if numbers else None


def not_asked(gold: Sequence[Example], asked: Sequence[Example]) -> int | None:
    """Return how many gold attributes are not asked of their examples; None where the system is not asked."""
    missed = [
        len(gold_attributes(example) - set(shown.asked))
        for example, shown in zip(gold, asked, strict=True)
        if shown.asked is not None
    ]
    return sum(missed) if missed else None


def for_training(
    examples: Sequence[Example], schema: AttributeSchema, negatives: Negatives, repetition: int
) -> list[Example]:
    """Return training examples that are asked for their own attributes and for `negatives` that they have no value of.

    Of an example whose annotation says what is absent, these come first. The draw depends on the repetition and the
    place of the example alone, so that every system of a table is asked the same.
    """
    drawn = random.Random(derive_seed("negatives", repetition))
    order = schema.index()
    asked = []
    for example in examples:
        own = gold_attributes(example)
        absent = [attribute for attribute in schema.attributes if attribute in example.absent]
        others = [attribute for attribute in schema.attributes if attribute not in own and attribute not in absent]
        if negatives != "all":
            kept = drawn.sample(absent, min(negatives, len(absent)))
            others = [*kept, *drawn.sample(others, min(negatives - len(kept), len(others)))]
        else:
            others = [*absent, *others]
        names = sorted([*own, *others], key=lambda name: order.get(name, len(order)))
        asked.append(replace(example, asked=tuple(names)))
    return asked
