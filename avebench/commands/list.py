"""`avebench list`: models, data sets or experiments as tables. No plug-in code is run for one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from avebench.commands.options import LISTED_WIDTH, Format, Formats, Plugins, register
from avebench.files.errors import AvebenchError

if TYPE_CHECKING:
    from avebench.planning.experiment import Experiment
    from avebench.tables.table import Cell, Table


class Kind(StrEnum):
    """What `list` can list."""

    models = "models"
    datasets = "datasets"
    experiments = "experiments"


def list_(kind: Kind, plugin: Plugins = None, format: Formats = Format.terminal) -> None:
    """List models, data sets or experiments, what each needs, and what is here."""
    from avebench.tables.render import emit

    register(plugin)
    emit(listing(kind.value), format.value, LISTED_WIDTH)


def listing(kind: str) -> Table:
    """Return the list of `models`, `datasets` or `experiments`."""
    return {"models": _models, "datasets": datasets, "experiments": _experiments}[kind]()


def _models() -> Table:
    from avebench.contracts.registry import plugins
    from avebench.tables.table import Column, Section, Table, TableRow

    rows = []
    for name, found in plugins("models").items():
        card = found.card
        needs = ", ".join(card.needs) or "nothing"
        rows.append(TableRow(name, [card.modality, card.family, card.protocol, str(card.year), needs, card.summary]))
    columns = [
        Column("modality", "Modality"),
        Column("family", "Family"),
        Column("protocol", "Protocol"),
        Column("year", "Year"),
        Column("needs", "Needs"),
        Column("summary", "Summary"),
    ]
    notes = [f"Text encoders here: {', '.join(_encoders_here())}."]
    return Table("Models", columns, [Section(rows)], notes=notes, label_heading="Model")


def _encoders_here() -> list[str]:
    from avebench.nn.weights import encoder_folder

    here = []
    for name in ("demo", "minilm"):
        try:
            encoder_folder(name)
        except AvebenchError:
            continue
        here.append(name)
    return here or ["none"]


def datasets() -> Table:
    """Return the registered data sets, what each needs, and whether it is here."""
    from avebench.data.opening import dataset_table
    from avebench.tables.table import Column, Section, Table, TableRow

    rows = [
        TableRow(row["name"], [row["here"], row["languages"], row["licence"], row["summary"], row["needs"]])
        for row in dataset_table()
    ]
    columns = [
        Column("here", "Here"),
        Column("languages", "Languages"),
        Column("licence", "Licence"),
        Column("summary", "Summary"),
        Column("needs", "Needs"),
    ]
    return Table("Data sets", columns, [Section(rows)], label_heading="Data set")


def _experiments() -> Table:
    from avebench.data.opening import is_here
    from avebench.planning.experiment_files import experiment_names, open_experiment
    from avebench.tables.table import Column, Section, Table, TableRow

    rows = []
    for name in experiment_names():
        experiment = open_experiment(name)
        built = [row for row in experiment.rows if not row.planned]
        data = "none, made up"
        if experiment.dataset:
            data = f"{experiment.dataset} ({'here' if is_here(experiment.dataset) else 'not here'})"
        cells: list[Cell] = [
            experiment.source.place() if experiment.source else "",
            experiment.title,
            "alias" if experiment.alias else experiment.kind,
            data,
            _encoders_of(experiment),
            ", ".join(dict.fromkeys(row.like.partition("/")[0] for row in built if row.like)),
            f"{len(built)} of {len(experiment.rows)}" if experiment.rows else "",
        ]
        rows.append(TableRow(name, cells))
    columns = [
        Column("source", "Source"),
        Column("title", "Shows"),
        Column("kind", "Kind"),
        Column("dataset", "Data set"),
        Column("encoders", "Encoders"),
        Column("cells", "Cells of"),
        Column("built", "Rows built"),
    ]
    notes = [
        "A data set that is not here is stood in for by the demo set. Cells that tables share are trained once.",
        "Which encoders each needs by name, and what can run on this machine: avebench doctor.",
    ]
    return Table("Experiments", columns, [Section(rows)], notes=notes, label_heading="Experiment")


def _encoders_of(experiment: Experiment) -> str:
    """Return which kinds of encoders the rows need; a plug-in's own default names the very one."""
    from avebench.contracts.registry import plugin

    if experiment.cost is not None:
        return "none, random weights"
    cards = [plugin("models", row.model).card for row in experiment.rows if not row.planned]
    needs = dict.fromkeys(need for card in cards for need in card.needs if need.endswith(" encoder"))
    return ", ".join(need.removesuffix(" encoder") for need in needs) or "none"
