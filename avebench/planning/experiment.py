"""Experiments as data: one TOML file per table or figure, validated; as it is written.

A file is a table of rows that are trained and scored. What is made of the rows instead says one further field, of which
a file has at most one: `thresholds`, `train_fractions`, `attention`, `cost`, or `statistics` (of a data set, no rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from avebench.contracts.controls import Control
from avebench.contracts.held_out import HeldOut
from avebench.contracts.model import Protocol
from avebench.files.errors import AvebenchError, near_matches
from avebench.scoring.metrics import METRICS

Kind = Literal["table", "sweep", "fractions", "attention", "cost", "statistics"]
"""What is made of an experiment's rows."""
SWEEP_FROM = 0.05
"""A threshold below this cannot be swept: attributes that score less are not among the stored candidates."""


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
    range_from: str | None = None
    """With the protocol `predicted`: the label of the row of this table whose predicted attributes are asked for."""
    control: Control | None = None
    """Other pictures than the examples' own."""
    held_out: HeldOut | None = None
    """Attributes that training does not have, on which alone the row is tested."""
    reference: bool = False
    """A row that is not in the paper: the floor and the text-only row of every table."""
    planned: bool = False
    """Listed, not built yet: shown with its published figures, never run."""

    @model_validator(mode="after")
    def _range(self) -> Row:
        if (self.protocol == "predicted") != (self.range_from is not None):
            raise ValueError("protocol 'predicted' and range_from, the row that predicts, go together. Give both")
        return self

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
        if kind in {"sweep", "attention", "cost"} and any(row.held_out for row in self.rows):
            raise ValueError(f"rows: '{kind}' is of all attributes. Leave held_out out")
        if any(not SWEEP_FROM <= threshold < 1 for threshold in self.thresholds):
            raise ValueError(f"thresholds: each lies from {SWEEP_FROM}, the least score of a candidate, up to below 1")
        if any(not 0 < fraction <= 1 for fraction in self.train_fractions):
            raise ValueError("train_fractions: each lies above 0 and is at most 1")
        if self.attention is not None and len([row for row in self.rows if not row.reference]) != 2:
            raise ValueError("rows: attention is shown of two rows, beside reference rows")
        return self

    def range_row(self, row: Row) -> Row:
        """Return the row whose predicted attributes a row is asked for; AvebenchError if none predicts them."""
        labels = {other.label: other for other in self.rows if not other.planned}
        found = labels.get(row.range_from or "")
        if found is None:
            raise AvebenchError(
                f"Row '{row.label}': range_from names the row '{row.range_from}', which this table does not have. "
                f"{near_matches(row.range_from or '', [label for label in labels if label != row.label])}"
            )
        if found.protocol != "native":
            raise AvebenchError(
                f"Row '{row.label}': range_from names the row '{found.label}', which is itself told attributes "
                f"({found.protocol}). Name a row with the protocol native."
            )
        return found

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
