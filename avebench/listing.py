"""The tables of `avebench list` and `avebench data`. No plug-in code is run for a list."""

from __future__ import annotations

from collections.abc import Iterable

from avebench.data import StatisticsRow, dataset_table, is_here
from avebench.errors import AvebenchError
from avebench.experiment import experiment_names, experiment_path, load_experiment
from avebench.registry import plugins
from avebench.render import Column, Section, Table, TableRow
from avebench.weights import encoder_folder


def listing(kind: str) -> Table:
    """Return the list of `models`, `datasets` or `experiments`."""
    return {"models": _models, "datasets": datasets, "experiments": _experiments}[kind]()


def _models() -> Table:
    rows = []
    for name, plugin in plugins("models").items():
        card = plugin.card
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
    rows = []
    for name in experiment_names():
        experiment = load_experiment(experiment_path(name))
        source = f"{experiment.source.paper} {experiment.source.table}" if experiment.source else ""
        built = sum(not row.planned for row in experiment.rows)
        data = f"{experiment.dataset} ({'here' if is_here(experiment.dataset) else 'not here'})"
        rows.append(TableRow(name, [source, experiment.title, data, f"{built} of {len(experiment.rows)}"]))
    columns = [
        Column("source", "Source"),
        Column("title", "Title"),
        Column("dataset", "Data set"),
        Column("built", "Rows built"),
    ]
    return Table("Experiments", columns, [Section(rows)], label_heading="Experiment")


def statistics_table(name: str, fingerprint: str, rows: Iterable[StatisticsRow]) -> Table:
    """Return published beside counted statistics of a data set."""
    lines = []
    for row in rows:
        published = None if row.published is None else _number(row.published)
        lines.append(TableRow(row.name, [published, _number(row.counted)]))
    columns = [Column("published", "Published"), Column("counted", "Counted")]
    return Table(
        f"Statistics of {name}",
        columns,
        [Section(lines)],
        notes=[f"Fingerprint {fingerprint}."],
        label_heading="Figure",
    )


def _number(value: object) -> str:
    """Return a figure as people read it: thousands apart, two decimals for fractions."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:,.2f}"
