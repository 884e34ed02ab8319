"""`avebench pretrain`: the small encoders that ship with avebench, made again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from avebench.commands.options import Plugins, register
from avebench.nn.weights import Modality


def pretrain(
    dataset: Annotated[str, typer.Argument(help="Data set that can generate more examples, e.g. demo.")],
    out: Annotated[
        Path, typer.Option(help="Folder in which NAME-text, NAME-image and NAME-generator are made.")
    ] = Path("encoders"),
    only: Annotated[Modality | None, typer.Option(help="Make this one alone; default: all three.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; default: as for the shipped ones.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; the same bytes come back on cpu only.")] = "cpu",
    plugin: Plugins = None,
) -> None:
    """Train the small encoders of a data set that ship with avebench again, from generated examples.

    Example: avebench pretrain demo --only text, then avebench run table6 --text-encoder encoders/demo-text
    """
    from avebench.training.pretraining import pretrain as make

    register(plugin)
    for line in make(dataset, out, steps, device, only, lambda line: print(line, file=sys.stderr)):
        print(line)
