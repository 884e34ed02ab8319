"""Figures as data, and drawn by matplotlib, which is imported when one is drawn, and never its global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1f77b4", "#d95f02", "#2a9d55", "#c0392b", "#8e5bbf", "#8c6d46", "#d2559b", "#6f7780")
"""One per line of a panel, again from the first with other dashes after the last."""
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
MARKERS = "osD^vP*X"
INK, RULE = "#3b4048", "#c9ced6"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel: points (x, y) in order of x, with a spread (standard deviation) where there is one.

    `number` fixes its colour and marker where several figures show the same systems; by default its place does.
    """

    label: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float | None] = ()
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `marks` are places on the x axis with a word each, such as a published choice.

    `style` says what is drawn of the points: a line alone, a line with a marker at each, or the markers alone. A
    logarithmic x axis of lines names the measured places themselves; `from_zero` lets the y axis start there.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = False
    marks: Sequence[tuple[float, str]] = ()
    style: Literal["line", "marked", "points"] = "marked"


@dataclass(frozen=True, slots=True)
class Figure:
    """Panels, at most two in a row, under a title; `note` stands below and says what the figures are of."""

    title: str
    panels: Sequence[Panel]
    note: str = ""


def draw(figure: Figure) -> bytes:
    """Return the figure as PNG; the same bytes for the same figure and version of matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    columns = min(2, len(figure.panels))
    rows = -(-len(figure.panels) // columns)
    canvas = Canvas(figsize=(5.6 * columns, 3.9 * rows + 0.5), dpi=130, layout="constrained")
    FigureCanvasAgg(canvas)
    canvas.suptitle(figure.title, fontsize=13, fontweight="bold")
    if figure.note:
        canvas.supxlabel(figure.note, fontsize=8, color="#555555")
    grid = canvas.subplots(rows, columns, squeeze=False).flatten()
    labels = [[line.label for line in panel.lines] for panel in figure.panels]
    shared = len(labels) > 1 and all(one == labels[0] for one in labels)
    for axes, panel in zip(grid, figure.panels, strict=False):
        draw_panel(axes, panel)
        if len(panel.lines) > 1 and not shared:
            axes.legend(fontsize=8, frameon=False)
    if shared and len(labels[0]) > 1:
        handles, _ = grid[0].get_legend_handles_labels()
        canvas.legend(handles, labels[0], loc="outside right upper", fontsize=9, frameon=False)
    for axes in grid[len(figure.panels) :]:
        axes.set_visible(False)
    content = io.BytesIO()
    canvas.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel on empty axes, without a legend; its lines are the first of `axes.lines`, in order."""
    axes.set_title(panel.title, fontsize=11)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.grid(True, which="major", color=RULE, linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    for place, line in enumerate(panel.lines):
        _draw_line(axes, line, place if line.number is None else line.number, panel.style)
    for x, word in panel.marks:
        axes.axvline(x, color=INK, linestyle="--", linewidth=1)
        axes.annotate(word, (x, 1), xycoords=("data", "axes fraction"), xytext=(3, -10), textcoords="offset points",
                      fontsize=8, color=INK)  # fmt: skip
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    if panel.style == "points":
        axes.margins(0.12)
    _plain_ticks(axes, panel)


def _draw_line(axes: Axes, line: Line, number: int, style: str) -> None:
    """Draw one line with its spread as a band; a single point has a marker whatever the style."""
    xs, ys = zip(*line.points, strict=True) if line.points else ((), ())
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(
        xs,
        ys,
        label=line.label,
        color=colour,
        linewidth=1.6,
        linestyle="" if style == "points" else DASHES[number // len(COLOURS) % len(DASHES)],
        marker="" if style == "line" and len(xs) > 1 else MARKERS[number % len(MARKERS)],
        markersize=6 if style == "points" else 4,
    )
    if any(line.spread):
        low, high = zip(*((y - (s or 0), y + (s or 0)) for y, s in zip(ys, line.spread, strict=True)), strict=True)
        axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)


def _plain_ticks(axes: Axes, panel: Panel) -> None:
    """Write plain numbers on logarithmic axes, not powers of ten, and whole numbers where all places are whole."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    places = sorted({x for line in panel.lines for x, _ in line.points})
    if panel.log_x and panel.style != "points":
        axes.set_xticks(places, [f"{place:,g}" for place in places])
        axes.minorticks_off()
    elif not panel.log_x and all(isinstance(place, int) for place in places):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    for axis, wanted in ((axes.xaxis, panel.log_x and panel.style == "points"), (axes.yaxis, panel.log_y)):
        if wanted:
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_minor_formatter(NullFormatter())
