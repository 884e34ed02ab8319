"""Which rows of which table names mean, and which cells two tables share."""

from __future__ import annotations

from collections.abc import Sequence

from avebench.cells import Overrides, resolve
from avebench.errors import AvebenchError, near_matches
from avebench.experiment import Experiment, Row, experiment_names, experiment_path, load_experiment
from avebench.results import Result

Chosen = tuple[str, Experiment, list[Row]]
"""Name (or path) and content of an experiment, and the rows of it."""


def find_rows(names: Sequence[str], experiment: Experiment) -> list[Row]:
    """Return the built rows of these names, in any case; AvebenchError for one that none, or more than one, row has."""
    built = [row for row in experiment.rows if not row.planned]
    rows = []
    for name in names:
        labelled = [row for row in experiment.rows if row.label.casefold() == name.casefold()]
        found = labelled or [row for row in built if row.model.casefold() == name.casefold()]
        if not found:
            known = {row.label for row in built} | {row.model for row in built}
            raise AvebenchError(f"'{experiment.title}' has no row '{name}'. {near_matches(name, known)}")
        if len(found) > 1:
            raise AvebenchError(
                f"The model '{name}' stands in several rows of '{experiment.title}': "
                f"{', '.join(row.label for row in found)}. Name the row."
            )
        if found[0].planned:
            raise AvebenchError(f"The row '{found[0].label}' of '{experiment.title}' is not built yet.")
        if found[0] in rows:
            raise AvebenchError(f"'{name}' is the row '{found[0].label}', which is named twice. Name different rows.")
        rows.append(found[0])
    return rows


def choose_rows(names: Sequence[str], experiment: str | None) -> Chosen:
    """Return name, content and rows of the named experiment, or else of the first packaged one that has all rows."""
    return candidates(names, experiment)[0]


def candidates(names: Sequence[str], experiment: str | None) -> list[Chosen]:
    """Return the named experiment, or else every packaged one that has all rows; AvebenchError if there is none."""
    if experiment is not None:
        loaded = load_experiment(experiment_path(experiment))
        return [(experiment, loaded, find_rows(names, loaded))]
    packaged = {name: load_experiment(experiment_path(name)) for name in experiment_names()}
    # What is made of rows of other tables would only be a second place for the same rows.
    packaged = {name: loaded for name, loaded in packaged.items() if loaded.kind == "table" and not loaded.alias}
    found = [(name, loaded, rows) for name, loaded in packaged.items() if (rows := _rows_or_none(names, loaded))]
    if found:
        return found
    known = {name for loaded in packaged.values() for row in loaded.rows for name in (row.label, row.model)}
    places = []
    for wanted in names:
        having = [loaded for loaded in packaged.values() if _has(wanted, loaded)]
        if not having:
            raise AvebenchError(f"No packaged experiment has a row '{wanted}'. {near_matches(wanted, known)}")
        usable = [name for name, loaded in packaged.items() if _rows_or_none([wanted], loaded)]
        if not usable:
            find_rows([wanted], having[0])  # Says whether the row is not built or the model has several.
        places.append(f"{wanted} ({', '.join(usable)})")
    raise AvebenchError(f"No packaged experiment has all of these rows: {', '.join(places)}. Name rows of one table.")


def _has(name: str, experiment: Experiment) -> bool:
    return any(name.casefold() in {row.label.casefold(), row.model.casefold()} for row in experiment.rows)


def _rows_or_none(names: Sequence[str], experiment: Experiment) -> list[Row] | None:
    try:
        return find_rows(names, experiment)
    except AvebenchError:
        return None


def is_cell_of(result: Result, origin: Experiment, row: Row, experiment: Experiment) -> bool:
    """Return whether the result of a cell that `origin` ran is of the cell of `row` in another table as well.

    Whatever `--set` laid over both: rows of one system whose options come to the same config have the same cells.
    """
    its = next((other for other in origin.rows if other.label == result.row), None)
    if its is None or its.planned:
        return False
    if (result.model, result.protocol, result.control) != (row.model, row.protocol, row.control):
        return False
    if its == row and origin.defaults == experiment.defaults:
        return True
    overrides = Overrides(result.profile, {})
    try:
        configs = [
            resolve(one, overrides, table.defaults.options, result.train_fraction).config
            for table, one in ((origin, its), (experiment, row))
        ]
    except AvebenchError:  # A row that cannot be run has no cells.
        return False
    return configs[0] == configs[1]
