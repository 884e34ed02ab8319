"""Nested options laid over each other, and as `--set` and `--option` give them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from avebench.data.reading import is_encodable
from avebench.files import tomltext
from avebench.files.errors import AvebenchError
from avebench.files.nesting import DEEPEST


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


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Return `--set training.steps=100` options as a nested mapping; values are TOML, a bare word is a string."""
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


def leaves(value: Any, name: str) -> list[str]:
    """Return the dotted names of the settings under `name`."""
    if not isinstance(value, Mapping):
        return [name]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{name}.{key}")]


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a nested config as dotted name -> text."""
    flat: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat
