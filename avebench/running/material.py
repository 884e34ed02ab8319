"""What a cell works on: the examples of its splits, and how its control shows them to the system."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from avebench.contracts.controls import with_control
from avebench.contracts.dataset import Dataset
from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.held_out import HeldOut, only, without
from avebench.contracts.registry import plugin, plugins
from avebench.data.annotation import same_id_sentence, shared_ids
from avebench.data.opening import open_dataset
from avebench.data.predictions import read_predictions
from avebench.data.subsets import split_by_fraction
from avebench.files.errors import AvebenchError, DataError, UnusableError
from avebench.planning.cells import Cell
from avebench.planning.data_choice import DataChoice
from avebench.running.asking import Asking, for_training
from avebench.scoring.slices import SliceRule
from avebench.store.results import Store

TEST = "predictions.jsonl.gz"
EXTENDED = "predictions-extended.jsonl.gz"
"""Names of the files of predictions in a cell's folder."""


@dataclass(frozen=True, slots=True)
class Material:
    """The examples of a cell: the training subset, what it leaves out, validation and test; and the slices.

    `schema` holds the attributes that the system is built with. Of `held_out` attributes alone speaks the gold
    annotation of what is tested; none: of all.
    """

    train: list[Example]
    left_out: list[Example]
    valid: list[Example]
    test: list[Example]
    rule: SliceRule
    schema: AttributeSchema
    held_out: tuple[str, ...] = ()

    def tested_schema(self) -> AttributeSchema:
        """Return the attributes that a test under the protocol `all` asks for."""
        return dataclasses.replace(self.schema, attributes=self.held_out) if self.held_out else self.schema


def read_material(dataset: Dataset, fraction: float, repetition: int, held_out: HeldOut | None = None) -> Material:
    """Read all splits; AvebenchError if one is empty or the reader stops at a fault."""
    splits = {split: list(dataset.read(split)) for split in ("train", "valid", "test")}
    for split, examples in splits.items():
        if not examples:
            raise AvebenchError(f"The split '{split}' of {dataset.card.name} has no examples. Check its files.")
    ids = {split: {example.id for example in examples} for split, examples in splits.items()}
    if not dataset.repeats_ids and (twice := same_id_sentence(shared_ids(ids))) is not None:
        raise AvebenchError(twice)
    used, left_out = split_by_fraction(splits["train"], fraction, repetition)
    schema = dataset.schema()
    material = Material(
        used, left_out, splits["valid"], splits["test"], SliceRule(splits["train"], used, schema.units), schema
    )
    return material if held_out is None else _with_held_out(material, held_out, repetition)


def materials_of(data: DataChoice, fraction: float) -> Callable[[Cell], Material]:
    """Return a function from the cells of one table to what they work on, which is read once where they share it."""
    dataset = open_dataset(data.name, data.folder, dict(data.options))
    read = cache(lambda repetition, held_out: read_material(dataset, fraction, repetition, held_out))
    return lambda cell: read(cell.repetition if fraction < 1 or cell.held_out is not None else 0, cell.held_out)


def _with_held_out(material: Material, held_out: HeldOut, repetition: int) -> Material:
    """Return examples whose test speaks of the held-out attributes alone, of which training may know nothing."""
    schema = material.schema
    names = held_out.attributes(schema, repetition)
    if len(schema.attributes) < held_out.folds:
        raise AvebenchError(
            f"{len(schema.attributes)} attributes cannot be divided into {held_out.folds} parts, of which one is held "
            "out. Give fewer folds."
        )
    tested = dataclasses.replace(
        material, left_out=only(material.left_out, names), test=only(material.test, names), held_out=names
    )
    if not held_out.training:
        return tested
    return dataclasses.replace(
        tested,
        train=without(material.train, names),
        valid=without(material.valid, names),
        schema=dataclasses.replace(schema, attributes=tuple(one for one in schema.attributes if one not in names)),
    )


def read_for(cell: Cell) -> tuple[Dataset, Material]:
    """Read the data of a cell; DataError if it is broken or no longer what was planned with."""
    try:
        dataset = open_dataset(cell.data.name, cell.data.folder, dict(cell.data.options))
        material = read_material(dataset, cell.train_fraction, cell.repetition, cell.held_out)
    except AvebenchError as error:
        raise DataError(str(error)) from None
    if dataset.fingerprint() != cell.data.fingerprint:
        raise DataError(f"The data in {dataset.folder} changed while it was read. Run the command again.")
    card = plugin("models", cell.model).card
    if card.needs_spans and not any(example.spans for example in material.train):
        raise UnusableError(_needs_spans(cell))
    return dataset, material


def _needs_spans(cell: Cell) -> str:
    """Return why a system cannot learn from data without spans, what could, and what would help."""
    others = [name for name, system in plugins("models").items() if not system.card.needs_spans]
    could = (
        f"Systems that need none: {', '.join(others)}. " if others else "Every system that is registered needs them. "
    )
    where = f" --data {cell.data.folder}" if cell.data.folder else ""
    return (
        f"The training examples have no spans, only value strings; {cell.model} learns from values marked in the text. "
        f"{could}`avebench data spans {cell.data.name}{where} NEW_FOLDER` finds the values in the texts."
    )


def shown_to(cell: Cell, material: Material, store: Store) -> Material:
    """Return the examples as the cell's control and protocol show them to the system.

    A system that is asked for attributes is validated under one protocol, whatever it is tested under.
    """
    material = _with_control(cell, material)
    card, schema, cap = plugin("models", cell.model).card, material.schema, cell.config.get("cap")
    if card.protocol != "native":
        train = for_training(material.train, schema, cell.config.get("negatives", 0), cell.repetition)
        validated = "annotated" if cell.config.get("validation") == "annotated" else card.protocol
        valid = Asking(validated, schema, material.train, cap=cap).of(material.valid)
        material = dataclasses.replace(material, train=train, valid=valid)
    if cell.protocol == "native":
        return material
    ranges = None if cell.range_cell is None else _predicted_ranges(cell.range_cell, material, store)
    tested = Asking(cell.protocol, material.tested_schema(), material.train, ranges, cap)
    return dataclasses.replace(material, left_out=tested.of(material.left_out), test=tested.of(material.test))


def _predicted_ranges(cell: Cell, material: Material, store: Store) -> dict[str, frozenset[str]]:
    """Return id -> attributes that a finished cell predicts, of the test examples and of those left out of training."""
    if not store.finished(cell.key):
        raise UnusableError(f"The row '{cell.row}', whose predicted attributes are asked for, has no result. Run it.")
    ranges = {}
    for name, gold in ((TEST, material.test), (EXTENDED, material.left_out)):
        for found in read_predictions(store.folder(cell.key) / name, gold) if gold else ():
            ranges[found.id] = frozenset(found.attributes)
    return ranges


def _with_control(cell: Cell, material: Material) -> Material:
    """Return the examples as the cell's control shows them to the system."""
    control = cell.control
    if control is None:
        return material

    def shown(examples: list[Example], *, trains: bool) -> list[Example]:
        return with_control(examples, control) if examples and (control.training or not trains) else examples

    return dataclasses.replace(
        material,
        train=shown(material.train, trains=True),
        valid=shown(material.valid, trains=True),
        left_out=shown(material.left_out, trains=False),
        test=shown(material.test, trains=False),
    )
