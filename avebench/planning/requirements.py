"""What an experiment needs, and what of it is on this machine: its data set and the encoders of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avebench.data.opening import is_here
from avebench.files.errors import AvebenchError
from avebench.nn.weights import weights_place
from avebench.planning.cells import KINDS
from avebench.planning.configs import Layers, resolve
from avebench.planning.data_choice import stand_in
from avebench.planning.experiment import Experiment

Reach = Literal["own data", "demo", "not at all", "made-up data"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """A pretrained encoder that rows ask for by name, and why it cannot be used; `missing` is empty if it is here."""

    role: str
    name: str
    missing: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to run an experiment: a data set and a profile, and what is not here for it.

    `lacking` maps the label of a row to the encoders that it lacks. `refused` says why the data set will not do.
    """

    dataset: str
    profile: str
    here: bool
    lacking: dict[str, tuple[Encoder, ...]]
    encoders: tuple[Encoder, ...]
    refused: str = ""

    def missing(self) -> list[str]:
        """Return the names of what is not here, the data set first."""
        names = [] if self.here else [f"data {self.dataset}"]
        return names + list(dict.fromkeys(encoder.name for lacks in self.lacking.values() for encoder in lacks))


@dataclass(frozen=True, slots=True)
class Requirements:
    """What can be run of an experiment: the best trial that is possible, and the one with the papers' own settings."""

    reach: Reach
    chosen: Trial | None
    own: Trial | None

    def left_out(self) -> list[str]:
        """Return the labels of the rows that cannot run in the chosen trial."""
        return list(self.chosen.lacking) if self.chosen else []


def requirements(experiment: Experiment) -> Requirements:
    """Return what an experiment needs: its own data with the papers' encoders, else with small ones, else the demo set.

    A trial counts as possible if at least one row that the table is about can run in it.
    """
    if experiment.cost is not None:
        return Requirements("made-up data", None, None)
    own = _trial(experiment, experiment.dataset, "paper")
    try:
        other = _trial(experiment, stand_in(experiment), "quick")
    except AvebenchError as error:
        other = Trial(experiment.dataset, "quick", False, {}, (), str(error))
    for trial in (own, _trial(experiment, experiment.dataset, "quick"), other):
        if trial.here and not trial.refused and _possible(experiment, trial):
            return Requirements("own data" if trial.dataset == experiment.dataset else "demo", trial, own)
    return Requirements("not at all", None, own)


def _possible(experiment: Experiment, trial: Trial) -> bool:
    wanted = [row.label for row in experiment.rows if not row.reference and not row.planned]
    return not wanted or any(label not in trial.lacking for label in wanted)


def _trial(experiment: Experiment, dataset: str, profile: str) -> Trial:
    lacking: dict[str, tuple[Encoder, ...]] = {}
    known: dict[tuple[str, str], Encoder] = {}
    for row in experiment.rows:
        if row.planned:
            continue
        pretrained = resolve(row, Layers(profile, defaults=experiment.defaults.options)).pretrained
        used = [known.setdefault((role, name), _encoder(role, name)) for role, name in pretrained.items()]
        lacks = tuple(encoder for encoder in used if encoder.missing)
        if lacks:
            lacking[row.label] = lacks
    return Trial(dataset, profile, is_here(dataset), lacking, tuple(known.values()))


def _encoder(role: str, name: str) -> Encoder:
    try:
        weights_place(name, KINDS.get(role, "files"))
    except AvebenchError as error:
        return Encoder(role, name, str(error))
    return Encoder(role, name, "")
