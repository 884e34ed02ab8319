"""A recorded folder, `results/<experiment>/<dataset>/`: results, text-free predictions and counts of many repetitions.

* `results.jsonl`: first `{version, digests, digest}`, then a line `{row, repetition, result}` for each repetition.
  `digests` are the SHA-256 of the other lines ("results.jsonl") and of the two files beside it.
* `predictions.parquet` and `counts.parquet`: `store.recorded_columns`; the repetitions in the order of the lines.

`results.jsonl` is what counts: new tables are written beside the old ones as `NAME.new`, it is replaced, then they take
their places. Killed at any moment, the folder holds what it held before or all that was to be written.

In the earlier layout a repetition had three files, `<row>/<repetition>.json`, `.predictions.jsonl.gz`,
`.counts.jsonl.gz`. It is read as well; what is recorded into such a folder packs it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from avebench.contracts.examples import Example, Prediction
from avebench.data.jsonlines import json_lines
from avebench.data.predictions import KEYS, read_predictions
from avebench.files.atomic import write_atomically
from avebench.files.errors import AvebenchError
from avebench.files.leftovers import sweep
from avebench.files.sealed import DamagedError, seal, unseal
from avebench.store.examplecounts import ExampleCounts, read_counts
from avebench.store.results import Result, load_result, parse_result

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]  # It ships no types.

RESULTS_FILE, PREDICTIONS, COUNTS = "results.jsonl", "predictions.parquet", "counts.parquet"
RECORDED_VERSION = 1
_NEW = ".new"
Key = tuple[str, int]
"""Row, as its slug, and repetition."""


def slug(label: str) -> str:
    """Return a row's label as a name that every file system takes; rows are recorded under it."""
    return re.sub(r"[^\w.+-]+", "-", label).strip("-.") or "row"


@dataclass(frozen=True, slots=True)
class Recording:
    """One repetition of a row to be recorded: its result, text-free predictions as records, and counts, in order."""

    row: str
    repetition: int
    result: Result
    predictions: Sequence[Mapping[str, Any]]
    counts: Sequence[ExampleCounts]


class RecordedCell(ABC):
    """One repetition of a row as recorded; each part is read when it is asked for.

    `file`, `predictions_file` and `counts_file` are where the parts lie, for messages. AvebenchError names the one that
    cannot be read.
    """

    row: str
    repetition: int
    file: Path
    predictions_file: Path
    counts_file: Path

    @abstractmethod
    def result(self) -> Result:
        """Return the result."""

    @abstractmethod
    def holds(self, keys: Iterable[str]) -> bool:
        """Return whether the result may be of one of these cells; dearer things need not be read if not."""

    @abstractmethod
    def counts(self) -> Sequence[ExampleCounts]:
        """Return the counts of the examples."""

    @abstractmethod
    def predictions(self, gold: Sequence[Example]) -> list[Prediction]:
        """Return the predictions in the order of `gold`, whose texts the values come from.

        ValuesLeftOutError if they were values without spans.
        """

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """Return the text-free predictions as JSON objects."""


def recorded_cells(folder: Path) -> list[RecordedCell]:
    """Return what is recorded in a folder, in either layout, by row and repetition; AvebenchError if it is damaged.

    Files of the earlier layout beside a `results.jsonl` are what a killed conversion left: they do not count.
    """
    if (folder / RESULTS_FILE).exists():
        packed = _Packed(folder)
        return [_PackedCell(packed, key, content) for key, content in packed.contents.items()]
    return [_FileCell(path) for path in _earlier_files(folder)]


def recorded_folders(root: Path) -> list[Path]:
    """Return the folders `<root>/<experiment>/<dataset>` in which something is recorded, in either layout."""
    found = {path.parent for path in root.glob(f"*/*/{RESULTS_FILE}")}
    return sorted(found | {path.parents[1] for path in root.glob("*/*/*/*.json") if path.stem.isdigit()})


def _earlier_files(folder: Path) -> list[Path]:
    paths = [path for path in folder.glob("*/*.json") if path.stem.isdigit()]
    return sorted(paths, key=lambda path: (path.parent.name, int(path.stem)))


# ---------------------------------------------------------------------------------------------------------------------
# The earlier layout


class _FileCell(RecordedCell):
    """A repetition in files of its own."""

    def __init__(self, path: Path) -> None:
        self.row, self.repetition, self.file = path.parent.name, int(path.stem), path
        self.predictions_file = path.with_suffix(".predictions.jsonl.gz")
        self.counts_file = path.with_suffix(".counts.jsonl.gz")

    def result(self) -> Result:
        return load_result(self.file)

    def holds(self, keys: Iterable[str]) -> bool:
        text = self.file.read_text(encoding="utf-8", errors="replace")
        return any(key in text for key in keys)

    def counts(self) -> Sequence[ExampleCounts]:
        return read_counts(self.counts_file)

    def predictions(self, gold: Sequence[Example]) -> list[Prediction]:
        return read_predictions(self.predictions_file, gold)

    def records(self) -> list[dict[str, Any]]:
        return [record for _, record in json_lines(self.predictions_file, KEYS)]

    def remove(self) -> None:
        """Remove the files, the one that the others are found by last."""
        for path in (self.predictions_file, self.counts_file, self.file):
            path.unlink(missing_ok=True)


