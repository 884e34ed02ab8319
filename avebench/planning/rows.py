"""Which rows of which table names mean, and which cells two tables share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from avebench.files.digests import canonical
from avebench.files.errors import AvebenchError, near_matches
from avebench.nn.weights import weights_digest
from avebench.planning.cells import keyed_config, kind_of
from avebench.planning.configs import Layers, resolve
from avebench.planning.experiment import Experiment, Row
from avebench.planning.experiment_files import experiment_names, open_experiment
from avebench.planning.requested import Requested
from avebench.store.results import Result

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
        loaded = open_experiment(experiment)
        return [(experiment, loaded, find_rows(names, loaded))]
    packaged = {name: open_experiment(name) for name in experiment_names()}
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


def is_cell_of(result: Result, requested: Sequence[Requested], row: Row, name: str, experiment: Experiment) -> bool:
    """Return whether a finished cell is one of a row of the table `name`: by its content, whoever ran it first.

    The row must come to the cell's config as it stands in the table, or under what the command line set when the cell
    was `requested`. Where that was not kept, a row is taken at its word, and another one must be the same as it.
    """
    own_test = (row.model, row.protocol, row.control, row.held_out)
    if (result.model, result.protocol, result.control, result.held_out) != own_test:
        return False
    fraction = result.train_fraction
    own = _resolved(experiment, row, result.profile, {}, fraction)
    if _is_config_of(result, own):
        return True
    for one in requested:
        if one.settings is None:
            if (one.experiment, one.row) == (name, row.label) or (own is not None and own == _origin(one, fraction)):
                return True
        elif _is_config_of(result, _resolved(experiment, row, one.profile, one.settings, fraction)):
            return True
    return False


def _origin(requested: Requested, fraction: float) -> Content | None:
    """Return what the packaged row that a cell was requested for comes to; None if there is none."""
    if requested.experiment not in experiment_names():
        return None
    experiment = open_experiment(requested.experiment)
    row = next((row for row in experiment.rows if row.label == requested.row and not row.planned), None)
    return None if row is None else _resolved(experiment, row, requested.profile, {}, fraction)


Content = tuple[dict[str, Any], dict[str, str | None]]
"""The config of a row, and by role the hash of every encoder in it; None for one that is not here."""


def _is_config_of(result: Result, content: Content | None) -> bool:
    """Return whether a result has this config: an encoder counts by its content, and by its name if it is not here."""
    if content is None:
        return False
    config, weights = content
    encoders = result.weights
    if weights.keys() != encoders.keys():
        return False
    same = all(
        encoders[role].sha256 == digest if digest else encoders[role].name == config[role]
        for role, digest in weights.items()
    )
    without = dict.fromkeys(weights)
    return same and {**keyed_config(config), **without} == {**keyed_config(result.config), **without}


def _resolved(
    experiment: Experiment, row: Row, profile: str, settings: Mapping[str, Any], fraction: float
) -> Content | None:
    """Return what a row comes to in its table; None if it cannot be run."""
    return _content(canonical([row.model_dump(), profile, settings, experiment.defaults.options, fraction]))


@cache
def _content(request: str) -> Content | None:
    """Return what a row comes to, by the canonical JSON of all that it depends on."""
    row, profile, settings, defaults, fraction = json.loads(request)
    try:
        resolved = resolve(Row(**row), Layers(profile, settings, defaults, fraction))
    except AvebenchError:
        return None
    weights: dict[str, str | None] = {}
    for role, name in resolved.pretrained.items():
        try:
            weights[role] = weights_digest(name, kind_of(role))
        except AvebenchError:
            weights[role] = None
    return resolved.config, weights
