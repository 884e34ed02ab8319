"""The drawings of attention that `avebench run` made of figures such as the journal's 7 and 8, for the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from avebench.analysis.attention.figure import (
    AttentionFigure,
    AttentionFigures,
    attention_folder,
    read_attention_figures,
)
from avebench.report.chapters import Chapter, Overlay, with_overlays

BUDGET = 1_800_000
"""Bytes of all drawings of a page, which as text are a third more."""
RUNGS = ((1400, 85), (1100, 75), (800, 60))
"""Most pixels in width and the quality of JPEG, tried in this order until all drawings of a page fit the budget."""
PER_PIXEL = 0.8
"""Pixels on a screen for each of a drawing, which has 120 to the inch."""


def with_attention(chapters: Sequence[Chapter], out: Path) -> list[Chapter]:
    """Return the chapters, those about attention with the drawings of their cells under `out`, or why there are none.

    Drawings that do not fit a page even when they are small are left out, and their folder is named.
    """
    found = {
        place: _drawings(chapter, out)
        for place, chapter in enumerate(chapters)
        if chapter.stored_table.plan.experiment.kind == "attention"
    }
    images = _fitted([folder / figure.file for folder, drawn, _ in found.values() for figure in drawn.figures])
    shown = list(chapters)
    for place, (folder, drawn, said) in found.items():
        overlays: dict[str, list[Overlay]] = {}
        missing = 0
        for figure in drawn.figures:
            image = images.get(folder / figure.file)
            if image is None:
                missing += 1
            else:
                overlays.setdefault(figure.group, []).append(_overlay(figure, *image))
        said = [*said, *([f"{missing} more drawings are in {folder}."] if missing else [])]
        shown[place] = with_overlays(chapters[place], overlays, said)
    return shown


def _drawings(chapter: Chapter, out: Path) -> tuple[Path, AttentionFigures, list[str]]:
    """Return the folder and the drawings of a chapter's cells, and what is to be said of them."""
    plan = chapter.stored_table.plan
    folder = attention_folder(out, plan)
    drawn = read_attention_figures(folder)
    ask = f"Run {plan.name} with the trained rows here to draw them: avebench run {plan.name}."
    nothing = AttentionFigures(digest="", cells={}, figures=(), notes=())
    if drawn is None:
        return folder, nothing, [f"There are no drawings of attention in {folder}. {ask}"]
    if not drawn.shows(chapter.stored_table.results):
        return folder, nothing, [f"The drawings of attention in {folder} are of other cells. {ask}"]
    return folder, drawn, [*drawn.notes, *([] if drawn.figures else ["No example's attention could be drawn."])]


def _overlay(figure: AttentionFigure, jpeg: bytes, width: int) -> Overlay:
    rows = " and ".join(name for name, _ in figure.values[1:])
    values = "; ".join(f"{name}: {values}" for name, values in figure.values)
    alt = f"What the words {', '.join(figure.words)} of {figure.id} take from each part of its picture, with {rows}"
    return Overlay(jpeg, width, alt, f"{figure.id}: {figure.text} ({values})")


def _fitted(paths: Sequence[Path]) -> dict[Path, tuple[bytes, int]]:
    """Return each drawing as JPEG with the width it is shown at, alike small for all; those first that fit a page."""
    from PIL import Image

    for most, quality in RUNGS:
        images: dict[Path, tuple[bytes, int]] = {}
        room = BUDGET
        for path in dict.fromkeys(paths):
            with Image.open(path) as drawing:
                picture = drawing.convert("RGB")
            width = round(picture.width * PER_PIXEL)
            picture.thumbnail((most, most * 4))
            content = io.BytesIO()
            picture.save(content, "JPEG", quality=quality, subsampling=0, optimize=True)
            room -= len(content.getvalue())
            if room < 0:
                break
            images[path] = (content.getvalue(), width)
        else:
            return images
    return images
