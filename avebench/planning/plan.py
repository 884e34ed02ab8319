"""What a run would do: which rows and cells, on which data, cached or new. Trains nothing and imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.registry import plugins
from avebench.contracts.seeds import MOST_REPETITIONS
from avebench.data.opening import is_here, open_dataset
from avebench.files.errors import AvebenchError
from avebench.planning.cells import Cell, DataChoice, Overrides, cells_of_row, check_settings, keyed_config, resolve
from avebench.planning.experiment import Experiment, Row, experiment_path, load_experiment
from avebench.scoring.metrics import METRICS
from avebench.store.results import Result, Store

Status = Literal["finished", "interrupted", "new"]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    experiment: str
    out: Path
    dataset: str | None = None
    data: Path | None = None
    rows: Sequence[str] = ()
    repetitions: int = 1
    train_fraction: float = 1.0
    profile: str | None = None
    missing_images: Literal["error", "blank"] | None = None
    reader_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    forgiving: bool = False
    """Leave out rows whose encoders are not here, and say so in their place, as long as another row remains."""


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A row and its cells; none for a row that is not built yet, or that lacks what `missing` says."""

    row: Row
    cells: tuple[Cell, ...]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run needs to know, decided before anything is trained."""

    name: str
    experiment: Experiment
    data: DataChoice
    train_fraction: float
    banner: str
    """Said above the table when it is not the table's own data set; empty otherwise."""
    rows: tuple[PlannedRow, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the command line lays over every row, nested like a model's config."""

    def cells(self) -> list[Cell]:
        """Return all cells in table order, repetitions of a row together; a cell that two rows share stands once."""
        unique: dict[str, Cell] = {}
        for planned in self.rows:
            for cell in planned.cells:
                unique.setdefault(cell.key, cell)
        return list(unique.values())


def make_plans(request: Request) -> list[Plan]:
    """Return the plan of an experiment, or one for each of its train fractions; AvebenchError as `make_plan`."""
    fractions = load_experiment(experiment_path(request.experiment)).train_fractions
    if fractions and request.train_fraction != 1:
        raise AvebenchError(
            f"--train-fraction {request.train_fraction:g}: '{request.experiment}' trains at fractions of its own "
            f"({', '.join(f'{fraction:g}' for fraction in fractions)}). Leave the option out."
        )
    return [make_plan(replace(request, train_fraction=fraction)) for fraction in fractions or (request.train_fraction,)]


def make_plan(request: Request) -> Plan:
    """Resolve a request to cells; AvebenchError for whatever cannot be carried out, before anything is written.

    An experiment that trains nothing (statistics, cost) has a plan without rows.
    """
    if not 0 < request.train_fraction <= 1:
        raise AvebenchError(f"--train-fraction {request.train_fraction}: give a number above 0 and at most 1.")
    if not 1 <= request.repetitions <= MOST_REPETITIONS:
        raise AvebenchError(f"--seeds {request.repetitions}: give a number from 1 to {MOST_REPETITIONS}.")
    path = experiment_path(request.experiment)
    experiment = load_experiment(path)
    rows = experiment.select(request.rows)
    if experiment.cost is not None:
        if not request.forgiving and (request.dataset is not None or request.data is not None):
            raise AvebenchError(
                f"'{experiment.title}' is measured on made-up sentences of the sizes that its file says. "
                "Leave --dataset and --data out."
            )
        return Plan(path.stem, experiment, MADE_UP, request.train_fraction, "", ())
    data, banner = choose_data(experiment, request)
    profile = request.profile or ("paper" if data.name == experiment.dataset else "quick")
    overrides = Overrides(profile, request.settings)
    planned: list[PlannedRow] = []
    unknown: list[tuple[str, ...]] = []
    for row in rows:
        if row.planned:
            planned.append(PlannedRow(row, ()))
            continue
        resolved = resolve(row, overrides, experiment.defaults.options, request.train_fraction)
        unknown.append(resolved.unknown)
        try:
            cells = cells_of_row(row, resolved, overrides, data, request.train_fraction, request.repetitions)
        except AvebenchError as error:
            if not request.forgiving:
                raise
            planned.append(PlannedRow(row, (), str(error)))
        else:
            planned.append(PlannedRow(row, tuple(cells)))
    _check_rows(planned)
    check_settings(unknown, [row.model for row in rows if not row.planned])
    return Plan(path.stem, experiment, data, request.train_fraction, banner, tuple(planned), request.settings)


MADE_UP = DataChoice("made-up", None, {}, "")
"""The data of a cost experiment, which reads none."""


def _check_rows(planned: Sequence[PlannedRow]) -> None:
    """Raise AvebenchError if every row that the table is about lacks something."""
    wanted = [one for one in planned if not one.row.reference and not one.row.planned]
    if wanted and all(one.missing for one in wanted):
        raise AvebenchError(wanted[0].missing)


def choose_data(experiment: Experiment, request: Request) -> tuple[DataChoice, str]:
    """Return the data of a run and what must be said above its table.

    Without `--dataset` the table's own data set is used when it is here and the built-in one otherwise.
    """
    name = request.dataset or experiment.dataset
    if request.dataset is None and request.data is None and not is_here(name):
        name = stand_in(experiment)
    options = dict(experiment.dataset_options) if name == experiment.dataset else {}
    options |= request.reader_options
    if request.missing_images is not None:
        options["missing_images"] = request.missing_images
    dataset = open_dataset(name, request.data, options)
    title = "" if dataset.description is None else dataset.description.name
    options = dataset.options.model_dump(mode="json")
    choice = DataChoice(name, dataset.folder, options, dataset.fingerprint(), title)
    why = " because it is not on this machine" if request.dataset is None else ""
    return choice, data_banner(experiment, name, choice.fingerprint, why)


def data_banner(experiment: Experiment, dataset: str, fingerprint: str, why: str = "") -> str:
    """Return what must be said above a table of other data than its own; empty for its own."""
    foreign = experiment.foreign(dataset, fingerprint)
    if not foreign:
        return ""
    here = f": everything measured here is on '{dataset}'{why}" if dataset != experiment.dataset else ""
    own = experiment.own.name if experiment.own is not None else experiment.dataset
    figures = f" Published figures are of {own}; do not compare them with it."
    return f"{foreign}{here}.{figures if any(row.published for row in experiment.rows) else ''}"


def stand_in(experiment: Experiment) -> str:
    """Return the data set that stands in for a table's own; AvebenchError for a table about intents, if it has none."""
    name = next(known.name for known in plugins("datasets").values() if known.card.built_in)
    about = [metric for metric in experiment.metrics if METRICS[metric][0] in {"intent", "sentence"}]
    if about and not open_dataset(name, None, {}).schema().intents:
        raise AvebenchError(
            f"'{experiment.title}' needs intents ({', '.join(about)}); '{name}' has none and cannot stand in for "
            f"'{experiment.dataset}', which is not here. {plugins('datasets')[experiment.dataset].card.obtain}"
        )
    return name


def status(store: Store, cell: Cell) -> Status:
    """Return whether a cell is finished, was interrupted, or is new."""
    if store.finished(cell.key):
        return "finished"
    return "interrupted" if (store.folder(cell.training_key) / "checkpoint").is_dir() else "new"


def estimated_seconds(cell: Cell, history: Sequence[Result]) -> float | None:
    """Return the mean seconds of finished cells of the same config, data and fraction; None without any."""
    seconds = [
        sum(result.seconds.values())
        for result in history
        if result.model == cell.model
        and keyed_config(result.config) == keyed_config(cell.config)
        and result.control == cell.control
        and result.fingerprint == cell.data.fingerprint
        and result.train_fraction == cell.train_fraction
    ]
    return sum(seconds) / len(seconds) if seconds else None
