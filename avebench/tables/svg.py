"""A panel as SVG for a page. Text stays text, and colours are CSS variables with a fallback.

So a page may set the colours for light and dark; as a file of its own a figure shows the fallbacks. This is written
here and not by matplotlib (`tables.figures`), which takes a tenth of a second for each of the hundred small figures of
a report: axes, and per line a band, a path and markers. Nothing in it has a name, so that figures can share a page. All
places are in points, from the top left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

from avebench.tables.figures import COLOURS, DASHES, INK, MARKERS, RULE, Line, Panel

WIDTH, HEIGHT, LEGEND_LINE = 316.8, 194.4, 12.24
"""As wide as a telephone, so that a figure need not be made smaller there."""
SIZE, LEGEND_SIZE = 9, 8
_DIGIT, _TOP, _RIGHT, _BELOW = 5.8, 3.0, 7.5, 38.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_WHOLE_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_INK, _RULE = f"var(--ink, {INK})", f"var(--rule, {RULE})"
Point = tuple[float, float]


def svg(panel: Panel) -> str:
    """Return a panel with a legend of its lines below, as an SVG element; ValueError if the panel has no line."""
    if not panel.lines:
        raise ValueError("a panel without lines cannot be drawn")
    columns = 2 if max(len(line.label) for line in panel.lines) < 26 else 1
    rows = -(-len(panel.lines) // columns)
    height = HEIGHT + rows * LEGEND_LINE
    top = _TOP + (14 if panel.title else 0)
    xs = [x for line in panel.lines for x, _ in line.points] + [x for x, _ in panel.marks]
    ys = [end for line in panel.lines for _, low, high in _bands(line) for end in (low, high)]
    share = 0.12 if panel.style == "points" else 0.05
    y_limits = _limits(ys, share, log=panel.log_y)
    if panel.from_zero:
        y_limits = (0.0, y_limits[1])
    bottom = HEIGHT - _BELOW
    y_ticks = _log_ticks(*y_limits) if panel.log_y else _ticks(*y_limits, int((bottom - top) / (2 * SIZE)))
    left = 22 + _DIGIT * max((len(text) for _, text in y_ticks), default=1)
    x = _Axis(*_limits(xs, share, log=panel.log_x), left, WIDTH - _RIGHT, panel.log_x)
    y = _Axis(*y_limits, bottom, top, panel.log_y)
    parts = [
        f'<svg role="img" font-family="sans-serif" font-size="{SIZE}" width="{WIDTH}pt" height="{height:.1f}pt" '
        f'viewBox="0 0 {WIDTH} {height:.1f}" xmlns="http://www.w3.org/2000/svg">'
    ]
    parts += _frame(panel, x, y, _x_ticks(panel, x), y_ticks)
    for place, line in enumerate(panel.lines):
        parts += _drawn(line, place, panel.style, x, y)
    parts += _legend(panel, columns, rows)
    return "".join([*parts, "</svg>"])


# ---------------------------------------------------------------------------------------------------------------------
# Axes


@dataclass(frozen=True, slots=True)
class _Axis:
    """What lies between `low` and `high` is drawn between the places `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        scaled: Callable[[float], float] = math.log10 if self.log else float
        low, high = scaled(self.low), scaled(self.high)
        return self.start + (scaled(value) - low) / (high - low) * (self.end - self.start)


def _limits(values: Iterable[float], share: float, *, log: bool) -> tuple[float, float]:
    """Return the least and the largest value with a share of their distance added on both sides."""
    known = [value for value in values if value > 0 or not log] or [1.0]
    low, high = (math.log10(end) if log else end for end in (min(known), max(known)))
    # A single value stands in the middle.
    margin = share * (high - low) if high > low else 0.05 * abs(low) or 0.05
    return (10 ** (low - margin), 10 ** (high + margin)) if log else (low - margin, high + margin)


def _ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[tuple[float, str]]:
    """Return at most `most` + 1 round places between the limits, with their labels; whole numbers if asked for."""
    raw = (high - low) / max(1, min(most, 9))
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [step * power * scale for scale in (0.1, 1.0) for step in _STEPS]
    if whole:
        steps = [step for step in (step * 10**n for n in range(16) for step in _WHOLE_STEPS) if step.is_integer()]
    place = next((n for n, step in enumerate(steps) if step >= raw * (1 - 1e-9)), len(steps) - 1)
    while place and math.floor(high / steps[place]) - math.ceil(low / steps[place]) < 1:
        place -= 1
    step = steps[place]
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    digits = next((n for n in range(12) if math.isclose(round(step, n), step, rel_tol=1e-9)), 12)
    return [(n * step, f"{n * step + 0.0:.{digits}f}".replace("-", "\u2212")) for n in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return the places 1, 2 and 5 of each decade between the limits, of many decades 1 alone, with plain labels."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1,)):
        found = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(found) <= 13:
            break
    every = -(-len(found) // 13)
    return [(place, f"{place:,g}") for place in found[::every]] if len(found) > 1 else _ticks(low, high, 9)


def _x_ticks(panel: Panel, x: _Axis) -> list[tuple[float, str]]:
    """Return the ticks of the x axis: of a logarithmic one under lines, the measured places themselves."""
    places = sorted({place for line in panel.lines for place, _ in line.points})
    if panel.log_x:
        return _log_ticks(x.low, x.high) if panel.style == "points" else [(p, f"{p:,g}") for p in places]
    whole = all(isinstance(place, int) for place in places)
    return _ticks(x.low, x.high, int((x.end - x.start) / (3 * SIZE)), whole=whole)


def _frame(
    panel: Panel, x: _Axis, y: _Axis, x_ticks: Sequence[tuple[float, str]], y_ticks: Sequence[tuple[float, str]]
) -> list[str]:
    """Return grid, axes, ticks, words and marks."""
    left, right, bottom, top = x.start, x.end, y.start, y.end
    grid = "".join(f"M{x(place):.1f} {bottom:.1f}V{top:.1f}" for place, _ in x_ticks)
    grid += "".join(f"M{left:.1f} {y(place):.1f}H{right:.1f}" for place, _ in y_ticks)
    ticks = "".join(f"M{x(place):.1f} {bottom:.1f}v3.5" for place, _ in x_ticks)
    ticks += "".join(f"M{left:.1f} {y(place):.1f}h-3.5" for place, _ in y_ticks)
    middle, across = (left + right) / 2, (bottom + top) / 2
    parts = [
        f'<path d="{grid}" style="fill: none; stroke: {_RULE}; stroke-width: 0.5"/>',
        f'<path d="M{left:.1f} {top:.1f}V{bottom:.1f}H{right:.1f}" style="fill: none; stroke: {_RULE}"/>',
        f'<path d="{ticks}" style="fill: none; stroke: {_INK}; stroke-width: 0.8"/>',
        *(_text(label, x(place), bottom + 13.8, "middle") for place, label in x_ticks),
        *(_text(label, left - 7, y(place) + 3.4, "end") for place, label in y_ticks),
        _text(panel.x, middle, bottom + 27, "middle"),
        _text(panel.y, 9.8, across, "middle", f' transform="rotate(-90 9.8 {across:.1f})"'),
    ]
    if panel.title:
        parts.append(_text(panel.title, middle, 11, "middle"))
    for place, word in panel.marks:
        style = f"fill: none; stroke: {_INK}; stroke-dasharray: 3.7 1.6"
        parts.append(f'<path d="M{x(place):.1f} {bottom:.1f}V{top:.1f}" style="{style}"/>')
        parts.append(_text(word, x(place) + 3, top + 10, "start", f' font-size="{LEGEND_SIZE}"'))
    return parts


def _text(words: str, x: float, y: float, anchor: str, more: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" style="text-anchor: {anchor}; fill: {_INK}"'
    return f"<text {place}{more}>{escape(words)}</text>"


# ---------------------------------------------------------------------------------------------------------------------
# Lines


def _bands(line: Line) -> list[tuple[float, float, float]]:
    """Return (x, lower, upper end of the band) of each point; without a spread the ends are the point."""
    spread = line.spread or [None] * len(line.points)
    return [(x, y - (sd or 0.0), y + (sd or 0.0)) for (x, y), sd in zip(line.points, spread, strict=True)]


def _look(line: Line, place: int, style: str) -> tuple[str, str, str]:
    """Return colour, dashes and marker of a line; the last two are empty where it has none."""
    number = place if line.number is None else line.number
    colour = f"var(--series-{number % len(COLOURS)}, {COLOURS[number % len(COLOURS)]})"
    dashes = DASHES[number // len(COLOURS) % len(DASHES)]
    # As matplotlib, in widths of the line.
    pattern = "none" if dashes == "-" else " ".join(f"{1.6 * length:g}" for length in dashes[1])
    marker = "" if style == "line" and len(line.points) > 1 else MARKERS[number % len(MARKERS)]
    return colour, "" if style == "points" else pattern, marker


def _drawn(line: Line, place: int, style: str, x: _Axis, y: _Axis) -> list[str]:
    """Return one line with its spread as a band; a single point has a marker whatever the style."""
    colour, dashes, marker = _look(line, place, style)
    parts = []
    if any(line.spread):
        bands = _bands(line)
        ends = [(at, low) for at, low, _ in bands] + [(at, high) for at, _, high in reversed(bands)]
        parts.append(
            f'<path d="{_path([(x(a), y(b)) for a, b in ends])}z" style="fill: {colour}; fill-opacity: 0.15"/>'
        )
    points = [(x(a), y(b)) for a, b in line.points]
    return parts + _stroke(points, colour, dashes, marker, 3.0 if style == "points" else 2.0)


def _stroke(points: Sequence[Point], colour: str, dashes: str, marker: str, radius: float) -> list[str]:
    """Return a line through the points, and the marker at each of them."""
    parts = []
    if dashes and len(points) > 1:
        dashed = "" if dashes == "none" else f"; stroke-dasharray: {dashes}"
        parts.append(f'<path d="{_path(points)}" style="fill: none; stroke: {colour}; stroke-width: 1.6{dashed}"/>')
    if marker and points:
        shapes = "".join(_marker(marker, at, radius) for at in points)
        parts.append(f'<path d="{shapes}" style="fill: {colour}"/>')
    return parts


def _path(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


_PLUS = [(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1), (1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)]
_SHAPES: dict[str, list[Point]] = {
    "s": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    "D": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    "^": [(0, -1.1), (1.1, 1), (-1.1, 1)],
    "v": [(0, 1.1), (1.1, -1), (-1.1, -1)],
    "P": [(0.37 * x, 0.37 * y) for x, y in _PLUS],
    "X": [(0.28 * (x - y), 0.28 * (x + y)) for x, y in _PLUS],
    "*": [
        (size * math.sin(n * math.pi / 5), -size * math.cos(n * math.pi / 5))
        for n in range(10)
        for size in [0.55 if n % 2 else 1.4]
    ],
}
"""Marker -> its corners about the point, for a radius of 1; the circle "o" has none."""


def _marker(name: str, at: Point, radius: float) -> str:
    x, y = at
    if name not in _SHAPES:
        round_ = f"a{radius:g} {radius:g} 0 1 0"
        return f"M{x - radius:.1f} {y:.1f}{round_} {2 * radius:g} 0{round_} {-2 * radius:g} 0z"
    return _path((x + radius * dx, y + radius * dy) for dx, dy in _SHAPES[name]) + "z"


def _legend(panel: Panel, columns: int, rows: int) -> list[str]:
    """Return a sample and the label of each line, column by column below the axes."""
    parts = []
    for place, line in enumerate(panel.lines):
        left = 7.2 + place // rows * (WIDTH / columns)
        y = HEIGHT + place % rows * LEGEND_LINE + 2
        colour, dashes, marker = _look(line, place, panel.style)
        ends = [(left, y), (left + 16, y)]
        parts += _stroke(ends, colour, dashes, "", 0)
        parts += _stroke([(left + 8, y)], colour, "", marker, 3.0 if panel.style == "points" else 2.0)
        parts.append(_text(line.label, left + 22.4, y + 2.8, "start", f' font-size="{LEGEND_SIZE}"'))
    return parts
