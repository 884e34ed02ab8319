"""`avebench compare`: rows of one table on the same test examples, which is better, how surely, and where.

What is not finished is trained by the same runner as `run`; MLflow is not told, `avebench run` does that.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from avebench.commands.options import (
    DataFolder,
    Debug,
    Device,
    Format,
    Formats,
    ImageEncoder,
    Jobs,
    MissingPictures,
    Out,
    Plugins,
    Profile,
    ReaderOptions,
    Settings,
    TextEncoder,
    TrainFraction,
    register,
    settings_of,
)
from avebench.contracts.seeds import MOST_REPETITIONS
from avebench.store.folder import RUNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from avebench.analysis.comparison.asking import Answer, Question
    from avebench.analysis.comparison.finished_rows import Reader
    from avebench.contracts.examples import Example, Prediction
    from avebench.planning.request import Request
    from avebench.running.experiment_run import Execution


def compare(
    names: Annotated[
        list[str], typer.Argument(help="Labels of rows, or names of models that stand in one row; two or more.")
    ],
    experiment: Annotated[
        str | None, typer.Option(help="Name or path of the table; default: the first packaged one that has all rows.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Data set to compare on; default: the table's own, else the demo set.")
    ] = None,
    data: DataFolder = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, max=MOST_REPETITIONS, help="Number of repetitions; default: 1, recorded all."),
    ] = None,
    train_fraction: TrainFraction = 1.0,
    profile: Profile = None,
    device: Device = "auto",
    jobs: Jobs = None,
    text_encoder: TextEncoder = None,
    image_encoder: ImageEncoder = None,
    missing_images: MissingPictures = None,
    option: ReaderOptions = None,
    set_: Settings = None,
    out: Out = RUNS,
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Compare what results/ holds, whatever its options; train nothing.")
    ] = False,
    metric: Annotated[str | None, typer.Option(help="Metric to decide by; default: the table's first F1.")] = None,
    examples: Annotated[
        int, typer.Option(min=0, max=1000, help="How many examples to show that one system alone gets right.")
    ] = 0,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
    debug: Debug = False,
) -> None:
    """Say which of the named rows is better, by how much, how surely, and where; train what is missing first.

    Examples: avebench compare dram virc-text; avebench compare dictionary virc-text --dataset demo --recorded
    """
    from avebench.analysis.comparison.asking import Question
    from avebench.planning.request import Request
    from avebench.planning.settings import parse_settings
    from avebench.running.experiment_run import Execution

    register(plugin)
    request = Request(
        experiment=experiment or "",
        out=out,
        dataset=dataset,
        data=data,
        train_fraction=train_fraction,
        profile=profile,
        missing_images=missing_images.value if missing_images else None,
        reader_options=parse_settings(option or []),
        settings=settings_of(set_, text_encoder, image_encoder),
    )
    question = Question(names, experiment, seeds, recorded, metric)
    raise typer.Exit(_compare(question, request, Execution(device, jobs, debug), examples, format.value))


def _compare(question: Question, request: Request, execution: Execution, examples: int, format: str) -> int:
    """Answer a question and print it; return the exit code."""
    from avebench.analysis.comparison.asking import ask
    from avebench.analysis.comparison.finished_rows import CellsFailedError
    from avebench.running.devices import check_device

    check_device(execution.device)
    try:
        answer = ask(question, request, execution)
    except CellsFailedError as failed:
        return failed.code
    show(answer, examples, format)
    return 0


def show(answer: Answer, examples: int, format: str) -> None:
    """Print a comparison. Texts of the data set are printed in the terminal format alone."""
    from avebench.analysis.comparison.verdict import answers, example_lines, only_right_ids, rendered
    from avebench.tables.terminal import print_table

    comparison, finished = answer.comparison, answer.finished
    said, table = answers(comparison), answer.table(whole=format in {"csv", "json"})
    if format != "terminal":
        ids = only_right_ids(comparison, examples) if examples else {}
        sys.stdout.write(rendered(table, said, ids, format))
        return
    from avebench.files.printing import console as made

    console = made(highlight=False)
    for sentence in said:
        # Wrapped between words in a terminal, one line each elsewhere.
        console.print(sentence, markup=False, soft_wrap=not console.is_terminal)
    console.print()
    print_table(table)
    if not examples:
        return
    gold = finished.gold or []
    predictions = [_by_id(read, gold) if gold else {} for read in finished.predictions]
    print()
    for line in example_lines(comparison, examples, {example.id: example for example in gold}, predictions):
        print(line)


def _by_id(read: Reader, gold: Sequence[Example]) -> dict[str, Prediction]:
    """Return the predictions by id; empty where they were recorded without their values."""
    from avebench.store.recorded_columns import ValuesLeftOutError

    try:
        return {one.id: one for one in read(gold)}
    except ValuesLeftOutError:
        return {}
