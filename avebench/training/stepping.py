"""One optimiser step: the gradients of its micro-batches, clipping, learning rates, and the losses on the way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # Accelerate ships no types.
from accelerate.state import AcceleratorState  # type: ignore[import-untyped]  # As above.
from torch import Tensor

from avebench.contracts.model import TrainingConfig
from avebench.files.errors import AvebenchError, CellFailedError
from avebench.nn.batching import MicroBatch
from avebench.nn.neural import Batch, NeuralModel, Update


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


def updates_of(model: NeuralModel, config: TrainingConfig, trained: Sequence[Tensor]) -> tuple[Update, ...]:
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


class Losses:
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


class Stepper:
    """Takes the optimiser steps of one run, and counts them, their examples and their losses."""

    def __init__(self, model: NeuralModel, config: TrainingConfig, place: torch.device, total: int) -> None:
        self.model, self.config, self.place, self.total = model, config, place, total
        self.accelerator = _accelerator(config, place)
        kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
        # Fused is the fastest on both: on a CPU 3 to 7 times faster than the other implementations.
        self.adam = kind(_groups(model, config), eps=config.adam_eps, weight_decay=config.weight_decay, fused=True)
        self.optimizer = self.accelerator.prepare_optimizer(self.adam)
        self.trained = [parameter for group in self.adam.param_groups for parameter in group["params"]]
        self.updates = updates_of(model, config, self.trained)
        self.gradients: list[list[Tensor]] = []
        """Those of each of several updates, gathered over the micro-batches of a step."""
        self.step = 0
        self.examples = 0
        self.losses = Losses(place)

    def accumulate(self, piece: MicroBatch, batch: Batch) -> None:
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

    def update(self) -> None:
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

    def means(self) -> dict[str, float]:
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
