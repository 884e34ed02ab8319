"""Folders of encoders that this package makes: what they are made from, whole or not at all, and with a card."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, cast

import torch

from avebench.contracts.dataset import DatasetCard
from avebench.contracts.examples import Example
from avebench.contracts.registry import plugin
from avebench.data.opening import open_dataset
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError
from avebench.files.leftovers import sweep
from avebench.nn.weights import Modality
from avebench.store.provenance import revision, versions

CARD = "card.json"
"""The file that says how an encoder was made; a folder without it is never replaced."""


class Source(Protocol):
    """What is asked of a data set here."""

    card: DatasetCard

    def pretraining(self, count: int) -> Iterator[Example]:
        """Yield `count` examples that are in none of the splits."""

    def fingerprint(self) -> str:
        """Return the data set's fingerprint."""


def open_source(name: str) -> Source:
    """Return the data set; AvebenchError if it cannot make examples for pretraining, also where its files are away."""
    if not hasattr(plugin("datasets", name).load().Dataset, "pretraining"):
        raise AvebenchError(
            f"The data set '{name}' has no examples for pretraining: its Dataset has no method pretraining(count). "
            "Name one that is generated."
        )
    return cast(Source, open_dataset(name, None, {}))


def texts_of(dataset: Source, sentences: int, held_out: int) -> tuple[list[str], list[str]]:
    """Return the texts of the first `sentences` to learn from, and of `held_out` more those that are new.

    AvebenchError if none is.
    """
    examples = list(dataset.pretraining(sentences + held_out))
    first, rest = examples[:sentences], examples[sentences:]
    known = {example.product_id for example in first} | {example.text for example in first}
    new = [example.text for example in rest if known.isdisjoint((example.product_id, example.text))]
    if not new:
        raise AvebenchError(
            f"The data set '{dataset.card.name}' gave {len(examples)} examples for pretraining, none of them new after "
            f"the first {sentences}. Its pretraining(count) must yield `count` examples of different products."
        )
    return [example.text for example in first], new


def write_card(
    folder: Path,
    dataset: Source,
    modality: Modality,
    plan: Mapping[str, Any],
    device: str,
    content: dict[str, Any],
    held_out: dict[str, float],
) -> None:
    """Write how the encoder was made by a `plan`, which holds its `recipe`, and what it can do on held-out examples."""
    commit, changed = revision()
    name, steps = dataset.card.name, plan["recipe"]["steps"]
    card = {
        "made_by": f"avebench pretrain {name} --only {modality} --steps {steps} --device {device}",
        "dataset": name,
        "fingerprint": dataset.fingerprint(),
        **content,
        "plan": plan,
        "held_out": held_out,
        "licence": dataset.card.licence,
        "versions": versions(),
        "revision": commit,
        "uncommitted_changes": changed,
    }
    write_json(folder / CARD, card)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as an indented JSON file."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def check_device(name: str) -> None:
    """Raise AvebenchError if a device is not on this machine."""
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):
        raise AvebenchError(f"The device '{name}' is not on this machine. Give --device cpu.") from None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target` that takes its place at the end, or vanishes after an error."""
    if target.exists() and not (target / CARD).is_file():
        raise AvebenchError(f"{target} exists and is no encoder made by this command. Name another folder with --out.")
    sweep(target.parent, target.name)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise unwritable(
            error, target, f"The folder {target} cannot be written ({error}). Name another with --out."
        ) from None
    try:
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        raise unwritable(
            error, target, f"The folder {target} cannot be written ({error}). Name another with --out."
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def progress(steps: int, report: Callable[[str], None]) -> Callable[[int, float], None]:
    """Return what reports a mean loss after a step, in a sentence."""
    return lambda step, loss: report(f"step {step} of {steps}: loss {loss:.3f}")
