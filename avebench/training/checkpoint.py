"""Checkpoints of the training loop: safetensors and JSON, written whole or not at all, never a pickle.

`folder/step-00000100/` holds `model.safetensors`, `optimizer.safetensors` and `state.json`; the best weights so far
stand beside it as `folder/best-00000100.safetensors`, written only when the best changes.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError
from avebench.files.sealed import DamagedError, check_digest, read_record, seal, write_digests

FORMAT = 3
"""Raised whenever older checkpoints can no longer be continued."""

MODEL, OPTIMIZER, STATE = "model.safetensors", "optimizer.safetensors", "state.json"
"""The files of a checkpoint."""
Tensors = dict[str, Tensor]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One complete checkpoint that was read: tensors on the CPU and the JSON state."""

    model: Tensors
    optimizer: Tensors
    state: dict[str, Any]


def model_tensors(model: nn.Module) -> Tensors:
    """Return parameters and persistent buffers by name, on the CPU; tied parameters once, under their first name."""
    persistent = model.state_dict().keys()
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}
    named |= {name: buffer for name, buffer in model.named_buffers() if name in persistent}
    return {name: _plain(tensor) for name, tensor in named.items()}


def _plain(tensor: Tensor) -> Tensor:
    """Return the tensor on the CPU, contiguous, and alone in its storage (safetensors refuses views into another)."""
    tensor = tensor.cpu().contiguous()
    return tensor if tensor.untyped_storage().nbytes() == tensor.nbytes else tensor.clone()


@torch.no_grad()
def load_model_tensors(model: nn.Module, tensors: Tensors) -> None:
    """Copy `model_tensors` of the same architecture back into the model, wherever it stands."""
    own = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> Tensors:
    """Return the optimiser's state as `exp_avg/<parameter name>` and so on, on the CPU."""
    return {
        f"{key}/{names[parameter]}": _plain(value.detach())
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Tensors, names: Mapping[Tensor, str]) -> None:
    """Put `optimizer_tensors` back; the optimiser must hold the same parameters, its rates are kept as they are."""
    own = optimizer.state_dict()
    ordered = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    index = {name: position for position, name in enumerate(ordered)}
    state: dict[int, Tensors] = {}
    for label, tensor in tensors.items():
        key, name = label.split("/", 1)
        state.setdefault(index[name], {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the states of the torch, GPU, NumPy and Python generators as JSON; nothing is drawn from them."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "torch": _text(torch.get_rng_state()),
        "numpy": [kind, np.asarray(keys).tolist(), position, has_gauss, cached],
        "python": random.getstate(),
    }
    if device.type == "cuda":
        state["cuda"] = _text(torch.cuda.get_rng_state(device))
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators back into the state that `random_state` returned."""
    torch.set_rng_state(_bytes(state["torch"]))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    if device.type == "cuda":
        torch.cuda.set_rng_state(_bytes(state["cuda"]), device)


def _text(state: Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _bytes(text: str) -> Tensor:
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype=np.uint8).copy())


def best_path(folder: Path, step: int) -> Path:
    """Return where the weights of the best validation, at `step`, are kept."""
    return folder / f"best-{step:08d}.safetensors"


def write_best(folder: Path, step: int, model: Tensors) -> None:
    """Write the best weights whole; AvebenchError if the folder cannot be written."""
    path = best_path(folder, step)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / ".best.partial"
        _write_tensors(partial, model)
        partial.replace(path)
        write_digests(folder, (path.name,))
        _sync(folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from None


def write(folder: Path, step: int, checkpoint: Checkpoint) -> None:
    """Write a checkpoint whole, then remove the older ones; AvebenchError if the folder cannot be written.

    `state` must have the entry `best_step`, the step of the best weights or None.
    """
    target = folder / f"step-{step:08d}"
    partial = folder / ".step.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        _write_tensors(partial / MODEL, checkpoint.model)
        _write_tensors(partial / OPTIMIZER, checkpoint.optimizer)
        write_digests(partial, (MODEL, OPTIMIZER))
        _write_text(partial / STATE, json.dumps(seal(checkpoint.state)))
        _sync(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.replace(target)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from None
    best_step = checkpoint.state["best_step"]
    kept = {target} | ({best_path(folder, best_step)} if best_step is not None else set())
    for pattern in ("step-*", "best-*", ".*.partial"):
        for old in folder.glob(pattern):
            if old not in kept:
                _remove(old)


def newest(folder: Path, identity: str) -> Checkpoint | None:
    """Return the newest whole checkpoint of the run `identity`, or None.

    Those of other runs are passed over; so are damaged ones, which is logged.
    """
    if not folder.is_dir():
        return None
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        try:
            checkpoint = _read(candidate, identity)
        except DamagedError as error:
            _log.warning("The checkpoint %s is damaged (%s): its steps are trained again.", candidate, error)
            continue
        if checkpoint is not None:
            return checkpoint
    return None


def read_best(folder: Path, step: int) -> Tensors:
    """Return the best weights, which were validated at `step`; DamagedError if they are not what was written."""
    path = best_path(folder, step)
    try:
        check_digest(folder, path.name)
        return load_file(path)
    except (OSError, SafetensorError, DamagedError) as error:
        raise DamagedError(f"{path.name}: {error}") from None


def clear(folder: Path) -> None:
    """Remove the folder with everything in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _read(candidate: Path, identity: str) -> Checkpoint | None:
    """Return a checkpoint, or None if it is another run's; DamagedError if a file of it is not what was written."""
    state = read_record(candidate / STATE)
    if (state.get("identity"), state.get("format")) != (identity, FORMAT):
        return None
    for name in (MODEL, OPTIMIZER):
        check_digest(candidate, name)
    if state["best_step"] is not None:
        read_best(candidate.parent, state["best_step"])
    try:
        return Checkpoint(load_file(candidate / MODEL), load_file(candidate / OPTIMIZER), state)
    except (OSError, SafetensorError) as error:
        raise DamagedError(str(error)) from None


def _write_tensors(path: Path, tensors: Tensors) -> None:
    save_file(tensors, path)
    _sync(path)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _unwritable(folder: Path, error: Exception) -> AvebenchError:
    for partial in folder.glob(".*.partial"):  # Of a full disk, no byte is kept in vain.
        _remove(partial)
    return unwritable(
        error,
        folder,
        f"The checkpoint folder {folder} cannot be written ({error}). Free space there or choose another with --out.",
    )
