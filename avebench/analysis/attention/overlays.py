"""Drawings of an explanation: attention over the picture per token, tags with ranges and token scores. matplotlib only.

`draw_attention` and `draw_tags` fill axes that the caller lays out; `write_overlays` makes one PNG each, and
`avebench.analysis.attention.panels` draws the attention of several systems side by side.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from avebench.contracts.examples import printable
from avebench.contracts.explanation import Explanation
from avebench.files.disk import unwritable
from avebench.store.recorded import slug

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "SimHei")
"""Families asked for a character in this order; those behind the first have Chinese ones."""
DOTS = 120
"""Dots per inch."""
LINE = 10
"""Points from one line of small print to the next."""
NO_GLYPHS = "No installed font has all its characters: install one, e.g. Noto Sans CJK."
INK, SOFT, RIGHT, WRONG = "#22272e", "#5b6470", "#1e6b38", "#b3261e"
"""Colours of words: of the text, what is said beside it, tags that are gold as well, and tags that are not."""


@contextmanager
def fonts() -> Iterator[Callable[[], bool]]:
    """Draw with the installed ones of `FONTS`; gives a function that returns whether they had every character."""
    from matplotlib import font_manager, rc_context

    installed = set(font_manager.get_font_names())
    with (
        rc_context({"font.family": [family for family in FONTS if family in installed]}),
        warnings.catch_warnings(record=True) as complaints,
    ):
        warnings.simplefilter("always")
        yield lambda: not any("Glyph" in str(complaint.message) for complaint in complaints)


LONGEST = 40
"""Characters of an id, or of a token, in the name of a file."""


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines as wide as at most `width` Latin letters; Chinese characters count twice."""
    from rich.console import Console
    from rich.text import Text

    return [line.plain.rstrip() for line in Text(printable(text)).wrap(Console(width=width), width)]


def clipped(text: str, width: int, most: int = 1) -> list[str]:
    """Return at most `most` lines of a text as in `wrapped`; what is left out is marked by an ellipsis."""
    lines = wrapped(text, width)
    return lines if len(lines) <= most else [*lines[: most - 1], wrapped(lines[most - 1], width - 1)[0] + "…"]


def token_notes(explanation: Explanation, token: int, width: int = 24) -> list[tuple[str, str]]:
    """Return what stands below the map of a token: the predicted tags and, if any are known, the gold ones.

    Lines of at most `width` letters with their colours.
    """
    found, gold = explanation.tags()[token], explanation.gold_tags()[token]
    known = bool(explanation.example.spans)
    colour = (RIGHT if set(found) == set(gold) else WRONG) if known and (found or gold) else INK
    notes = [(line, colour) for line in wrapped(f"predicted {', '.join(found) or 'nothing'}", width)]
    return notes + [(line, SOFT) for line in wrapped(f"gold {', '.join(gold) or 'nothing'}", width) if known]


Scale = tuple[float, float, str]
"""The smallest and the largest value that colours show, and the colour map."""


def attention_scale(explanation: Explanation, tokens: Sequence[int] | None = None) -> Scale:
    """Return the scale of colours, alike for all tokens that are shown; by default all are.

    Attention without a softmax may be negative: then colours run both ways from white at 0.
    """
    assert explanation.attention is not None
    shown = explanation.attention if tokens is None else explanation.attention[list(tokens)]
    largest = float(np.abs(shown).max(initial=0.0)) or 1.0
    return (-largest, largest, "RdBu_r") if (explanation.attention < 0).any() else (0.0, largest, "Reds")


