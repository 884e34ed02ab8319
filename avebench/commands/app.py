"""The command line: one function per command, heavy imports inside."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from avebench import __version__
from avebench.commands.door import enter
from avebench.contracts.seeds import MOST_REPETITIONS
from avebench.files.errors import AvebenchError
from avebench.nn.weights import Modality
from avebench.store.folder import RUNS

LISTED_WIDTH = 120
"""Columns of a listing that is piped."""

app = typer.Typer(
    name="avebench",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)
data_app = typer.Typer(
    help="Integrity, fingerprint and statistics of data sets.", rich_markup_mode=None, no_args_is_help=True
)
app.add_typer(data_app, name="data")


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


class Format(StrEnum):
    """Output of a table."""

    terminal = "terminal"
    json = "json"
    csv = "csv"
    md = "md"
    latex = "latex"


class ReportFormat(StrEnum):
    """Output of a report."""

    html = "html"
    md = "md"
    latex = "latex"
    csv = "csv"
    json = "json"


class PlainFormat(StrEnum):
    """Output of what is not a table."""

    terminal = "terminal"
    json = "json"


class Kind(StrEnum):
    """What `list` can list."""

    models = "models"
    datasets = "datasets"
    experiments = "experiments"


class Scheme(StrEnum):
    """Chunk scheme."""

    lenient = "lenient"
    strict = "strict"


class Values(StrEnum):
    """How tagged tokens become the strings of values."""

    joined = "joined"
    released = "released"


class MissingImages(StrEnum):
    """What a missing picture means."""

    error = "error"
    blank = "blank"


Plugins = Annotated[list[Path] | None, typer.Option("--plugin", help="A plug-in file of your own; may be repeated.")]
DataFolder = Annotated[Path | None, typer.Option("--data", help="Folder of the data set; default $AVEBENCH_DATA/NAME.")]
Formats = Annotated[Format, typer.Option("--format", help="How the table is printed.")]

Options = Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="An option of the reader.")]
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
MissingPictures = Annotated[MissingImages | None, typer.Option(help="What a missing picture means.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A model option, e.g. training.steps=100.")
]
Out = Annotated[Path, typer.Option(help="Folder of the finished cells.")]
Table = Annotated[str, typer.Option("--experiment", help="Name or path of the table.")]
RowName = Annotated[str, typer.Option("--row", help="Label of a row, or the name of a model that stands in one row.")]
TrainedOn = Annotated[str | None, typer.Option("--dataset", help="Data set that the row was trained on.")]
TrainedFraction = Annotated[
    float | None, typer.Option("--train-fraction", help="Share of the training products it was trained on.")
]
Repetition = Annotated[int | None, typer.Option(min=0, help="Which repetition; default: the first, 0.")]
CellKey = Annotated[str, typer.Option("--cell", help="First characters of a cell's key, where several are left.")]
ProductText = Annotated[str | None, typer.Option("--text", help="The text of one product.")]
ProductImage = Annotated[Path | None, typer.Option("--image", help="The picture of that product.")]


def _register(plugins: list[Path] | None) -> None:
    from avebench.contracts.registry import add_plugin_file

    for path in plugins or []:
        add_plugin_file(path)


def _settings(options: list[str] | None, text_encoder: str | None, image_encoder: str | None) -> dict[str, Any]:
    """Return what `--set` and the two encoder options lay over a table."""
    from avebench.planning.settings import merge, parse_settings

    settings = parse_settings(options or [])
    for key, value in (("text_encoder", text_encoder), ("image_encoder", image_encoder)):
        if value is not None:
            settings = merge(settings, {key: value})
    return settings


@app.command("list")
def list_(kind: Kind, plugin: Plugins = None, format: Formats = Format.terminal) -> None:
    """List models, data sets or experiments, what each needs, and what is here."""
    from avebench.commands.listing import listing
    from avebench.tables.render import emit

    _register(plugin)
    emit(listing(kind.value), format.value, LISTED_WIDTH)


@app.command()
def run(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, path of a TOML file, or 'all'.")],
    dataset: Annotated[
        str | None, typer.Option(help="Data set to run on; default: the table's own, else the demo set.")
    ] = None,
    data: DataFolder = None,
    rows: Annotated[str | None, typer.Option(help="Labels of rows to run, separated by commas.")] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_REPETITIONS, help="Number of repetitions.")] = 1,
    train_fraction: TrainFraction = 1.0,
    profile: Profile = None,
    device: Device = "auto",
    jobs: Jobs = None,
    text_encoder: TextEncoder = None,
    image_encoder: ImageEncoder = None,
    missing_images: MissingPictures = None,
    option: Options = None,
    set_: Settings = None,
    out: Out = RUNS,
    record: Annotated[bool, typer.Option("--record", help="Write results/ for the repository as well.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished cells again.")] = False,
    slices: Annotated[bool, typer.Option("--slices", help="Print F1 per slice as well.")] = False,
    no_mlflow: Annotated[bool, typer.Option("--no-mlflow", help="Leave MLflow out of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks.")] = False,
) -> None:
    """Train and score what is missing, and print the table.

    Examples: avebench run table6; avebench run table6 --dataset fashion --data DIR --text-encoder minilm --seeds 3
    """
    from avebench.commands.reproduce import run_experiments
    from avebench.planning.request import Request
    from avebench.planning.settings import parse_settings

    _register(plugin)
    request = Request(
        experiment=experiment,
        out=out,
        dataset=dataset,
        data=data,
        rows=[label.strip() for label in rows.split(",")] if rows else [],
        repetitions=seeds,
        train_fraction=train_fraction,
        profile=profile,
        missing_images=missing_images.value if missing_images else None,
        reader_options=parse_settings(option or []),
        settings=_settings(set_, text_encoder, image_encoder),
        fresh=fresh,
    )
    code = run_experiments(
        request,
        device=device,
        jobs=jobs,
        record=record,
        dry_run=dry_run,
        track=not no_mlflow,
        slices=slices,
        format=format.value,
        debug=debug,
    )
    raise typer.Exit(code)


@app.command()
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
    option: Options = None,
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
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks.")] = False,
) -> None:
    """Say which of the named rows is better, by how much, how surely, and where; train what is missing first.

    Examples: avebench compare dram virc-text; avebench compare dictionary virc-text --dataset demo --recorded
    """
    from avebench.commands.compare import Question
    from avebench.commands.compare import compare as answer
    from avebench.planning.request import Request
    from avebench.planning.settings import parse_settings

    _register(plugin)
    request = Request(
        experiment=experiment or "",
        out=out,
        dataset=dataset,
        data=data,
        train_fraction=train_fraction,
        profile=profile,
        missing_images=missing_images.value if missing_images else None,
        reader_options=parse_settings(option or []),
        settings=_settings(set_, text_encoder, image_encoder),
    )
    question = Question(names, experiment, seeds, recorded, metric, examples)
    raise typer.Exit(answer(question, request, device=device, jobs=jobs, format=format.value, debug=debug))


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(help="Prediction JSONL, or BIO columns as CoNLL (gold, predicted); - is standard input."),
    ],
    gold: Annotated[Path | None, typer.Option(help="Gold JSONL, or a file of gold BIO columns.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Take the gold annotation from this data set instead.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "test",
    data: DataFolder = None,
    option: Options = None,
    scheme: Annotated[Scheme, typer.Option(help="How BIO tags become spans.")] = Scheme.lenient,
    values: Annotated[
        Values, typer.Option(help="How tagged tokens become values; released: word pieces, as DRAM's code does.")
    ] = Values.joined,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Score anybody's predictions with the exact metrics."""
    from avebench.commands.score import report_table
    from avebench.data.opening import open_dataset
    from avebench.planning.settings import parse_settings
    from avebench.scoring.prediction_files import score_file
    from avebench.tables.render import emit

    _register(plugin)
    if gold is not None and dataset is not None:
        raise AvebenchError("Give --gold or --dataset, not both.")
    examples = None
    if dataset is not None:
        examples = list(open_dataset(dataset, data, parse_settings(option or [])).read(split))
    emit(
        report_table(score_file(predictions, examples or gold, scheme.value, released=values is Values.released)),
        format.value,
    )


