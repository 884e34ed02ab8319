"""A panel as SVG for a page. Text stays text, and colours are CSS variables with a fallback.

So a page may set the colours for light and dark; as a file of its own a figure shows the fallbacks.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from typing import Any

from avebench.tables.figures import COLOURS, INK, RULE, Panel, draw_panel

WIDTH, HEIGHT, LEGEND_LINE = 4.4, 2.7, 0.17
"""Inches: as wide as a telephone, so that a figure need not be made smaller there."""
_PLAIN_GROUP = re.compile(r"<g(?: id=\"matplotlib\.[^\"]*\")?>((?:<(?!/?g\b)[^>]*>[^<]*)*)</g>")
"""A group that says nothing of what is in it, and holds no other group."""


def svg(name: str, panel: Panel) -> str:
    """Return a panel with a legend of its lines below, as an SVG element; both tell figures of a page apart.

    ValueError if the panel has no line.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure as Canvas

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        # Names within the SVG are made of this: several figures of a page may not share them.
        "svg.hashsalt": hashlib.sha256(repr((name, panel)).encode()).hexdigest(),
        "text.parse_math": False,
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
        "axes.edgecolor": RULE,
    }
    # A label that starts with an underscore would be left out of a legend.
    labels = ["\u200b" + line.label for line in panel.lines]
    columns = 2 if max(map(len, labels)) < 26 else 1
    height = HEIGHT + -(-len(labels) // columns) * LEGEND_LINE
    with rc_context(settings), warnings.catch_warnings():
        # The page's own font draws what matplotlib's has not.
        warnings.filterwarnings("ignore", message="Glyph")
        canvas = Canvas(figsize=(WIDTH, height), layout="constrained")
        axes = canvas.add_subplot()
        draw_panel(axes, panel)
        drawn = axes.lines[: len(labels)]
        canvas.legend(drawn, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=8)
        stream = io.StringIO()
        canvas.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _for_pages(stream.getvalue())


def _for_pages(svg: str) -> str:
    """Return matplotlib's SVG without prologue, metadata and names that several figures share, in a page's colours."""
    svg = svg[svg.index("<svg") :].replace("<svg", '<svg role="img" font-family="sans-serif"', 1)
    # Its style would hold for the whole page.
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<defs>\s*<style.*?</style>\s*</defs>\s*", "", svg, flags=re.DOTALL)
    svg = _in_tags(r' id="\w+_\d+"', "", svg)
    # A page holds hundreds of figures: places to a tenth of a point, small numbers such as widths to a hundredth.
    svg = _in_tags(r"(?<=\d\.\d\d)\d+|(?<=\d\d\.\d)\d+", "", svg)
    svg = _in_tags(r' transform="rotate\(-0[^"]*"|font-family: [^;"]*; |\s*\n', "", svg)
    svg = re.sub(r">\s+<", "><", svg)
    plain = 1
    while plain:
        svg, plain = _PLAIN_GROUP.subn(r"\1", svg)
    for number, colour in enumerate(COLOURS):
        svg = _in_tags(colour, f"var(--series-{number}, {colour})", svg)
    return _in_tags(INK, f"var(--ink, {INK})", _in_tags(RULE, f"var(--rule, {RULE})", svg))


def _in_tags(pattern: str, replacement: str, svg: str) -> str:
    """Replace a pattern within tags, never in the texts that a figure shows."""
    return re.sub(f"(?:{pattern})(?=[^<>]*>)", replacement, svg)
