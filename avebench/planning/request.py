"""The first step of planning: what was asked for, whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from avebench.contracts.seeds import MOST_REPETITIONS
from avebench.files.errors import AvebenchError


@dataclass(frozen=True, slots=True)
class Request:
    """An experiment by name or path, and how it is to be run; AvebenchError for numbers that no run can have."""

    experiment: str
    out: Path
    dataset: str | None = None
    data: Path | None = None
    rows: Sequence[str] = ()
    repetitions: int = 1
    train_fraction: float = 1.0
    profile: str | None = None
    missing_images: Literal["error", "blank"] | None = None
    reader_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = False
    forgiving: bool = False
    """Leave out rows whose encoders are not here, and say so in their place, as long as another row remains."""

    def __post_init__(self) -> None:
        if not 0 < self.train_fraction <= 1:
            raise AvebenchError(f"--train-fraction {self.train_fraction}: give a number above 0 and at most 1.")
        if not 1 <= self.repetitions <= MOST_REPETITIONS:
            raise AvebenchError(f"--seeds {self.repetitions}: give a number from 1 to {MOST_REPETITIONS}.")