@app.command()
def predict(
    experiment: Table,
    row: RowName,
    input: Annotated[Path | None, typer.Option(help="Products, gold JSONL; gold in it is not looked at.")] = None,
    output: Annotated[Path | None, typer.Option(help="New file of predictions, one line per product.")] = None,
    text: ProductText = None,
    image: ProductImage = None,
    dataset: TrainedOn = None,
    train_fraction: TrainedFraction = None,
    repetition: Repetition = None,
    cell: CellKey = "",
    data: DataFolder = None,
    missing_images: MissingPictures = None,
    device: Device = "auto",
    out: Out = RUNS,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Use a trained row on products: a file of them, or one that is given and printed.

    A line that is no product, or whose picture the row needs and cannot read, is answered by a record
    {id, line, error}, and the exit code stays 0. The same command continues one that was killed.

    Examples: avebench predict --experiment table6 --row DRAM --input products.jsonl --output out.jsonl;
    avebench predict --experiment table6 --row DRAM --text "a blue dress" --image photo.jpg
    """
    from avebench.commands.predict import prediction_table
    from avebench.running.chosen_cell import Choice, find_trained
    from avebench.running.predict import predict_file, single_product
    from avebench.running.trained import load_trained
    from avebench.store.results import Store
    from avebench.tables.render import emit

    if (input is None) == (text is None) or (input is None) != (output is None) or (image and text is None):
        raise AvebenchError("Give --input and --output for a file of products, or --text (and --image) for one.")
    _register(plugin)
    result = find_trained(Choice(experiment, row, out, dataset, train_fraction, repetition, cell, data))
    trained = load_trained(result, Store(out), device, data)
    if input is not None and output is not None:
        missing = missing_images or MissingImages.error
        print(predict_file(trained, result.key, input, output, missing.value))
    elif text is not None:
        example = single_product(text, image, trained)
        (prediction,), long = trained.predict([example])
        emit(prediction_table(example, prediction, row, long.said()), format.value)


@app.command()
def explain(
    experiment: Table,
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
    data: DataFolder = None,
    device: Device = "auto",
    out: Out = RUNS,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Show why a trained row predicts what it predicts: tags, range scores, similarities, attention over the picture.

    Example: avebench explain --experiment table6 --row DRAM --text "a blue dress" --image photo.jpg --png overlays
    """
    from avebench.commands.explain import draw, example_of, show
    from avebench.commands.explain import explain as explained
    from avebench.running.chosen_cell import Choice, find_trained
    from avebench.running.predict import single_product
    from avebench.running.trained import load_trained
    from avebench.store.results import Store

    if (example is None) == (text is None) or (image and text is None):
        raise AvebenchError("Give --example for one of the data set, or --text (and --image) for a product.")
    _register(plugin)
    result = find_trained(Choice(experiment, row, out, dataset, train_fraction, repetition, cell, data))
    shown = None if example is None else example_of(result, split, example, data)
    trained = load_trained(result, Store(out), device, data)
    explanation = explained(trained, shown or single_product(text or "", image, trained), row)
    show(explanation, row, format.value)
    for line in trained.long_texts(explanation.example).said():
        print(line, file=sys.stderr)
    if png is not None:
        print(draw(explanation, png), file=sys.stderr)


@app.command()
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
    debug: Annotated[bool, typer.Option("--debug", help="Print tracebacks.")] = False,
) -> None:
    """Write one self-contained HTML page of what was measured; train nothing.

    Examples: avebench report; avebench report table6 --recorded --format latex
    """
    from avebench.report.writing import write_report

    _register(plugin)
    written = write_report(experiments or [], out=out, recorded=recorded, data=data, output=output, format=format.value)
    if written is not None:
        said = f"The report is in {written} ({written.stat().st_size / 1e6:.1f} MB)."
        print(said, file=sys.stdout if format.value == "html" else sys.stderr)


