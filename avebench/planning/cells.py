"""The step from rows with full configs to cells, which are keyed by content. A cell is row x data set x repetition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avebench.contracts.controls import Control
from avebench.contracts.held_out import HeldOut
from avebench.files.digests import sha256
from avebench.nn.weights import Kind, weights_digest
from avebench.planning.configs import Layers, ResolvedRow
from avebench.planning.data_choice import DataChoice
from avebench.store.results import Result

KINDS: dict[str, Kind] = {
    "text_encoder": "text",
    "image_encoder": "image",
    "generator": "generator",
    "llm": "language",
    "similarity": "text",
}
"""Role of something pretrained -> how it is named; other roles name a file or a folder."""


def kind_of(role: str) -> Kind:
    """Return how something pretrained is named in a role."""
    return KINDS.get(role, "files")


LATER_OPTIONS: dict[str, Any] = {"long_texts": "window", "cap": None, "validation": "all"}
"""Options that came after results had been recorded, with the values that stay out of keys: they change nothing there.

Where texts are over the limit, `long_texts` does: a result made before it says that it was cut (`Result.over_limit`).
"""


def keyed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a resolved config tells cells apart: without later options at the values of `LATER_OPTIONS`."""
    return {name: value for name, value in config.items() if name not in LATER_OPTIONS or value != LATER_OPTIONS[name]}


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to train and score. `key` depends on content only: never on order, formatting, paths or `--jobs`."""

    key: str
    training_key: str
    """Key of the cell whose trained system this one tests; its own, except where only the test has other pictures."""
    row: str
    model: str
    implementation: int
    protocol: str
    preset: str | None
    profile: str
    config: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, str]]
    """Role -> {"name", "sha256"} of every pretrained encoder."""
    data: DataChoice
    train_fraction: float
    repetition: int
    control: Control | None
    range_cell: Cell | None = None
    """With the protocol `predicted`: the cell whose predicted attributes are asked for."""
    held_out: HeldOut | None = None
    """Attributes that the cell is tested on alone."""


def cell_name(cell: Cell) -> str:
    """Return the name of a cell in messages."""
    return f"{cell.row} #{cell.repetition}"


def cells_of(
    resolved: ResolvedRow, around: Layers, data: DataChoice, repetitions: int, ranges: Sequence[Cell] = ()
) -> list[Cell]:
    """Return the cells of one row, one per repetition, with their keys; `ranges` are those of the row `range_from`.

    A system that is asked is trained once for all protocols, under which it is tested.
    """
    row, card = resolved.row, resolved.system.card
    weights = {
        role: {"name": name, "sha256": weights_digest(name, kind_of(role))}
        for role, name in sorted(resolved.pretrained.items())
    }
    # An encoder counts by its content: the same weights under another path or name give the same key.
    keyed = {**keyed_config(resolved.config), **{role: weight["sha256"] for role, weight in weights.items()}}
    content = {
        "model": card.name,
        "implementation": card.implementation,
        "config": keyed,
        "protocol": row.protocol,
        "train_fraction": around.train_fraction,
        "data": data.fingerprint,
    }
    apart: dict[str, Any] = {}
    trained: dict[str, Any] = {"protocol": card.protocol}
    for name, difference in (("control", row.control), ("held_out", row.held_out)):
        if difference is not None:
            apart[name] = difference.model_dump()
            if difference.training:
                trained[name] = apart[name]
    keys = [{"range": cell.key} for cell in ranges] or [{}] * repetitions
    return [
        Cell(
            key=sha256({**content, **apart, **keys[repetition], "repetition": repetition}),
            training_key=sha256({**content, **trained, "repetition": repetition}),
            row=row.label,
            model=card.name,
            implementation=card.implementation,
            protocol=row.protocol,
            preset=row.preset,
            profile=around.profile,
            config=resolved.config,
            weights=weights,
            data=data,
            train_fraction=around.train_fraction,
            repetition=repetition,
            control=row.control,
            range_cell=ranges[repetition] if ranges else None,
            held_out=row.held_out,
        )
        for repetition in range(repetitions)
    ]


def cell_of(label: str, result: Result, data: DataChoice) -> Cell:
    """Return the cell of a row's result; the key of a training that it shares is not known from it."""
    return Cell(
        key=result.key,
        training_key=result.key,
        row=label,
        model=result.model,
        implementation=result.implementation,
        protocol=result.protocol,
        preset=result.preset,
        profile=result.profile,
        config=result.config,
        weights={role: weight.model_dump() for role, weight in result.weights.items()},
        data=data,
        train_fraction=result.train_fraction,
        repetition=result.repetition,
        control=result.control,
        held_out=result.held_out,
    )
