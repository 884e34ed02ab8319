"""The base of every system that the shared loop trains."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.model import Model, Vocabulary
from avebench.files.errors import AvebenchError
from avebench.nn.demand import predicted_at_once

Encoded = Any
"""What `encode` makes of one example: anything picklable that `collate` understands."""
Batch = dict[str, Any]
"""Tensors and plain lists; `move` sends the tensors to a device."""


@dataclass(frozen=True, slots=True)
class Update:
    """One of several updates that a step consists of: which losses are minimised, over which parameters."""

    losses: tuple[str, ...]
    parameters: tuple[nn.Parameter, ...]


class NeuralModel(nn.Module, Model):
    """A system with parameters. The loop calls `encode` once per example, then `collate`, then `forward` per step."""

    def __init__(self, config: Any, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        nn.Module.__init__(self)
        Model.__init__(self, config, schema, vocabulary)

    @abstractmethod
    def encode(self, example: Example) -> Encoded:
        """Return the example as ids and targets on the CPU; called once per example and kept."""

    @abstractmethod
    def length(self, encoded: Encoded) -> int:
        """Return the length by which examples are bucketed into batches."""

    def truncated(self, encoded: Encoded) -> int:
        """Return how many labelling units are cut off, as they lie beyond the encoder's limit; they are tagged O."""
        return 0

    def beyond(self, encoded: Encoded) -> int:
        """Return how many labelling units lie beyond the encoder's limit, whether read in windows or cut off."""
        return self.truncated(encoded)

    def text_limit(self) -> int | None:
        """Return what the encoder reads at once, in word pieces with special symbols; None: no limit is known."""
        return None

    @abstractmethod
    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return one padded batch."""

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of a batch as named scalar parts, already weighted; their sum is minimised."""

    @abstractmethod
    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return one prediction per example of the batch, in order; called in evaluation mode without gradients."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters by group name (`text_encoder`, `image_encoder`, `default`)."""
        return {"default": [parameter for parameter in self.parameters() if parameter.requires_grad]}

    def held_numbers(self, size: int, length: int, *, training: bool) -> int:
        """Return how many numbers a batch of `size` texts of `length` units holds that grow faster than its length.

        For instance one per pair of units; a CRF of the model is counted without it. It decides whether a training is
        begun, and how many texts are predicted at once.
        """
        return 0

    def updates(self) -> tuple[Update, ...]:
        """Return the updates of a step in order; empty: one, of the sum of all losses over all parameters.

        Where there are several, all gradients are those of the same forward pass; each set is clipped by itself and
        applied after the one before. Together they must cover every loss and every trainable parameter.
        """
        return ()

    def fix_range(self, attributes: Collection[int]) -> bool:
        """Let a range module select these attributes of every text, whatever it reads; return False without one.

        For measuring what a range costs, which must not depend on what was learnt.
        """
        return False

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Return figures of the model's inside that are worth a look, on a batch of validation examples.

        Called in evaluation mode without gradients before and after training; both are stored with the result.
        """
        return {}

    def predict(self, examples: Sequence[Example]) -> list[Prediction]:
        """Return one prediction per example, in order, in batches of similar length."""
        return self.predict_encoded([self.encode(example) for example in examples])

    @torch.inference_mode()
    def predict_encoded(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return one prediction per encoded example, in order; the training mode is restored afterwards."""
        was_training = self.training
        self.eval()
        device = next(self.parameters()).device
        size = self.config.training.prediction_batch_size
        order = sorted(range(len(encoded)), key=lambda position: self.length(encoded[position]))
        predictions: list[Prediction | None] = [None] * len(encoded)
        lengths = [self.length(encoded[position]) for position in order]
        start = 0
        while start < len(order):
            chosen = order[start : start + predicted_at_once(self, lengths[start : start + size])]
            start += len(chosen)
            batch = move(self.collate([encoded[position] for position in chosen]), device)
            for position, prediction in zip(chosen, self.predict_batch(batch), strict=True):
                predictions[position] = prediction
        self.train(was_training)
        return [prediction for prediction in predictions if prediction is not None]


def device_named(name: str) -> torch.device:
    """Return the device `cpu`, `cuda` or `cuda:N`; `auto` is the GPU where there is one.

    AvebenchError if it is not on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(name)
    except RuntimeError:
        raise AvebenchError(f"There is no device '{name}'. Give --device cpu, cuda or cuda:N.") from None
    if place.type not in ("cpu", "cuda"):
        raise AvebenchError(f"The device '{name}' is not supported. Give --device cpu, cuda or cuda:N.")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise AvebenchError(f"The device '{name}' is not on this machine. Give --device cpu.")
    return place


def repeat_exactly(place: torch.device) -> None:
    """Let a GPU choose algorithms that give the same bits each time; on a CPU all that is used here does so anyway.

    An operation that has no such algorithm runs as it does otherwise, with torch's warning. For the products of
    matrices, cuBLAS reads its setting when it is first used, so this comes before anything is computed there. Memory is
    not filled before it is written, which only finds faults, at some cost.
    """
    if place.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # Not in its stubs.


def move(batch: Batch, device: torch.device) -> Batch:
    """Return the batch with its tensors on `device`; everything else as it is."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
        for name, value in batch.items()
    }


def parameters_by_home(model: nn.Module, homes: Mapping[str, str]) -> dict[str, list[nn.Parameter]]:
    """Return the trainable parameters by group: `homes` maps the start of a name to a group, others are `default`."""
    groups: dict[str, list[nn.Parameter]] = {group: [] for group in [*homes.values(), "default"]}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            home = next((group for start, group in homes.items() if name.startswith(start)), "default")
            groups[home].append(parameter)
    return groups