@app.command()
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.")
    ] = None,
) -> None:
    """Serve the MLflow UI on 127.0.0.1."""
    from avebench.tracking.server import serve

    serve(tracking_uri, port=port)


@app.command()
def sync(
    out: Out = RUNS,
    tracking_uri: Annotated[
        str | None, typer.Option(help="Default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.")
    ] = None,
) -> None:
    """Upload to MLflow what could not be uploaded when it was measured."""
    from avebench.tracking.mlflow_log import sync as upload

    print(upload(out, tracking_uri).said())


@app.command()
def doctor(
    plugin: Plugins = None,
    format: Annotated[PlainFormat, typer.Option("--format", help="How it is printed.")] = PlainFormat.terminal,
) -> None:
    """Say what this machine is, which data sets, encoders and extras are here, and what each experiment can run on."""
    from avebench.commands.doctor import examine, show

    _register(plugin)
    show(examine(), format.value)


@app.command()
def pretrain(
    dataset: Annotated[str, typer.Argument(help="Data set that can generate more examples, e.g. demo.")],
    out: Annotated[
        Path, typer.Option(help="Folder in which the encoders' folders NAME-text and NAME-image are made.")
    ] = Path("encoders"),
    only: Annotated[Modality | None, typer.Option(help="Make this encoder alone; default: both.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; default: as for the shipped ones.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; the same bytes come back on cpu only.")] = "cpu",
    plugin: Plugins = None,
) -> None:
    """Train the small encoders of a data set that ship with avebench again, from generated examples.

    Example: avebench pretrain demo --only text, then avebench run table6 --text-encoder encoders/demo-text
    """
    from avebench.training.pretraining import pretrain as make

    _register(plugin)
    for line in make(dataset, out, steps, device, only, lambda line: print(line, file=sys.stderr)):
        print(line)


