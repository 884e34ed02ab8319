"""Where experiments are: the packaged files by name, a user's own by path; read, looked up and checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avebench.files.errors import AvebenchError, near_matches
from avebench.files.places import is_file, shortened
from avebench.files.tomltext import read_toml
from avebench.planning.experiment import Experiment
from avebench.planning.packaged import packaged_folder, packaged_toml
from avebench.planning.published import published_rows, published_tables
from avebench.planning.validation import describe
from avebench.scoring.metrics import METRICS

_DIGITS = re.compile(r"(\d+)")


def experiment_names() -> list[str]:
    """Return the names of the packaged experiments, in natural order."""
    names = [path.stem for path in packaged_folder().glob("*.toml") if path.stem not in {"published", "profiles"}]
    return sorted(names, key=lambda name: [part.zfill(9) if part.isdigit() else part for part in _DIGITS.split(name)])


def experiment_path(name: str) -> Path:
    """Return the file of an experiment given by name or by path; AvebenchError with near matches otherwise."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not is_file(path):
            raise AvebenchError(f"The experiment file {shortened(name)} does not exist.")
        return path
    if name not in experiment_names():
        raise AvebenchError(
            f"There is no experiment called '{name}'. {near_matches(name, experiment_names())} "
            "A file of your own is named by its path, ending in .toml."
        )
    return packaged_folder() / f"{name}.toml"


def open_experiment(name: str) -> Experiment:
    """Return the experiment given by name or by path; AvebenchError as `experiment_path` and `load_experiment`."""
    return load_experiment(experiment_path(name))


def load_experiment(path: Path) -> Experiment:
    """Read and validate an experiment; AvebenchError names the file and the field."""
    content = read_toml(path)
    _look_up_rows(content, path)
    try:
        experiment = Experiment.model_validate(content)
    except ValidationError as error:
        raise AvebenchError(f"{path}: {describe(error, Experiment)}") from None
    labels: set[str] = set()
    for position, row in enumerate(experiment.rows):
        place = f"{path}, field 'rows.{position}"
        if row.label.casefold() in labels:
            raise AvebenchError(f"{place}.label': '{row.label}' stands twice. Give every row a label of its own.")
        labels.add(row.label.casefold())
        if isinstance(row.published, str) and row.published not in published_rows():
            raise AvebenchError(
                f"{place}.published': '{row.published}' is not in published.toml. "
                f"{near_matches(row.published, published_rows())}"
            )
    if experiment.statistics is not None and experiment.statistics not in published_tables():
        raise AvebenchError(
            f"{path}, field 'statistics': there is no table '{experiment.statistics}' in published.toml. "
            f"{near_matches(experiment.statistics, published_tables())}"
        )
    for metric in experiment.metrics:
        if metric not in METRICS:
            raise AvebenchError(
                f"{path}, field 'metrics': there is no metric '{metric}'. {near_matches(metric, METRICS)}"
            )
    return experiment


INHERITED = ("model", "options", "profiles", "preset", "protocol", "range_from", "control", "planned")
"""What a row takes over from the row that it is like: the system, not what a paper says of it."""


def _look_up_rows(content: dict[str, Any], path: Path) -> None:
    """Fill in what the rows of a file take over from the packaged rows that they name in `like`."""
    rows = content.get("rows")
    for position, row in enumerate(rows if isinstance(rows, list) else ()):
        if not isinstance(row, dict) or not isinstance(row.get("like"), str):
            continue
        place = f"{path}, field 'rows.{position}.like'"
        own = [name for name in INHERITED if name in row]
        if own:
            raise AvebenchError(f"{place}: a row that is like another has no '{own[0]}' of its own. Leave one out.")
        name, _, label = row["like"].partition("/")
        if name not in experiment_names():
            raise AvebenchError(f"{place}: there is no experiment '{name}'. {near_matches(name, experiment_names())}")
        other = packaged_toml(name)
        found = {one["label"]: one for one in other.get("rows", ()) if "like" not in one}
        if label not in found or "defaults" in other:
            known = {} if "defaults" in other else found
            raise AvebenchError(f"{place}: '{name}' has no row '{label}' to take over. {near_matches(label, known)}")
        row.update({key: found[label][key] for key in INHERITED if key in found[label]})
