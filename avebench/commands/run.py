"""`avebench run`: from a request to the printed table; train what is missing, score, show, record, track."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from avebench.commands.options import (
    DataFolder,
    Debug,
    Device,
    Endpoint,
    Format,
    Formats,
    ImageEncoder,
    Jobs,
    LanguageModel,
    MaxRequests,
    MaxTokens,
    MissingPictures,
    Out,
    Plugins,
    Profile,
    ReaderOptions,
    RequestTimeout,
    Settings,
    SideBySide,
    TextEncoder,
    TrainFraction,
    register,
    settings_of,
)
from avebench.contracts.seeds import MOST_REPETITIONS
from avebench.nn.completions.contract import DEFAULT_MEANS, Means
from avebench.store.folder import RUNS

if TYPE_CHECKING:
    from avebench.analysis.experiment_output import ExperimentOutput
    from avebench.planning.plan import Plan
    from avebench.planning.request import Request
    from avebench.running.experiment_run import Execution, ExperimentRun
    from avebench.tracking.run_records import Attachments


def run(
    experiment: Annotated[str, typer.Argument(help="Name of an experiment, path of a TOML file, or 'all'.")],
    dataset: Annotated[
        str | None, typer.Option(help="Data set to run on; default: the table's own, else the demo set.")
    ] = None,
    data: DataFolder = None,
    rows: Annotated[
        list[str] | None,
        typer.Option(metavar="LABELS", help="Labels of rows to run, separated by commas; may be repeated."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=MOST_REPETITIONS, help="Number of repetitions.")] = 1,
    train_fraction: TrainFraction = 1.0,
    profile: Profile = None,
    device: Device = "auto",
    jobs: Jobs = None,
    text_encoder: TextEncoder = None,
    image_encoder: ImageEncoder = None,
    llm: LanguageModel = None,
    endpoint: Endpoint = None,
    max_requests: MaxRequests = None,
    max_tokens: MaxTokens = None,
    side_by_side: SideBySide = DEFAULT_MEANS.side_by_side,
    request_timeout: RequestTimeout = DEFAULT_MEANS.timeout,
    missing_images: MissingPictures = None,
    option: ReaderOptions = None,
    set_: Settings = None,
    out: Out = RUNS,
    record: Annotated[bool, typer.Option("--record", help="Write results/ for the repository as well.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run finished cells again.")] = False,
    slices: Annotated[bool, typer.Option("--slices", help="Print F1 per slice as well.")] = False,
    no_mlflow: Annotated[bool, typer.Option("--no-mlflow", help="Leave MLflow out of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
    debug: Debug = False,
) -> None:
    """Train and score what is missing, and print the table.

    Examples: avebench run table6; avebench run table6 --dataset fashion --data DIR --text-encoder minilm --seeds 3
    """
    from avebench.planning.request import Request
    from avebench.planning.settings import parse_settings
    from avebench.running.experiment_run import Execution

    register(plugin)
    request = Request(
        experiment=experiment,
        out=out,
        dataset=dataset,
        data=data,
        rows=[label.strip() for given in rows or () for label in given.split(",")],
        repetitions=seeds,
        train_fraction=train_fraction,
        profile=profile,
        missing_images=missing_images.value if missing_images else None,
        reader_options=parse_settings(option or []),
        settings=settings_of(set_, text_encoder, image_encoder, llm, endpoint),
        fresh=fresh,
    )
    means = Means(endpoint, max_requests, max_tokens, uuid4().hex, side_by_side, request_timeout)
    options = RunOptions(Execution(device, jobs, debug, means), record, not no_mlflow, dry_run, slices, format.value)
    raise typer.Exit(run_experiments(request, options))


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How experiments are run and shown, whatever they are."""

    execution: Execution
    record: bool = False
    track: bool = True
    dry_run: bool = False
    slices: bool = False
    format: str = "terminal"


def run_experiments(request: Request, options: RunOptions) -> int:
    """Run one experiment, or every packaged one for `all`; return the exit code.

    Of all experiments, those that cannot run on this machine are named at the end with what they lack, and rows whose
    encoders are not here say so in their table; neither fails the run.
    """
    from avebench.files.errors import AvebenchError, DiskFullError
    from avebench.planning.plan import make_plans
    from avebench.running.devices import check_device
    from avebench.running.experiment_run import prepare
    from avebench.store.results import Store
    from avebench.tracking.place import tracking_uri

    check_device(options.execution.device)
    everything = request.experiment == "all"
    planned, refused = _plan_all(request) if everything else ([make_plans(request)], {})
    if not options.dry_run:
        if options.track:
            tracking_uri()
        prepare(planned, Store(request.out), fresh=request.fresh)
    code = 0
    for number, plans in enumerate(planned):
        if number:
            _part(options.format)
        try:
            code = max(code, (_show_plans if options.dry_run else _run_experiment)(plans, request, options))
        except DiskFullError:
            raise  # The others would meet it too.
        except AvebenchError as error:
            if not everything:
                raise
            print(f"{plans[0].name} stopped: {error}", file=sys.stderr)
            code = 2
    for name, reason in refused.items():
        print(f"{name} cannot run here: {reason}", file=sys.stderr)
    return code


