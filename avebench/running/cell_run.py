"""One cell: read, train or continue, predict, score, store."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import Timeout

from avebench.contracts.held_out import answers_for
from avebench.contracts.model import Model, TrainedConfig, TrainingConfig
from avebench.contracts.registry import plugin
from avebench.contracts.seeds import derive_seed
from avebench.data.annotation import audit, stored_counts
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions, write_predictions
from avebench.files.atomic import write_atomically
from avebench.files.disk import unwritable
from avebench.files.leftovers import sweep_held
from avebench.files.sealed import seal, write_digests
from avebench.nn.completions.asking_model import AskingModel
from avebench.nn.completions.contract import DEFAULT_MEANS, Means
from avebench.planning.cells import Cell
from avebench.running.asking import mean_asked, not_asked
from avebench.running.devices import computing_on
from avebench.running.material import EXTENDED, TEST, Material, read_for, read_material, shown_to
from avebench.running.trained import CLOSED_FORM, RECORD, SCHEMA, VOCABULARY, WEIGHTS, Trained, restored, write_schema
from avebench.scoring.evaluation import score_split, validation_metrics
from avebench.scoring.metrics import SCORER_VERSION
from avebench.store.provenance import hardware, resident_peak, revision, versions
from avebench.store.results import Completions, Result, Store, Weight
from avebench.store.writtenanswers import written_answers

FAILURE = "failure.json"
"""Where it stands why a cell failed, until it is finished: table, row and reason."""
ERROR_LOG = "error.log"
"""Where an unforeseen error of a cell is described, until the cell is finished."""
CHECKPOINT = "checkpoint"
"""The folder of a cell that is being trained."""

Notify = Callable[[str, Any], None]


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told."""

    cell: Cell
    experiment: str
    out: Path
    device: str
    plugin_files: tuple[Path, ...]
    debug: bool
    means: Means = DEFAULT_MEANS
    """How a system that asks a language model asks it."""


def finish_cell(job: Job, notify: Notify) -> None:
    """Run a cell and store its result, unless another process has done or is doing so: then wait for that.

    AvebenchError if a file of the cell cannot be read or written; DiskFullError if its disk is full.
    """
    store = Store(job.out)
    folder = store.folder(job.cell.key)
    try:
        with _held(store, job.cell.key, notify):
            if not store.finished(job.cell.key):
                result = _run(job, folder, notify)
                for name in (ERROR_LOG, FAILURE):  # Of an earlier attempt: this one is well.
                    (folder / name).unlink(missing_ok=True)
                store.write(result)
    except OSError as error:
        place = error.filename
        if not isinstance(place, str) or not Path(place).is_relative_to(job.out):
            raise
        advice = f"{place} cannot be read or written ({error.strerror}). Remove it, or choose another --out."
        raise unwritable(error, Path(place), advice) from None


@contextmanager
def _held(store: Store, key: str, notify: Notify) -> Iterator[None]:
    """Hold the lock of a cell and remove what killed processes left of files that they were writing there.

    The system frees the lock of a process that is killed.
    """
    lock = store.lock(key)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        notify("waiting", None)
        lock.acquire(poll_interval=0.2)
    try:
        sweep_held(store.folder(key))
        yield
    finally:
        lock.release()


@dataclass(slots=True)
class _Clock:
    """Wall time per phase; every phase is told when it begins."""

    notify: Notify
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        self.notify("phase", name)
        begun = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def _run(job: Job, folder: Path, notify: Notify) -> Result:
    """Train or continue, predict and score one cell; everything but the result is written here."""
    cell, clock, started = job.cell, _Clock(notify), time.time()
    with clock.phase("read"):
        dataset, material = read_for(cell)
        shown = shown_to(cell, material, Store(job.out))
    write_atomically(folder / "config.json", json.dumps(dict(cell.config), indent=1, ensure_ascii=False) + "\n")
    if cell.training_key == cell.key:
        trained = _train(job, shown, folder, notify, clock)
    else:
        store = Store(job.out)
        with _held(store, cell.training_key, notify):
            trained = _train(job, shown, store.folder(cell.training_key), notify, clock)
    with clock.phase("predict"):
        predictions, long = trained.predict(shown.test)
        predictions = [answers_for(one, material.held_out) for one in predictions]
    extended = None
    if shown.left_out and not isinstance(trained.model, AskingModel):
        with clock.phase("predict_extended"):
            extended = [answers_for(one, material.held_out) for one in trained.predict(shown.left_out)[0]]
        write_predictions(folder / EXTENDED, extended)
    write_predictions(folder / TEST, predictions)
    with clock.phase("score"):
        scores = score_split(material.tested_schema(), material.test, predictions, material.rule)
        scores_extended = None
        if extended is not None:
            scores_extended = score_split(material.tested_schema(), material.left_out, extended, material.rule)
    commit, dirty = revision()
    record = trained.record
    return Result(
        key=cell.key,
        experiment=job.experiment,
        row=cell.row,
        model=cell.model,
        implementation=cell.implementation,
        protocol=cell.protocol,
        preset=cell.preset,
        profile=cell.profile,
        dataset=cell.data.name,
        dataset_title=cell.data.title,
        fingerprint=cell.data.fingerprint,
        dataset_options=dict(cell.data.options),
        split="test",
        train_fraction=cell.train_fraction,
        train_examples=len(material.train),
        training_key=cell.training_key if cell.control is None and cell.training_key != cell.key else "",
        mean_asked=mean_asked(shown.test),
        not_asked=not_asked(material.test, shown.test),
        range_from="" if cell.range_cell is None else cell.range_cell.row,
        repetition=cell.repetition,
        seed=_seed(cell),
        config=dict(cell.config),
        control=cell.control,
        held_out=cell.held_out,
        held_out_attributes=material.held_out,
        weights={role: Weight(**weight) for role, weight in cell.weights.items()},
        chunk_scheme=cell.config["chunk_scheme"],
        scorer_version=SCORER_VERSION,
        scores=scores,
        scores_extended=scores_extended,
        validation=next((entry["valid"] for entry in record["history"] if entry["step"] == record["best_step"]), {}),
        selection=record["selection"],
        epochs=record["epochs"],
        steps=record["steps"],
        best_step=record["best_step"],
        history=record["history"],
        parameters=record["parameters"]["trained"],
        diagnostics=record["diagnostics"],
        reader_notes=dict(dataset.notes),
        truncated=long.cut,
        over_limit=long.over_limit(record.get("over_limit"), record.get("truncated")),
        written=written_answers(predictions),
        completions=_completions(trained.model),
        annotation=stored_counts(audit({"train": material.train, "valid": material.valid, "test": material.test})),
        seconds={**(record["seconds"] if cell.training_key == cell.key else {}), **clock.seconds},
        peak_memory=record["peak_memory_bytes"] or resident_peak(),
        versions=versions(),
        hardware=hardware(trained.device),
        revision=commit,
        dirty=dirty,
        started=started,
        finished=time.time(),
    )


