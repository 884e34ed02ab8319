"""Opening a data set by name, and what stands behind `avebench data`. Nothing here imports torch."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from avebench.contracts.dataset import SPLITS, Dataset, DatasetCard
from avebench.contracts.examples import Example, example_record, pairs_from_spans
from avebench.contracts.registry import plugin, plugins
from avebench.data.annotation import Audit, audit, leak_sentences, reach_sentences, same_id_sentence
from avebench.data.owndata import describe_folder
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError, near_matches
from avebench.files.leftovers import sweep
from avebench.files.places import expanded, is_folder, shortened

FAULTS_OF_A_KIND = 3
"""How many faults of one kind are shown."""
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*|\([^)]*\)|: \S+\.?$")
"""What may differ in messages of one kind: quoted names, whatever holds a digit, what stands in brackets, a file."""


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One line of `data check`: a fault with its place, or at the end a count (`count` is None for faults)."""

    what: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class StatisticsRow:
    """One line of `data stats`: the figure's name, as published (None where nothing is), and as counted here."""

    name: str
    published: float | None
    counted: Any


def open_dataset(name: str, folder: Path | None, options: Mapping[str, Any]) -> Dataset:
    """Return the data set `name` in `folder`, else in the first of its folders that `$AVEBENCH_DATA` holds.

    A generated data set has no folder. AvebenchError if the name or an option is unknown, or if the folder is missing:
    it says where the data comes from and where to put it.
    """
    found = plugin("datasets", name)
    place = _folder(found.card, folder)
    module = found.load()
    described = describe_folder(place) if found.card.own and place is not None else None
    if described is not None and described.units is not None and "units" in module.Options.model_fields:
        options = {"units": described.units, **options}
    try:
        checked = module.Options(**options)
    except ValidationError as error:
        raise AvebenchError(_what_is_wrong(name, error, list(module.Options.model_fields))) from None
    dataset: Dataset = module.Dataset(found.card, place, checked)
    dataset.description = described
    return dataset


def is_here(name: str) -> bool:
    """Return True if the data set `name` is generated or one of its folders is under `$AVEBENCH_DATA`."""
    card: DatasetCard = plugin("datasets", name).card
    return not card.folders or _installed(card) is not None


def dataset_table() -> list[dict[str, str]]:
    """Return one row per registered data set: name, summary, languages, what it needs, and whether it is here."""
    rows = []
    for name, found in plugins("datasets").items():
        card: DatasetCard = found.card
        place = _installed(card)
        rows.append(
            {
                "name": name,
                "summary": card.summary,
                "languages": ", ".join(card.languages),
                "licence": card.licence,
                "needs": card.obtain if card.folders else "nothing",
                "here": "built in" if not card.folders else str(place) if place else "no",
            }
        )
    return rows


def check_rows(dataset: Dataset) -> Iterator[CheckRow]:
    """Yield one row per fault as it is found, and then the counts of what was read, `faults` last.

    Of faults that differ in places, names and numbers alone the first `FAULTS_OF_A_KIND` are shown, and how many more
    there are. The data set is sound if and only if the last row's count is 0.
    """
    kinds: Counter[str] = Counter()
    alike: Counter[tuple[str | None, str]] = Counter()
    first: dict[tuple[str | None, str], str] = {}
    for fault in dataset.check():
        kinds["faults"] += 1
        kind = fault.field and re.sub(r"\d+", "", fault.field), _VARYING.sub("", fault.message)
        first.setdefault(kind, str(fault))
        alike[kind] += 1
        if alike[kind] <= FAULTS_OF_A_KIND:
            yield CheckRow(str(fault))
    for kind, count in alike.items():
        if count > FAULTS_OF_A_KIND:
            yield CheckRow(f"... and {count - FAULTS_OF_A_KIND:,} more like: {first[kind]}")
    for what, count in dataset.notes.items():
        yield CheckRow(what, count)
    if not kinds["faults"]:
        found = _audited(dataset, offsets=True)
        if (twice := same_id_sentence(found.same_ids)) is not None:
            kinds["faults"] += not dataset.repeats_ids
            yield CheckRow(twice)
        for sentence in (*reach_sentences(found, getattr(dataset.options, "units", None)), *leak_sentences(found)):
            yield CheckRow(sentence)
    yield CheckRow("faults", kinds["faults"])


def _audited(dataset: Dataset, *, offsets: bool = False) -> Audit:
    """Return the audit of all splits, read by a reader of its own: the notes of `dataset` stay as they are."""
    reader = type(dataset)(dataset.card, dataset.folder, dataset.options)
    return audit({split: reader.read(split) for split in SPLITS}, offsets=offsets)


def stats_rows(dataset: Dataset) -> list[StatisticsRow]:
    """Return the figures of the card's papers beside those counted in the files, then what is only counted."""
    counted = {**dataset.statistics(), **_audit_figures(dataset)}
    published = dataset.card.published or {}
    if dataset.description is not None:
        published = dataset.description.published
    names = [*published, *(name for name in counted if name not in published)]
    return [StatisticsRow(name, published.get(name), counted.get(name, "not counted")) for name in names]


