"""Experiments as data: one TOML file per table or figure, validated; and the published figures that it refers to.

A file is a table of rows that are trained and scored. What is made of the rows instead says one further field, of which
a file has at most one: `thresholds`, `train_fractions`, `attention`, `cost`, or `statistics` (of a data set, no rows).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from avebench.contracts.controls import Control
from avebench.contracts.model import Protocol
from avebench.files.errors import AvebenchError, near_matches
from avebench.files.places import is_file, shortened
from avebench.files.tomltext import parse
from avebench.scoring.metrics import METRICS

PUBLISHED_NAMES = {
    "precision": "tag_precision",
    "recall": "tag_recall",
    "accuracy": "mae_accuracy",
    "slot_f1": "tag_f1",
    "intent_acc": "intent_accuracy",
    "sentence_acc": "sentence_accuracy",
}
"""Names of published.toml that differ from ours."""


_TOLD = {"range-unstated", "known-attributes"}
"""Caveats of published rows whose systems were told attributes at test."""
Kind = Literal["table", "sweep", "fractions", "attention", "cost", "statistics"]
"""What is made of an experiment's rows."""
SWEEP_FROM = 0.05
"""A threshold below this cannot be swept: attributes that score less are not among the stored candidates."""


_DIGITS = re.compile(r"(\d+)")


class Source(BaseModel):
    """Where it stands: the paper's short name, and the number of a table or figure, or what has no number."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    paper: str
    table: str | None = None
    figure: str | None = None
    part: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if sum(given is not None for given in (self.table, self.figure, self.part)) != 1:
            raise ValueError("give exactly one of table, figure and part")
        return self

    def place(self) -> str:
        """Return paper and place in words, such as "journal, Table 6"."""
        numbered = f"Table {self.table}" if self.table else f"Figure {self.figure}" if self.figure else self.part
        return f"{self.paper}, {numbered}"


class OwnPublished(BaseModel):
    """Published figures that a table brings itself: metric -> value in %, and where they stand."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    source: str = Field(min_length=1)

    @model_validator(mode="after")
    def _known(self) -> OwnPublished:
        for name, value in self.figures.items():
            if name not in METRICS:
                raise ValueError(f"there is no metric '{name}'. {near_matches(name, METRICS)}")
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
                raise ValueError(f"{name} is {value!r}: give a number of % from 0 to 100")
        if not self.figures:
            raise ValueError("it holds no figure. Give one under the name of a metric")
        return self

    @property
    def figures(self) -> dict[str, float]:
        """Return metric -> value in %."""
        return dict(self.model_extra or {})


def _kind_of_published(given: Any) -> str:
    return "none" if given is None else "own" if isinstance(given, Mapping | OwnPublished) else "named"


class Row(BaseModel):
    """One line of a table: a model with options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(min_length=1)
    like: str | None = None
    """`<experiment>/<row label>` of a packaged row that this one is: the same system, so the same cells."""
    model: str
    options: dict[str, Any] = {}
    profiles: dict[str, dict[str, Any]] = {}
    """Profile -> options that stand in for those of the row under it."""
    preset: str | None = None
    published: Annotated[
        Annotated[str, Tag("named")] | Annotated[OwnPublished, Tag("own")] | Annotated[None, Tag("none")],
        Discriminator(_kind_of_published),
    ] = None
    """`<table id>/<row label>` in the packaged published.toml; or figures by metric, with their `source`."""
    marks: tuple[str, ...] = ()
    protocol: Protocol = "native"
    control: Control | None = None
    """Other pictures than the examples' own."""
    reference: bool = False
    """A row that is not in the paper: the floor and the text-only row of every table."""
    planned: bool = False
    """Listed, not built yet: shown with its published figures, never run."""

    @field_validator("label")
    @classmethod
    def _plain(cls, label: str) -> str:
        if any(character in "/\\" or character < " " for character in label):
            raise ValueError(f"a label has no slash, backslash, tab or line break ({label!r}). Leave it out")
        return label

    def options_of(self, profile: str) -> dict[str, Any]:
        """Return the row's options under a profile, by top-level name."""
        return {**self.options, **self.profiles.get(profile, {})}


