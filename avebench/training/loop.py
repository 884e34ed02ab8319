"""The one training loop: budget, schedule, clipping, accumulation, selection, early stopping and exact resume.

Accelerate gives mixed precision, loss scaling and clipping. Everything that decides the result (order, schedule, state)
is computed from the step number, so that a run killed at any moment continues to the same bits on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avebench.contracts.examples import Example, Prediction, blind
from avebench.contracts.model import TrainingConfig
from avebench.nn.batching import Positions, load, plan
from avebench.nn.demand import check_demand
from avebench.nn.neural import Batch, NeuralModel, move, repeat_exactly
from avebench.store.provenance import resident_peak
from avebench.training import checkpoint
from avebench.training.preparation import check_request, device_for, identity_of, seed_everything
from avebench.training.record import Progress, TrainingRecord
from avebench.training.selection import Selection
from avebench.training.stepping import Losses, Stepper

REPORT_SECONDS = 0.1
"""Shortest time between two progress reports."""
DIAGNOSED = 64
"""Validation examples that the model's diagnostics are made on."""
CHECKPOINT_SHARE = 0.05
"""Checkpoints between validations take at most this share of the time, however large the model is."""

Score = Callable[[Sequence[Prediction]], Mapping[str, float]]


def train(
    model: NeuralModel,
    train: Sequence[Example],
    valid: Sequence[Example],
    *,
    config: TrainingConfig,
    repetition: int,
    folder: Path,
    score: Score,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
    notice: Callable[[str], None] = lambda line: None,
    checkpoint_seconds: float = 30.0,
) -> TrainingRecord:
    """Train `model` in place, leave the selected weights in it (in evaluation mode), and return what was done.

    The same call with the same `folder` continues a run that was killed; it ends with the same bits on a CPU, and on a
    GPU unless an LSTM has dropout between its layers (cuDNN keeps the state of that dropout to itself). For that,
    all that training changes in a model must be parameters or persistent buffers, and `encode` and `collate` must draw
    nothing at random. Several calls must not share a folder. It stays on return, so that the caller removes it when the
    weights are kept elsewhere. The model was initialised by the caller; here torch, NumPy and Python are seeded from
    ("training", `repetition`) for dropout and the like.

    A step takes `batch_size` * `accumulation` examples; its loss is the mean over the micro-batches weighted by their
    numbers of examples. Schedule, clipping and budgets count optimiser steps. Validation is every `validate_every`
    steps, or after each epoch, and after the last step. `score` maps the predictions for `valid`, in order, to metrics;
    the first largest value of `config.selection` wins (with `last`, the last weights), and patience counts validations
    since. Predictions are made in float32 in every precision, as they are afterwards. `report` is called at every
    validation and else at most ten times a second, `notice` with a sentence if the steps will be long. A checkpoint is
    written at every validation and every `checkpoint_seconds`.

    AvebenchError if the budget cannot be carried out, a batch is more than the free memory holds, the selection metric
    is missing, or the folder cannot be written; CellFailedError if a loss or the selection metric is not finite.
    """
    check_request(train, valid, config)
    place = device_for(device, config)
    repeat_exactly(place)
    seed_everything(repetition)
    run = _Run(model.to(place), train, valid, config, repetition, place, folder)
    run.score, run.report, run.checkpoint_seconds = score, report, checkpoint_seconds
    lengths = [run.model.length(encoded) for encoded in run.encoded]
    if (said := check_demand(run.model, lengths, config.batch_size, run.total)) is not None:
        notice(said)
    run.resume()
    run.loop()
    return run.finish()