def draw_attention(
    axes: Axes,
    explanation: Explanation,
    token: int,
    *,
    photo: Image | None = None,
    scale: Scale | None = None,
    width: int = 24,
) -> Any:
    """Draw what a token takes from each cell of the picture, over the picture in grey; return the coloured image.

    Above stands the token, below its tags, both at most `width` letters wide. `photo` is the picture if it is open
    already, `scale` that of the other tokens beside it. ValueError where the explanation has no maps, or no picture.
    """
    maps, picture = explanation.maps(), explanation.example.picture
    if maps is None or picture is None:
        raise ValueError("the explanation has no attention over cells of a picture")
    photo = photo or picture.open()
    low, high, colours = scale or attention_scale(explanation)
    whole = (0.0, float(photo.width), float(photo.height), 0.0)
    # Black becomes a middle grey, so that colours over it can be told apart.
    axes.imshow(photo.convert("L"), cmap="gray", vmin=-200, vmax=255, extent=whole)
    drawn = axes.imshow(
        maps[token], cmap=colours, vmin=low, vmax=high, alpha=0.6, interpolation="nearest", extent=whole
    )
    axes.set_axis_off()
    title = clipped(explanation.tokens()[token], width * 3 // 4)[0]  # Its letters are larger.
    axes.set_title(title, parse_math=False, fontsize=9, weight="bold", pad=3)
    write_lines(axes, token_notes(explanation, token, width))
    return drawn


def write_lines(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Write lines with their colours below axes, in the middle."""
    for number, (line, colour) in enumerate(lines):
        axes.annotate(
            line,
            (0.5, 0.0),
            xycoords="axes fraction",
            xytext=(0, -3 - LINE * number),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color=colour,
            parse_math=False,
        )


def shown_attributes(explanation: Explanation) -> list[str]:
    """Return the attributes that are worth a line: named ones, if they were, selected, predicted, or annotated ones."""
    names = list(explanation.example.asked or ())
    if explanation.threshold is not None:
        names += [name for name, score in explanation.ranges.items() if score > explanation.threshold]
    names += [*explanation.prediction.attributes, *explanation.prediction.pairs, *explanation.example.pairs]
    names += [span.attribute for span in (*(explanation.prediction.spans or ()), *explanation.example.spans)]
    return list(dict.fromkeys(names))


def draw_tags(axes: Axes, explanation: Explanation, kind: str = "cosine") -> Any:
    """Draw tokens by attributes: predicted tags as letters, annotated ones framed, token scores of a kind as colours.

    Behind an attribute stands its range score. Returns the image that the colours are of.
    """
    from matplotlib.patches import Rectangle

    names, tokens = shown_attributes(explanation), explanation.tokens()
    table = np.full((max(len(names), 1), max(len(tokens), 1)), np.nan)
    for line, name in enumerate(names):
        row = explanation.token_scores().get(kind, {}).get(name, np.empty(0))
        table[line, : len(row)] = row
    largest = float(np.nanmax(np.abs(table), initial=0.0)) or 1.0
    low, high, colours = (0.0, 1.0, "Reds") if kind in explanation.probabilities else (-largest, largest, "RdBu_r")
    drawn = axes.imshow(table, cmap=colours, vmin=low, vmax=high, aspect="auto", alpha=0.8)
    label = {"facecolor": "white", "alpha": 0.85, "linewidth": 0, "boxstyle": "circle,pad=0.15"}
    for number, (found, gold) in enumerate(zip(explanation.tags(), explanation.gold_tags(), strict=True)):
        for tag in found:
            prefix, _, name = tag.partition("-")
            axes.text(number, names.index(name), prefix, ha="center", va="center", weight="bold", bbox=label)
        for tag in gold:
            corner = (number - 0.5, names.index(tag.partition("-")[2]) - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, linewidth=2, edgecolor="black", zorder=3))
    axes.set_xticks(range(len(tokens)), tokens, rotation=60, ha="right", parse_math=False)
    axes.set_yticks(range(len(names)), [_scored(explanation, name) for name in names], parse_math=False)
    axes.set_xticks(np.arange(-0.5, len(tokens)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(names)), minor=True)
    axes.grid(which="minor", color="lightgrey", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    return drawn


def _scored(explanation: Explanation, name: str) -> str:
    score = explanation.ranges.get(name)
    return name if score is None else f"{name}  {score:.2f}"


def attention_figure(explanation: Explanation, token: int) -> Figure:
    """Return the picture, and beside it what one token takes from each of its cells."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    plain, overlaid = figure.subplots(1, 2)
    assert explanation.example.picture is not None
    plain.imshow(explanation.example.picture.open())
    plain.set_axis_off()
    drawn = draw_attention(overlaid, explanation, token)
    figure.colorbar(drawn, ax=overlaid, fraction=0.05).set_label(explanation.attends, fontsize=7)
    return figure


def tags_figure(explanation: Explanation) -> Figure:
    """Return the tags of all tokens, once for each kind of token score, beside the picture where there is one."""
    from matplotlib.figure import Figure

    names, tokens = shown_attributes(explanation), explanation.example.tokens
    kinds = list(explanation.token_scores()) or ["cosine"]
    size = (3.5 + max(3.0, 0.42 * len(tokens)), len(kinds) * (1.8 + max(1.2, 0.34 * len(names))))
    figure = Figure(figsize=size, layout="constrained")
    picture = explanation.example.picture
    ratios = [2.0, size[0] - 2.0] if picture is not None else [size[0]]
    grid = figure.add_gridspec(len(kinds), len(ratios), width_ratios=ratios)
    if picture is not None:
        photo = figure.add_subplot(grid[:, 0])
        photo.imshow(picture.open())
        photo.set_axis_off()
    for place, kind in enumerate(kinds):
        axes = figure.add_subplot(grid[place, -1])
        drawn = draw_tags(axes, explanation, kind)
        if kind in explanation.token_scores():
            said = "cosine with the attribute's vector" if kind == "cosine" else f"P({kind})"
            figure.colorbar(drawn, ax=axes, fraction=0.05).set_label(said, fontsize=7)
        if place == 0:
            axes.set_title("; ".join(_legend(explanation)), fontsize=8, loc="left")
    return figure


def _legend(explanation: Explanation) -> list[str]:
    """Return what letters, frames and numbers of a drawing of tags are."""
    notes = ["letters: predicted"]
    notes += ["frames: annotated"] if explanation.example.spans else []
    if explanation.ranges:
        what = "probability of a value" if explanation.decides else "range score"
        selected = "" if explanation.threshold is None else f", selected above {explanation.threshold:g}"
        notes.append(f"numbers: {what}{selected}")
    return notes


def write_overlays(explanation: Explanation, folder: Path) -> tuple[list[Path], bool]:
    """Write one PNG for the tags and one per token for its attention; return them, and whether fonts had every glyph.

    Names begin with the example's id. AvebenchError if the folder cannot be written.
    """
    name = slug(explanation.example.id)[:LONGEST]
    drawings: dict[str, Callable[[], Figure]] = {f"{name}-tags.png": partial(tags_figure, explanation)}
    if explanation.maps() is not None:
        assert explanation.attention is not None
        for number, token in enumerate(explanation.tokens()[: len(explanation.attention)]):
            file = f"{name}-attention-{number:02d}-{slug(token)[:LONGEST]}.png"
            drawings[file] = partial(attention_figure, explanation, number)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with fonts() as whole:
            for file, draw in drawings.items():
                draw().savefig(folder / file, dpi=DOTS, bbox_inches="tight", pad_inches=0.1)
                written.append(folder / file)
    except OSError as error:
        raise unwritable(
            error, folder, f"--png {folder} cannot be written ({error.strerror}). Name another folder."
        ) from None
    return written, whole()
