"""Line figures as data, and drawn as PNG. matplotlib is imported when a figure is drawn, and never its global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#64473a", "#6940a5", "#9b9a97")
MARKERS = "osD^vP*"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a panel: points (x, y) in order of x, with a spread (standard deviation) where there is one."""

    label: str
    points: Sequence[tuple[float, float]]
    spread: Sequence[float | None] = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes. `marks` are places on the x axis with a word each, such as a published choice.

    A logarithmic x axis names the measured places themselves; `from_zero` lets the y axis start there.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    from_zero: bool = False
    marks: Sequence[tuple[float, str]] = ()


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
        _draw_panel(axes, panel)
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


def _draw_panel(axes, panel: Panel) -> None:  # type: ignore[no-untyped-def]  # matplotlib's Axes is imported late.
    axes.set_title(panel.title, fontsize=11)
    axes.set_xlabel(panel.x)
    axes.set_ylabel(panel.y)
    axes.grid(True, which="major", color="#e3e3e3", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    if panel.log_x:
        axes.set_xscale("log")
    if panel.log_y:
        axes.set_yscale("log")
    for place, line in enumerate(panel.lines):
        xs, ys = zip(*line.points, strict=True) if line.points else ((), ())
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        axes.plot(xs, ys, label=line.label, color=colour, marker=marker, markersize=4, linewidth=1.6)
        if any(line.spread):
            low, high = zip(*((y - (s or 0), y + (s or 0)) for y, s in zip(ys, line.spread, strict=True)), strict=True)
            axes.fill_between(xs, low, high, color=colour, alpha=0.15, linewidth=0)
    for x, word in panel.marks:
        axes.axvline(x, color="#999999", linestyle="--", linewidth=1)
        axes.annotate(word, (x, 1), xycoords=("data", "axes fraction"), xytext=(3, -10), textcoords="offset points",
                      fontsize=8, color="#666666")  # fmt: skip
    if panel.from_zero:
        axes.set_ylim(bottom=0)
    _plain_ticks(axes, panel)


def _plain_ticks(axes, panel: Panel) -> None:  # type: ignore[no-untyped-def]  # As above.
    """Write plain numbers on logarithmic axes, not powers of ten; on the x axis those that were measured."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if panel.log_x:
        places = sorted({x for line in panel.lines for x, _ in line.points})
        axes.set_xticks(places, [f"{place:,g}" for place in places])
        axes.minorticks_off()
    if panel.log_y:
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
