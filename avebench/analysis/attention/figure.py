"""The attention of two trained rows over the pictures of the chosen examples, drawn once and kept in `<out>/figures/`.

Beside the PNG files, one per example, a small JSON file says what they show and of which cells. What stands there is
not drawn again, and neither torch nor matplotlib is imported for it. The drawings contain photos and texts of the data
set: nothing of them is ever recorded.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from avebench.analysis.attention.chosen_examples import AttentionExamples, Shown, values_text
from avebench.analysis.recording import place_name
from avebench.contracts.examples import Example, printable
from avebench.files.atomic import write_atomically
from avebench.files.digests import sha256
from avebench.files.errors import AvebenchError
from avebench.planning.cells import Cell
from avebench.planning.plan import Plan
from avebench.running.experiment_run import ExperimentRun
from avebench.running.trained import RECORD, SHOWN, VOCABULARY, WEIGHTS, load_trained
from avebench.store.recorded import slug
from avebench.store.results import Result, Store

if TYPE_CHECKING:
    from avebench.contracts.explanation import Explanation

DRAWING = 1
"""Version of the drawings, raised whenever the same examples would look different."""
FILE, OLD_FILE = "attention.json", "drawn.json"
"""Name of the file that says what is drawn, now and in earlier versions."""
LONGEST = 36
"""Most characters of a group, and of an id, in the name of a file."""


class AttentionFigure(BaseModel):
    """One drawing: its file, the group and the example that it shows, the words, and the values by who names them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    group: str
    id: str
    text: str
    words: tuple[str, ...]
    values: tuple[tuple[str, str], ...]


class AttentionFigures(BaseModel):
    """The drawings of an experiment, of which cells they are (key -> when it was finished), and what is to be said.

    `digest` tells what was to be drawn; it is empty where some of that could not be. Earlier versions have other names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(validation_alias=AliasChoices("digest", "mark"))
    cells: dict[str, float]
    figures: tuple[AttentionFigure, ...] = Field(default=(), validation_alias=AliasChoices("figures", "plates"))
    notes: tuple[str, ...] = Field(default=(), validation_alias=AliasChoices("notes", "said"))

    def shows(self, results: Mapping[str, Result]) -> bool:
        """Return whether the drawings are of cells with these results."""
        return all(key in results and results[key].finished == finished for key, finished in self.cells.items())


def attention_folder(out: Path, plan: Plan) -> Path:
    """Return the folder of an experiment's drawings under `out`."""
    return out / "figures" / place_name(plan)


def read_attention_figures(folder: Path) -> AttentionFigures | None:
    """Return what is drawn in a folder; None if nothing is, or a file of it is gone."""
    path = next((folder / name for name in (FILE, OLD_FILE) if (folder / name).is_file()), folder / FILE)
    try:
        drawn = AttentionFigures.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return drawn if all((folder / figure.file).is_file() for figure in drawn.figures) else None


def draw_attention_figures(
    chosen: AttentionExamples, done: ExperimentRun, *, debug: bool = False
) -> tuple[AttentionFigures, bool]:
    """Draw the attention of both rows on the chosen examples; return what is drawn, and whether it was drawn now.

    Whatever stands in the way is said in `notes`, a sentence each: a run does not fail for its drawings. With `debug`
    an error of a plug-in is raised.
    """
    store, results = done.store, done.results
    folder = attention_folder(store.out, done.plan)
    digest = _digest(chosen, results)
    before = read_attention_figures(folder)
    if before is not None and before.digest == digest:
        return before, False
    cells = {cell.key: results[cell.key].finished for cell in chosen.cells}
    explained: list[list[Explanation | str]] = []
    for label, cell in zip(chosen.labels, chosen.cells, strict=True):
        try:
            examples = [one.example for one in chosen.shown]
            explained.append(_explained(cell, examples, store, results[cell.key], debug) if examples else [])
        except AvebenchError as error:
            return AttentionFigures(
                digest="", cells=cells, notes=(f"The attention of {label} is not drawn. {error}",)
            ), False
        gc.collect()  # Two systems at once may be more than the memory holds.
    files, drawn = _figures(chosen, explained, digest, cells)
    _replace(folder, files, drawn, before)
    return drawn, True


def _digest(chosen: AttentionExamples, results: Mapping[str, Result]) -> str:
    """Return a hash of all that the drawings depend on."""
    examples = [
        (one.group, one.example.id, one.units, [[(s.attribute, s.start, s.end) for s in spans] for _, spans in marked])
        for one in chosen.shown
        for marked in (one.marked(chosen.labels),)
    ]
    cells = [(cell.key, results[cell.key].finished) for cell in chosen.cells]
    return sha256([DRAWING, chosen.labels, cells, examples])


