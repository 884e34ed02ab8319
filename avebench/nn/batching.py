"""Which examples form which step, and how batches reach the device.

The order of an epoch is derived from ("order", repetition, epoch) alone, so every row of a table sees the same order at
the same repetition; a row's lengths enter only through bucketing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avebench.contracts.seeds import derive_seed

Order = Literal["bucketed", "shuffled", "sequential", "sampled"]
Positions = NDArray[np.int64]

BUCKET_STEPS = 50
"""Steps sorted by length together: enough to fill batches of nearly equal length, few enough to stay random."""


def permutation(size: int, seed: int) -> Positions:
    """Return the numbers 0 to `size` - 1 in an order that depends on `seed` only.

    It sorts raw 64-bit words: NumPy promises the raw stream of PCG64 for all versions, but not `Generator.shuffle`.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable")


def epoch_batches(lengths: Sequence[int], size: int, *, order: Order, repetition: int, epoch: int) -> list[Positions]:
    """Return the positions of an epoch's examples, cut into batches of `size`; one batch may be shorter.

    Every example stands in it once, but for `sampled`: as many are drawn with replacement.
    `bucketed` shuffles, sorts every `BUCKET_STEPS` batches' worth of examples by length, cuts and shuffles the batches;
    `shuffled` shuffles; `sequential` keeps the order of the data. `epoch` counts from 0.
    """
    seed = derive_seed("order", repetition, epoch)
    count = len(lengths)
    if order == "sampled":
        # The bias of the remainder, count / 2^64, is none.
        positions = (np.random.PCG64(seed).random_raw(count) % count).astype(np.int64)
    else:
        positions = np.arange(count) if order == "sequential" else permutation(count, seed)
    if order == "bucketed":
        by_position = np.asarray(lengths)
        bucket = size * BUCKET_STEPS
        for start in range(0, count, bucket):
            chosen = positions[start : start + bucket]
            positions[start : start + bucket] = chosen[np.argsort(by_position[chosen], kind="stable")]
    batches = [positions[start : start + size] for start in range(0, count, size)]
    if order == "bucketed":
        batches = [
            batches[index] for index in permutation(len(batches), derive_seed("order", repetition, epoch, "batches"))
        ]
    return batches


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """What goes through the model at once: `share` of the examples of its step, and whether it closes the step."""

    positions: Positions
    share: float
    closes_step: bool


def micro_batches(step: Positions, size: int) -> list[MicroBatch]:
    """Return the examples of one optimiser step cut into pieces of `size`, the last one possibly shorter."""
    starts = range(0, len(step), size)
    return [
        MicroBatch(piece, len(piece) / len(step), start == starts[-1])
        for start in starts
        for piece in [step[start : start + size]]
    ]


def plan(
    lengths: Sequence[int], size: int, accumulation: int, *, order: Order, repetition: int, start: int, stop: int
) -> Iterator[MicroBatch]:
    """Yield the micro-batches of the optimiser steps `start` to `stop` - 1, counted over all epochs.

    A step is `size` * `accumulation` examples, cut only afterwards: accumulation changes memory, never which examples
    meet in a step.
    """
    per_epoch = -(-len(lengths) // (size * accumulation))
    batches: list[Positions] = []
    for step in range(start, stop):
        epoch, position = divmod(step, per_epoch)
        if not batches or position == 0:
            batches = epoch_batches(lengths, size * accumulation, order=order, repetition=repetition, epoch=epoch)
        yield from micro_batches(batches[position], size)


def pin(batch: dict[str, Any]) -> dict[str, Any]:
    """Return the batch with its tensors in page-locked memory, from where copies to a GPU run beside computation."""
    return {name: value.pin_memory() if isinstance(value, Tensor) else value for name, value in batch.items()}


def load(
    pieces: Iterable[MicroBatch], build: Callable[[Positions], dict[str, Any]], *, ahead: bool
) -> Iterator[tuple[MicroBatch, dict[str, Any]]]:
    """Yield each micro-batch with the batch that `build` makes of its positions.

    `ahead` builds and pins the next batches on a thread while the GPU computes; on a CPU that would only take its time.
    """
    if not ahead:
        for piece in pieces:
            yield piece, build(piece.positions)
        return
    with ThreadPoolExecutor(max_workers=1) as worker:
        waiting: list[tuple[MicroBatch, Future[dict[str, Any]]]] = []
        try:
            for piece in pieces:
                waiting.append((piece, worker.submit(lambda positions: pin(build(positions)), piece.positions)))
                if len(waiting) > 2:
                    first, batch = waiting.pop(0)
                    yield first, batch.result()
            for first, batch in waiting:
                yield first, batch.result()
        finally:
            worker.shutdown(cancel_futures=True)
