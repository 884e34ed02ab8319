"""What a batch of long texts with many tags needs, estimated before it is computed: memory and time.

A CRF keeps numbers per position and tag for the gradient, and searches all pairs of tags at every position; some
attentions keep numbers per pair of positions. With thousands of attributes, or texts of thousands of units, that is
more than a machine has. The factors were measured on batches of 4 to 16 texts (peak of the resident set, one thread);
they are meant to be too low rather than too high, so that nothing is refused that would have fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from avebench.files.errors import AvebenchError
from avebench.nn.crf import CRF, MANY_TAGS

NUMBER_BYTES = 4
TRAINED_COPIES, SEARCHED_COPIES = 8, 4
"""Numbers that the likelihood of a CRF, and its Viterbi search, hold per position and tag."""
PAIR_COPIES = 2
"""Numbers that the likelihood holds per position and pair of tags where there are few tags (pytorch-crf)."""
PAIR_SECONDS = 2.5e-9
"""Time of a training step per position and pair of many tags, on one thread of a CPU."""
LONG_STEP = 60.0
"""Seconds of a step from which on its length is said beforehand."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a batch of `size` texts of `length` units needs: `memory` in bytes, `seconds` on one thread of a CPU."""

    size: int
    length: int
    tags: int
    memory: int
    seconds: float

    def said(self) -> str:
        """Return what it is the demand of, in words."""
        texts = "a text" if self.size == 1 else f"{self.size:,} texts"
        tags = f" with {self.tags:,} tags" if self.tags else ""
        return f"a batch of {texts} of {self.length:,} units{tags}"


def demand(model: torch.nn.Module, size: int, length: int, *, training: bool) -> Demand:
    """Return what a batch of `size` texts of `length` units needs, beyond the model itself.

    Of the model, its CRFs count, and what its method `held_numbers` says (`avebench.nn.neural.NeuralModel`).
    """
    tags = max((module.num_tags for module in model.modules() if isinstance(module, CRF)), default=0)
    numbers = (TRAINED_COPIES if training else SEARCHED_COPIES) * size * length * tags
    if training and tags < MANY_TAGS:
        numbers += PAIR_COPIES * size * length * tags**2
    elif training:
        numbers += 4 * tags**2  # The transitions, their exponentials, and the gradients of both.
    held = getattr(model, "held_numbers", None)
    if held is not None:
        numbers += held(size, length, training=training)
    seconds = PAIR_SECONDS * size * length * tags**2 if training and tags >= MANY_TAGS else 0.0
    return Demand(size, length, tags, NUMBER_BYTES * numbers, seconds)


def check_demand(model: torch.nn.Module, lengths: Sequence[int], batch_size: int, steps: int) -> str | None:
    """Return a sentence on the time of the longest training step if it is long, else None.

    `lengths` are those of the training texts. AvebenchError if the batch of the longest of them cannot be held by the
    memory that is free where the model is.
    """
    if not lengths:
        return None
    device = next(model.parameters()).device
    need = demand(model, min(batch_size, len(lengths)), max(lengths), training=True)
    free = free_memory(device)
    if free is not None and need.memory > free:
        raise AvebenchError(
            f"Training on {need.said()} needs some {_gigabytes(need.memory)} of memory, and {_gigabytes(free)} are "
            f"free. {_way_out(model, need, free)}"
        )
    if device.type != "cpu" or need.seconds < LONG_STEP:
        return None
    return (
        f"a training step on {need.said()} takes about {_hours(need.seconds)} on one core; there are {steps:,} steps. "
        "Fewer attributes or shorter texts take less."
    )


def _way_out(model: torch.nn.Module, need: Demand, free: int) -> str:
    """Return what to do about a batch that does not fit."""
    one = demand(model, 1, need.length, training=True)
    per_text = max(1, (need.memory - one.memory) // max(1, need.size - 1))
    fitting = (free - (one.memory - per_text)) // per_text
    if need.size > 1 and fitting >= 1:
        more = -(-need.size // fitting)
        return f"Set training.batch_size to at most {fitting:,}; training.accumulation={more} keeps the step as it is."
    return "Not even one such text fits: leave out the longest texts or attributes, or take a larger machine."


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process could still take on a device, None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # type: ignore[import-untyped]  # Its types are a package of their own.

    free = int(psutil.virtual_memory().available)
    limit = _number(Path("/sys/fs/cgroup/memory.max"))  # Of a container.
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.0f} GB" if number >= 1e10 else f"{number / 1e9:.1f} GB"


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"


PREDICTED_BYTES = 8 * 10**9
"""Memory of a batch of predictions above which fewer texts are taken at once; the same on every machine."""


def predicted_at_once(model: torch.nn.Module, lengths: Sequence[int]) -> int:
    """Return how many of the texts, of ascending `lengths`, to predict at once: all, or fewer where they are long."""
    number = len(lengths)
    while number > 1 and demand(model, number, lengths[number - 1], training=False).memory > PREDICTED_BYTES:
        number //= 2
    return number
