"""What is settled before the first step of a training: whether it can be carried out, where, and from which seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence

import numpy as np
import torch

from avebench.contracts.examples import Example
from avebench.contracts.model import TrainingConfig
from avebench.contracts.seeds import derive_seed
from avebench.files.errors import AvebenchError
from avebench.nn.neural import NeuralModel, device_named


def check_request(train: Sequence[Example], valid: Sequence[Example], config: TrainingConfig) -> None:
    """Raise AvebenchError for a request that could only fail later."""
    if not train:
        raise AvebenchError("There are no training examples. Raise --train-fraction, or check the data set.")
    if not valid and config.selection != "last":
        raise AvebenchError(
            f"There are no validation examples to select by '{config.selection}'. Set training.selection to 'last'."
        )
    if config.patience is not None and config.selection == "last":
        raise AvebenchError("training.patience needs a metric in training.selection; with 'last' nothing can improve.")


def device_for(name: str, config: TrainingConfig) -> torch.device:
    """Return the device; AvebenchError if it is not on this machine or cannot compute in `config.precision`."""
    place = device_named(name)
    if place.type != "cuda" and config.precision == "fp16":
        raise AvebenchError("training.precision 'fp16' needs a GPU. Set it to 'bf16' or 'float32'.")
    return place


def seed_everything(repetition: int) -> None:
    """Seed torch, NumPy and Python for a repetition."""
    seed = derive_seed("training", repetition)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def identity_of(
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
