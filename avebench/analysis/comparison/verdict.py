"""A comparison as people read it: in words, as one table, and the examples that only one system gets right."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from avebench.analysis.comparison.contrasts import FEW_PRODUCTS, Comparison, Kind, Line, System
from avebench.contracts.examples import Example, Prediction, printable
from avebench.data.annotation import annotation_notes
from avebench.scoring.significance import LEVEL, RESAMPLES, Pair
from avebench.store.costs import MEMORY, PARAMETERS, SECONDS, costs_of, machine_of
from avebench.store.longtexts import long_text_notes
from avebench.store.writtenanswers import written_notes
from avebench.tables.completions import asked_notes
from avebench.tables.render import render
from avebench.tables.result_tables import FEW, HEADINGS, summary
from avebench.tables.table import MEASURED, Cell, Column, Section, Table, TableRow

ALPHA = 0.05
_NAMED = 5
"""How many attributes, slices or categories a sentence names on each side."""
_ATTRIBUTES = 30
"""How many attributes people are shown, those with the most examples; CSV and JSON hold all."""
_UNITS = {PARAMETERS: "million trained parameters", SECONDS: "s per 1,000 test examples", MEMORY: "GB peak memory"}
_PLURALS: dict[Kind, str] = {"attribute": "attributes", "slice": "slices", "category": "categories"}


# ---------------------------------------------------------------------------------------------------------------------
# Words


def answers(comparison: Comparison) -> list[str]:
    """Return what the comparison says: for each pair who is better, how surely, where; then what each system costs."""
    said = []
    for pair in comparison.pairs:
        said += [_better(comparison, pair), _certainty(comparison, pair), _where(comparison, pair)]
        only = [len(places) for places in comparison.only_right(pair)]
        a, b = _labels(comparison, pair)
        every = "" if comparison.repetitions == 1 else f", in all {comparison.repetitions} repetitions"
        alone = f"{only[0]:,} are right with {a} alone, {only[1]:,} with {b} alone"
        said.append(f"Of {comparison.examples:,} examples {alone}{every}.")
    return [*said, _cost(comparison.systems)]


def _labels(comparison: Comparison, pair: Pair) -> tuple[str, str]:
    return comparison.systems[pair[0]].label, comparison.systems[pair[1]].label


def _better(comparison: Comparison, pair: Pair) -> str:
    """Return who is ahead, by how much, and in how many repetitions."""
    line = comparison.lines[0]
    a, b = _labels(comparison, pair)
    difference, contrast = line.difference(pair), line.contrasts[pair]
    values = [line.values[place] for place in pair]
    low, high = contrast.low, contrast.high
    if difference < 0:
        a, b, values, low, high = b, a, values[::-1], -high, -low
    metric = HEADINGS.get(line.name, line.name)
    means = f"{fmean(values[0]):.2f} against {fmean(values[1]):.2f}"
    interval = f"{LEVEL:g} % interval of the difference {low:.2f} to {high:.2f}"
    if difference == 0:
        return f"{a} and {b} are level in {metric}: {means}; {interval}."
    verb = "better than" if line.adjusted[pair] < ALPHA else "ahead of"
    text = f"{a} is {verb} {b} by {abs(difference):.2f} points of {metric}: {means}; {interval}."
    if comparison.repetitions > 1:
        ahead = sum(x > y for x, y in zip(*values, strict=True))
        spread = summary([x - y for x, y in zip(*values, strict=True)])
        text += (
            f" It is ahead in {ahead} of {comparison.repetitions} repetitions (sd of the difference {spread.sd:.2f})."
        )
    return text


def _certainty(comparison: Comparison, pair: Pair) -> str:
    """Return what the tests say."""
    line = comparison.lines[0]
    contrast, adjusted = line.contrasts[pair], line.adjusted[pair]
    p_values = f"p = {contrast.p_randomisation:.4f} by approximate randomisation"
    p_values += f", {contrast.p_bootstrap:.4f} by paired bootstrap"
    if len(comparison.pairs) > 1:
        p_values += f", {adjusted:.4f} after Holm over {len(comparison.pairs)} comparisons"
    verdict = (
        f"That is more than chance at {100 * ALPHA:g} %"
        if adjusted < ALPHA
        else "The test set does not settle which of the two is better"
    )
    trained = any(result.parameters for place in pair for result in comparison.systems[place].results)
    once = " One repetition does not show how another training would come out." if trained else ""
    return f"{verdict}: {p_values}." + (once if comparison.repetitions == 1 else "")


def _where(comparison: Comparison, pair: Pair) -> str:
    """Return where the systems can be told apart after Holm, the largest differences first."""
    a, b = _labels(comparison, pair)
    parts = []
    for sign, label in ((1, a), (-1, b)):
        named = []
        for kind, plural in _PLURALS.items():
            lines = [
                line
                for line in comparison.lines
                if line.kind == kind and line.adjusted.get(pair, 1.0) < ALPHA and sign * line.difference(pair) > 0
            ]
            lines.sort(key=lambda line: -abs(line.difference(pair)))
            if lines:
                shown = ", ".join(f"{line.name} (by {abs(line.difference(pair)):.1f})" for line in lines[:_NAMED])
                more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
                named.append(f"{plural} {shown}{more}")
        if named:
            parts.append(f"{label} is better in {'; '.join(named)}.")
    return " ".join(parts) or "In no single attribute, slice or category can they be told apart."


def _cost(systems: Sequence[System]) -> str:
    """Return parameters, speed and memory of each system."""
    costs = {system.label: {line.name: line.values for line in costs_of(system.results)} for system in systems}
    texts = []
    for label, cost in costs.items():
        figures = [f"{fmean(values):.2f} {_UNITS[name]}" for name, values in cost.items() if any(values)]
        texts.append(f"{label} {', '.join(figures)}")
    return f"Cost: {'; '.join(texts)}."


# ---------------------------------------------------------------------------------------------------------------------
# One table


def comparison_table(comparison: Comparison, title: str, banner: str, notes: Sequence[str], *, whole: bool) -> Table:
    """Return every figure of a comparison; not `whole`, only the attributes with the most examples."""
    systems = comparison.systems
    columns = [Column("examples", "n"), Column("remark", "")]
    columns += [Column(system.label, system.label, MEASURED) for system in systems]
    for pair in comparison.pairs:
        source = " minus ".join(_labels(comparison, pair))
        columns += [Column("difference", "diff.", source), Column("low", "low", source), Column("high", "high", source)]
        columns += [
            Column("p_randomisation", "p rand.", source, digits=4),
            Column("p_bootstrap", "p boot.", source, digits=4),
            Column("p_holm", "p Holm", source, digits=4),
        ]
    shown = HEADINGS.get(comparison.metric, comparison.metric)
    unit = "spans" if comparison.attribute_family == "tag" else "value strings"
    headings: dict[Kind, str] = {
        "test": "test",
        "attribute": f"F1 of {unit} per attribute",
        "slice": f"{shown} per slice",
        "category": f"{shown} per category",
    }
    sections = []
    for kind, heading in headings.items():
        lines = [line for line in comparison.lines if line.kind == kind]
        if kind == "attribute" and not whole:
            kept = {line.name for line in sorted(lines, key=lambda line: -line.examples)[:_ATTRIBUTES]}
            lines = [line for line in lines if line.name in kept]
            heading += "" if len(kept) == len(lines) else f" (the {_ATTRIBUTES} with most examples)"
        if lines:
            sections.append(Section([_row(comparison, line) for line in lines], heading))
    sections.append(Section(list(_cost_rows(comparison)), "cost"))
    return Table(
        title, columns, sections, notes=[*notes, *_notes(comparison)], banner=banner, label_heading="Compared in"
    )


def _row(comparison: Comparison, line: Line) -> TableRow:
    """Return a line as a row of the table."""
    few = line.kind in {"slice", "category"} and line.examples < FEW
    cells: list[Cell] = [line.examples, "too few" if few else None]
    cells += [summary(values) for values in line.values]
    for pair in comparison.pairs:
        found = line.contrasts.get(pair)
        cells.append(line.difference(pair))
        cells += [found.low, found.high, found.p_randomisation, found.p_bootstrap] if found else [None] * 4
        cells.append(line.adjusted.get(pair))
    return TableRow(HEADINGS.get(line.name, line.name) if line.kind == "test" else line.name, cells)


def _cost_rows(comparison: Comparison) -> Iterator[TableRow]:
    per_system = [costs_of(system.results) for system in comparison.systems]
    for costs in zip(*per_system, strict=True):
        cells: list[Cell] = [None, None]
        cells += [summary(cost.values) if cost.values else None for cost in costs]
        yield TableRow(costs[0].name, [*cells, *[None] * (6 * len(comparison.pairs))])


def _notes(comparison: Comparison) -> list[str]:
    """Return what the figures mean and what they cannot say."""
    systems = comparison.systems
    size = f"{comparison.examples:,} test examples of {comparison.products:,} products"
    training = "that is what ± shows" if comparison.repetitions > 1 else "one repetition says nothing of it (--seeds 3)"
    notes = [
        f"{size}; {RESAMPLES:,} resamples, each of whole products.",
        f"diff., low, high: difference and its {LEVEL:g} % bootstrap interval, in % points.",
        "p rand.: approximate randomisation; p boot.: paired bootstrap; both two-sided.",
        "p Holm: p rand. after Holm; on the test set over the pairs, below over all attributes, slices or categories.",
        f"Intervals and p-values are about other test products, not about another training: {training}.",
        f"No interval where fewer than {FEW_PRODUCTS} products have counts; under {FEW} examples a slice is 'too few'.",
    ]
    attributes = [line for line in comparison.lines if line.kind == "attribute"]
    if attributes and not any(line.contrasts for line in attributes):
        notes.append(
            "Attributes: totals only, n is the number of gold values; no counts of their examples are recorded."
        )
    protocols = {system.label: system.protocol for system in systems}
    if set(protocols.values()) != {"native"}:
        notes.append("Protocols: " + ", ".join(f"{label} {protocol}" for label, protocol in protocols.items()) + ".")
    notes += long_text_notes([(system.label, system.results) for system in systems])
    notes += written_notes([(system.label, system.results) for system in systems])
    notes += asked_notes([(system.label, system.results) for system in systems])
    results = [result for system in systems for result in system.results]
    notes += annotation_notes(next((result.annotation for result in results if result.annotation), {}))
    machines = {machine_of(result) for system in systems for result in system.results if result.parameters}
    if len(machines) > 1:
        notes.append(f"Times were measured on different machines: {'; '.join(sorted(machines))}.")
    return notes


# ---------------------------------------------------------------------------------------------------------------------
# Examples that one system alone gets right


def only_right_ids(comparison: Comparison, number: int) -> dict[str, dict[str, list[str]]]:
    """Return pair -> system -> up to `number` ids of examples that it alone gets right, in the order of the data."""
    ids = [one.id for one in comparison.systems[0].counts[0]]
    found = {}
    for pair in comparison.pairs:
        labels = _labels(comparison, pair)
        places = comparison.only_right(pair)
        found[" minus ".join(labels)] = {
            label: [ids[place] for place in some[:number]] for label, some in zip(labels, places, strict=True)
        }
    return found


def example_lines(
    comparison: Comparison,
    number: int,
    gold: Mapping[str, Example],
    predictions: Sequence[Mapping[str, Prediction]],
) -> Iterator[str]:
    """Yield, for the terminal alone, the examples that one system alone gets right, with texts and values.

    `gold` and, per system, `predictions` of its first repetition are by id; empty where the data is not at hand, or the
    values of a system were not recorded.
    """
    metric = HEADINGS.get(comparison.metric, comparison.metric)
    by_pair = only_right_ids(comparison, number)
    for pair, by_label in zip(comparison.pairs, by_pair.values(), strict=True):
        for place, (label, ids) in zip(pair, by_label.items(), strict=True):
            other = comparison.systems[pair[0] + pair[1] - place].label
            total = len(comparison.only_right(pair)[pair.index(place)])
            yield f"Right with {label}, wrong with {other} ({metric}): {total:,} examples" + (":" if ids else ".")
            for name in ids:
                yield f"  {name}"
                if name not in gold:
                    continue
                yield f"    text: {printable(gold[name].text)}"
                yield f"    gold: {_values(gold[name].pairs)}"
                for one in pair:
                    said = predictions[one].get(name)
                    values = "its values are not recorded" if said is None else _values(said.pairs)
                    yield f"    {comparison.systems[one].label}: {values}"


def _values(pairs: Mapping[str, frozenset[str]]) -> str:
    shown = "; ".join(
        f"{attribute} = {', '.join(sorted(values))}" for attribute, values in sorted(pairs.items()) if values
    )
    return printable(shown) or "nothing"


# ---------------------------------------------------------------------------------------------------------------------
# Formats


def rendered(table: Table, said: Sequence[str], ids: Mapping[str, Mapping[str, Sequence[str]]], format: str) -> str:
    """Return a comparison as `md`, `latex`, `csv` or `json`, without any text of the data set."""
    if format == "json":
        content = json.loads(render(table, "json"))
        content |= {"answers": list(said), **({"only_right": ids} if ids else {})}
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    if format == "md":
        listed = [
            f"- right with {label} alone: {', '.join(f'`{name}`' for name in names) or 'none'}"
            for by_label in ids.values()
            for label, names in by_label.items()
        ]
        return "\n\n".join([*said, render(table, "md").rstrip("\n"), *(["\n".join(listed)] if listed else [])]) + "\n"
    return render(table, format)
