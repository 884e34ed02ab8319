"""What a training says of itself: where it stands, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
