"""The app: what each command does stands in the module of its name; here they are only collected."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from avebench import __version__
from avebench.commands import compare, data, doctor, explain, mlflow, predict, pretrain, report, run, score
from avebench.commands import list as list_command
from avebench.commands.door import enter

app = typer.Typer(name="avebench", rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)
data_app = typer.Typer(
    help="Integrity, fingerprint and statistics of data sets.", rich_markup_mode=None, no_args_is_help=True
)


def _version(asked: bool) -> None:
    if asked:
        print(f"avebench {__version__}")
        raise typer.Exit


@app.callback()
def _about(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Benchmark and reproduction harness for attribute value extraction."""


app.command("list")(list_command.list_)
app.command()(run.run)
app.command()(compare.compare)
app.command()(score.score)
app.command()(predict.predict)
app.command()(explain.explain)
app.command()(report.report)
app.command()(mlflow.ui)
app.command()(mlflow.sync)
app.command()(doctor.doctor)
app.command()(pretrain.pretrain)
data_app.command("list")(data.list_)
data_app.command()(data.check)
data_app.command()(data.stats)
data_app.command()(data.convert)
data_app.command()(data.spans)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; a request that cannot be carried out ends with one message and exit code 2."""
    sys.exit(enter(app, debug="--debug" in sys.argv))
