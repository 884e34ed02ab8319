"""The step from an experiment to its data: the table's own where it is here, else what stands in for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avebench.contracts.registry import plugins
from avebench.data.opening import is_here, open_dataset
from avebench.files.errors import AvebenchError
from avebench.planning.experiment import Experiment
from avebench.planning.request import Request
from avebench.scoring.metrics import METRICS
from avebench.store.results import shown_data


@dataclass(frozen=True, slots=True)
class DataChoice:
    """The data of a run: plug-in name, folder (None where generated), reader options, fingerprint."""

    name: str
    folder: Path | None
    options: Mapping[str, Any]
    fingerprint: str
    title: str = ""
    """Name of a user's own data; in no key."""

    @property
    def shown(self) -> str:
        """Return the name for people."""
        return shown_data(self.name, self.title)


MADE_UP = DataChoice("made-up", None, {}, "")
"""The data of a cost experiment, which reads none."""


def choose_data(experiment: Experiment, request: Request) -> tuple[DataChoice, str]:
    """Return the data of a run and what must be said above its table.

    Without `--dataset` the table's own data set is used when it is here and the built-in one otherwise.
    """
    name = request.dataset or experiment.dataset
    if request.dataset is None and request.data is None and not is_here(name):
        name = stand_in(experiment)
    options = dict(experiment.dataset_options) if name == experiment.dataset else {}
    options |= request.reader_options
    if request.missing_images is not None:
        options["missing_images"] = request.missing_images
    dataset = open_dataset(name, request.data, options)
    title = "" if dataset.description is None else dataset.description.name
    options = dataset.options.model_dump(mode="json")
    choice = DataChoice(name, dataset.folder, options, dataset.fingerprint(), title)
    why = " because it is not on this machine" if request.dataset is None else ""
    return choice, data_banner(experiment, name, choice.fingerprint, why)


def data_banner(experiment: Experiment, dataset: str, fingerprint: str, why: str = "") -> str:
    """Return what must be said above a table of other data than its own; empty for its own."""
    foreign = experiment.foreign(dataset, fingerprint)
    if not foreign:
        return ""
    here = f": everything measured here is on '{dataset}'{why}" if dataset != experiment.dataset else ""
    own = experiment.own.name if experiment.own is not None else experiment.dataset
    figures = f" Published figures are of {own}; do not compare them with it."
    return f"{foreign}{here}.{figures if any(row.published for row in experiment.rows) else ''}"


def stand_in(experiment: Experiment) -> str:
    """Return the data set that stands in for a table's own; AvebenchError for a table about intents, if it has none."""
    name = next(known.name for known in plugins("datasets").values() if known.card.built_in)
    about = [metric for metric in experiment.metrics if METRICS[metric][0] in {"intent", "sentence"}]
    if about and not open_dataset(name, None, {}).schema().intents:
        raise AvebenchError(
            f"'{experiment.title}' needs intents ({', '.join(about)}); '{name}' has none and cannot stand in for "
            f"'{experiment.dataset}', which is not here. {plugins('datasets')[experiment.dataset].card.obtain}"
        )
    return name
