"""Experiments as data: one TOML file per table, validated; and the published figures that it refers to."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avebench.controls import Control
from avebench.errors import AvebenchError, near_matches
from avebench.metrics import METRICS
from avebench.model import Protocol

PUBLISHED_NAMES = {
    "precision": "tag_precision",
    "recall": "tag_recall",
    "accuracy": "mae_accuracy",
    "slot_f1": "tag_f1",
    "intent_acc": "intent_accuracy",
    "sentence_acc": "sentence_accuracy",
}
"""Names of published.toml that differ from ours."""


class Source(BaseModel):
    """Where the table stands: the paper's short name and the table's number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str
    table: str


class Row(BaseModel):
    """One line of a table: a model with options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1, pattern=r"^[^/\\\x00-\x1f]+$")
    model: str
    options: dict[str, Any] = {}
    preset: str | None = None
    published: str | None = None
    """`<table id>/<row label>` in the packaged published.toml."""
    marks: tuple[str, ...] = ()
    protocol: Protocol = "native"
    control: Control | None = None
    """Other pictures than the examples' own."""
    reference: bool = False
    """A row that is not in the paper: the floor and the text-only row of every table."""
    planned: bool = False
    """Listed, not built yet: shown with its published figures, never run."""


class Defaults(BaseModel):
    """What all rows of a table share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: dict[str, Any] = {}


class Experiment(BaseModel):
    """One table or figure of a paper, or one of a user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: Source | None = None
    dataset: str
    dataset_options: dict[str, Any] = {}
    """Options of the reader of that data set; of another one, named by `--dataset`, they are not."""
    metrics: tuple[str, ...] = Field(min_length=1)
    note: str = ""
    defaults: Defaults = Defaults()
    rows: tuple[Row, ...] = Field(min_length=1)

    def select(self, labels: list[str]) -> tuple[Row, ...]:
        """Return the rows with these labels in any case, all if none is named; AvebenchError for an unknown one."""
        if not labels:
            return self.rows
        known = {row.label.casefold(): row for row in self.rows}
        for label in labels:
            if label.casefold() not in known:
                raise AvebenchError(
                    f"The experiment has no row '{label}'. {near_matches(label, [row.label for row in self.rows])}"
                )
        wanted = {label.casefold() for label in labels}
        return tuple(row for row in self.rows if row.label.casefold() in wanted)


@dataclass(frozen=True, slots=True)
class Published:
    """One published row: figures in % under our metric names, where they stand, and what to know about them."""

    figures: dict[str, float]
    place: str
    caveats: tuple[str, ...]


@cache
def published_marks() -> dict[str, str]:
    """Return what the marks on rows of the packaged published.toml mean."""
    marks: dict[str, str] = _read_toml(_packaged() / "published.toml")["marks"]
    return marks


def _packaged() -> Path:
    return Path(str(files("avebench.experiments")))


@cache
def published_rows() -> dict[str, Published]:
    """Return every row of the packaged published.toml by `<table id>/<row label>`."""
    with (_packaged() / "published.toml").open("rb") as stream:
        content = tomllib.load(stream)
    places = {table["id"]: f"{table['source']} {table['number']}" for table in content["table"]}
    rows: dict[str, Published] = {}
    for row in content["row"]:
        figures = {
            PUBLISHED_NAMES.get(name, name): float(value)
            for name, value in row["metrics"].items()
            if isinstance(value, int | float)
        }
        caveats = tuple(content["caveats"][name] for name in row.get("caveats", ()))
        # A table that prints a label twice (SMARTAVE, text and multimodal) is told apart by its modality.
        key = f"{row['table']}/{row['label']}"
        if key in rows:
            key += f" ({row['modality']})"
        rows[key] = Published(figures, places[row["table"]], caveats)
    return rows


def experiment_names() -> list[str]:
    """Return the names of the packaged experiments, in natural order."""
    names = [path.stem for path in _packaged().glob("*.toml") if path.stem not in {"published", "profiles"}]
    return sorted(names, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def experiment_path(name: str) -> Path:
    """Return the file of an experiment given by name or by path; AvebenchError with near matches otherwise."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise AvebenchError(f"The experiment file {path} does not exist.")
        return path
    if name not in experiment_names():
        raise AvebenchError(
            f"There is no experiment called '{name}'. {near_matches(name, experiment_names())} "
            "A file of your own is named by its path, ending in .toml."
        )
    return _packaged() / f"{name}.toml"


def load_experiment(path: Path) -> Experiment:
    """Read and validate an experiment; AvebenchError names the file and the field."""
    content = _read_toml(path)
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
        if row.published is not None and row.published not in published_rows():
            raise AvebenchError(
                f"{place}.published': '{row.published}' is not in published.toml. "
                f"{near_matches(row.published, published_rows())}"
            )
    for metric in experiment.metrics:
        if metric not in METRICS:
            raise AvebenchError(
                f"{path}, field 'metrics': there is no metric '{metric}'. {near_matches(metric, METRICS)}"
            )
    return experiment


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise AvebenchError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise AvebenchError(f"{path} cannot be read: {error.strerror}.") from None
    except tomllib.TOMLDecodeError as error:
        raise AvebenchError(f"{path} is not valid TOML: {error}.") from None


@dataclass(frozen=True, slots=True)
class ProfileStep:
    """Overrides of a profile for train fractions up to `max_train_fraction`."""

    max_train_fraction: float
    options: dict[str, Any]


@cache
def profiles() -> dict[str, tuple[ProfileStep, ...]]:
    """Return the packaged profiles: name -> overrides by train fraction, smallest first."""
    content = _read_toml(_packaged() / "profiles.toml")
    return {
        name: tuple(
            sorted(
                (ProfileStep(step.get("max_train_fraction", 1.0), step.get("options", {})) for step in steps),
                key=lambda step: step.max_train_fraction,
            )
        )
        for name, steps in content.items()
    }


def profile_options(name: str, train_fraction: float) -> dict[str, Any]:
    """Return the overrides of a profile at a train fraction; AvebenchError for an unknown profile."""
    if name not in profiles():
        raise AvebenchError(f"There is no profile called '{name}'. {near_matches(name, profiles())}")
    for step in profiles()[name]:
        if train_fraction <= step.max_train_fraction:
            return step.options
    return {}


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first fault of a validation as one sentence with its field, and near matches of an unknown key."""
    faults = error.errors()
    # A mistyped key makes two faults, the unknown and the missing one; the unknown says what happened.
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = known_keys(model, fault["loc"][:-1])
        return f"there is no field '{place}'. {near_matches(str(fault['loc'][-1]), known)}"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if fault["type"] in {"missing", "value_error"} else f" (given: {fault['input']!r})"
    return f"field '{place}': {message}{given}." if place else f"{message}{given}."


def known_keys(model: Any, place: tuple[int | str, ...]) -> list[str]:
    """Return the field names that a pydantic model knows at a nested place; empty where that is not a model."""
    for part in place:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = _inner_model(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    """Return the pydantic model inside an annotation such as `tuple[Row, ...]` or `Source | None`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
