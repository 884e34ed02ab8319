"""The figures of a chapter: learning curves, precision against recall, cost against quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from avebench.analysis.comparison.contrasts import headline
from avebench.analysis.sweep import Swepts
from avebench.planning.plan import Plan
from avebench.store.costs import MEMORY, PARAMETERS, SECONDS, costs_of
from avebench.store.results import Result
from avebench.tables.figures import Figure, Line, Panel
from avebench.tables.result_tables import HEADINGS, measured_rows, metric_value
from avebench.tables.svg import svg


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure: its name, what it shows in words, and the axes, which are drawn when they are needed."""

    name: str
    caption: str
    panel: Panel

    def svg(self) -> str:
        """Return the figure as an SVG element."""
        return svg(self.panel)


def drawings_of(figure: Figure) -> tuple[Drawing, ...]:
    """Return the panels of a figure as drawings of a page."""
    return tuple(
        Drawing(f"figure-{number}", f"{panel.title}. {figure.note}", replace(panel, title=""))
        for number, panel in enumerate(figure.panels, 1)
    )


def _with_lines(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Return the figures that show something."""
    return [drawing for drawing in drawings if drawing.panel.lines]


# ---------------------------------------------------------------------------------------------------------------------
# Learning curves

History = Sequence[Mapping[str, Any]]


def learning_curves(plan: Plan, results: Mapping[str, Result]) -> list[Drawing]:
    """Return the validation metric and each part of the loss by step: means over repetitions, with the sd as a band."""
    rows = [
        (number, planned.row.label, [result.history for result in found])
        for number, (planned, found) in enumerate(measured_rows(plan, results))
        # A row that tests another row's trained system has that one's history.
        if all(other is None or other.training for other in (planned.row.control, planned.row.held_out))
    ]
    metric = headline(plan.experiment.metrics)
    shown = HEADINGS.get(metric, metric)
    parts = {name for _, _, histories in rows for history in histories for entry in history for name in entry["losses"]}
    wanted = [("valid", metric, "validation", f"{shown} on validation", f"{shown} on validation by step.")]
    wanted += [
        ("losses", part, f"loss-{part}", f"loss, {part}", f"Loss in training by step: {part}.")
        for part in sorted(parts)
    ]
    drawings = []
    for group, name, file, axis, caption in wanted:
        lines = [line for row in rows if (line := _by_step(*row, group, name)) is not None]
        drawings.append(Drawing(file, caption, Panel("", "step", axis, lines, style="line")))
    return _with_lines(drawings)


def _by_step(number: int, label: str, histories: Sequence[History], group: str, name: str) -> Line | None:
    """Return a figure of the histories at the steps that all of them have; None if there is none."""
    curves = [{entry["step"]: entry[group][name] for entry in history if name in entry[group]} for history in histories]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        return None
    values = [[curve[step] for curve in curves] for step in steps]
    points = [(step, fmean(some)) for step, some in zip(steps, values, strict=True)]
    return Line(label, points, [stdev(some) for some in values] if len(curves) > 1 else (), number)


# ---------------------------------------------------------------------------------------------------------------------
# Thresholds and cost


def precision_recall(plan: Plan, results: Mapping[str, Result], sweeps: Mapping[str, Swepts]) -> list[Drawing]:
    """Return precision against recall of spans and of attributes over the threshold, a point for each threshold.

    `sweeps` holds a sweep per repetition by label; the points are means over the repetitions.
    """
    drawings = []
    for family, name, what in (
        ("tag", "precision-recall", "spans"),
        ("cls", "precision-recall-attributes", "attributes"),
    ):
        lines = [
            Line(planned.row.label, _recall_precision(sweeps[planned.row.label], family), number=number)
            for number, (planned, _) in enumerate(measured_rows(plan, results))
            if planned.row.label in sweeps
        ]
        caption = (
            f"Precision against recall of {what} over the threshold tau; a point per tau, from low (right) to high."
        )
        drawings.append(Drawing(name, caption, Panel("", f"recall of {what}, %", f"precision of {what}, %", lines)))
    return _with_lines(drawings)


def _recall_precision(swepts: Swepts, family: str) -> list[tuple[float, float]]:
    """Return a point per threshold, means over the repetitions."""
    names = (f"{family}_recall", f"{family}_precision")
    recall, precision = (
        [fmean(one.value(name) or 0.0 for one in ones) for ones in zip(*swepts, strict=True)] for name in names
    )
    return list(zip(recall, precision, strict=True))


def cost_against_quality(plan: Plan, results: Mapping[str, Result]) -> list[Drawing]:
    """Return the table's first F1 or accuracy against trained parameters, time and memory, a point per row."""
    metric = headline(plan.experiment.metrics)
    shown = HEADINGS.get(metric, metric)
    drawings = []
    for cost, name in ((PARAMETERS, "cost-parameters"), (SECONDS, "cost-seconds"), (MEMORY, "cost-memory")):
        lines = []
        for number, (planned, found) in enumerate(measured_rows(plan, results)):
            values = next(one.values for one in costs_of(found) if one.name == cost)
            quality = [value for result in found if (value := metric_value(result, metric)) is not None]
            # The axis of costs is logarithmic; a system that is not trained has no place on that of parameters.
            if quality and values and fmean(values) > 0:
                lines.append(Line(planned.row.label, [(fmean(values), fmean(quality))], number=number))
        panel = Panel("", cost, shown, lines, log_x=True, style="points")
        drawings.append(Drawing(name, f"{shown} against {cost}, a point per row.", panel))
    return _with_lines(drawings)
