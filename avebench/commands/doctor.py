"""`avebench doctor`: what this machine is, what is here, and what each experiment can run on."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from avebench.commands.options import PlainFormat, Plugins, register

if TYPE_CHECKING:
    from avebench.analysis.machine import Findings


def doctor(
    plugin: Plugins = None,
    format: Annotated[PlainFormat, typer.Option("--format", help="How it is printed.")] = PlainFormat.terminal,
) -> None:
    """Say what this machine is, which data sets, encoders and extras are here, and what each experiment can run on."""
    from avebench.analysis.machine import examine

    register(plugin)
    _show(examine(), format.value)


# ---------------------------------------------------------------------------------------------------------------------
# Shown
def _show(findings: Findings, format: str) -> None:
    """Print what was found, as tables or as one JSON object."""
    from avebench.analysis.machine import tables
    from avebench.tables.terminal import print_table

    if format == "json":
        print(json.dumps(asdict(findings), indent=1, ensure_ascii=False))
        return
    for place, table in enumerate(tables(findings)):
        if place:
            print()
        print_table(table)