def _explained(
    cell: Cell, examples: Sequence[Example], store: Store, result: Result, debug: bool
) -> list[Explanation | str]:
    """Return the explanation of every example by the system of a cell, or why there is none.

    AvebenchError if the system cannot be loaded, or explains nothing.
    """
    if cell.control is not None:
        raise AvebenchError("It is shown other pictures than the examples' own.")
    folder = store.folder(cell.key)
    kept = (VOCABULARY, RECORD, WEIGHTS) if result.steps else (VOCABULARY,)
    gone = [name for name in kept if not (folder / name).is_file()]
    if gone:
        lost = " and no ".join(gone)
        raise AvebenchError(f"Its cell {cell.key[:SHOWN]} has no {lost} any more; run with --fresh to train it again.")
    from avebench.running.trained import explanations

    found: list[Explanation | str] = []
    try:
        # A handful of examples is quick on a CPU, and leaves a GPU to those who train.
        explain = explanations(load_trained(result, store, "cpu", cell.data.folder), cell.row)
        for example in examples:
            try:
                found.append(explain(example))
            except AvebenchError as error:
                found.append(str(error))
    except AvebenchError:
        raise
    except Exception as error:  # Of a plug-in: the table is finished, and stands without drawings as well.
        if debug:
            raise
        raise AvebenchError(f"{type(error).__name__}: {error} (--debug shows where).") from None
    return found


def _figures(
    chosen: AttentionExamples, explained: Sequence[Sequence[Explanation | str]], digest: str, cells: Mapping[str, float]
) -> tuple[dict[str, bytes], AttentionFigures]:
    """Return the drawings by the names of their files, and what they show."""
    from avebench.analysis.attention.overlays import NO_GLYPHS, fonts
    from avebench.analysis.attention.panels import PANELS, FigureRow, example_figure, png_of

    files: dict[str, bytes] = {}
    figures, notes, whole = [], [], True
    with fonts() as glyphs:
        for one, *found in zip(chosen.shown, *explained, strict=True):
            name, marked = one.example.id, one.marked(chosen.labels)
            failed = [text for text in found if isinstance(text, str)]
            notes += [f"{name} is not drawn. {text}" for text in failed]
            whole &= not failed
            known = [one for one in found if not isinstance(one, str)]
            if failed or all(explanation.maps() is None for explanation in known):
                reasons = zip(chosen.labels, known, strict=False)
                notes += [f"{label}: {explanation.without_maps()}" for label, explanation in reasons if not failed]
                continue
            rows = []
            for (label, spans), explanation in zip(marked[1:], known, strict=True):
                changed = set(explanation.prediction.spans or ()) != set(spans)
                remark = "Other values are predicted here and now than when it was scored." if changed else ""
                notes += [f"{label}, {name}: {explanation.without_maps()}"] if explanation.maps() is None else []
                rows.append(FigureRow(label, explanation, values_text(one.example.text, spans), remark))
            units = one.few_units(PANELS)
            gold = values_text(one.example.text, one.example.spans)
            file = _file_name(one, files)
            try:
                files[file] = png_of(example_figure(one.group, gold, rows, units, len(one.units)))
            except AvebenchError as error:  # The picture is gone, and the systems remember what they made of it.
                notes.append(f"{name} is not drawn. {error}")
                whole = False
            else:
                figures.append(_figure(file, one, chosen, units))
    notes += [] if glyphs() else [f"The drawings of attention: {NO_GLYPHS}"]
    kept = tuple(dict.fromkeys(notes))
    return files, AttentionFigures(
        digest=digest if whole else "", cells=dict(cells), figures=tuple(figures), notes=kept
    )


def _figure(file: str, one: Shown, chosen: AttentionExamples, units: Sequence[int]) -> AttentionFigure:
    text = one.example.text
    return AttentionFigure(
        file=file,
        group=one.group,
        id=one.example.id,
        text=printable(text),
        words=tuple(text[slice(*one.example.tokens[unit])] for unit in units),
        values=tuple((name, values_text(text, spans)) for name, spans in one.marked(chosen.labels)),
    )


def _file_name(one: Shown, taken: Mapping[str, bytes]) -> str:
    """Return `<group>-<id>.png`; ids that are the same as a file name are numbered."""
    stem = f"{slug(one.group)[:LONGEST]}-{slug(one.example.id)[:LONGEST]}"
    names = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _replace(
    folder: Path, files: Mapping[str, bytes], drawn: AttentionFigures, before: AttentionFigures | None
) -> None:
    """Write the drawings in the place of those before; the file that says what they are goes first and comes last."""
    for name in (FILE, OLD_FILE):
        (folder / name).unlink(missing_ok=True)
    for figure in before.figures if before is not None else ():
        (folder / figure.file).unlink(missing_ok=True)
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / FILE, drawn.model_dump_json(indent=1) + "\n")
