"""Figures as SVG, drawn by matplotlib: learning curves, precision against recall, cost against quality.

Text stays text. Colours are CSS variables with a fallback, so that a page may set them for light and dark; as a file of
its own a figure shows the fallbacks.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from avebench.comparison.contrasts import headline
from avebench.costs import MEMORY, PARAMETERS, SECONDS, costs_of
from avebench.plan import Plan
from avebench.report.thresholds import Sweep
from avebench.results import Result
from avebench.tables import HEADINGS, measured_rows, metric_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1f77b4", "#d95f02", "#2a9d55", "#c0392b", "#8e5bbf", "#8c6d46", "#d2559b", "#6f7780")
"""One per row of a table, again from the first with other dashes after the last."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
MARKERS = "osD"
INK, RULE = "#3b4048", "#c9ced6"
STEP = "step"
WIDTH, HEIGHT, LEGEND_LINE = 4.4, 2.7, 0.17
"""Inches: as wide as a telephone, so that a figure need not be made smaller there."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: `name` as a file, what it shows in words, and the SVG."""

    name: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Series:
    """A line, or points of one system: `number` fixes its colour, `low` and `high` bound a band around `y`."""

    number: int
    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn


def learning_curves(plan: Plan, results: Mapping[str, Result]) -> list[Figure]:
    """Return the validation metric and each part of the loss by step: means over repetitions, with the sd as a band."""
    rows = [
        (number, planned.row.label, [result.history for result in found])
        for number, (planned, found) in enumerate(measured_rows(plan, results))
        # A row that tests another row's trained system has that one's history.
        if planned.row.control is None or planned.row.control.training
    ]
    metric = headline(plan.experiment.metrics)
    parts = {name for _, _, histories in rows for history in histories for entry in history for name in entry["losses"]}
    shown = HEADINGS.get(metric, metric)
    wanted = [("valid", metric, "validation", f"{shown} on validation", f"{shown} on validation by step.")]
    wanted += [
        ("losses", part, f"loss-{part}", f"loss, {part}", f"Loss in training by step: {part}.")
        for part in sorted(parts)
    ]
    figures = []
    for group, name, file, axis, caption in wanted:
        series = [line for row in rows if (line := _by_step(*row, group, name)) is not None]
        if series:
            figures.append(Figure(file, caption, _line_chart(file, series, STEP, axis)))
    return figures


History = Sequence[Mapping[str, Any]]


def _by_step(number: int, label: str, histories: Sequence[History], group: str, name: str) -> Series | None:
    """Return a figure of the histories at the steps that all of them have; None if there is none."""
    curves = [{entry["step"]: entry[group][name] for entry in history if name in entry[group]} for history in histories]
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    if not steps:
        return None
    values = [[curve[step] for curve in curves] for step in steps]
    means = [fmean(some) for some in values]
    if len(curves) == 1:
        return Series(number, label, steps, means)
    spread = [stdev(some) for some in values]
    low, high = ([mean + sign * sd for mean, sd in zip(means, spread, strict=True)] for sign in (-1, 1))
    return Series(number, label, steps, means, low, high)


def precision_recall(plan: Plan, results: Mapping[str, Result], sweeps: Mapping[str, Sequence[Sweep]]) -> list[Figure]:
    """Return precision against recall of spans and of attributes over the threshold, a point for each threshold.

    `sweeps` holds a sweep per repetition by label.
    """
    order = [planned.row.label for planned, _ in measured_rows(plan, results)]
    figures = []
    for kind, name, what in (
        ("tag", "precision-recall", "spans"),
        ("cls", "precision-recall-attributes", "attributes"),
    ):
        series = []
        for number, label in enumerate(order):
            points = list(zip(*(getattr(one, kind) for one in sweeps.get(label, ())), strict=True))
            if points:
                recall, precision = (
                    [fmean(getattr(one, m) for one in p) for p in points] for m in ("recall", "precision")
                )
                series.append(Series(number, label, recall, precision))
        if series:
            caption = (
                f"Precision against recall of {what} over the threshold tau; a point per tau, from low (right) to high."
            )
            chart = _line_chart(name, series, f"recall of {what}", f"precision of {what}", marked=True)
            figures.append(Figure(name, caption, chart))
    return figures


