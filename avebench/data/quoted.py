"""Rows of quoted columns, as data frames are written: a quoted field may hold tabs, quotes and line ends."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from avebench.contracts.dataset import Fault
from avebench.data.reading import numbered_lines


def quoted_rows(path: Path, shown: str, columns: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]] | Fault]:
    """Yield (line on which a row begins, its fields by column name) of a tab-separated file with a header.

    `columns` must be in the header, in any order; others are kept. Lines without anything are passed over. After a
    line that is not UTF-8, or a quote that cannot be read, where rows begin is unknown: the fault is the last thing.
    """
    broken: list[Fault] = []

    def lines() -> Iterator[str]:
        for numbered in numbered_lines(path, shown):
            if isinstance(numbered, Fault):
                broken.append(numbered)
                return
            yield numbered[1] + "\n"

    reader = csv.reader(lines(), delimiter="\t", strict=True)
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            yield broken[0] if broken else Fault(shown, line, None, f"{error}. Is a quote not closed, or not doubled?")
            return
        if broken:
            yield broken[0]
            return
        if fields is None:
            return
        if not fields:
            continue
        if not header:
            header = fields
            if missing := [column for column in columns if column not in header]:
                message = f"the column {', '.join(missing)} is missing. The first line names the columns, between tabs."
                yield Fault(shown, line, None, message)
                return
        elif len(fields) != len(header):
            yield Fault(shown, line, None, f"{len(fields)} columns; it must be {len(header)} as in the header.")
        else:
            yield line, dict(zip(header, fields, strict=True))
