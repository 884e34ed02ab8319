"""Systems side by side: which test examples, attributes, slices and categories tell them apart, and how surely."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal

import numpy as np

from avebench.contracts.seeds import derive_seed
from avebench.files.errors import AvebenchError
from avebench.scoring.families import Counts, Family
from avebench.scoring.metrics import METRICS
from avebench.scoring.significance import RESAMPLES, Contrast, Measure, Pair, contrasts, holm, intervals, ratio
from avebench.scoring.slices import CATEGORY
from avebench.store.examplecounts import AttributeFamily, ExampleCounts, columns_of
from avebench.store.results import Result

Kind = Literal["test", "attribute", "slice", "category"]
FEW_PRODUCTS = 10
"""A group in which fewer products have any count gets no interval and no p-value: there is too little to resample."""


@dataclass(frozen=True, slots=True)
class System:
    """One row with its finished repetitions: `results`, and beside each the counts of every test example, in order."""

    label: str
    protocol: str
    results: tuple[Result, ...]
    counts: tuple[Sequence[ExampleCounts], ...]

    def right(self, family: Family) -> list[int]:
        """Return for each example in how many repetitions it is right."""
        return [sum(one.right(family) for one in repetitions) for repetitions in zip(*self.counts, strict=True)]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that the systems are compared in.

    `values` holds the figure in % per system and repetition. `examples` is the number of test examples in it, for an
    attribute of those annotated with it. `contrasts` has no entry where there is too little to resample, or where only
    totals are known; `adjusted` holds the p-values of the randomisation after Holm.
    """

    kind: Kind
    name: str
    examples: int
    values: tuple[tuple[float, ...], ...]
    contrasts: Mapping[Pair, Contrast]
    adjusted: dict[Pair, float] = field(default_factory=dict)

    def difference(self, pair: Pair) -> float:
        """Return the mean of the first system minus that of the second, in % points."""
        return fmean(self.values[pair[0]]) - fmean(self.values[pair[1]])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more systems on the same test examples; `lines` holds the line of `metric` first."""

    systems: tuple[System, ...]
    metric: str
    attribute_family: AttributeFamily
    examples: int
    products: int
    lines: tuple[Line, ...]

    @property
    def pairs(self) -> list[Pair]:
        """Return every pair of systems."""
        return list(itertools.combinations(range(len(self.systems)), 2))

    @property
    def repetitions(self) -> int:
        """Return the number of repetitions of every system."""
        return len(self.systems[0].results)

    def only_right(self, pair: Pair) -> tuple[list[int], list[int]]:
        """Return the positions of the examples that only the first, and that only the second system gets right.

        With several repetitions: right in all of the one, in none of the other.
        """
        family = METRICS[self.metric][0]
        a, b = (self.systems[place].right(family) for place in pair)
        every = self.repetitions
        only_a = [place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x == every and y == 0]
        only_b = [place for place, (x, y) in enumerate(zip(a, b, strict=True)) if y == every and x == 0]
        return only_a, only_b


def headline(metrics: Sequence[str]) -> str:
    """Return the metric that a table is about: its first F1 or accuracy."""
    return next((name for name in metrics if METRICS[name][1] == "f1" or name.endswith("accuracy")), metrics[0])


def compare_systems(
    systems: Sequence[System],
    metric: str,
    metrics: Sequence[str] = (),
    resamples: int = RESAMPLES,
    *,
    whole_only: bool = False,
) -> Comparison:
    """Compare systems of equal repetitions in `metric`, and on the whole test set in `metrics` too where all have them.

    With `whole_only` the lines of attributes, slices and categories are left out. AvebenchError if a system has no
    `metric`, or if the systems were not tested on the same examples.
    """
    _check_examples(systems)
    results = [result for system in systems for result in system.results]
    available = [name for name in METRICS if all(name in result.scores.metrics for result in results)]
    if metric not in available:
        lacking = ", ".join(s.label for s in systems if any(metric not in r.scores.metrics for r in s.results))
        raise AvebenchError(
            f"{metric} is not available for {lacking}. Choose with --metric one of: {', '.join(available)}."
        )
    shown = list(dict.fromkeys([metric, *(name for name in metrics if name in available)]))
    first = columns_of(systems[0].counts[0])
    numbers = {name: place for place, name in enumerate(dict.fromkeys(first.products))}
    attribute_family: AttributeFamily = "tag" if "tag_f1" in available else "string"
    groups = _whole_groups(systems, shown, numbers)
    if not whole_only:
        groups += _part_groups(systems, metric, attribute_family, numbers)
    lines = [_line(group, len(systems), len(numbers), resamples) for group in groups]
    with_spans = {"tag_f1" in result.scores.metrics for result in results}
    if len(with_spans) == 1 and not whole_only and not any(line.kind == "attribute" for line in lines):
        lines += _attribute_totals(systems)
    _adjust(lines)
    return Comparison(tuple(systems), metric, attribute_family, len(first.ids), len(numbers), tuple(lines))


def _check_examples(systems: Sequence[System]) -> None:
    """Raise AvebenchError unless every repetition of every system has the same examples in the same order."""
    first = systems[0]
    ids = list(columns_of(first.counts[0]).ids)
    for system in systems:
        for counts, result in zip(system.counts, system.results, strict=True):
            if list(columns_of(counts).ids) != ids:
                raise AvebenchError(
                    f"{system.label}, repetition {result.repetition}, was tested on other examples than {first.label}. "
                    "Run both again on the same data."
                )


# ---------------------------------------------------------------------------------------------------------------------
# Groups of counts


@dataclass(slots=True)
class _Group:
    """The counts of a group: per (system, repetition) a flat list of product, tp, predicted, gold for each example."""

    kind: Kind
    name: str
    measure: Measure
    examples: int
    entries: list[list[array[int]]]

    def add(self, system: int, repetition: int, product: int, counts: Counts) -> None:
        self.entries[system][repetition].extend((product, counts.tp, counts.predicted, counts.gold))


def _whole_groups(systems: Sequence[System], metrics: Sequence[str], numbers: Mapping[str, int]) -> list[_Group]:
    """Return the counts of the whole test set per metric."""
    groups = []
    for name in metrics:
        family, measure = METRICS[name]
        entries: list[list[array[int]]] = []
        for system in systems:
            entries.append([])
            for counts in system.counts:
                columns = columns_of(counts)
                products = np.array([numbers[product] for product in columns.products], np.int64)
                entries[-1].append(array("q", np.column_stack([products, columns.counts[family]]).tobytes()))
        groups.append(_Group("test", name, measure, len(systems[0].counts[0]), entries))  # type: ignore[arg-type]  # From METRICS.
    return groups


def _part_groups(
    systems: Sequence[System], metric: str, attribute_family: AttributeFamily, numbers: Mapping[str, int]
) -> list[_Group]:
    """Return the counts of attributes, slices and categories, by name."""
    found: dict[tuple[Kind, str], _Group] = {}
    repetitions = len(systems[0].results)
    with_attributes = all(
        one.attributes is not None for system in systems for counts in system.counts for one in counts
    )

    def group(kind: Kind, name: str, measure: str) -> _Group:
        if (kind, name) not in found:
            empty = [[array("q") for _ in range(repetitions)] for _ in systems]
            found[kind, name] = _Group(kind, name, measure, 0, empty)  # type: ignore[arg-type]  # From METRICS.
        return found[kind, name]

    family, measure = METRICS[metric]
    for place, system in enumerate(systems):
        for repetition, counts in enumerate(system.counts):
            once = place == repetition == 0
            for one in counts:
                product = numbers[one.product]
                for slice_ in one.slices:
                    kind: Kind = "category" if slice_.startswith(CATEGORY) else "slice"
                    part = group(kind, slice_.removeprefix(CATEGORY), measure)
                    part.add(place, repetition, product, one.counts[family])
                    part.examples += once
                if with_attributes and one.attributes is not None:
                    for name, item in one.attributes[attribute_family].items():
                        part = group("attribute", name, "f1")
                        part.add(place, repetition, product, item)
                        part.examples += once and item.gold > 0
    order: list[Kind] = ["attribute", "slice", "category"]
    return sorted(found.values(), key=lambda one: (order.index(one.kind), one.name))


def metric_intervals(
    counts: Sequence[Sequence[ExampleCounts]], metrics: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the interval of each metric of one system in %, the mean over repetitions, by the bootstrap over products.

    `counts` holds the test examples of each repetition, in one order.
    """
    columns = [columns_of(one) for one in counts]
    numbers = {name: place for place, name in enumerate(dict.fromkeys(columns[0].products))}
    table = np.zeros((len(numbers), len(metrics), len(counts), 3), np.int64)
    for repetition, one in enumerate(columns):
        products = np.array([numbers[product] for product in one.products], np.int64)
        for place, metric in enumerate(metrics):
            np.add.at(table[:, place, repetition], products, one.counts[METRICS[metric][0]])
    measures: list[Any] = [METRICS[metric][1] for metric in metrics]
    bounds = intervals(table, products=len(numbers), measures=measures, seed=derive_seed("comparison"))
    return dict(zip(metrics, bounds, strict=True))