class _Run:
    """One run between its steps: everything that a checkpoint holds."""

    score: Score
    report: Callable[[Progress], None]
    checkpoint_seconds: float

    def __init__(
        self,
        model: NeuralModel,
        train: Sequence[Example],
        valid: Sequence[Example],
        config: TrainingConfig,
        repetition: int,
        place: torch.device,
        folder: Path,
    ) -> None:
        self.model, self.config, self.repetition = model, config, repetition
        self.place, self.folder = place, folder
        self.identity = identity_of(model, train, valid, config, repetition, place)
        self.seconds = dict.fromkeys(("encode", "train", "validate", "checkpoint"), 0.0)
        with self._timed("encode"):
            self.encoded = [model.encode(example) for example in train]
            self.valid = [model.encode(blind(example)) for example in valid]
            self.diagnosed = [model.encode(example) for example in valid[:DIAGNOSED]]
        self.per_epoch = -(-len(train) // (config.batch_size * config.accumulation))
        self.total = config.steps if config.steps is not None else (config.epochs or 0) * self.per_epoch
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self.stepper = Stepper(model, config, place, self.total)
        self.selection = Selection(config, folder, self.total)
        self.history: list[dict[str, Any]] = []
        self.initial: dict[str, float] = {}
        self.peak_memory = 0
        self.saved_at = self.reported_at = time.perf_counter()
        self.save_seconds = 0.0
        if place.type == "cuda":
            torch.cuda.reset_peak_memory_stats(place)

    def loop(self) -> None:
        """Take the remaining steps of the budget, validating, saving and reporting between them."""
        self.model.train()
        pieces = plan(
            [self.model.length(example) for example in self.encoded],
            self.config.batch_size,
            self.config.accumulation,
            order=self.config.order,
            repetition=self.repetition,
            start=self.stepper.step,
            stop=self.total,
        )
        clock = time.perf_counter()
        for piece, batch in load(pieces, self._collate, ahead=self.place.type == "cuda"):
            self.stepper.accumulate(piece, move(batch, self.place))
            if not piece.closes_step:
                continue
            self.stepper.update()
            now = time.perf_counter()
            self.seconds["train"] += now - clock
            self._between_steps(now)
            if self.selection.stopped_early:
                return
            clock = time.perf_counter()

    def _collate(self, positions: Positions) -> Batch:
        return self.model.collate([self.encoded[position] for position in positions])

    def _between_steps(self, now: float) -> None:
        """Validate, save and report what is due after a step that ended at `now`."""
        finished = self.stepper.step == self.total
        if finished or self.stepper.step % (self.config.validate_every or self.per_epoch) == 0:
            with self._timed("validate"):
                self._validate()
            if not (finished or self.selection.stopped_early):  # What comes next takes less than writing would.
                self._save()
            self._report()
            return
        if now - self.saved_at >= max(self.checkpoint_seconds, self.save_seconds / CHECKPOINT_SHARE):
            self._save()
        if now - self.reported_at >= REPORT_SECONDS:
            self._report()

    def _validate(self) -> None:
        """Score the validation examples, write the history and decide about best weights and early stopping."""
        losses = self.stepper.means()
        metrics: dict[str, float] = {}
        if self.valid:
            predictions = self.model.predict_encoded(self.valid)
            metrics = {name: float(value) for name, value in self.score(predictions).items()}
        self.stepper.losses = Losses(self.place)
        seconds = self.seconds["train"] + self.seconds["validate"]
        step = self.stepper.step
        epoch = step / self.per_epoch
        self.history.append({"step": step, "epoch": epoch, "losses": losses, "valid": metrics, "seconds": seconds})
        self.selection.judge(metrics, step, self.model)

    def _report(self) -> None:
        """Hand the state of the run to the caller."""
        self.reported_at = time.perf_counter()
        passed = self.seconds["train"] + self.seconds["validate"]
        step = self.stepper.step
        left = (self.total - step) * passed / step if step else None
        valid = self.history[-1]["valid"] if self.history else {}
        losses = self.stepper.means() or (self.history[-1]["losses"] if self.history else {})
        self.report(Progress(step, self.total, losses, valid, left))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase] += time.perf_counter() - started

    def _save(self) -> None:
        """Write a checkpoint of this moment, between two optimiser steps."""
        self.stepper.means()
        started = time.perf_counter()
        scaler = self.stepper.accelerator.scaler
        state = {
            "format": checkpoint.FORMAT,
            "identity": self.identity,
            "step": self.stepper.step,
            "examples": self.stepper.examples,
            "losses": self.stepper.losses.state(),
            "history": self.history,
            **self.selection.state(),
            "initial": self.initial,
            "seconds": self.seconds,
            "peak_memory": self._peak_memory(),
            "random": checkpoint.random_state(self.place),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        tensors = checkpoint.optimizer_tensors(self.stepper.adam, self.names)
        written = checkpoint.Checkpoint(checkpoint.model_tensors(self.model), tensors, state)
        checkpoint.write(self.folder, self.stepper.step, written)
        self.saved_at = time.perf_counter()
        self.save_seconds = self.saved_at - started
        self.seconds["checkpoint"] += self.save_seconds

    def resume(self) -> None:
        """Continue from the newest whole checkpoint of the same run, if there is one."""
        found = checkpoint.newest(self.folder, self.identity)
        if found is None:
            self.initial = self._diagnostics()
            return
        state = found.state
        checkpoint.load_model_tensors(self.model, found.model)
        checkpoint.load_optimizer_tensors(self.stepper.adam, found.optimizer, self.names)
        self.stepper.step, self.stepper.examples = state["step"], state["examples"]
        self.history, self.seconds, self.peak_memory = state["history"], state["seconds"], state["peak_memory"]
        self.selection.restore(state)
        self.initial = state["initial"]
        self.stepper.losses.restore(state["losses"])
        if self.stepper.accelerator.scaler is not None:
            self.stepper.accelerator.scaler.load_state_dict(state["scaler"])
        checkpoint.restore_random_state(state["random"], self.place)

    def _peak_memory(self) -> int:
        """Return the largest memory use so far in bytes, over all attempts."""
        if self.place.type == "cuda":
            return max(self.peak_memory, torch.cuda.max_memory_allocated(self.place))
        return max(self.peak_memory, resident_peak())

    @torch.inference_mode()
    def _diagnostics(self) -> dict[str, float]:
        """Return the model's diagnostics on the first validation examples; no random number is drawn."""
        was_training = self.model.training
        self.model.eval()
        chosen = self.diagnosed
        found = self.model.diagnostics(move(self.model.collate(chosen), self.place)) if chosen else {}
        self.model.train(was_training)
        return found

    def finish(self) -> TrainingRecord:
        """Load the selected weights and return the record; the checkpoints stay."""
        best_step = self.selection.load_selected(self.stepper.step, self.model)
        self.model.eval()
        sizes = {
            "trained": sum(parameter.numel() for parameter in self.stepper.trained),
            "total": sum(parameter.numel() for parameter in self.names),
        }
        return TrainingRecord(
            steps=self.stepper.step,
            epochs=self.stepper.step / self.per_epoch,
            best_step=best_step,
            selection=self.config.selection,
            stopped_early=self.selection.stopped_early,
            history=self.history,
            seconds=self.seconds,
            examples_per_second=self.stepper.examples / max(self.seconds["train"], 1e-9),
            peak_memory_bytes=self._peak_memory(),
            parameters=sizes,
            diagnostics={"initial": self.initial, "trained": self._diagnostics()} if self.initial else {},
            over_limit=sum(self.model.beyond(example) > 0 for example in self.encoded),
            truncated=sum(self.model.truncated(example) > 0 for example in self.encoded),
        )
