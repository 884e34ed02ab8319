"""What a user says of a data set of their own: the file `dataset.toml` beside its splits, else the folder's name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avebench.contracts.dataset import DataDescription
from avebench.files.errors import AvebenchError, near_matches
from avebench.files.tomltext import parse

FILE = "dataset.toml"


def describe_folder(folder: Path) -> DataDescription:
    """Return what `dataset.toml` says of a folder, its name filled in; AvebenchError names file and field."""
    path = folder / FILE
    content: dict[str, Any] = {}
    if path.is_file():
        try:
            content = parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, ValueError) as error:
            raise AvebenchError(f"{path} cannot be read: {error}") from None
    try:
        described = DataDescription.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise AvebenchError(
                f"{path}: there is no field '{field}'. {near_matches(field, DataDescription.model_fields)}"
            ) from None
        raise AvebenchError(f"{path}, field '{field}': {first['msg']} (given: {first['input']!r}).") from None
    called = os.fsencode(folder.resolve().name).decode(errors="replace")  # The same in a locale that is not UTF-8.
    return described.model_copy(update={"name": described.name or called})
