"""What stands behind `avebench predict`: a file of products answered line by line, or one product.

Answers are written to `OUT.<request>.part`, where `<request>` is a hash of cell, input and options, and renamed at the
end. A request that was killed continues behind its last whole block of lines; on a CPU it ends with the same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from os import fsync
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from avebench.contracts.examples import Example, Picture, Prediction
from avebench.contracts.model import TrainedConfig
from avebench.contracts.tagging import text_units
from avebench.data.pictures import picture_fault
from avebench.data.predictions import line_of, prediction_record
from avebench.data.reading import is_encodable
from avebench.files.cache import file_digest
from avebench.files.digests import sha256
from avebench.files.disk import unwritable
from avebench.files.errors import AvebenchError
from avebench.files.textfiles import is_stream
from avebench.running.products import Product, Rejected, read_products
from avebench.running.trained import Trained
from avebench.store.longtexts import LongTexts

BLOCK = 256
"""Lines that are answered and written at once. Where blocks begin does not depend on where a run was killed."""


@dataclass(slots=True)
class Answered:
    """What a file of predictions holds: lines, error records among them, and long texts since it was continued."""

    lines: int = 0
    errors: int = 0
    long: LongTexts = field(default_factory=LongTexts)

    def said(self, target: Path, notes: Counter[str]) -> str:
        """Return it in words."""
        words = [f"{target}: {self.lines:,} products, {self.errors:,} of them not predicted"]
        words[0] += " (the records with 'error' say why)." if self.errors else "."
        words += [f"{what[0].upper()}{what[1:]}, taken as none: {count:,}." for what, count in sorted(notes.items())]
        return " ".join([*words, *self.long.said()])


def predict_file(
    trained: Trained, key: str, source: Path, target: Path, missing_images: Literal["error", "blank"]
) -> str:
    """Answer every line of `source` once, in order, in the new file `target`; return what was done, in words.

    A product that cannot be predicted is answered by `{id or null, line, error}`. Memory does not grow with the number
    of products but for some bytes per id. AvebenchError if a file cannot be read or written, or `target` exists.
    """
    _check_files(source, target)
    notes: Counter[str] = Counter()
    request = sha256([key, file_digest(source), missing_images, BLOCK, *([trained.asked] if trained.asked else [])])[
        :12
    ]
    partial = target.with_name(f"{target.name}.{request}.part")
    products = read_products(source, trained.model.schema.units, missing_images, notes)
    try:
        with _alone(partial, target):
            answered = _kept(partial)
            _write(trained, islice(products, answered.lines, None), partial, answered)
            partial.replace(target)
    except OSError as error:
        raise unwritable(
            error, target, f"{target} cannot be written ({error.strerror}). Free space there or name another --output."
        ) from None
    return answered.said(target, notes)


def _check_files(source: Path, target: Path) -> None:
    """Raise AvebenchError for what could only fail later."""
    for path in (source, target):
        if path.suffix.lower() == ".gz":
            raise AvebenchError(f"{path}: packed files cannot be continued. Give plain JSON Lines.")
    if is_stream(source):
        raise AvebenchError(f"--input {source}: a pipe cannot be continued. Give a file.")
    try:
        with source.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise AvebenchError(f"--input {source} cannot be read ({error.strerror}). Check the path.") from None
    if empty:
        raise AvebenchError(f"--input {source}: the file is empty.")
    if target.exists():
        raise AvebenchError(f"{target} exists already. Remove it, or name another --output.")
    if not target.parent.is_dir():
        raise AvebenchError(f"The folder {target.parent} does not exist. Make it, or name another --output.")


@contextmanager
def _alone(partial: Path, target: Path) -> Iterator[None]:
    """Let one process at a time write a partial file; the system frees the lock of a process that is killed."""
    lock = FileLock(partial.with_name(f"{partial.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise AvebenchError(f"Another process is writing {target}. Wait for it, or name another --output.") from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _kept(partial: Path) -> Answered:
    """Return what a killed run has answered, in whole blocks; the rest of its partial file is cut off."""
    kept = Answered()
    if not partial.is_file():
        return kept
    with partial.open("r+b") as stream:
        size = end = lines = errors = 0
        for raw in stream:
            try:
                record = json.loads(raw)
            except ValueError:
                break
            if not raw.endswith(b"\n"):
                break
            size, lines, errors = size + len(raw), lines + 1, errors + ("error" in record)
            if lines % BLOCK == 0:
                kept, end = Answered(lines, errors), size
        stream.truncate(end)
    return kept


def _write(trained: Trained, products: Iterator[Product | Rejected], partial: Path, answered: Answered) -> None:
    """Append the answers of the products, block by block, and count them."""
    from avebench.files.printing import console as made

    console = made(stderr=True, highlight=False)
    if answered.lines:
        console.print(f"Continues behind {answered.lines:,} products that are answered already.")
    with console.status("") as status, partial.open("ab") as stream, _streaming(trained):
        while block := list(islice(products, BLOCK)):
            records, long = answers(trained, block)
            stream.write(b"".join(map(line_of, records)))
            stream.flush()
            answered.lines += len(records)
            answered.errors += sum("error" in record for record in records)
            answered.long.add(long)
            status.update(f"{answered.lines:,} products, {answered.errors:,} not predicted")
        fsync(stream.fileno())


def _streaming(trained: Trained) -> AbstractContextManager[None]:
    """Return a context in which nothing that a model computes for a picture is kept."""
    if not isinstance(trained.model.config, TrainedConfig):
        return nullcontext()
    from avebench.nn.features import seen_once

    return seen_once()


def answers(trained: Trained, block: Sequence[Product | Rejected]) -> tuple[list[dict[str, Any]], LongTexts]:
    """Return the record of every line, in order, and how many texts run over the encoder's limit."""
    found, long = _predicted(trained, [one.example for one in block if isinstance(one, Product)])
    predictions = iter(found)
    records = []
    for one in block:
        name, answer = (one.id, one.error) if isinstance(one, Rejected) else (one.example.id, next(predictions))
        if isinstance(answer, Prediction):
            records.append(prediction_record(answer))
        else:
            # A message may quote half of a surrogate pair, which no file could hold.
            message = answer.encode(errors="backslashreplace").decode()
            records.append({"id": name, "line": one.line, "error": message})
    return records, long


def _predicted(trained: Trained, examples: Sequence[Example]) -> tuple[list[Prediction | str], LongTexts]:
    """Return the prediction of every example, or why there is none; halves find the example that stops the others."""
    try:
        found, long = trained.predict(examples)
        return list(found), long
    except AvebenchError as error:
        if len(examples) == 1:
            return [str(error)], LongTexts()
    middle = len(examples) // 2
    (first, some), (second, others) = _predicted(trained, examples[:middle]), _predicted(trained, examples[middle:])
    some.add(others)
    return first + second, some


# ---------------------------------------------------------------------------------------------------------------------
# One product


def single_product(text: str, image: Path | None, trained: Trained, name: str = "text") -> Example:
    """Return a product that was given by itself; AvebenchError if its text is empty or its picture unusable."""
    if not text.strip():
        raise AvebenchError("--text is empty. Give the product's title or description.")
    if not is_encodable(text):
        raise AvebenchError("--text is not UTF-8. Check the terminal's encoding, or give a file with --input.")
    if image is not None and (wrong := picture_fault(image)):
        raise AvebenchError(f"--image {image}: {wrong}.")
    picture = None if image is None else Picture(image.name, image)
    return Example(name, text, text_units(text, trained.model.schema.units), picture=picture)
