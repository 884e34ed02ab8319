"""A figure: one picture, and for each of several systems what the words of the values take from it. matplotlib only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from avebench.analysis.attention.overlays import (
    DOTS,
    INK,
    LINE,
    SOFT,
    attention_scale,
    clipped,
    draw_attention,
    token_notes,
    wrapped,
)
from avebench.contracts.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS = 6
"""Most words whose attention is drawn."""
PHOTO, PANEL, BAR, GAP, MARGIN = 2.2, 1.6, 0.7, 0.12, 0.2
"""Widths in inches: of the photo, of a panel, of the scale of colours with its numbers, and between them."""
FEWEST = 3
"""Panels that a figure has room for even if it has fewer, so that its titles fit."""
SHARP = 600
"""Most pixels of the photo in width and height, more than are seen."""
LETTERS = 23
"""Letters that fit above or below a panel."""
PER_INCH = 13
"""Letters of a line that fit in an inch."""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """A line of a figure: the system's label, its explanation, its predicted values in words.

    `remark` is said below them, for instance why there is nothing to draw.
    """

    label: str
    explanation: Explanation
    values: str
    remark: str = ""


def example_figure(title: str, gold: str, rows: Sequence[FigureRow], units: Sequence[int], marked: int) -> Figure:
    """Return a figure of one example: the photo, and a line of panels per row, one for each of `units`.

    `title` stands above, below it the text and the `gold` values; `marked` is the number of words of all values, of
    which `units` are some. A row without maps says so instead, and so does one whose encoder does not reach all words.
    ValueError without a picture.
    """
    from matplotlib.figure import Figure

    example = rows[0].explanation.example
    if example.picture is None:
        raise ValueError("the example has no picture")
    photo = example.picture.open().copy()
    photo.thumbnail((SHARP, SHARP))
    ratio = min(max(photo.height / photo.width, 0.5), 1.6)
    width = 2 * MARGIN + PHOTO + max(len(units), FEWEST) * (PANEL + GAP) + GAP + BAR
    letters = int((width - 2 * MARGIN) * PER_INCH)
    beside = int((width - 2 * MARGIN - PHOTO - GAP) * PER_INCH)
    shown = f"Words of gold or predicted values: {len(units)} of {marked}." if marked > len(units) else ""
    above = [(line, INK) for line in clipped(f"{example.id}: {example.text}", letters, 3)]
    above += [(line, SOFT) for line in [*clipped(f"gold: {gold}", letters, 2), *([shown] if shown else [])]]
    heads = [_head(row, units, beside) for row in rows]
    heights = [_panels_height(row, units, ratio) for row in rows]
    line = LINE / 72
    top = MARGIN + 0.3 + line * 1.15 * len(above) + 0.12
    bodies = [0.26 + line * 1.1 * len(head) + height for head, height in zip(heads, heights, strict=True)]
    height = top + max(sum(bodies), PHOTO * ratio + 0.2) + MARGIN
    figure = Figure(figsize=(width, height), dpi=DOTS, facecolor="white")

    def write(left: float, down: float, text: str, **style: Any) -> None:
        figure.text(left / width, 1 - down / height, text, va="top", ha="left", parse_math=False, **style)

    def place(left: float, down: float, wide: float, high: float) -> Axes:
        return figure.add_axes((left / width, 1 - (down + high) / height, wide / width, high / height))

    write(MARGIN, MARGIN, clipped(title, int(letters * 0.6))[0], fontsize=12, weight="bold", color=INK)
    for number, (text, colour) in enumerate(above):
        write(MARGIN, MARGIN + 0.3 + number * line * 1.15, text, fontsize=8.5, color=colour)
    plain = place(MARGIN, top + 0.05, PHOTO, PHOTO * ratio)
    plain.imshow(photo)
    plain.set_anchor("N")
    plain.set_axis_off()
    left, down = MARGIN + PHOTO + 2 * GAP, top
    for row, head, body in zip(rows, heads, bodies, strict=True):
        write(left, down, clipped(row.label, beside // 2)[0], fontsize=10.5, weight="bold", color=INK)
        for number, text in enumerate(head):
            write(left, down + 0.22 + number * line * 1.1, text, fontsize=8, color=SOFT)
        start, reached, drawn = down + 0.26 + line * 1.1 * len(head) + 0.2, _reached(row, units), None
        scale = attention_scale(row.explanation, reached) if reached else None
        for number, unit in enumerate(reached):
            axes = place(left + number * (PANEL + GAP), start, PANEL, PANEL * ratio)
            axes.set_anchor("N")
            drawn = draw_attention(axes, row.explanation, unit, photo=photo, scale=scale, width=LETTERS)
        if drawn is not None:
            bar = place(left + len(reached) * (PANEL + GAP), start, 0.1, PANEL * ratio)
            figure.colorbar(drawn, cax=bar).ax.tick_params(labelsize=6.5, length=2)
        down += body
    return figure


def _reached(row: FigureRow, units: Sequence[int]) -> list[int]:
    """Return the units that the row has a map of: none without maps, and none beyond the encoder's limit."""
    maps = row.explanation.maps()
    return [] if maps is None else [unit for unit in units if unit < len(maps)]


def _head(row: FigureRow, units: Sequence[int], letters: int) -> list[str]:
    """Return what stands between a row's label and its panels."""
    why = [row.explanation.without_maps() or f"Colours: {row.explanation.attends}.", row.remark]
    if row.explanation.maps() is not None and len(_reached(row, units)) < len(units):
        why.append("The other words are beyond the limit of its encoder.")
    return [*clipped(f"predicted: {row.values}", letters, 2), *wrapped(" ".join(filter(None, why)), letters)]


def _panels_height(row: FigureRow, units: Sequence[int], ratio: float) -> float:
    """Return the height in inches of the panels with what stands above and below them; little without panels."""
    notes = [len(token_notes(row.explanation, unit, LETTERS)) for unit in _reached(row, units)]
    return 0.2 + PANEL * ratio + max(notes) * LINE / 72 + 0.2 if notes else 0.2


def png_of(figure: Figure) -> bytes:
    """Return a figure as PNG; the same bytes for the same figure and version of matplotlib."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS, metadata={"Software": None})
    return content.getvalue()