def _completions(model: Model) -> Completions | None:
    """Return what a system asked a language model; None for one that asks none."""
    if not isinstance(model, AskingModel):
        return None
    account, notes = model.account()
    return Completions(**dataclasses.asdict(account), notes=notes)


def _seed(cell: Cell) -> int:
    return derive_seed("initialisation", cell.repetition)


def _train(job: Job, material: Material, folder: Path, notify: Notify, clock: _Clock) -> Trained:
    """Build the model and train it, continue its training, or load what an earlier attempt trained to the end."""
    module = plugin("models", job.cell.model).load()
    config = module.Config.model_validate(dict(job.cell.config))
    schema = material.schema
    with clock.phase("vocabulary"):
        vocabulary = module.Model.learn_vocabulary(config, schema, material.train)
    write_atomically(folder / VOCABULARY, json.dumps(vocabulary, ensure_ascii=False))
    write_schema(folder, schema)
    write_digests(folder, (VOCABULARY, SCHEMA))
    if not isinstance(config, TrainedConfig):
        system = module.Model(config, schema, vocabulary)
        if isinstance(system, AskingModel):
            system.means = dataclasses.replace(job.means, device=job.device)
        return Trained(system, CLOSED_FORM, "cpu")
    import torch
    from safetensors.torch import save

    from avebench.training import checkpoint
    from avebench.training.loop import train

    device = computing_on(job.device)
    with clock.phase("build"):
        torch.manual_seed(_seed(job.cell))
        model = module.Model(config, schema, vocabulary)
    if (folder / RECORD).is_file():
        system = restored(model, folder, device)
        checkpoint.clear(folder / CHECKPOINT)  # Of a training that ended just before it could do so.
        return system
    notify("phase", "train")
    record = train(
        model,
        material.train,
        material.valid,
        config=config.training,
        repetition=job.cell.repetition,
        folder=folder / CHECKPOINT,
        score=lambda predictions: validation_metrics(material.valid, predictions),
        device=device,
        notice=lambda line: notify("notice", line),
        report=lambda progress: notify(
            "progress",
            {
                "step": progress.step,
                "total_steps": progress.total_steps,
                "losses": dict(progress.losses),
                "valid": _chosen(config.training, progress.valid),
                "eta_seconds": progress.eta_seconds,
            },
        ),
    )
    # Weights first, then the record: with the record, the training of this cell is over. Its last checkpoint goes only
    # then, so that a kill, or a disk that is full, costs no more than what came after it.
    write_atomically(folder / WEIGHTS, save(checkpoint.model_tensors(model)))
    write_digests(folder, (WEIGHTS,))
    write_atomically(folder / RECORD, json.dumps(seal(dataclasses.asdict(record))))
    checkpoint.clear(folder / CHECKPOINT)
    return Trained(model, dataclasses.asdict(record), device)


def _chosen(config: TrainingConfig, valid: Mapping[str, float]) -> dict[str, float]:
    """Return the validation metric that chooses the checkpoint, by name; 0 before the first validation."""
    name = config.selected(valid)
    return {name: valid.get(name, 0.0)}


def rescore(result: Result, cell: Cell, store: Store) -> Result:
    """Return and store a result scored again from its stored predictions, by the metrics as they are now."""
    dataset = open_dataset(cell.data.name, cell.data.folder, dict(cell.data.options))
    material = read_material(dataset, cell.train_fraction, cell.repetition, cell.held_out)
    folder = store.folder(cell.key)
    scored: dict[str, Any] = {"scorer_version": SCORER_VERSION}
    for field, name, gold in (("scores", TEST, material.test), ("scores_extended", EXTENDED, material.left_out)):
        if getattr(result, field) is not None:
            predictions = read_predictions(folder / name, gold)
            scored[field] = score_split(material.tested_schema(), gold, predictions, material.rule)
    renewed = result.model_copy(update=scored)
    store.write(renewed)
    return renewed