def _plan_all(request: Request) -> tuple[list[list[Plan]], dict[str, str]]:
    """Return the plans of every packaged experiment that can run here, and why the others cannot.

    AvebenchError if none can: then it is the request that is at fault.
    """
    from avebench.files.errors import AvebenchError
    from avebench.planning.experiment_files import experiment_names
    from avebench.planning.plan import make_plans

    planned, refused = [], {}
    for name in experiment_names():
        try:
            planned.append(make_plans(replace(request, experiment=name, forgiving=True)))
        except AvebenchError as error:
            refused[name] = str(error)
    if not planned:
        raise AvebenchError(next(iter(refused.values())))
    return planned, refused


# ---------------------------------------------------------------------------------------------------------------------
# One experiment: run, show, draw, record, track


def _run_experiment(plans: Sequence[Plan], request: Request, options: RunOptions) -> int:
    """Train and measure what an experiment lacks, show, record and track it; return the exit code."""
    from avebench.analysis.experiment_output import finish_experiment
    from avebench.analysis.recording import record
    from avebench.planning.cells import cell_name
    from avebench.tracking.run_records import track

    done, output, costs = finish_experiment(plans, request, options.execution)
    _show(output, done, options)
    attachments = _draw(output, done, options)
    for failure in dict.fromkeys(done.failures.values()):
        names = [cell_name(cell) for cell in done.cells() if done.failures.get(cell.key) == failure]
        print(f"{', '.join(names)} failed: {failure.message}", file=sys.stderr)
    if options.record:
        record(done, output, costs)
    if options.track:
        track(done, output.tables, attachments)
    return max(done.exit_code(), int(costs is not None and costs.failed))


def _show(output: ExperimentOutput, done: ExperimentRun, options: RunOptions) -> None:
    """Print the tables of an experiment, and what is for a terminal alone."""
    from avebench.tables.render import emit
    from avebench.tables.result_tables import slice_table

    for number, table in enumerate(output.tables):
        if number:
            _part(options.format)
        emit(table, options.format)
    if options.format == "terminal":
        for line in output.lines:
            print(line)
    if options.slices:
        for plan in done.plans:
            emit(slice_table(plan, done.results), options.format)


def _part(format: str) -> None:
    """Leave a line free between two tables that people read."""
    if format in {"terminal", "md"}:
        print()


def _draw(output: ExperimentOutput, done: ExperimentRun, options: RunOptions) -> Attachments:
    """Draw the figures of an experiment, and the attention of its rows; say on standard error where they are."""
    from avebench.analysis.attention.figure import attention_folder, draw_attention_figures
    from avebench.analysis.experiment_output import write_figures
    from avebench.analysis.recording import place_name
    from avebench.tracking.run_records import Attachments

    figures = write_figures(output, done.store.out / "figures", place_name(done.plan))
    for path in figures:
        print(f"Figure: {path}", file=sys.stderr)
    if output.attention is None:
        return Attachments(figures)
    folder = attention_folder(done.store.out, done.plan)
    drawn, anew = draw_attention_figures(output.attention, done, debug=options.execution.debug)
    if drawn.figures:
        number = f"{len(drawn.figures)} examples" if len(drawn.figures) > 1 else "one example"
        print(f"Attention over the pictures of {number}: {folder}", file=sys.stderr)
    for line in drawn.notes:
        print(line, file=sys.stderr)
    return Attachments(figures, [folder / figure.file for figure in drawn.figures], anew)


# ---------------------------------------------------------------------------------------------------------------------
# --dry-run


def _show_plans(plans: Sequence[Plan], request: Request, options: RunOptions) -> int:
    """Print what an experiment would do; return the exit code."""
    from avebench.analysis.range_cost.jobs import cost_device, cost_jobs
    from avebench.analysis.range_cost.tables import cost_plan_table
    from avebench.planning.cell_status import estimated_seconds, status
    from avebench.running.forecast import forecast
    from avebench.store.results import Store
    from avebench.tables.render import emit
    from avebench.tables.result_tables import plan_table

    experiment, store = plans[0].experiment, Store(request.out)
    if experiment.cost is not None:
        jobs = cost_jobs(experiment, request, cost_device(options.execution.device))
        emit(cost_plan_table(plans[0].name, jobs, request.out), options.format)
    elif experiment.statistics is not None:
        print(f"{plans[0].name} counts the statistics of {plans[0].data.name}; it trains nothing.", file=sys.stderr)
    else:
        for plan in plans:
            statuses = {cell.key: status(store, cell) for cell in plan.cells()}
            history = store.results()
            seconds = {cell.key: estimated_seconds(cell, history) for cell in plan.cells()}
            asked = [said for cell in plan.cells() if (said := forecast(cell, store)) is not None]
            emit(plan_table(plan, statuses, seconds, asked), options.format)
    return 0
