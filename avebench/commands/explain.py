"""`avebench explain`: why a trained row predicts what it predicts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avebench.commands.options import (
    Asked,
    CellKey,
    DataFolder,
    Device,
    ExperimentName,
    Format,
    Formats,
    Out,
    Plugins,
    ProductImage,
    ProductText,
    Repetition,
    RowName,
    TrainedFraction,
    TrainedOn,
    register,
)
from avebench.files.errors import AvebenchError
from avebench.store.folder import RUNS

if TYPE_CHECKING:
    from avebench.contracts.examples import Example
    from avebench.contracts.explanation import Explanation
    from avebench.store.results import Result


def explain(
    experiment: ExperimentName,
    row: RowName,
    example: Annotated[str | None, typer.Option(help="Id of an example of the row's data set.")] = None,
    split: Annotated[str, typer.Option(help="Split of that example.")] = "test",
    text: ProductText = None,
    image: ProductImage = None,
    png: Annotated[Path | None, typer.Option(help="Folder for drawings: the tags, attention per token.")] = None,
    dataset: TrainedOn = None,
    train_fraction: TrainedFraction = None,
    repetition: Repetition = None,
    cell: CellKey = "",
    ask: Asked = None,
    data: DataFolder = None,
    device: Device = "auto",
    out: Out = RUNS,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Show why a trained row predicts what it predicts: tags, range scores, similarities, attention over the picture.

    Of a row that is asked: per attribute what decided, the probability of a value and those of its tokens.

    Examples: avebench explain --experiment table6 --row DRAM --text "a blue dress" --image photo.jpg --png overlays;
    avebench explain --experiment table8 --row AVEQA --text "a blue dress" --ask Color --ask Material
    """
    from avebench.running.chosen_cell import Choice, find_trained
    from avebench.running.predict import single_product
    from avebench.running.trained import explanations, load_trained
    from avebench.store.results import Store

    if (example is None) == (text is None) or (image and text is None):
        raise AvebenchError("Give --example for one of the data set, or --text (and --image) for a product.")
    register(plugin)
    result = find_trained(Choice(experiment, row, out, dataset, train_fraction, repetition, cell, data))
    shown = None if example is None else example_of(result, split, example, data)
    trained = load_trained(result, Store(out), device, data, ask)
    explanation = explanations(trained, row)(shown or single_product(text or "", image, trained))
    show(explanation, row, format.value)
    for line in trained.long_texts(explanation.example).said():
        print(line, file=sys.stderr)
    if png is not None:
        print(draw(explanation, png), file=sys.stderr)


def example_of(result: Result, split: str, name: str, data: Path | None) -> Example:
    """Return an example of the data set that a cell was trained on; AvebenchError if it is not there."""
    from avebench.data.opening import open_dataset

    dataset = open_dataset(result.dataset, data, result.dataset_options)
    names = []
    for example in dataset.read(split):
        if example.id == name:
            return example
        names.append(example.id)
    import difflib

    near = difflib.get_close_matches(name, names, n=3) or names[:3]
    raise AvebenchError(
        f"The split '{split}' of {result.dataset} has no example '{name}'; it has {len(names)}, for instance "
        f"{', '.join(near)}."
    )


def show(explanation: Explanation, row: str, format: str) -> None:
    """Print an explanation: tables, in the terminal attention maps too; as JSON everything in one object."""
    from avebench.analysis.attention.explanation_tables import range_table, token_table
    from avebench.data.predictions import explanation_record
    from avebench.tables.render import emit

    if format == "json":
        json.dump(explanation_record(explanation), sys.stdout, ensure_ascii=False, indent=1)
        print()
        return
    for table in (range_table(explanation, f"{row}: {explanation.example.text}"), token_table(explanation)):
        emit(table, format)
        print()
    if format == "terminal":
        _show_attention(explanation)


def _show_attention(explanation: Explanation) -> None:
    from avebench.analysis.attention.explanation_tables import attention_maps
    from avebench.analysis.attention.overlays import attention_scale
    from avebench.files.printing import console as made

    console = made(highlight=False)
    maps = attention_maps(explanation)
    if maps is not None:
        below = "; # and + are below 0" if attention_scale(explanation)[0] < 0 else ""
        console.print(f"Attention over the picture: {explanation.attends}{below}.", style="bold")
        console.print(maps)
    else:
        console.print(explanation.without_maps())


def draw(explanation: Explanation, folder: Path) -> str:
    """Write the PNG files of an explanation into a folder; return what was written, in words."""
    from avebench.analysis.attention.overlays import NO_GLYPHS, write_overlays

    files, whole = write_overlays(explanation, folder)
    glyphs = "" if whole else f" {NO_GLYPHS}"
    return f"{len(files)} PNG files in {folder}: {files[0].name}{f' to {files[-1].name}' if files[1:] else ''}.{glyphs}"
