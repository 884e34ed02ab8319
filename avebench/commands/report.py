"""`avebench report`: everything that was measured on one page."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from avebench.commands.options import DataFolder, Debug, Out, Plugins, register
from avebench.store.folder import RUNS


class ReportFormat(StrEnum):
    """Output of a report."""

    html = "html"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


def report(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="Names or paths of tables; default: all that have results.")
    ] = None,
    out: Out = RUNS,
    recorded: Annotated[bool, typer.Option("--recorded", help="Show what results/ holds as well.")] = False,
    data: DataFolder = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write; default: report.html, of other formats standard output.")
    ] = None,
    plugin: Plugins = None,
    format: Annotated[
        ReportFormat, typer.Option("--format", help="A page, or its tables in another format.")
    ] = ReportFormat.html,
    debug: Debug = False,
) -> None:
    """Write one self-contained HTML page of what was measured; train nothing.

    Examples: avebench report; avebench report table6 --recorded --format latex
    """
    from avebench.report.writing import write_report

    register(plugin)
    written = write_report(experiments or [], out=out, recorded=recorded, data=data, output=output, format=format.value)
    if written is not None:
        said = f"The report is in {written} ({written.stat().st_size / 1e6:.1f} MB)."
        print(said, file=sys.stdout if format.value == "html" else sys.stderr)
