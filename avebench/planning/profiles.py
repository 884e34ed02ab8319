"""Profiles: what `--profile` lays over the options of every row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from avebench.files.errors import AvebenchError, near_matches
from avebench.planning.packaged import packaged_toml


@dataclass(frozen=True, slots=True)
class ProfileStep:
    """Overrides of a profile for train fractions up to `max_train_fraction`."""

    max_train_fraction: float
    options: dict[str, Any]


@cache
def profiles() -> dict[str, tuple[ProfileStep, ...]]:
    """Return the packaged profiles: name -> overrides by train fraction, smallest first."""
    content = packaged_toml("profiles")
    return {
        name: tuple(
            sorted(
                (ProfileStep(step.get("max_train_fraction", 1.0), step.get("options", {})) for step in steps),
                key=lambda step: step.max_train_fraction,
            )
        )
        for name, steps in content.items()
    }


def profile_options(name: str, train_fraction: float) -> dict[str, Any]:
    """Return the overrides of a profile at a train fraction; AvebenchError for an unknown profile."""
    if name not in profiles():
        raise AvebenchError(f"There is no profile called '{name}'. {near_matches(name, profiles())}")
    for step in profiles()[name]:
        if train_fraction <= step.max_train_fraction:
            return step.options
    return {}
