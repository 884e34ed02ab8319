"""What one object of the MAE release says: its text, specifications and picture, whatever its fields look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from avebench.data.reading import is_encodable

_PTB = {"-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}", "``": '"', "''": '"'}


@dataclass(frozen=True, slots=True)
class Product:
    """What one object of the release says, before anything is matched."""

    id: str
    text: str
    specs: tuple[tuple[str, str], ...]
    images: tuple[str, ...]
    """Names of the picture files; empty where the first is none, whatever stands behind it."""
    oddities: tuple[tuple[str, str], ...]
    """(field, what is odd about it)."""


def product_of(record: dict[str, Any], place: str) -> Product:
    """Return what an object says; whatever is missing or of the wrong kind is an oddity, never an error."""
    odd: list[tuple[str, str]] = []

    def string(field: str) -> str:
        value = record.get(field)
        if isinstance(value, str):
            return value if is_encodable(value) else value.encode(errors="replace").decode()
        if value is not None:
            odd.append((field, "not a string"))
        return ""

    name = string("diffbotUri").strip()
    if not name:
        odd.append(("diffbotUri", "missing"))
    tokens = record.get("tokens")
    if isinstance(tokens, list) and tokens and all(isinstance(token, str) and is_encodable(token) for token in tokens):
        body, tokenised = " ".join(tokens), True
    elif clean := string("clean_text"):
        body, tokenised = clean, True
    else:
        body, tokenised = string("text"), False
    title = string("clean_title") if tokenised else ""
    text = " ".join(
        part for part in (from_ptb(title) or string("title"), from_ptb(body) if tokenised else body) if part
    )
    odd.extend(
        (field, "missing") for field, part in (("title", title or record.get("title")), ("text", body)) if not part
    )
    return Product(name or place, text, _specs(record, odd), _images(record, odd), tuple(odd))


def from_ptb(text: str) -> str:
    r"""Return space-joined Penn Treebank tokens with their bracket and quote forms turned back, and `\/` to `/`."""
    return " ".join(_PTB.get(token.lower(), token.replace("\\/", "/").replace("\\*", "*")) for token in text.split())


def _specs(record: dict[str, Any], odd: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    specs = record.get("specs")
    if not isinstance(specs, dict) or not specs:
        odd.append(("specs", "missing" if specs is None else "empty" if specs == {} else "not an object"))
        return ()
    kept = []
    for attribute, value in specs.items():
        if not isinstance(value, str):
            odd.append(("specs", "a value that is not a string"))
        elif not value.strip() or not attribute.strip():
            odd.append(("specs", "an empty attribute or value"))
        elif is_encodable(attribute) and is_encodable(value):
            kept.append((attribute, value))
    return tuple(kept)


def _images(record: dict[str, Any], odd: list[tuple[str, str]]) -> tuple[str, ...]:
    images = record.get("images")
    if not images:
        odd.append(("images", "missing"))
        return ()
    if not isinstance(images, list) or not _is_file_name(images[0]):
        odd.append(("images", "not a list of file names"))
        return ()
    names = tuple(name for name in images if _is_file_name(name))
    odd.extend([("images", "a further picture that is no file name")] * (len(images) - len(names)))
    return names


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and name not in {".", ".."} and not re.search(r"[/\\\0]", name)