class Defaults(BaseModel):
    """What all rows of a table share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: dict[str, Any] = {}


class OwnData(BaseModel):
    """The one folder, of all that a reader reads, whose figures were published."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    fingerprint: str
    """As read with the table's `dataset_options`."""


class Attention(BaseModel):
    """Which test examples the attention of the first two rows is shown on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    error: Literal["wrong", "missed"]
    """What makes a row wrong here: a value that is not gold, or a gold value of which it has no part."""
    examples: int = Field(default=2, ge=1)
    """Most examples of each group: only the one row right, only the other, both, neither."""


class Cost(BaseModel):
    """Sizes at which a training step and a test pass are measured, on made-up sentences and random weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: tuple[int, ...] = Field(min_length=1)
    """Numbers of attributes, N."""
    sentences: int = Field(ge=1)
    """Sentences of a step and of a pass."""
    characters: int = Field(ge=1)
    """Length of a sentence, S1."""
    selected: int = Field(ge=1)
    """Gold attributes of a sentence, which are also those that a range module selects, N_m."""
    hidden: int = Field(ge=8)
    """Width of the text encoder, H, with a head per 64."""
    layers: int = Field(ge=1)
    """Layers of the text encoder."""
    patches: int = Field(ge=1)
    """Patches of a picture, P; the picture encoder itself, which every system runs once, is not measured."""
    channels: int = Field(ge=1)
    """Width of a patch."""


