"""What a system costs: parameters, time, memory, and on which machine that was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avebench.store.results import Result

PARAMETERS = "parameters (millions)"
SECONDS = "s per 1,000 examples"
MEMORY = "peak memory (GB)"


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of cost of a system, a value per repetition; none where it was not measured."""

    name: str
    values: tuple[float, ...]


def costs_of(results: Sequence[Result]) -> list[Cost]:
    """Return trained parameters in millions, seconds per 1,000 test examples, and peak memory in GB (10^9 bytes)."""
    return [
        Cost(PARAMETERS, tuple(result.parameters / 1e6 for result in results)),
        Cost(SECONDS, tuple(1000 * result.seconds["predict"] / result.scores.examples for result in results)),
        Cost(MEMORY, tuple(result.peak_memory / 1e9 for result in results if result.peak_memory)),
    ]


def machine_of(result: Result) -> str:
    """Return the GPU or processor that a result was measured on, and its cores."""
    device = result.hardware.get("gpu") or result.hardware.get("cpu", "unknown")
    return f"{device}, {result.hardware.get('cores', '?')} cores"
