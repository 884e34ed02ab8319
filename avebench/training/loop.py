"""The one training loop: budget, schedule, clipping, accumulation, selection, early stopping and exact resume.

Accelerate gives mixed precision, loss scaling and clipping. Everything that decides the result (order, schedule, state)
is computed from the step number, so that a run killed at any moment continues to the same bits on a CPU.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # Accelerate ships no types.
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]  # As above.
from torch import Tensor

from avebench.contracts.examples import Example, Prediction, blind
from avebench.contracts.model import TrainingConfig
from avebench.contracts.seeds import derive_seed
from avebench.files.errors import AvebenchError, CellFailedError, near_matches
from avebench.files.sealed import DamagedError
from avebench.nn.batching import MicroBatch, Positions, load, plan
from avebench.nn.demand import check_demand
from avebench.nn.neural import Batch, NeuralModel, Update, device_named, move, repeat_exactly
from avebench.store.provenance import resident_peak
from avebench.training import checkpoint

REPORT_SECONDS = 0.1
"""Shortest time between two progress reports."""
DIAGNOSED = 64
"""Validation examples that the model's diagnostics are made on."""
CHECKPOINT_SHARE = 0.05
"""Checkpoints between validations take at most this share of the time, however large the model is."""

Score = Callable[[Sequence[Prediction]], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: optimiser steps, mean losses since the last validation, its metrics, seconds left or None."""

    step: int
    total_steps: int
    losses: Mapping[str, float]
    valid: Mapping[str, float]
    eta_seconds: float | None


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """What a finished run did; `dataclasses.asdict` of it is JSON.

    `steps` are optimiser steps, `epochs` passes over the training examples. `best_step` is the step whose weights
    were kept by the rule `selection`. Each entry of `history` is one validation: `step`, `epoch`, `losses` (mean of
    every part since the validation before), `valid` (metrics), `seconds` (of training and validating so far).
    `seconds` are those of `encode`, `train`, `validate` and `checkpoint`, over all attempts of a resumed run as far as
    they were checkpointed. `examples_per_second` counts training alone. `peak_memory_bytes` is the largest resident
    set of the process so far on a CPU, the largest allocation on a GPU. `parameters` holds the number `trained` and
    the `total`. `diagnostics` are the model's own, "initial" and "trained". `over_limit` counts the training examples
    with units beyond what the encoder reads at once, `truncated` those of which such units are cut off.
    """

    steps: int
    epochs: float
    best_step: int
    selection: str
    stopped_early: bool
    history: list[dict[str, Any]]
    seconds: dict[str, float]
    examples_per_second: float
    peak_memory_bytes: int
    parameters: dict[str, int]
    diagnostics: dict[str, dict[str, float]]
    over_limit: int | None = None
    truncated: int | None = None


def rate_factor(config: TrainingConfig, step: int, total_steps: int) -> float:
    """Return the factor on every learning rate at `step`, counted from 0, of `total_steps` optimiser steps.

    Warm-up rises from 0 at the first step to 1 at step `warmup_steps`; then the factor is constant, falls on a line to
    0 at `total_steps`, or follows half a cosine to there: the definitions of transformers' `get_scheduler`.
    """
    if step < config.warmup_steps:
        return step / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return 1.0 - done if config.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


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
    _check(train, valid, config)
    place = _device(device, config)
    repeat_exactly(place)
    _seed(repetition)
    run = _Run(model.to(place), train, valid, config, repetition, place, folder)
    run.score, run.report, run.checkpoint_seconds = score, report, checkpoint_seconds
    lengths = [run.model.length(encoded) for encoded in run.encoded]
    if (said := check_demand(run.model, lengths, config.batch_size, run.total)) is not None:
        notice(said)
    run.resume()
    run.loop()
    return run.finish()


def _check(train: Sequence[Example], valid: Sequence[Example], config: TrainingConfig) -> None:
    """Raise AvebenchError for a request that could only fail later."""
    if not train:
        raise AvebenchError("There are no training examples. Raise --train-fraction, or check the data set.")
    if not valid and config.selection != "last":
        raise AvebenchError(
            f"There are no validation examples to select by '{config.selection}'. Set training.selection to 'last'."
        )
    if config.patience is not None and config.selection == "last":
        raise AvebenchError("training.patience needs a metric in training.selection; with 'last' nothing can improve.")


def _device(name: str, config: TrainingConfig) -> torch.device:
    """Return the device; AvebenchError if it is not on this machine or cannot compute in `config.precision`."""
    place = device_named(name)
    if place.type != "cuda" and config.precision == "fp16":
        raise AvebenchError("training.precision 'fp16' needs a GPU. Set it to 'bf16' or 'float32'.")
    return place


def _seed(repetition: int) -> None:
    seed = derive_seed("training", repetition)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def _identity(
    model: NeuralModel,
    train: Sequence[Example],
    valid: Sequence[Example],
    config: TrainingConfig,
    repetition: int,
    place: torch.device,
) -> str:
    """Return a hash of what must agree for a checkpoint to be continued."""
    shapes = [[name, list(tensor.shape), str(tensor.dtype)] for name, tensor in model.state_dict().items()]
    ids = [[example.id for example in examples] for examples in (train, valid)]
    agreed = [config.model_dump(mode="json"), repetition, place.type, torch.__version__, shapes, ids]
    return hashlib.sha256(json.dumps(agreed, sort_keys=True).encode()).hexdigest()


def _accelerator(config: TrainingConfig, place: torch.device) -> Accelerator:
    """Return an Accelerator of this run's precision; its state is global, and an earlier run's must not stay."""
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = "no" if config.precision == "float32" else config.precision
    return Accelerator(mixed_precision=precision, cpu=place.type == "cpu")


def _groups(model: NeuralModel, config: TrainingConfig) -> list[dict[str, Any]]:
    """Return the optimiser's groups with their base rates; AvebenchError unless they hold every trainable parameter."""
    groups = {name: parameters for name, parameters in model.parameter_groups().items() if parameters}
    grouped = {parameter for parameters in groups.values() for parameter in parameters}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter not in grouped:
            raise AvebenchError(f"The parameter '{name}' is trainable but in none of the model's parameter_groups().")
    if not grouped:
        raise AvebenchError("The model has no trainable parameter. Tune an encoder, or add a layer that is trained.")
    rates = config.learning_rates
    return [
        {"params": parameters, "lr": rates.get(name, rates["default"]), "base": rates.get(name, rates["default"])}
        for name, parameters in groups.items()
    ]


def _updates(model: NeuralModel, config: TrainingConfig, trained: Sequence[Tensor]) -> tuple[Update, ...]:
    """Return the model's updates; AvebenchError unless they cover the trainable parameters and can be carried out."""
    updates = model.updates()
    if not updates:
        return ()
    if {parameter for update in updates for parameter in update.parameters} != set(trained):
        raise AvebenchError("The updates() of the model do not cover exactly its trainable parameters.")
    if config.precision == "fp16":
        raise AvebenchError(
            "Several updates a step cannot share the loss scale of training.precision 'fp16'. Set it to 'bf16' or "
            "'float32', or choose one update."
        )
    return updates


class _Losses:
    """Sums of the loss parts since the last validation, kept on the device so that no step waits for them."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.weights: dict[str, float] = {}

    def add(self, parts: Mapping[str, Tensor], share: float) -> None:
        """Add the parts of a micro-batch that is `share` of its step."""
        for name, part in parts.items():
            value = part.detach().float() * share
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.weights[name] = self.weights.get(name, 0.0) + share

    def means(self) -> dict[str, float]:
        """Return the mean of every part over the steps that had it."""
        return {name: total.item() / self.weights[name] for name, total in self.sums.items()}

    def state(self) -> dict[str, list[float]]:
        """Return sums and weights as JSON; a float32 survives the way through a Python float unchanged."""
        return {name: [total.item(), self.weights[name]] for name, total in self.sums.items()}

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Put back what `state` returned."""
        self.sums = {name: torch.tensor(pair[0], device=self.device) for name, pair in state.items()}
        self.weights = {name: pair[1] for name, pair in state.items()}


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
        self.identity = _identity(model, train, valid, config, repetition, place)
        self.seconds = dict.fromkeys(("encode", "train", "validate", "checkpoint"), 0.0)
        with self._timed("encode"):
            self.encoded = [model.encode(example) for example in train]
            self.valid = [model.encode(blind(example)) for example in valid]
            self.diagnosed = [model.encode(example) for example in valid[:DIAGNOSED]]
        self.per_epoch = -(-len(train) // (config.batch_size * config.accumulation))
        self.total = config.steps if config.steps is not None else (config.epochs or 0) * self.per_epoch
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
        self.accelerator = _accelerator(config, place)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        # Fused is the fastest on both: on a CPU 3 to 7 times faster than the other implementations.
        self.adam = kind(_groups(model, config), eps=config.adam_eps, weight_decay=config.weight_decay, fused=True)
        self.optimizer = self.accelerator.prepare_optimizer(self.adam)
        self.trained = [parameter for group in self.adam.param_groups for parameter in group["params"]]
        self.updates = _updates(model, config, self.trained)
        self.gradients: list[list[Tensor]] = []
        """Those of each of several updates, gathered over the micro-batches of a step."""
        self.step = 0
        self.examples = 0
        self.losses = _Losses(place)
        self.history: list[dict[str, Any]] = []
        self.best_step: int | None = None
        self.best_value = -math.inf
        self.since_best = 0
        self.stopped_early = False
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
            start=self.step,
            stop=self.total,
        )
        clock = time.perf_counter()
        for piece, batch in load(pieces, self._collate, ahead=self.place.type == "cuda"):
            self._accumulate(piece, move(batch, self.place))
            if not piece.closes_step:
                continue
            self._update()
            now = time.perf_counter()
            self.seconds["train"] += now - clock
            self._between_steps(now)
            if self.stopped_early:
                return
            clock = time.perf_counter()

    def _collate(self, positions: Positions) -> Batch:
        return self.model.collate([self.encoded[position] for position in positions])

    def _accumulate(self, piece: MicroBatch, batch: Batch) -> None:
        """Add the gradients of one micro-batch."""
        with self.accelerator.autocast():
            parts = self.model(batch)
        loss = sum(parts.values())
        self.losses.add(parts, piece.share)
        self.examples += len(piece.positions)
        if self.place.type == "cpu" and not math.isfinite(loss.item()):  # On a GPU, looking would make every step wait.
            raise self._not_finite({name: part.item() for name, part in parts.items()}, self.step + 1)
        if self.updates:
            self._accumulate_apart(parts, piece.share)
        else:
            self.accelerator.backward(loss if piece.share == 1 else loss * piece.share)

    def _accumulate_apart(self, parts: Mapping[str, Tensor], share: float) -> None:
        """Add the gradients of one micro-batch to those of each update."""
        found = []
        for number, update in enumerate(self.updates, start=1):
            loss = sum((parts[name] for name in update.losses), start=torch.zeros((), device=self.place)) * share
            kept = number < len(self.updates)
            found.append(torch.autograd.grad(loss, update.parameters, retain_graph=kept, materialize_grads=True))
        if not self.gradients:
            self.gradients = [list(gradients) for gradients in found]
            return
        for sums, gradients in zip(self.gradients, found, strict=True):
            torch._foreach_add_(sums, gradients)

    def _update(self) -> None:
        """Take one optimiser step with the gradients gathered so far."""
        factor = rate_factor(self.config, self.step, self.total)
        for group in self.adam.param_groups:
            group["lr"] = group["base"] * factor
        if not self.updates:
            self._apply(self.trained)
        for update, gradients in zip(self.updates, self.gradients, strict=True):
            for parameter, gradient in zip(update.parameters, gradients, strict=True):
                parameter.grad = gradient
            self._apply(update.parameters)
            self._count(update)
        self.gradients = []
        self.step += 1

    def _apply(self, parameters: Sequence[Tensor]) -> None:
        """Clip the gradients of `parameters` and let the optimiser take a step with them; no other has a gradient."""
        if self.config.clip_norm is not None:
            self.accelerator.clip_grad_norm_(parameters, self.config.clip_norm)
        self.optimizer.step()
        self.adam.zero_grad(set_to_none=True)  # Accelerate's own looks for a package on the disk at every call.

    def _count(self, update: Update) -> None:
        """Count an update for the other parameters too, each from its own first update on.

        Adam's bias correction then follows the number of all updates, as where one optimiser applies them one by one.
        """
        own = set(update.parameters)
        for parameter in self.trained:
            if parameter not in own and parameter in self.adam.state:
                self.adam.state[parameter]["step"] += 1

    def _between_steps(self, now: float) -> None:
        """Validate, save and report what is due after a step that ended at `now`."""
        finished = self.step == self.total
        if finished or self.step % (self.config.validate_every or self.per_epoch) == 0:
            with self._timed("validate"):
                self._validate()
            if not (finished or self.stopped_early):  # What comes next takes less than writing would.
                self._save()
            self._report()
            return
        if now - self.saved_at >= max(self.checkpoint_seconds, self.save_seconds / CHECKPOINT_SHARE):
            self._save()
        if now - self.reported_at >= REPORT_SECONDS:
            self._report()

    def _means(self) -> dict[str, float]:
        """Return the mean losses since the last validation; AvebenchError if one is not finite."""
        means = self.losses.means()
        if not all(math.isfinite(value) for value in means.values()):
            raise self._not_finite(means, self.step)
        return means

    def _not_finite(self, parts: Mapping[str, float], step: int) -> CellFailedError:
        shown = ", ".join(f"{name} {value:g}" for name, value in parts.items())
        return CellFailedError(
            f"The loss is not finite at step {step} of {self.total} ({shown}). Lower training.learning_rates or "
            "training.clip_norm, or set training.precision to float32."
        )

    def _validate(self) -> None:
        """Score the validation examples, write the history and decide about best weights and early stopping."""
        losses = self._means()
        metrics: dict[str, float] = {}
        if self.valid:
            predictions = self.model.predict_encoded(self.valid)
            metrics = {name: float(value) for name, value in self.score(predictions).items()}
        self.losses = _Losses(self.place)
        seconds = self.seconds["train"] + self.seconds["validate"]
        epoch = self.step / self.per_epoch
        self.history.append({"step": self.step, "epoch": epoch, "losses": losses, "valid": metrics, "seconds": seconds})
        if self.config.selection == "last":
            return
        chosen = self.config.selected(metrics)
        if chosen not in metrics:
            raise AvebenchError(
                f"Validation has no metric '{chosen}' (training.selection). {near_matches(chosen, [*metrics, 'last'])}"
            )
        self._select(metrics[chosen])

    def _select(self, value: float) -> None:
        """Keep the weights if `value` is the best so far; stop if patience is over and half of the budget spent."""
        if not math.isfinite(value):
            raise CellFailedError(f"The metric '{self.config.selection}' is not finite ({value}) at step {self.step}.")
        if value > self.best_value:
            self.best_step, self.best_value, self.since_best = self.step, value, 0
            if self.step < self.total:
                checkpoint.write_best(self.folder, self.step, checkpoint.model_tensors(self.model))
            return
        self.since_best += 1
        patience = self.config.patience
        self.stopped_early = (
            patience is not None and self.since_best >= patience and self.total / 2 <= self.step < self.total
        )

    def _report(self) -> None:
        """Hand the state of the run to the caller."""
        self.reported_at = time.perf_counter()
        passed = self.seconds["train"] + self.seconds["validate"]
        left = (self.total - self.step) * passed / self.step if self.step else None
        valid = self.history[-1]["valid"] if self.history else {}
        losses = self._means() or (self.history[-1]["losses"] if self.history else {})
        self.report(Progress(self.step, self.total, losses, valid, left))

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase] += time.perf_counter() - started

    def _save(self) -> None:
        """Write a checkpoint of this moment, between two optimiser steps."""
        self._means()
        started = time.perf_counter()
        scaler = self.accelerator.scaler
        state = {
            "format": checkpoint.FORMAT,
            "identity": self.identity,
            "step": self.step,
            "examples": self.examples,
            "losses": self.losses.state(),
            "history": self.history,
            "best_step": self.best_step,
            "best_value": self.best_value if self.best_step is not None else None,
            "since_best": self.since_best,
            "initial": self.initial,
            "seconds": self.seconds,
            "peak_memory": self._peak_memory(),
            "random": checkpoint.random_state(self.place),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        tensors = checkpoint.optimizer_tensors(self.adam, self.names)
        written = checkpoint.Checkpoint(checkpoint.model_tensors(self.model), tensors, state)
        checkpoint.write(self.folder, self.step, written)
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
        checkpoint.load_optimizer_tensors(self.adam, found.optimizer, self.names)
        self.step, self.examples = state["step"], state["examples"]
        self.history, self.seconds, self.peak_memory = state["history"], state["seconds"], state["peak_memory"]
        self.best_step, self.since_best = state["best_step"], state["since_best"]
        self.initial = state["initial"]
        self.best_value = -math.inf if state["best_value"] is None else state["best_value"]
        self.losses.restore(state["losses"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
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
        best_step = self.step if self.best_step is None else self.best_step
        if best_step != self.step:
            try:
                best = checkpoint.read_best(self.folder, best_step)
            except DamagedError as error:
                raise AvebenchError(
                    f"The best weights of a training are damaged on the disk: {self.folder / str(error)}. "
                    "Run the command again: what can be continued is."
                ) from None
            checkpoint.load_model_tensors(self.model, best)
        self.model.eval()
        sizes = {
            "trained": sum(parameter.numel() for parameter in self.trained),
            "total": sum(parameter.numel() for parameter in self.names),
        }
        return TrainingRecord(
            steps=self.step,
            epochs=self.step / self.per_epoch,
            best_step=best_step,
            selection=self.config.selection,
            stopped_early=self.stopped_early,
            history=self.history,
            seconds=self.seconds,
            examples_per_second=self.examples / max(self.seconds["train"], 1e-9),
            peak_memory_bytes=self._peak_memory(),
            parameters=sizes,
            diagnostics={"initial": self.initial, "trained": self._diagnostics()} if self.initial else {},
            over_limit=sum(self.model.beyond(example) > 0 for example in self.encoded),
            truncated=sum(self.model.truncated(example) > 0 for example in self.encoded),
        )