class Experiment(BaseModel):
    """One table or figure of a paper, or one of a user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: Source | None = None
    dataset: str = ""
    """Registry name; none for `cost`, which is measured on made-up sentences."""
    dataset_options: dict[str, Any] = {}
    """Options of the reader of that data set; of another one, named by `--dataset`, they are not."""
    own: OwnData | None = None
    """Where `dataset` reads any folder of its format: which one is the table's own."""
    metrics: tuple[str, ...] = ()
    note: str = ""
    defaults: Defaults = Defaults()
    rows: tuple[Row, ...] = ()
    thresholds: tuple[float, ...] = ()
    """Sweep: range thresholds at which the stored candidates of the rows are cut; nothing is trained for one."""
    train_fractions: tuple[float, ...] = ()
    """Fractions: shares of the training products at which every row is trained."""
    attention: Attention | None = None
    cost: Cost | None = None
    statistics: str | None = None
    """Statistics: id of the published table beside which those of the data set are counted."""

    @property
    def kind(self) -> Kind:
        """Return what is made of the rows."""
        return self._kinds()[0] if self._kinds() else "table"

    def _kinds(self) -> list[Kind]:
        given: dict[Kind, Any] = {
            "sweep": self.thresholds,
            "fractions": self.train_fractions,
            "attention": self.attention,
            "cost": self.cost,
            "statistics": self.statistics,
        }
        return [kind for kind, value in given.items() if value]

    @property
    def alias(self) -> bool:
        """Return whether this is a table whose rows, but for the reference rows, all stand in other experiments."""
        return self.kind == "table" and all(row.like for row in self.rows if not row.reference)

    @model_validator(mode="after")
    def _complete(self) -> Experiment:
        if len(self._kinds()) > 1:
            raise ValueError("give at most one of thresholds, train_fractions, attention, cost and statistics")
        kind = self.kind
        needed = {
            "rows": kind != "statistics",
            "metrics": kind not in {"statistics", "cost"},
            "dataset": kind != "cost",
        }
        for field, wanted in needed.items():
            if wanted != bool(getattr(self, field)):
                raise ValueError(
                    f"{field}: " + ("it is missing or empty" if wanted else f"with '{kind}' there is none")
                )
        if any(not SWEEP_FROM <= threshold < 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds: each lies from {SWEEP_FROM}, the least score of a candidate, up to below 1")
        if any(not 0 < fraction <= 1 for fraction in self.train_fractions):
            raise ValueError("train_fractions: each lies above 0 and is at most 1")
        if self.attention is not None and len([row for row in self.rows if not row.reference]) != 2:
            raise ValueError("rows: attention is shown of two rows, beside reference rows")
        return self

    def foreign(self, dataset: str, fingerprint: str) -> str:
        """Return what must be said where a table is of data that are not its own; empty where they are."""
        if dataset != self.dataset:
            return f"This is not the table's own data set ({self.dataset})"
        if self.own is not None and fingerprint != self.own.fingerprint:
            return f"This is not the table's own data ({self.own.name}, fingerprint {self.own.fingerprint[:12]})"
        return ""

    def select(self, labels: Sequence[str]) -> tuple[Row, ...]:
        """Return the rows with these labels in any case, all if none is named; AvebenchError for an unknown one.

        A label that holds a comma may come in pieces, as a list of labels split at its commas has it.
        """
        if not labels:
            return self.rows
        known = {row.label.casefold() for row in self.rows}
        wanted: set[str] = set()
        start = 0
        while start < len(labels):
            joined = {stop: ", ".join(labels[start:stop]).casefold() for stop in range(len(labels), start, -1)}
            stop = next((stop for stop, label in joined.items() if label in known), None)
            if stop is None:
                labels_known = [row.label for row in self.rows]
                raise AvebenchError(
                    f"The experiment has no row '{labels[start]}'. {near_matches(labels[start], labels_known)}"
                )
            wanted.add(joined[stop])
            start = stop
        return tuple(row for row in self.rows if row.label.casefold() in wanted)


@dataclass(frozen=True, slots=True)
class Published:
    """One published row: figures in % under our metric names, where they stand, and what to know about them.

    `told`: whether the system was, or most likely was, given the attributes of each product. `datasets` are the names
    of the data that the papers give.
    """

    figures: dict[str, float]
    place: str
    caveats: tuple[str, ...]
    told: bool
    datasets: tuple[str, ...]


@cache
def published_marks() -> dict[str, str]:
    """Return what the marks on rows of the packaged published.toml mean."""
    marks: dict[str, str] = _read_toml(_packaged() / "published.toml")["marks"]
    return marks


@cache
def published_sources() -> dict[str, str]:
    """Return where what the packaged published.toml cites is to be found: short name -> reference."""
    sources: dict[str, str] = _read_toml(_packaged() / "published.toml")["sources"]
    return sources


def _packaged() -> Path:
    return Path(str(files("avebench.experiments")))


@cache
def published_tables() -> dict[str, str]:
    """Return table id -> where it stands, of every table of the packaged published.toml."""
    tables = _read_toml(_packaged() / "published.toml")["table"]
    return {table["id"]: f"{table['source']} {table['number']}" for table in tables}


@cache
def published_rows() -> dict[str, Published]:
    """Return every row of the packaged published.toml by `<table id>/<row label>`."""
    content = _read_toml(_packaged() / "published.toml")
    datasets = {table["id"]: tuple(table["dataset"].split(", ")) for table in content["table"]}
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
        told = not _TOLD.isdisjoint(row.get("caveats", ()))
        rows[key] = Published(figures, published_tables()[row["table"]], caveats, told, datasets[row["table"]])
    return rows


def published_of(row: Row) -> Published | None:
    """Return what is published of a row; None if nothing is."""
    if isinstance(row.published, OwnPublished):
        return Published(row.published.figures, row.published.source, (), told=False, datasets=())
    return published_rows()[row.published] if row.published else None


def experiment_names() -> list[str]:
    """Return the names of the packaged experiments, in natural order."""
    names = [path.stem for path in _packaged().glob("*.toml") if path.stem not in {"published", "profiles"}]
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
    return _packaged() / f"{name}.toml"


def load_experiment(path: Path) -> Experiment:
    """Read and validate an experiment; AvebenchError names the file and the field."""
    content = _read_toml(path)
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


INHERITED = ("model", "options", "profiles", "preset", "protocol", "control", "planned")
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
        other = _read_toml(_packaged() / f"{name}.toml")
        found = {one["label"]: one for one in other.get("rows", ()) if "like" not in one}
        if label not in found or "defaults" in other:
            known = {} if "defaults" in other else found
            raise AvebenchError(f"{place}: '{name}' has no row '{label}' to take over. {near_matches(label, known)}")
        row.update({key: found[label][key] for key in INHERITED if key in found[label]})


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
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