# ---------------------------------------------------------------------------------------------------------------------
# Reading


class _Packed:
    """The files of a recorded folder, each read once and not before it is needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / RESULTS_FILE
        try:
            first, _, rest = self.file.read_bytes().partition(b"\n")
            header = unseal(first.decode())
            digests = header["digests"]
            if header.keys() != {"version", "digests"}:
                raise DamagedError("it is not what was written")
            if header["version"] != RECORDED_VERSION:
                raise DamagedError(f"it is of version {header['version']}, this is version {RECORDED_VERSION}")
            if hashlib.sha256(rest).hexdigest() != digests[RESULTS_FILE]:
                raise DamagedError("it is not what was written: its digest differs")
            lines = [json.loads(line) for line in rest.splitlines()]
            self.contents: dict[Key, dict[str, Any]] = {(one["row"], one["repetition"]): one for one in lines}
            self.digests = {name: str(digests[name]) for name in (PREDICTIONS, COUNTS)}
        except OSError as error:
            raise self.fault(self.file, error.strerror or str(error)) from None
        except DamagedError as error:
            raise self.fault(self.file, str(error)) from None
        except (ValueError, KeyError, TypeError):
            raise self.fault(self.file, "it is not what was written") from None

    def fault(self, path: Path, reason: str) -> AvebenchError:
        """Return the error that names a damaged file and what to do."""
        return AvebenchError(
            f"The recorded {path} cannot be read: {reason}. Restore it (git checkout {self.folder}), or remove "
            f"{self.folder} and record its table again with 'avebench run --record'."
        )

    @cached_property
    def predictions(self) -> pa.Table:
        """The predictions of all repetitions."""
        return self._table(PREDICTIONS)

    @cached_property
    def counts(self) -> pa.Table:
        """The counts of all repetitions."""
        return self._table(COUNTS)

    @cached_property
    def _places(self) -> dict[str, dict[Key, tuple[int, int]]]:
        return {}

    def part(self, name: str, key: Key) -> pa.Table:
        """Return the rows of one repetition in the table of a file."""
        table = self.predictions if name == PREDICTIONS else self.counts
        if name not in self._places:
            self._places[name] = _places(table)
        return table.slice(*self._places[name].get(key, (0, 0)))  # Of no example there are no rows.

    def place_of(self, name: str) -> Path | None:
        """Return where the file lies that `results.jsonl` speaks of: a killed process may have left it under `.new`."""
        for path in (self.folder / name, self.folder / (name + _NEW)):
            try:
                if hashlib.sha256(path.read_bytes()).hexdigest() == self.digests[name]:
                    return path
            except OSError:
                continue
        return None

    def _table(self, name: str) -> pa.Table:
        import pyarrow.parquet  # type: ignore[import-untyped]  # It ships no types.

        path = self.place_of(name)
        if path is None:
            there = (self.folder / name).is_file()
            reason = "it is not what was written: its digest differs" if there else "there is no such file"
            raise self.fault(self.folder / name, reason)
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                return file.read()
        except (OSError, pyarrow.ArrowException) as error:
            raise self.fault(path, str(error).splitlines()[0]) from None


def _places(table: pa.Table) -> dict[Key, tuple[int, int]]:
    """Return where the rows of each repetition start, and their number; they stand together."""
    import numpy as np

    from avebench.store.recorded_columns import numbers

    if not len(table):
        return {}
    rows = table["row"].combine_chunks().dictionary_encode()
    codes, repetitions = numbers(rows.indices), numbers(table["repetition"])
    starts = np.flatnonzero(np.r_[True, (np.diff(codes) != 0) | (np.diff(repetitions) != 0)])
    ends = np.r_[starts[1:], len(table)]
    return {
        (rows.dictionary[int(codes[start])].as_py(), int(repetitions[start])): (int(start), int(end - start))
        for start, end in zip(starts, ends, strict=True)
    }


class _PackedCell(RecordedCell):
    """A repetition in the files of its folder."""

    def __init__(self, packed: _Packed, key: Key, content: Mapping[str, Any]) -> None:
        self.row, self.repetition = key
        self.file, folder = packed.file, packed.folder
        self.predictions_file, self.counts_file = folder / PREDICTIONS, folder / COUNTS
        self.packed = packed
        self._content = content

    def result(self) -> Result:
        shown = f"{self.file} ({self.row}, repetition {self.repetition})"
        return parse_result(self._content["result"], shown, "Record it again with 'avebench run --record'.")

    def holds(self, keys: Iterable[str]) -> bool:
        return self._content["result"].get("key") in set(keys)

    def counts(self) -> Sequence[ExampleCounts]:
        from avebench.store.recorded_columns import counts_of

        return counts_of(self.packed.part(COUNTS, (self.row, self.repetition)))

    def predictions(self, gold: Sequence[Example]) -> list[Prediction]:
        from avebench.store.recorded_columns import predictions_of

        shown = f"{self.predictions_file} ({self.row}, repetition {self.repetition})"
        return predictions_of(self.packed.part(PREDICTIONS, (self.row, self.repetition)), gold, shown)

    def records(self) -> list[dict[str, Any]]:
        from avebench.store.recorded_columns import prediction_records

        return prediction_records(self.packed.part(PREDICTIONS, (self.row, self.repetition)))


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def record(folder: Path, recordings: Iterable[Recording]) -> None:
    """Put repetitions into a folder, in place of what it has of them; all others stay. The earlier layout is packed.

    AvebenchError if what stays cannot be read: then nothing is written. OSError if the folder cannot be written.
    """
    from avebench.store.recorded_columns import counts_table, predictions_table

    folder.mkdir(parents=True, exist_ok=True)
    with _held(folder):
        for name in (RESULTS_FILE, PREDICTIONS, COUNTS, PREDICTIONS + _NEW, COUNTS + _NEW):
            sweep(folder, name)
        parts: dict[Key, tuple[dict[str, Any], pa.Table, pa.Table]] = {}
        for one in recordings:
            key = (one.row, one.repetition)
            predictions = predictions_table(*key, one.predictions)
            parts[key] = (one.result.model_dump(mode="json"), predictions, counts_table(*key, one.counts))
        earlier = recorded_cells(folder)
        for cell in earlier:
            key = (cell.row, cell.repetition)
            if key not in parts:
                parts[key] = _kept(cell)
        if parts:
            _write(folder, [(key, parts[key]) for key in sorted(parts)])
        for path in _earlier_files(folder):
            _FileCell(path).remove()
        for row in folder.glob("*/"):
            if not any(row.iterdir()):
                row.rmdir()


def _kept(cell: RecordedCell) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """Return a repetition that stays: of a packed folder as it stands there, without a digit being made anew."""
    from avebench.store.recorded_columns import counts_table, predictions_table

    key = (cell.row, cell.repetition)
    result = cell.result().model_dump(mode="json")
    if isinstance(cell, _PackedCell):
        return result, cell.packed.part(PREDICTIONS, key), cell.packed.part(COUNTS, key)
    return result, predictions_table(*key, cell.records()), counts_table(*key, cell.counts())


def _write(folder: Path, parts: Sequence[tuple[Key, tuple[dict[str, Any], pa.Table, pa.Table]]]) -> None:
    """Write the three files; the folder holds the new ones from the moment on in which `results.jsonl` is replaced."""
    import pyarrow as pa

    if (folder / RESULTS_FILE).exists():
        _settle(folder)
    tables = {PREDICTIONS: [part[1] for _, part in parts], COUNTS: [part[2] for _, part in parts]}
    digests = {}
    for name, some in tables.items():
        content = _parquet(pa.concat_tables(some, promote_options="default"))
        digests[name] = hashlib.sha256(content).hexdigest()
        write_atomically(folder / (name + _NEW), content)
    lines = [{"row": key[0], "repetition": key[1], "result": part[0]} for key, part in parts]
    body = "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines).encode()
    digests[RESULTS_FILE] = hashlib.sha256(body).hexdigest()
    header = json.dumps(seal({"version": RECORDED_VERSION, "digests": digests}))
    write_atomically(folder / RESULTS_FILE, header.encode() + b"\n" + body)
    _settle(folder)


def _settle(folder: Path) -> None:
    """Give the tables their names that `results.jsonl` speaks of and that a killed process left under `.new`."""
    packed = _Packed(folder)
    for name in (PREDICTIONS, COUNTS):
        if packed.place_of(name) == folder / (name + _NEW):
            (folder / (name + _NEW)).replace(folder / name)
        (folder / (name + _NEW)).unlink(missing_ok=True)


def _parquet(table: pa.Table) -> bytes:
    """Return a table as a parquet file; the same bytes for the same table and version of pyarrow."""
    import pyarrow as pa
    import pyarrow.parquet

    stream = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table.combine_chunks(), stream, compression="zstd", compression_level=9)
    return bytes(stream.getvalue())


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder: of several processes that record into it one works at a time."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
