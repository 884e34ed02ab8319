"""What stands behind `avebench explain`: which example, and its explanation shown and drawn."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path

from avebench.analysis.attention.explanation_tables import attention_maps, range_table, token_table
from avebench.analysis.attention.overlays import NO_GLYPHS, attention_scale, write_overlays
from avebench.contracts.examples import Example
from avebench.contracts.explanation import Explanation
from avebench.data.opening import open_dataset
from avebench.data.predictions import explanation_record
from avebench.files.errors import AvebenchError
from avebench.running.trained import Trained, explanations
from avebench.store.results import Result
from avebench.tables.render import emit


def example_of(result: Result, split: str, name: str, data: Path | None) -> Example:
    """Return an example of the data set that a cell was trained on; AvebenchError if it is not there."""
    dataset = open_dataset(result.dataset, data, result.dataset_options)
    names = []
    for example in dataset.read(split):
        if example.id == name:
            return example
        names.append(example.id)
    near = difflib.get_close_matches(name, names, n=3) or names[:3]
    raise AvebenchError(
        f"The split '{split}' of {result.dataset} has no example '{name}'; it has {len(names)}, for instance "
        f"{', '.join(near)}."
    )


def explain(trained: Trained, example: Example, row: str) -> Explanation:
    """Return the explanation of an example; AvebenchError if the system of the row offers none."""
    return explanations(trained, row)(example)


def show(explanation: Explanation, row: str, format: str) -> None:
    """Print an explanation: tables, in the terminal attention maps too; as JSON everything in one object."""
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
    files, whole = write_overlays(explanation, folder)
    glyphs = "" if whole else f" {NO_GLYPHS}"
    return f"{len(files)} PNG files in {folder}: {files[0].name}{f' to {files[-1].name}' if files[1:] else ''}.{glyphs}"
