"""Figures of a page: every point, band, tick and word of a panel stands where its axes say."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avebench.tables.figures import MARKERS, Line, Panel
from avebench.tables.svg import HEIGHT, WIDTH, svg

PANEL = Panel(
    "",
    "share <of> products",
    "TAG-F1 & more",
    [
        Line("_V-IRC  10.12345", [(0.01, 50.125), (0.1, 61.5), (1.0, 80.75)], [1.5, 0.5, 0.25], number=0),
        Line("+TEM $x$ > 3", [(0.01, 40.0), (0.1, 70.0), (1.0, 87.38)], number=1),
    ],
    log_x=True,
    style="line",
)


def _elements(panel: Panel, tag: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(svg(panel))
    assert root.get("viewBox", "").startswith(f"0 0 {WIDTH} ") and not any(one.get("id") for one in root.iter())
    return [one for one in root.iter() if one.tag.endswith("}" + tag)]


def _words(panel: Panel) -> dict[str, tuple[float, float]]:
    found = _elements(panel, "text")
    return {one.text or "": (float(one.get("x", "")), float(one.get("y", ""))) for one in found}


def _places(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]


def _drawn(panel: Panel, kind: str) -> list[list[tuple[float, float]]]:
    """Return the places of the lines ("1.6": their width) or bands ("0.15": their opacity)."""
    paths = _elements(panel, "path")
    return [_places(one.get("d", "")) for one in paths if one.get("style", "").count(kind) and "L" in one.get("d", "")]


def test_points_stand_where_the_ticks_say() -> None:
    words = _words(PANEL)
    assert {
        "0.01",
        "0.1",
        "1",
        "40",
        "50",
        "60",
        "70",
        "80",
        PANEL.x,
        PANEL.y,
        *(one.label for one in PANEL.lines),
    } <= (words.keys())
    lines = _drawn(PANEL, "stroke-width: 1.6")[:2]
    unit = (words["80"][1] - words["40"][1]) / 40
    for line, places in zip(PANEL.lines, lines, strict=True):
        for (x, y), (left, top) in zip(line.points, places, strict=True):
            assert left == pytest.approx(words[f"{x:g}"][0], abs=0.11)
            assert top + 3.4 == pytest.approx(words["40"][1] + (y - 40) * unit, abs=0.2)
    (band,) = _drawn(PANEL, "fill-opacity: 0.15")
    low, high = band[:3], band[3:][::-1]
    for (_, y), sd, (_, below), (_, above) in zip(PANEL.lines[0].points, PANEL.lines[0].spread, low, high, strict=True):
        assert (below - above) / -unit == pytest.approx(2 * (sd or 0), abs=0.1)
        assert (below + above) / 2 + 3.4 == pytest.approx(words["40"][1] + (y - 40) * unit, abs=0.2)


def test_every_marker_stands_at_its_point() -> None:
    lines = [Line(str(n), [(10.0 * n, 5.0), (10.0 * n + 5, 9.0)], number=n) for n in range(len(MARKERS))]
    panel = Panel("", "x", "y", lines)
    markers = [one for one in _elements(panel, "path") if one.get("style", "").startswith("fill: var(--series")]
    assert len(markers) == 2 * len(lines)  # A row of the legend has one as well.
    words = _words(panel)
    unit = (words["70"][0] - words["10"][0]) / 60
    for number, marker in enumerate(markers[: len(lines)]):
        first = marker.get("d", "").split("z")[0]
        xs = [x for x, _ in _places(first)]
        middle = xs[0] + 2 if "a" in first else (min(xs) + max(xs)) / 2
        assert middle == pytest.approx(words["10"][0] + (10 * number - 10) * unit, abs=0.3)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1e6), st.floats(-1e5, 1e5)), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from(["line", "marked", "points"]),
)
def test_whatever_is_drawn_lies_within_the_axes_and_has_two_ticks(
    points: list[tuple[float, float]], log_x: bool, style: str
) -> None:
    panel = Panel("t", "the x", "the y", [Line("label", sorted(points))], log_x=log_x, style=style)  # type: ignore[arg-type]
    words = _words(panel)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT + 20 for x, y in words.values())
    for places in _drawn(panel, "stroke-width: 1.6"):
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT + 20 and math.isfinite(x + y) for x, y in places)
    labels = words.keys() - {"t", "the x", "the y", "label"}
    assert len(labels) >= 2


def test_whole_places_have_whole_ticks_and_marks_stand_at_their_place() -> None:
    steps = Panel("", "step", "loss", [Line("a", [(n, 1.0 / n) for n in (80, 160, 240, 320)])], marks=[(160, "chosen")])
    words = _words(steps)
    xs = {float(word) for word, (_, y) in words.items() if y == pytest.approx(words["step"][1] - 13.2)}
    assert len(xs) > 3 and all(x.is_integer() for x in xs)
    marks = [one.get("d", "") for one in _elements(steps, "path") if "dasharray" in one.get("style", "")]
    assert words["chosen"][0] - 3 == pytest.approx(_places(marks[0].replace("M", ""))[0][0], abs=0.11)


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="without lines"):
        svg(Panel("", "x", "y", []))
