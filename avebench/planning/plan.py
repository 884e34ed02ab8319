"""What a run would do: which rows and cells, on which data. Trains nothing and imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avebench.files.errors import AvebenchError
from avebench.planning.cells import Cell, cells_of
from avebench.planning.configs import Layers, ResolvedRow, check_protocol, check_settings, resolve
from avebench.planning.data_choice import MADE_UP, DataChoice, choose_data
from avebench.planning.experiment import Experiment, Row
from avebench.planning.experiment_files import experiment_path, load_experiment
from avebench.planning.request import Request


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
        """Return all cells in table order, repetitions of a row together; a cell that two rows share stands once.

        A cell whose range another one predicts comes behind it.
        """
        unique: dict[str, Cell] = {}
        for planned in self.rows:
            for cell in planned.cells:
                if cell.range_cell is not None:
                    unique.setdefault(cell.range_cell.key, cell.range_cell)
                unique.setdefault(cell.key, cell)
        return list(unique.values())


def make_plans(request: Request) -> list[Plan]:
    """Return the plan of an experiment, or one for each of its train fractions.

    AvebenchError for whatever cannot be carried out, before anything is written. An experiment that trains nothing
    (statistics, cost) has a plan without rows.
    """
    path = experiment_path(request.experiment)
    experiment = load_experiment(path)
    return _plans(path.stem, experiment, request, _fractions(experiment, request))


def make_plan(request: Request) -> Plan:
    """Return the plan of an experiment at the request's train fraction alone; AvebenchError as `make_plans`."""
    path = experiment_path(request.experiment)
    return _plans(path.stem, load_experiment(path), request, (request.train_fraction,))[0]


def _plans(name: str, experiment: Experiment, request: Request, fractions: Sequence[float]) -> list[Plan]:
    """Go from an experiment to its data, to rows with full configs, to cells."""
    rows = experiment.select(request.rows)
    if experiment.cost is not None:
        _check_made_up(experiment, request)
        return [Plan(name, experiment, MADE_UP, fraction, "", ()) for fraction in fractions]
    data, banner = choose_data(experiment, request)
    profile = request.profile or ("paper" if data.name == experiment.dataset else "quick")
    plans = []
    for fraction in fractions:
        around = Layers(profile, request.settings, experiment.defaults.options, fraction)
        resolved = {row.label: resolve(row, around) for row in rows if not row.planned}
        check_settings(list(resolved.values()))
        for one in resolved.values():
            check_protocol(one)
        planned = tuple(_planned(row, resolved.get(row.label), around, data, request, experiment) for row in rows)
        _check_rows(planned)
        plans.append(Plan(name, experiment, data, fraction, banner, planned, request.settings))
    return plans


def _fractions(experiment: Experiment, request: Request) -> tuple[float, ...]:
    """Return the train fractions of the plans; AvebenchError if both the experiment and the request have some."""
    own = experiment.train_fractions
    if own and request.train_fraction != 1:
        raise AvebenchError(
            f"--train-fraction {request.train_fraction:g}: '{request.experiment}' trains at fractions of its own "
            f"({', '.join(f'{fraction:g}' for fraction in own)}). Leave the option out."
        )
    return own or (request.train_fraction,)


def _check_made_up(experiment: Experiment, request: Request) -> None:
    """Raise AvebenchError if a data set is named for what is measured on made-up sentences."""
    if not request.forgiving and (request.dataset is not None or request.data is not None):
        raise AvebenchError(
            f"'{experiment.title}' is measured on made-up sentences of the sizes that its file says. "
            "Leave --dataset and --data out."
        )


def _planned(
    row: Row,
    resolved: ResolvedRow | None,
    around: Layers,
    data: DataChoice,
    request: Request,
    experiment: Experiment,
) -> PlannedRow:
    """Return a row with its cells; with none if it is not built, or if it lacks something and that is forgiven."""
    if resolved is None:
        return PlannedRow(row, ())
    try:
        ranges: list[Cell] = []
        if row.range_from is not None:
            ranges = cells_of(resolve(experiment.range_row(row), around), around, data, request.repetitions)
        return PlannedRow(row, tuple(cells_of(resolved, around, data, request.repetitions, ranges)))
    except AvebenchError as error:
        if not request.forgiving:
            raise
        return PlannedRow(row, (), str(error))


def _check_rows(planned: Sequence[PlannedRow]) -> None:
    """Raise AvebenchError if every row that the table is about lacks something."""
    wanted = [one for one in planned if not one.row.reference and not one.row.planned]
    if wanted and all(one.missing for one in wanted):
        raise AvebenchError(wanted[0].missing)