def cost_against_quality(plan: Plan, results: Mapping[str, Result]) -> list[Figure]:
    """Return the table's first F1 or accuracy against trained parameters, time and memory, a point per row."""
    metric = headline(plan.experiment.metrics)
    shown = HEADINGS.get(metric, metric)
    figures = []
    for cost, name in ((PARAMETERS, "cost-parameters"), (SECONDS, "cost-seconds"), (MEMORY, "cost-memory")):
        series = []
        for number, (planned, found) in enumerate(measured_rows(plan, results)):
            values = next(one.values for one in costs_of(found) if one.name == cost)
            quality = [value for result in found if (value := metric_value(result, metric)) is not None]
            # The axis of costs is logarithmic; a system that is not trained has no place on that of parameters.
            if quality and values and fmean(values) > 0:
                series.append(Series(number, planned.row.label, [fmean(values)], [fmean(quality)]))
        if series:
            caption = f"{shown} against {cost}, a point per row."
            figures.append(Figure(name, caption, _point_chart(name, series, cost, shown)))
    return figures


# ---------------------------------------------------------------------------------------------------------------------
# Drawing


def _line_chart(name: str, series: Sequence[Series], x_label: str, y_label: str, *, marked: bool = False) -> str:
    from matplotlib.ticker import MaxNLocator

    def draw(axes: Axes) -> None:
        if x_label == STEP:
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
        for one in series:
            look = _look(one.number)
            axes.plot(one.x, one.y, lw=1.6, **look | ({"ms": 3} if marked or len(one.x) == 1 else {"marker": ""}))
            if one.low:
                axes.fill_between(one.x, one.low, one.high, color=look["color"], alpha=0.15, lw=0)

    return _chart(name, series, x_label, y_label, draw)


def _point_chart(name: str, series: Sequence[Series], x_label: str, y_label: str) -> str:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    def draw(axes: Axes) -> None:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        for one in series:
            axes.plot(one.x, one.y, **_look(one.number) | {"ls": "", "ms": 6})
        axes.margins(0.12)

    return _chart(name, series, x_label, y_label, draw)


def _look(number: int) -> dict[str, Any]:
    again = number // len(COLOURS) % len(DASHES)
    return {"color": COLOURS[number % len(COLOURS)], "ls": DASHES[again], "marker": MARKERS[again]}


def _chart(name: str, series: Sequence[Series], x_label: str, y_label: str, draw: Callable[[Axes], None]) -> str:
    """Return axes drawn on by `draw` with a legend of the series below, as SVG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Names within the SVG are made of this: several figures of a page may not share them.
        "svg.hashsalt": hashlib.sha256(repr((name, series)).encode()).hexdigest(),
        "text.parse_math": False,
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        "axes.edgecolor": RULE,
        "grid.color": RULE,
    }
    columns = 2 if max(len(one.label) for one in series) < 26 else 1
    lines = -(-len(series) // columns)
    with rc_context(settings), warnings.catch_warnings():
        # The page's own font draws what matplotlib's has not.
        warnings.filterwarnings("ignore", message="Glyph")
        canvas = Canvas(figsize=(WIDTH, HEIGHT + lines * LEGEND_LINE), layout="constrained")
        axes = canvas.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(lw=0.5)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        draw(axes)
        # A label that starts with an underscore would be left out of a legend.
        labels = ["\u200b" + one.label for one in series]
        canvas.legend(axes.lines, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=8)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _for_pages(stream.getvalue())


def _for_pages(svg: str) -> str:
    """Return matplotlib's SVG without prologue, metadata and names that several figures share, in a page's colours."""
    svg = svg[svg.index("<svg") :].replace("<svg", '<svg role="img"', 1)
    # Its style would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = _in_tags(r' id="\w+_\d+"', "", svg)
    svg = _in_tags(r"(?<=\d\.\d\d)\d+", "", svg)
    for number, colour in enumerate(COLOURS):
        svg = _in_tags(colour, f"var(--series-{number}, {colour})", svg)
    return _in_tags(INK, f"var(--ink, {INK})", _in_tags(RULE, f"var(--rule, {RULE})", svg))


def _in_tags(pattern: str, replacement: str, svg: str) -> str:
    """Replace a pattern within tags, never in the texts that a figure shows."""
    return re.sub(pattern + "(?=[^<>]*>)", replacement, svg)