def _audit_figures(dataset: Dataset) -> dict[str, str]:
    """Return what taggers cannot reach, and what splits share, by split; AvebenchError if two splits share an id."""
    found = _audited(dataset)
    if not dataset.repeats_ids and (twice := same_id_sentence(found.same_ids)) is not None:
        raise AvebenchError(twice)
    reach = {
        "spans off the units": [one.off_boundary for one in found.splits.values()],
        "spans that overlap others": [one.overlapping for one in found.splits.values()],
    }
    without = [one.values - one.placed for one in found.splits.values()]
    if any(without):
        reach["values without a place in the text"] = without
    figures = {f"{name} ({' / '.join(found.splits)})": counts for name, counts in reach.items()}
    later = " / ".join(found.same_texts)
    figures[f"texts of an earlier split ({later})"] = list(found.same_texts.values())
    figures[f"of products of an earlier split ({later})"] = list(found.same_products.values())
    return {name: " / ".join(f"{count:,}" for count in counts) for name, counts in figures.items()}


def _installed(card: DatasetCard) -> Path | None:
    root = os.environ.get("AVEBENCH_DATA")
    if not root:
        return None
    return next((folder for name in card.folders if is_folder(folder := expanded(Path(root)) / name)), None)


def _folder(card: DatasetCard, given: Path | None) -> Path | None:
    """Return the folder to read, None for a generated data set; AvebenchError if there should be one and is none."""
    if not card.folders:
        if given is not None:
            raise AvebenchError(
                f"The data set '{card.name}' is generated and reads no folder. Leave --data {given} out."
            )
        return None
    if given is not None:
        place = expanded(given)
        if not is_folder(place):
            raise AvebenchError(f"--data {shortened(str(given))}: there is no such folder. {card.obtain}")
        return place
    installed = _installed(card)
    if installed is None:
        root = os.environ.get("AVEBENCH_DATA")
        where = (
            f"$AVEBENCH_DATA ({root}) holds no folder" if root else "$AVEBENCH_DATA is not set to a folder that holds"
        )
        raise AvebenchError(
            f"The data set '{card.name}' is not here: {where} {' or '.join(card.folders)}. Put it there or name its "
            f"folder with --data DIR. {card.obtain}"
        )
    return installed


def _what_is_wrong(name: str, error: ValidationError, known: list[str]) -> str:
    """Return the first complaint of pydantic about the options as one sentence."""
    first = error.errors()[0]
    option = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"The data set '{name}' has no option '{option}'. {near_matches(option, known)}"
    complaint = first["msg"].removeprefix("Value error, ")
    return f"The data set '{name}', option '{option}': {complaint} (given: {first['input']!r})."


def convert(dataset: Dataset, out_folder: Path) -> dict[str, int]:
    """Write the splits of a data set as gold JSONL to the new folder `out_folder`; return the reader's notes.

    Streams: memory does not grow with the number of products. Pictures stay where they are, behind a link `images` to
    their folder. AvebenchError if `out_folder` exists or lies in that folder, where the link would lead into itself and
    the data set would no longer be the same; after any error nothing of it is left.
    """
    if out_folder.exists() or out_folder.is_symlink():
        raise AvebenchError(f"{out_folder} exists already. Name a new folder, or remove it.")
    folder = next((folder for folder in dataset.picture_folders() if folder.is_dir()), None)
    for inside in {folder, dataset.folder} - {None}:
        if inside is not None and out_folder.resolve().is_relative_to(inside.resolve()):
            raise AvebenchError(f"{out_folder} lies in {inside}, a folder of the data set. Name a folder elsewhere.")
    sweep(out_folder.parent, out_folder.name)
    partial = out_folder.with_name(f".{out_folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        for split in SPLITS:
            with (partial / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n") as stream:
                for example in dataset.read(split):
                    stream.write(json.dumps(_gold_line(example, folder), ensure_ascii=False) + "\n")
        if folder is not None:
            (partial / "images").symlink_to(folder.resolve(), target_is_directory=True)
        partial.rename(out_folder)
    except OSError as error:
        raise unwritable(error, out_folder, f"{out_folder} cannot be written: {error.strerror}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return dataset.notes


def _gold_line(example: Example, pictures: Path | None) -> dict[str, Any]:
    """Return an example in the gold format; what a reader would fill in by itself is left out.

    AvebenchError for a span without an attribute, which the format does not have.
    """
    if any(not span.attribute for span in example.spans):
        raise AvebenchError(
            f"The example '{example.id}' has a tag that training does not have, mapped as the slot-filling protocol "
            "does. Gold JSONL cannot hold it: give --option unseen=keep."
        )
    line = example_record(example)  # With its tokens: whatever units the next reader would cut.
    filled_in = {
        "pairs": example.pairs == pairs_from_spans(example.text, example.spans),
        "absent": not example.absent,
        "product_id": example.product_id in ("", example.id),
        "image": True,
    }
    line = {key: value for key, value in line.items() if not filled_in.get(key)}
    files = [picture.source for picture in example.pictures if isinstance(picture.source, Path)]
    if pictures is not None and files and all(file.is_relative_to(pictures) for file in files):
        names = [f"images/{file.relative_to(pictures).as_posix()}" for file in files]
        line["image"] = names if len(names) > 1 else names[0]
    return line
