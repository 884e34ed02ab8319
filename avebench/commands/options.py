"""Options that several commands have, under one name and one help text; and what is made of them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

LISTED_WIDTH = 120
"""Columns of a listing that is piped."""


class Format(StrEnum):
    """Output of a table."""

    terminal = "terminal"
    json = "json"
    csv = "csv"
    md = "md"
    latex = "latex"


class PlainFormat(StrEnum):
    """Output of what is not a table."""

    terminal = "terminal"
    json = "json"


class MissingImages(StrEnum):
    """What a missing picture means."""

    error = "error"
    blank = "blank"


Plugins = Annotated[
    list[Path] | None, typer.Option("--plugin", metavar="FILE", help="A plug-in file of your own; may be repeated.")
]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of the data set; default $AVEBENCH_DATA/NAME.")]
Formats = Annotated[Format, typer.Option("--format", help="How the table is printed.")]
ReaderOptions = Annotated[
    list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the reader.")
]
TrainFraction = Annotated[float, typer.Option(help="Share of the training products, above 0 and at most 1.")]
Profile = Annotated[
    str | None, typer.Option(help="paper or quick; default: paper on the table's own data, else quick.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Cells at a time; default: one per core, on a GPU one.")
]
TextEncoder = Annotated[str | None, typer.Option(help="Hub id, folder, minilm or demo.")]
ImageEncoder = Annotated[str | None, typer.Option(help="Hub id, folder or demo.")]
LanguageModel = Annotated[
    str | None, typer.Option("--llm", help="Folder or hub id of a language model, or its name at the endpoint.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="Base address of an OpenAI-compatible endpoint; its key is in $OPENAI_API_KEY.")
]
MaxRequests = Annotated[int | None, typer.Option(min=0, help="Stop asking language models after so many questions.")]
MaxTokens = Annotated[int | None, typer.Option(min=0, help="Stop asking language models after so many tokens.")]
SideBySide = Annotated[int, typer.Option(min=1, max=256, help="Requests to an endpoint at once, per cell.")]
RequestTimeout = Annotated[float, typer.Option(min=0.1, help="Seconds until a request to an endpoint is given up.")]
MissingPictures = Annotated[MissingImages | None, typer.Option(help="What a missing picture means.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A model option, e.g. training.steps=100.")
]
Out = Annotated[Path, typer.Option(help="Folder of the finished cells.")]
ExperimentName = Annotated[str, typer.Option("--experiment", help="Name or path of the table.")]
RowName = Annotated[str, typer.Option("--row", help="Label of a row, or the name of a model that stands in one row.")]
TrainedOn = Annotated[str | None, typer.Option("--dataset", help="Data set that the row was trained on.")]
TrainedFraction = Annotated[
    float | None, typer.Option("--train-fraction", help="Share of the training products it was trained on.")
]
Repetition = Annotated[int | None, typer.Option(min=0, help="Which repetition; default: the first, 0.")]
CellKey = Annotated[str, typer.Option("--cell", help="First characters of a cell's key, where several are left.")]
Asked = Annotated[
    list[str] | None,
    typer.Option("--ask", metavar="NAME", help="An attribute that a query system is asked for; default: all."),
]
ProductText = Annotated[str | None, typer.Option("--text", help="The text of one product.")]
ProductImage = Annotated[Path | None, typer.Option("--image", help="The picture of that product.")]
Debug = Annotated[bool, typer.Option("--debug", help="Print tracebacks.")]
TrackingUri = Annotated[str | None, typer.Option(help="Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.")]


def register(plugins: list[Path] | None) -> None:
    """Make the plug-ins of files known; AvebenchError for a file that is none."""
    from avebench.contracts.registry import add_plugin_file

    for path in plugins or []:
        add_plugin_file(path)


def settings_of(
    options: list[str] | None,
    text_encoder: str | None,
    image_encoder: str | None,
    llm: str | None = None,
    endpoint: str | None = None,
) -> dict[str, Any]:
    """Return what `--set`, the two encoder options and the language model lay over a table."""
    from avebench.planning.settings import merge, parse_settings

    settings = parse_settings(options or [])
    backend = None if endpoint is None else "endpoint"
    named = {"text_encoder": text_encoder, "image_encoder": image_encoder, "llm": llm, "backend": backend}
    for key, value in named.items():
        if value is not None:
            settings = merge(settings, {key: value})
    return settings
