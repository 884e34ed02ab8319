"""Which finished cell is meant: a row of an experiment, and what chooses among its trained cells."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avebench.contracts.registry import plugin
from avebench.data.opening import open_dataset
from avebench.files.errors import AvebenchError
from avebench.planning.experiment import Row
from avebench.planning.experiment_files import experiment_path, load_experiment
from avebench.planning.requested import read_requested
from avebench.planning.rows import find_rows, is_cell_of
from avebench.planning.settings import flattened
from avebench.running.trained import SHOWN
from avebench.store.folder import RUNS
from avebench.store.results import Result, Store

LISTED = 8
"""Number of cells that a message lists."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A row of an experiment, and what chooses among its trained cells; None is any.

    `cell` holds the first characters of a key; without it, and without `repetition`, the first repetition is meant.
    """

    experiment: str
    row: str
    out: Path
    dataset: str | None = None
    train_fraction: float | None = None
    repetition: int | None = None
    cell: str = ""
    data: Path | None = None
    """Folder of the data that it was trained on."""

    def takes(self, result: Result) -> bool:
        """Return whether a result of the row is one of those meant."""
        repetition = 0 if self.repetition is None and not self.cell else self.repetition
        return (
            self.dataset in (None, result.dataset)
            and self.train_fraction in (None, result.train_fraction)
            and repetition in (None, result.repetition)
            and result.key.startswith(self.cell)
        )


def find_trained(choice: Choice) -> Result:
    """Return the one finished cell that is meant; AvebenchError says what there is, and what trains one."""
    path = experiment_path(choice.experiment)
    experiment = load_experiment(path)
    row = find_rows([choice.row], experiment)[0]
    if row.control is not None and not row.control.training:
        raise AvebenchError(
            f"The row '{row.label}' tests the system of another row with other pictures and has no weights of its own. "
            "Name that row."
        )
    store = Store(choice.out)
    finished = store.results()
    requested = {result.key: read_requested(store.folder(result.key), result) for result in finished}
    trained = [result for result in finished if is_cell_of(result, requested[result.key], row, path.stem, experiment)]
    meant = [result for result in trained if choice.takes(result)]
    if choice.data is not None and len(meant) > 1:
        meant = [result for result in meant if _is_of_data(result, choice.data)] or meant
    # What was run for this row goes before what another table has of it.
    own = {
        key for key, rows in requested.items() if (path.stem, row.label) in {(one.experiment, one.row) for one in rows}
    }
    meant = [result for result in meant if result.key in own] or meant
    built = plugin("models", row.model).card.implementation
    meant = [result for result in meant if result.implementation == built] or meant
    if len(meant) == 1:
        return meant[0]
    name = f"the row '{row.label}' of {path.stem}"
    if not meant:
        others = f" There are: {_listed(trained)}." if trained else ""
        raise AvebenchError(
            f"No trained cell of {name} in {choice.out} is as asked for.{others} "
            f"Train one with: {_training(choice, row)}"
        )
    raise AvebenchError(
        f"{len(meant)} trained cells of {name} in {choice.out} are as asked for: {_listed(meant)}. "
        "Choose with --data, --dataset, --train-fraction, --repetition or --cell."
    )


def _is_of_data(result: Result, folder: Path) -> bool:
    """Return whether a folder holds the data of a result; False if that data set cannot be read from it."""
    try:
        return open_dataset(result.dataset, folder, result.dataset_options).fingerprint() == result.fingerprint
    except AvebenchError:
        return False


def _listed(results: Sequence[Result]) -> str:
    """Return the cells with what tells them apart."""
    facts = [
        {
            "data set": result.shown_dataset,
            "data": result.fingerprint[:SHOWN],
            "train fraction": f"{result.train_fraction:g}",
            "repetition": str(result.repetition),
            "profile": result.profile,
            **flattened(result.config),
        }
        for result in results
    ]
    names = list(dict.fromkeys(name for found in facts for name in found))
    always = ("data set", "train fraction", "repetition")
    telling = [name for name in names if name in always or len({found.get(name) for found in facts}) > 1]
    shown = [
        f"cell {result.key[:SHOWN]} ({', '.join(f'{name} {found[name]}' for name in telling if name in found)})"
        for result, found in zip(results[:LISTED], facts, strict=False)
    ]
    more = [f"and {len(results) - LISTED} more"] if len(results) > LISTED else []
    return "; ".join([*shown, *more])


def _training(choice: Choice, row: Row) -> str:
    """Return the command that trains a row as it is asked for."""
    words = ["avebench", "run", choice.experiment]
    words += [] if "," in row.label else ["--rows", row.label]  # Commas stand between labels there.
    words += ["--dataset", choice.dataset] if choice.dataset else []
    words += ["--train-fraction", f"{choice.train_fraction:g}"] if choice.train_fraction else []
    words += ["--seeds", str(choice.repetition + 1)] if choice.repetition else []
    words += ["--out", str(choice.out)] if choice.out != RUNS else []
    return shlex.join(words)