@data_app.command("list")
def data_list(plugin: Plugins = None, format: Formats = Format.terminal) -> None:
    """List the data sets, what each needs, and which are here."""
    from avebench.commands.listing import datasets
    from avebench.tables.render import emit

    _register(plugin)
    emit(datasets(), format.value, LISTED_WIDTH)


@data_app.command("check")
def data_check(name: str, data: DataFolder = None, option: Options = None, plugin: Plugins = None) -> None:
    """List every fault of a data set's files; exit 2 if there is one."""
    from avebench.commands.checking import pictures_counted
    from avebench.data.opening import check_rows, open_dataset
    from avebench.planning.settings import parse_settings

    _register(plugin)
    faults = 0
    with pictures_counted():
        for row in check_rows(open_dataset(name, data, parse_settings(option or []))):
            print(row.what if row.count is None else f"{row.what}: {row.count}")
            faults = row.count or 0
    raise typer.Exit(2 if faults else 0)


@data_app.command("stats")
def data_stats(
    name: str,
    data: DataFolder = None,
    option: Options = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Count also the texts that are too long for this encoder: as for run.")
    ] = None,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Print published beside counted statistics, and the fingerprint.

    Example: avebench data stats jsonl --data FOLDER --text-encoder bert-base-uncased
    """
    from avebench.analysis.data_statistics import statistics_table
    from avebench.data.opening import open_dataset, stats_rows
    from avebench.planning.settings import parse_settings
    from avebench.tables.render import emit

    _register(plugin)
    dataset = open_dataset(name, data, parse_settings(option or []))
    fingerprint = dataset.fingerprint()  # Says which files are missing, before one is read.
    rows = stats_rows(dataset)
    if text_encoder is not None:
        from avebench.analysis.long_text_statistics import long_text_rows

        rows += long_text_rows(dataset, text_encoder)
    emit(statistics_table(name, fingerprint, rows), format.value)


@data_app.command("convert")
def data_convert(
    name: str, folder: Path, data: DataFolder = None, option: Options = None, plugin: Plugins = None
) -> None:
    """Write a data set as gold JSONL into a new folder, which `--dataset jsonl` reads."""
    from avebench.data.opening import convert, open_dataset
    from avebench.planning.settings import parse_settings

    _register(plugin)
    for what, count in convert(open_dataset(name, data, parse_settings(option or [])), folder).items():
        print(f"{what}: {count}")
    print(f"Gold JSONL is in {folder}: avebench data check jsonl --data {folder}")


@data_app.command("spans")
def data_spans(
    name: str, folder: Path, data: DataFolder = None, option: Options = None, plugin: Plugins = None
) -> None:
    """Find the values of a data set in its texts and write it with these spans into a new folder, for taggers."""
    from avebench.data.locating import LocatedDataset
    from avebench.data.opening import convert, open_dataset
    from avebench.planning.settings import parse_settings

    _register(plugin)
    dataset = LocatedDataset(open_dataset(name, data, parse_settings(option or [])))
    for what, count in convert(dataset, folder).items():
        print(f"{what}: {count}")


def main() -> None:
    """Run the command line; a request that cannot be carried out ends with one message and exit code 2."""
    sys.exit(enter(app, debug="--debug" in sys.argv))
