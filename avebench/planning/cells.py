"""From a table's rows to cells: resolved configs, content hashes and keys. A cell is row x data set x repetition.

Nothing here imports torch. A plug-in's `Config` lives in a module that does, so what it resolves to is remembered on
disk, by the hash of the plug-in's source, of the core's sources and of the overrides.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from avebench.contracts.controls import Control
from avebench.contracts.registry import Plugin, plugin
from avebench.data.reading import is_encodable
from avebench.files.cache import cache_folder, file_digest, read_memo, write_memo
from avebench.files.errors import AvebenchError, near_matches
from avebench.files.nesting import DEEPEST
from avebench.nn.weights import Kind, weights_digest
from avebench.planning.experiment import Row, describe, known_keys, profile_options
from avebench.scoring.metrics import METRICS
from avebench.store.results import shown_data

KINDS: dict[str, Kind] = {"text_encoder": "text", "image_encoder": "image"}
"""Role of something pretrained -> how it is named; other roles name a file or a folder."""

PACKAGE = "__init__.py"
"""The file that makes a folder a package."""
LATER_OPTIONS: dict[str, Any] = {"long_texts": "window"}
"""Options that came after results had been recorded, with the values that stay out of keys: they change nothing there.

Where texts are over the limit, `long_texts` does: a result made before it says that it was cut (`Result.over_limit`).
"""


def keyed_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a resolved config tells cells apart: without later options at the values of `LATER_OPTIONS`."""
    return {name: value for name, value in config.items() if name not in LATER_OPTIONS or value != LATER_OPTIONS[name]}


def kind_of(role: str) -> Kind:
    """Return how something pretrained is named in a role."""
    return KINDS.get(role, "files")


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line lays over a table, nested like a model's config."""

    profile: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DataChoice:
    """The data of a run: plug-in name, folder (None where generated), reader options, fingerprint."""

    name: str
    folder: Path | None
    options: Mapping[str, Any]
    fingerprint: str
    title: str = ""
    """Name of a user's own data; in no key."""

    @property
    def shown(self) -> str:
        """Return the name for people."""
        return shown_data(self.name, self.title)


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


def cell_name(cell: Cell) -> str:
    """Return the name of a cell in messages."""
    return f"{cell.row} #{cell.repetition}"


def canonical(content: Any) -> str:
    """Return canonical JSON: sorted keys, no white space, UTF-8."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def sha256(content: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `content`."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Return `lower` overlaid with `upper`, nested mappings merged.

    A training budget is `steps` or `epochs`: naming one takes the other of a lower layer away.
    """
    merged = dict(lower)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if one in upper and other not in upper:
            merged.pop(other, None)
    for key, value in upper.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


@dataclass(frozen=True, slots=True)
class Resolved:
    """A config without silent defaults, its pretrained encoders by role, and which settings fitted no field."""

    config: dict[str, Any]
    pretrained: dict[str, str]
    unknown: tuple[str, ...]


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


def resolve(row: Row, overrides: Overrides, defaults: Mapping[str, Any], train_fraction: float) -> Resolved:
    """Return the full config of a row: plug-in default < preset < profile < table defaults < row < command line.

    Profile, table defaults and command line are shared by rows of different models: fields that this row's model does
    not have are passed over and reported in `unknown` (of the command line). The row's own options must all fit.
    """
    system = plugin("models", row.model)
    options = row.options_of(overrides.profile)
    layers = [profile_options(overrides.profile, train_fraction), defaults, options, overrides.settings]
    memo = (
        cache_folder()
        / "resolved"
        / (sha256([system.name, _source_digests(system), _core_digest(), row.preset, layers]) + ".json")
    )
    if (known := read_memo(memo)) is not None:
        return Resolved(**json.loads(known))
    resolved = _resolve(system, row, layers)
    content = {"config": resolved.config, "pretrained": resolved.pretrained, "unknown": list(resolved.unknown)}
    write_memo(memo, json.dumps(content))
    return resolved


def _resolve(system: Plugin, row: Row, layers: Sequence[Mapping[str, Any]]) -> Resolved:
    """Import the plug-in and validate the merged layers with its `Config`."""
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
    return Resolved(config.model_dump(mode="json"), dict(config.pretrained()), tuple(unknown))


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
            unknown += _leaves(value, ".".join((*place, key)))
        elif isinstance(value, Mapping) and known_keys(config_class, (*place, key)):
            fitting[key], inner = _fitting(config_class, value, (*place, key))
            unknown += inner
        else:
            fitting[key] = value
    return fitting, unknown


def _leaves(value: Any, name: str) -> list[str]:
    """Return the dotted names of the settings under `name`."""
    if not isinstance(value, Mapping):
        return [name]
    return [leaf for key, inner in value.items() for leaf in _leaves(inner, f"{name}.{key}")]


def cells_of_row(
    row: Row, resolved: Resolved, overrides: Overrides, data: DataChoice, fraction: float, repetitions: int
) -> list[Cell]:
    """Return the cells of one row, one per repetition, with their keys."""
    card = plugin("models", row.model).card
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
        "train_fraction": fraction,
        "data": data.fingerprint,
    }
    control = {} if row.control is None else {"control": row.control.model_dump()}
    trained = control if row.control is not None and row.control.training else {}
    return [
        Cell(
            key=sha256({**content, **control, "repetition": repetition}),
            training_key=sha256({**content, **trained, "repetition": repetition}),
            row=row.label,
            model=card.name,
            implementation=card.implementation,
            protocol=row.protocol,
            preset=row.preset,
            profile=overrides.profile,
            config=resolved.config,
            weights=weights,
            data=data,
            train_fraction=fraction,
            repetition=repetition,
            control=row.control,
        )
        for repetition in range(repetitions)
    ]


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return `--set training.steps=100` options as a nested mapping; values are TOML, a bare word is a string."""
    import tomllib

    from avebench.files import tomltext

    nested: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not is_encodable(setting):
            raise AvebenchError(f"{name}: it holds bytes that are not UTF-8. Give it as UTF-8.")
        parts = name.split(".")
        if not equals or not all(parts):
            raise AvebenchError(f"--set {setting}: write KEY=VALUE, for instance --set training.steps=100.")
        if len(parts) > DEEPEST:
            raise AvebenchError(f"--set {name[:40]}...: no option has so many parts. Give it as training.steps=100.")
        try:
            value = tomltext.parse(f"value = {text}", name, fields=False)["value"]
        except tomllib.TOMLDecodeError:
            value = text
        for part in reversed(parts):
            value = {part: value}
        nested = merge(nested, value)
    return nested


def check_settings(unknown: Sequence[Sequence[str]], models: Sequence[str]) -> None:
    """Raise AvebenchError for a `--set` key that fits none of the rows."""
    if not unknown:
        return
    nowhere = set(unknown[0]).intersection(*map(set, unknown[1:]))
    for name in sorted(nowhere):
        known: set[str] = set()
        for model in models:
            config_class = plugin("models", model).load().Config
            known.update(known_keys(config_class, tuple(name.split(".")[:-1])))
        raise AvebenchError(
            f"--set {name}: no row of this table has this option. {near_matches(name.split('.')[-1], known)}"
        )


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested config as dotted name -> text."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
