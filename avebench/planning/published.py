"""Published figures: every row of the packaged published.toml, and what is published of a table's row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from avebench.planning.experiment import OwnPublished, Row
from avebench.planning.packaged import packaged_toml

PUBLISHED_NAMES = {
    "attribute_f1": "cls_f1",
    "value_f1": "string_f1",
    "precision": "tag_precision",
    "recall": "tag_recall",
    "accuracy": "mae_accuracy",
    "slot_f1": "tag_f1",
    "intent_acc": "intent_accuracy",
    "sentence_acc": "sentence_accuracy",
}
"""Names of published.toml that differ from ours."""


_RANGE_GIVEN = {"range-unstated", "known-attributes"}
"""Caveats of published rows whose systems were told attributes at test."""


@dataclass(frozen=True, slots=True)
class Published:
    """One published row: figures in % under our metric names, where they stand, and what to know about them.

    `range_given`: whether the system was, or most likely was, given the attributes of each product. `datasets`
    are the names of the data that the papers give.
    """

    figures: dict[str, float]
    place: str
    caveats: tuple[str, ...]
    range_given: bool
    datasets: tuple[str, ...]


@cache
def published_marks() -> dict[str, str]:
    """Return what the marks on rows of the packaged published.toml mean."""
    marks: dict[str, str] = packaged_toml("published")["marks"]
    return marks


@cache
def published_sources() -> dict[str, str]:
    """Return where what the packaged published.toml cites is to be found: short name -> reference."""
    sources: dict[str, str] = packaged_toml("published")["sources"]
    return sources


@cache
def published_tables() -> dict[str, str]:
    """Return table id -> where it stands, of every table of the packaged published.toml."""
    tables = packaged_toml("published")["table"]
    return {table["id"]: f"{table['source']} {table['number']}" for table in tables}


@cache
def published_rows() -> dict[str, Published]:
    """Return every row of the packaged published.toml by `<table id>/<row label>`."""
    content = packaged_toml("published")
    datasets = {table["id"]: tuple(table["dataset"].split(", ")) for table in content["table"]}
    rows: dict[str, Published] = {}
    for row in content["row"]:
        figures = {
            PUBLISHED_NAMES.get(name, name): float(value)
            for name, value in row["metrics"].items()
            if isinstance(value, int | float)
        }
        caveats = tuple(content["caveats"][name] for name in row.get("caveats", ()))
        # A table that prints a label twice (SMARTAVE, text and multimodal) is told apart by its modality.
        key = f"{row['table']}/{row['label']}"
        if key in rows:
            key += f" ({row['modality']})"
        range_given = not _RANGE_GIVEN.isdisjoint(row.get("caveats", ()))
        rows[key] = Published(figures, published_tables()[row["table"]], caveats, range_given, datasets[row["table"]])
    return rows


def published_of(row: Row) -> Published | None:
    """Return what is published of a row; None if nothing is."""
    if isinstance(row.published, OwnPublished):
        return Published(row.published.figures, row.published.source, (), range_given=False, datasets=())
    return published_rows()[row.published] if row.published else None