def _line(group: _Group, systems: int, products: int, resamples: int) -> Line:
    """Return the figures of a group and the contrast of every pair."""
    tables = [[np.frombuffer(entry, np.int64).reshape(-1, 4) for entry in entries] for entries in group.entries]
    touched = np.unique(np.concatenate([table[:, 0] for per_system in tables for table in per_system]))
    counts = np.zeros((systems, len(touched), len(tables[0]), 3), np.int64)
    for place, per_system in enumerate(tables):
        for repetition, table in enumerate(per_system):
            np.add.at(counts[place, :, repetition], np.searchsorted(touched, table[:, 0]), table[:, 1:])
    values = tuple(tuple(map(float, ratio(one.sum(axis=0), group.measure))) for one in counts)
    enough = np.count_nonzero(counts.any(axis=(0, 2, 3))) >= FEW_PRODUCTS
    found: dict[Pair, Contrast] = {}
    if enough or group.kind == "test":
        seed = derive_seed("comparison")
        found = contrasts(counts, products=products, measure=group.measure, seed=seed, resamples=resamples)
    return Line(group.kind, group.name, group.examples, values, found)


def _attribute_totals(systems: Sequence[System]) -> Iterator[Line]:
    """Yield F1 per attribute from the totals of the results, where the counts of single examples are not at hand."""
    names = sorted({name for system in systems for result in system.results for name in result.scores.per_attribute})
    for name in names:
        values, gold = [], 0
        for system in systems:
            triples = [result.scores.per_attribute.get(name) for result in system.results]
            values.append(tuple(Counts(one.tp, one.predicted, one.gold).f1 if one else 0.0 for one in triples))
            gold = max(gold, *(one.gold if one else 0 for one in triples))
        yield Line("attribute", name, gold, tuple(values), {})


def _adjust(lines: Sequence[Line]) -> None:
    """Adjust by Holm: the pairs of each metric, and apart all attributes, all slices and all categories."""
    families: dict[tuple[Kind, str], list[tuple[Line, Pair]]] = {}
    for line in lines:
        key = (line.kind, line.name if line.kind == "test" else "")
        families.setdefault(key, []).extend((line, pair) for pair in line.contrasts)
    for family in families.values():
        adjusted = holm([line.contrasts[pair].p_randomisation for line, pair in family])
        for (line, pair), p_value in zip(family, adjusted, strict=True):
            line.adjusted[pair] = p_value
