"""The step from a table's rows to rows with full configs.

A plug-in's `Config` lives in a module that imports torch, so what it resolves to is remembered on disk, by the hash of
the plug-in's source, of the core's sources and of the layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from avebench.contracts.registry import Plugin, plugin
from avebench.files.cache import cache_folder, file_digest, read_memo, write_memo
from avebench.files.digests import sha256
from avebench.files.errors import AvebenchError, near_matches
from avebench.planning.experiment import Row
from avebench.planning.profiles import profile_options
from avebench.planning.settings import leaves, merge
from avebench.planning.validation import describe, known_keys
from avebench.scoring.metrics import METRICS

PACKAGE = "__init__.py"
"""The file that makes a folder a package."""


@dataclass(frozen=True, slots=True)
class Layers:
    """What lies around the options of a row: a profile at a train fraction, a table's defaults, the command line's."""

    profile: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    train_fraction: float = 1.0


@dataclass(frozen=True, slots=True)
class ResolvedRow:
    """A row with its system, a config without silent defaults, and its pretrained encoders by role.

    `unknown` holds the settings of the command line that this config has no field for.
    """

    row: Row
    system: Plugin
    config: dict[str, Any]
    pretrained: dict[str, str]
    unknown: tuple[str, ...]


def resolve(row: Row, around: Layers) -> ResolvedRow:
    """Return a row with its full config: plug-in default < preset < profile < table defaults < row < command line.

    Profile, table defaults and command line are shared by rows of different models: fields that this row's model does
    not have are passed over and reported in `unknown` (of the command line). The row's own options must all fit.
    """
    system = plugin("models", row.model)
    profile = profile_options(around.profile, around.train_fraction)
    layers = [profile, around.defaults, row.options_of(around.profile), around.settings]
    memo = (
        cache_folder()
        / "resolved"
        / (sha256([system.name, _source_digests(system), _core_digest(), row.preset, layers]) + ".json")
    )
    if (known := read_memo(memo)) is not None:
        content = json.loads(known)
    else:
        content = _resolve(system, row, layers)
        write_memo(memo, json.dumps(content))
    return ResolvedRow(row, system, content["config"], content["pretrained"], tuple(content["unknown"]))


def _resolve(system: Plugin, row: Row, layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Import the plug-in, validate the merged layers with its `Config`, and return what a `ResolvedRow` keeps of it."""
    from pydantic import ValidationError

    config_class = system.load().Config
    presets = config_class.presets
    if row.preset is not None and row.preset not in presets:
        raise AvebenchError(
            f"Row '{row.label}': {row.model} has no preset '{row.preset}'. {near_matches(row.preset, presets)}"
        )
    profile, defaults, options, settings = layers
    merged = _defaults_of(config_class)
    merged = merge(merged, presets[row.preset] if row.preset else {})
    merged = merge(merged, _fitting(config_class, profile)[0])
    merged = merge(merged, _fitting(config_class, defaults)[0])
    merged = merge(merged, options)
    fitting, unknown = _fitting(config_class, settings)
    merged = merge(merged, fitting)
    try:
        config = config_class.model_validate(merged)
    except ValidationError as error:
        raise AvebenchError(f"Row '{row.label}' ({row.model}): {describe(error, config_class)}") from None
    if "training" in merged:
        _check_selection(f"Row '{row.label}' ({row.model})", config.training.selection)
    return {"config": config.model_dump(mode="json"), "pretrained": dict(config.pretrained()), "unknown": unknown}


def check_protocol(resolved: ResolvedRow) -> None:
    """Raise AvebenchError if a row's system cannot have the protocol of the row, or answers for no held-out name."""
    row, card = resolved.row, resolved.system.card
    possible = dict.fromkeys([card.protocol, *card.protocols])
    if row.protocol not in possible:
        raise AvebenchError(
            f"Row '{row.label}': {row.model} cannot be run under the protocol '{row.protocol}'. "
            f"Give protocol = one of {', '.join(possible)}."
        )
    if row.held_out is None:
        return
    if row.protocol not in {"native", "all", "annotated", "oracle"}:
        raise AvebenchError(
            f"Row '{row.label}': under the protocol '{row.protocol}' nobody is asked for attributes that training does "
            "not have. Give protocol = all, annotated or oracle beside held_out."
        )
    if row.held_out.training and not card.open_attributes:
        raise AvebenchError(
            f"Row '{row.label}': {row.model} knows the attributes of its training alone, so that none can be held out "
            "of it. Give held_out = { training = false }, or a system that can be asked for any name."
        )


def _check_selection(place: str, selection: str) -> None:
    """Raise AvebenchError unless every part of `training.selection` is a metric, or it is `last`."""
    for name in selection.split(" or ") if selection != "last" else ():
        if name not in METRICS:
            raise AvebenchError(
                f"{place}: training.selection: there is no metric '{name}'. {near_matches(name, [*METRICS, 'last'])}"
            )


def _defaults_of(config_class: Any) -> dict[str, Any]:
    """Return the plug-in's defaults as plain JSON without the budget that is not set."""
    dumped: dict[str, Any] = config_class().model_dump(mode="json")
    training = dumped.get("training")
    if training is not None:
        dumped["training"] = {k: v for k, v in training.items() if k not in {"steps", "epochs"} or v is not None}
    return dumped


def _fitting(
    config_class: Any, layer: Mapping[str, Any], place: tuple[str, ...] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Return the part of a layer whose keys the config has, and the dotted names of the rest."""
    known = known_keys(config_class, place)
    fitting: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in layer.items():
        if key not in known:
            unknown += leaves(value, ".".join((*place, key)))
        elif isinstance(value, Mapping) and known_keys(config_class, (*place, key)):
            fitting[key], inner = _fitting(config_class, value, (*place, key))
            unknown += inner
        else:
            fitting[key] = value
    return fitting, unknown


def check_settings(resolved: Sequence[ResolvedRow]) -> None:
    """Raise AvebenchError for a setting of the command line that fits none of the rows."""
    if not resolved:
        return
    for name in sorted(set.intersection(*(set(one.unknown) for one in resolved))):
        known: set[str] = set()
        for one in resolved:
            known.update(known_keys(one.system.load().Config, tuple(name.split(".")[:-1])))
        raise AvebenchError(
            f"--set {name}: no row of this table has this option. {near_matches(name.split('.')[-1], known)}"
        )


@cache
def _core_digest() -> str:
    """Return one hash over the core's Python sources: a memo made by other code is not used."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return sha256([file_digest(source) for source in sources])


def _source_digests(system: Plugin) -> list[str]:
    """Return the hashes of what a plug-in's `Config` may be made of: its file, or all modules around a packaged one."""
    return [file_digest(system.source)] if system.origin.endswith(".py") else _digests_around(system.source.parent)


@cache
def _digests_around(folder: Path) -> list[str]:
    """Return the hashes of all modules of the outermost package that a folder is in; for a family, all of `models/`.

    Modules that are in no package stand beside each other alone.
    """
    if not (folder / PACKAGE).is_file():
        return [file_digest(source) for source in sorted(folder.glob("*.py"))]
    root = folder
    while (root.parent / PACKAGE).is_file():
        root = root.parent
    return [file_digest(source) for source in sorted(root.rglob("*.py"))]
