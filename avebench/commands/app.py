"""The app: what each command does stands in the module of its name; here they are only collected."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from avebench import __version__
from avebench.commands import compare, data, doctor, explain, mlflow, predict, pretrain, report, run, score
from avebench.commands import list as list_command
from avebench.commands.door import enter
from avebench.files.errors import AvebenchError

app = typer.Typer(name="avebench", rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


class Command(TyperCommand):
    """A command that refuses an option that takes one value and is given several: only the last would count."""

    def make_parser(self, ctx: Any) -> Any:
        """Return the parser; AvebenchError from it for an option that is given more often than it can be."""
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parsed(args: list[str]) -> Any:
            values, rest, order = parse(args=args)
            for param in order:
                takes_one = param.param_type_name == "option" and not param.multiple and not param.is_flag
                if takes_one and order.count(param) > 1 and not ctx.resilient_parsing:
                    raise AvebenchError(f"{param.opts[-1]} is given {order.count(param)} times. Give it once.")
            return values, rest, order

        parser.parse_args = parsed
        return parser


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


COMMANDS: tuple[Callable[..., None], ...] = (
    run.run,
    compare.compare,
    score.score,
    predict.predict,
    explain.explain,
    report.report,
    mlflow.ui,
    mlflow.sync,
    doctor.doctor,
    pretrain.pretrain,
)

app.command("list", cls=Command)(list_command.list_)
for _command in COMMANDS:
    app.command(cls=Command)(_command)
data_app.command("list", cls=Command)(data.list_)
for _command in (data.check, data.stats, data.convert, data.spans):
    data_app.command(cls=Command)(_command)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line; a request that cannot be carried out ends with one message and exit code 2."""
    sys.exit(enter(app, debug="--debug" in sys.argv))
