"""What pydantic says of a mistake, in one sentence that names the field and the near matches."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from avebench.files.errors import near_matches


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """Return the first fault of a validation as one sentence with its field, and near matches of an unknown key."""
    faults = error.errors()
    # A mistyped key makes two faults, the unknown and the missing one; the unknown says what happened.
    fault = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])
    place = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = known_keys(model, fault["loc"][:-1])
        return f"there is no field '{place}'. {near_matches(str(fault['loc'][-1]), known)}"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if fault["type"] in {"missing", "value_error"} else f" (given: {fault['input']!r})"
    return f"field '{place}': {message}{given}." if place else f"{message}{given}."


def known_keys(model: Any, place: tuple[int | str, ...]) -> list[str]:
    """Return the field names that a pydantic model knows at a nested place; empty where that is not a model."""
    for part in place:
        if isinstance(part, int):
            continue
        field = getattr(model, "model_fields", {}).get(part)
        if field is None:
            return []
        model = _inner_model(field.annotation)
    return list(getattr(model, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    """Return the pydantic model inside an annotation such as `tuple[Row, ...]` or `Source | None`."""
    if hasattr(annotation, "model_fields"):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found is not None:
            return found
    return None
