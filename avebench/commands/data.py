"""`avebench data`: integrity, statistics and conversion of data sets."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from avebench.commands.options import LISTED_WIDTH, DataFolder, Format, Formats, Plugins, ReaderOptions, register


def list_(plugin: Plugins = None, format: Formats = Format.terminal) -> None:
    """List the data sets, what each needs, and which are here."""
    from avebench.commands.list import datasets
    from avebench.tables.render import emit

    register(plugin)
    emit(datasets(), format.value, LISTED_WIDTH)


def check(name: str, data: DataFolder = None, option: ReaderOptions = None, plugin: Plugins = None) -> None:
    """List every fault of a data set's files; exit 2 if there is one."""
    from avebench.data.opening import check_rows, open_dataset
    from avebench.planning.settings import parse_settings

    register(plugin)
    faults = 0
    with pictures_counted():
        for row in check_rows(open_dataset(name, data, parse_settings(option or []))):
            print(row.what if row.count is None else f"{row.what}: {row.count}")
            faults = row.count or 0
    raise typer.Exit(2 if faults else 0)


def stats(
    name: str,
    data: DataFolder = None,
    option: ReaderOptions = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Count also the texts that are too long for this encoder: as for run.")
    ] = None,
    plugin: Plugins = None,
    format: Formats = Format.terminal,
) -> None:
    """Print published beside counted statistics, and the fingerprint.

    Example: avebench data stats jsonl --data FOLDER --text-encoder bert-base-uncased
    """
    from avebench.analysis.data_statistics import statistics_table
    from avebench.data.opening import open_dataset, stats_rows
    from avebench.planning.settings import parse_settings
    from avebench.tables.render import emit

    register(plugin)
    dataset = open_dataset(name, data, parse_settings(option or []))
    fingerprint = dataset.fingerprint()  # Says which files are missing, before one is read.
    rows = stats_rows(dataset)
    if text_encoder is not None:
        from avebench.analysis.long_text_statistics import long_text_rows

        rows += long_text_rows(dataset, text_encoder)
    emit(statistics_table(name, fingerprint, rows), format.value)


def convert(
    name: str, folder: Path, data: DataFolder = None, option: ReaderOptions = None, plugin: Plugins = None
) -> None:
    """Write a data set as gold JSONL into a new folder, which `--dataset jsonl` reads."""
    from avebench.data.opening import convert, open_dataset
    from avebench.planning.settings import parse_settings

    register(plugin)
    for what, count in convert(open_dataset(name, data, parse_settings(option or [])), folder).items():
        print(f"{what}: {count}")
    print(f"Gold JSONL is in {folder}: avebench data check jsonl --data {folder}")


def spans(
    name: str, folder: Path, data: DataFolder = None, option: ReaderOptions = None, plugin: Plugins = None
) -> None:
    """Find the values of a data set in its texts and write it with these spans into a new folder, for taggers."""
    from avebench.data.locating import LocatedDataset
    from avebench.data.opening import convert, open_dataset
    from avebench.planning.settings import parse_settings

    register(plugin)
    dataset = LocatedDataset(open_dataset(name, data, parse_settings(option or [])))
    for what, count in convert(dataset, folder).items():
        print(f"{what}: {count}")


SECONDS_ON_A_TERMINAL, SECONDS = 5.0, 60.0


@contextmanager
def pictures_counted() -> Iterator[None]:
    """Say on standard error how many pictures the check within was through, now and then."""
    from avebench.data.pictures import PictureCheck

    said = time.monotonic()
    pause = SECONDS_ON_A_TERMINAL if sys.stderr.isatty() else SECONDS

    def tell(number: int) -> None:
        nonlocal said
        if time.monotonic() - said >= pause:
            said = time.monotonic()
            print(f"Pictures looked at: {number:,}.", file=sys.stderr, flush=True)

    PictureCheck.looked_at = tell
    try:
        yield
    finally:
        PictureCheck.looked_at = None
