"""The results store: one folder per finished cell, written once and atomically; and the schema of a result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from avebench.contracts.controls import Control
from avebench.contracts.held_out import HeldOut
from avebench.files.atomic import write_atomically
from avebench.files.cache import cache_folder
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError
from avebench.files.leftovers import sweep_tree
from avebench.files.sealed import DamagedError, read_record, seal
from avebench.scoring.evaluation import SplitScores

RESULT_VERSION = 1


class Weight(BaseModel):
    """A pretrained encoder: the name it was asked for by, and the SHA-256 of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    sha256: str


class OverLimit(BaseModel):
    """Which texts run over what the encoder reads at once, and what lies behind it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int | None
    """What the encoder reads at once, mostly in word pieces, special symbols included; None: it is not known."""
    test: int
    """Test examples that run over it."""
    train: int | None
    """Training examples that run over it; None: they were not counted."""
    train_cut: int | None
    """Training examples whose units beyond it were cut off; None: as `train`."""
    values: int
    """Gold values of the test examples that do not lie wholly within it."""


class WrittenAnswers(BaseModel):
    """What became of what a language model wrote for the test examples (`contracts.examples.Written`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    answers: int
    """Answers: one per example, or per question of one."""
    unparsable: int
    """Answers that could not be read at all."""
    values: int
    """Values written for attributes that may be predicted."""
    dropped: int
    """Of them, values that have no place in the text."""
    unknown: int
    """Values written for other attributes, which are left out."""
    cut: int
    """Answers that ended at the longest that may be written."""


class Completions(BaseModel):
    """What a language model was asked for the test examples, and what its answers cost, whenever they were given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int
    """Distinct questions."""
    from_cache: int
    """Of them, those that had an answer before this run of the cell."""
    tokens_in: int
    """Tokens of the questions."""
    tokens_out: int
    """Tokens of the answers."""
    estimated: int
    """Answers whose tokens nobody told: a quarter of the characters."""
    seconds: float
    """Sum of the seconds until each answer was there."""
    notes: list[str]
    """How the questions were put, where that was not as the system wrote them."""


class Result(BaseModel):
    """Everything that is known of one finished cell. Tables, reports and comparisons are functions of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = RESULT_VERSION
    """Version of this schema."""
    key: str
    """Cell key, SHA-256."""
    experiment: str
    """Name of the experiment that ran the cell first."""
    row: str
    """Label of the row that ran the cell first."""
    model: str
    """Registry name of the system."""
    implementation: int
    """The card's `implementation` when the cell ran."""
    protocol: str
    """Attribute range protocol: what the system was told at test time."""
    preset: str | None
    """Preset of the plug-in, if the row named one."""
    profile: str
    """Named set of overrides."""
    dataset: str
    """Registry name of the data set."""
    dataset_title: str = ""
    """Name of a user's own data set, of which only the reader has a registry name; empty for others."""
    fingerprint: str
    """SHA-256 of the data."""
    dataset_options: dict[str, Any]
    """Reader options."""
    split: str
    """Split that `scores` are of."""
    train_fraction: float
    """Share of the training products used."""
    train_examples: int
    """Training examples used."""
    training_key: str = ""
    """Key of the cell that was trained, where this one tests its system otherwise: asked for other attributes."""
    mean_asked: float | None = None
    """Mean number of attributes that the system was asked for of a test example; None if it is not asked."""
    not_asked: int | None = None
    """Gold attributes of the test examples that the system was not asked for; None if it is not asked, or of before
    they were counted."""
    range_from: str = ""
    """With the protocol `predicted`: the row whose predicted attributes were asked for."""
    repetition: int
    """Repetition, counted from 0."""
    seed: int
    """Seed of the initialisation."""
    config: dict[str, Any]
    """Fully resolved model config."""
    control: Control | None = None
    """Other pictures than the examples' own; without `training`, parameters and history are of the normal training."""
    held_out: HeldOut | None = None
    """Attributes that training did not have, of which alone `scores` are; without `training`, it had them."""
    held_out_attributes: tuple[str, ...] = ()
    """Their names in this repetition."""
    weights: dict[str, Weight]
    """Role -> pretrained encoder."""
    chunk_scheme: str
    """How tags became spans: lenient or strict."""
    scorer_version: int
    """Version of the metrics; results of an older one are scored again from the stored predictions."""
    scores: SplitScores
    """Scores on `split`."""
    scores_extended: SplitScores | None
    """Scores on the training products left out by the train fraction; None at fraction 1. Never mixed with `scores`."""
    validation: dict[str, float]
    """Validation metrics of the chosen checkpoint, in %; empty for closed-form systems."""
    selection: str
    """Rule that chose the checkpoint."""
    epochs: float
    """Epochs trained."""
    steps: int
    """Optimiser steps trained."""
    best_step: int
    """Step of the chosen checkpoint."""
    history: list[dict[str, Any]]
    """One entry per validation: step, epoch, mean losses, validation metrics, seconds."""
    parameters: int
    """Trained parameters."""
    diagnostics: dict[str, dict[str, float]] = {}
    """What the model says of itself on validation examples: "initial" and "trained", each name -> figure."""
    reader_notes: dict[str, int]
    """What the reader did on its own: dropped lines, blank pictures."""
    truncated: int
    """Test examples whose units beyond the encoder's limit were cut off and tagged O."""
    over_limit: OverLimit | None = None
    """Texts beyond the encoder's limit, cut or read in windows; None in results of before such texts were counted."""
    written: WrittenAnswers | None = None
    """What became of the answers of a system that writes; None for others."""
    completions: Completions | None = None
    """What a system that asks a language model asked; None for others."""
    annotation: dict[str, dict[str, int]] = {}
    """Split -> its examples, gold spans, those of them that no single sequence of tags reaches (`off_boundary`,
    `overlapping`), and how many examples share text or product with an earlier split; empty in earlier versions."""
    seconds: dict[str, float]
    """Wall time per phase, in seconds; without training where that was another cell's."""
    peak_memory: int
    """Peak memory in bytes: of the process on CPU, of the allocator on GPU."""
    versions: dict[str, str]
    """Versions of Python and the libraries that numbers depend on."""
    hardware: dict[str, Any]
    """CPU or GPU model and cores; no host name."""
    revision: str
    """Git revision of this package, empty outside a checkout."""
    dirty: bool
    """Whether the package's checkout had uncommitted changes."""
    started: float
    """Unix time at which the cell was started first."""
    finished: float
    """Unix time at which the result was written."""

    @property
    def shown_dataset(self) -> str:
        """Return the name of the data set for people."""
        return shown_data(self.dataset, self.dataset_title)


def shown_data(name: str, title: str) -> str:
    """Return the name of a data set for people: a user's own by its title, with the reader behind it."""
    return f"{title} ({name})" if title and title != name else name


class Store:
    """Finished cells under `<out>/cells/<key>/`. The only place where `run` looks for them."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def prepare(self) -> None:
        """Create the folder and remove what killed processes left there and in the cache of files they were writing.

        AvebenchError if it cannot be written.
        """
        try:
            (self.out / "cells").mkdir(parents=True, exist_ok=True)
            probe = self.out / "cells" / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise unwritable(
                error,
                self.out,
                f"The output folder {self.out} cannot be written ({error.strerror}). Choose another with --out.",
            ) from None
        for root in (self.out, cache_folder()):
            sweep_tree(root)

    def folder(self, key: str) -> Path:
        """Return the folder of a cell."""
        return self.out / "cells" / key

    def lock(self, key: str) -> FileLock:
        """Return the lock that a process holds while it works on a cell; the system frees it when the process dies."""
        self.folder(key).mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder(key) / "lock")

    def finished(self, key: str) -> bool:
        """Return whether the cell has a result."""
        return (self.folder(key) / "result.json").is_file()

    def load(self, key: str) -> Result:
        """Return the result of a finished cell; AvebenchError if its file is not of this version."""
        return load_result(self.folder(key) / "result.json")

    def results(self) -> list[Result]:
        """Return every readable result, for history; broken ones are passed over."""
        found = []
        for path in sorted((self.out / "cells").glob("*/result.json")):
            try:
                found.append(load_result(path))
            except AvebenchError:
                continue
        return found

    def write(self, result: Result) -> None:
        """Write the result; the cell is finished from then on."""
        write_atomically(self.folder(result.key) / "result.json", dump(result))

    def forget(self, key: str) -> None:
        """Remove what a cell left, so that it runs again from the start. The lock stays: its holder calls this."""
        for path in self.folder(key).iterdir():
            if path.name == "lock":
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def load_result(path: Path) -> Result:
    """Read a result file; AvebenchError names the file and what is wrong."""
    try:
        content = read_record(path)
    except DamagedError as error:
        raise AvebenchError(f"The result {path} cannot be read: {error}. Run its cell again with --fresh.") from None
    return parse_result(content, str(path), "Run its cell again with --fresh.")


def parse_result(content: dict[str, Any], shown: str, remedy: str) -> Result:
    """Return a result from its JSON; AvebenchError names its place as `shown`, what is wrong, and the remedy."""
    if content.get("version") != RESULT_VERSION:
        raise AvebenchError(f"The result {shown} is of another version. {remedy}")
    try:
        return Result.model_validate(content)
    except ValidationError as error:
        raise AvebenchError(f"The result {shown} is not complete: {error.errors()[0]['loc']}. {remedy}") from None


def dump(result: Result) -> str:
    """Return a result as indented JSON, with its digest."""
    return json.dumps(seal(result.model_dump(mode="json")), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
