"""Pictures as a model reads them: patch vectors of a frozen encoder, decoded pixels, or a folder of arrays.

What is computed is kept on disk (`files.rowstore`): patch vectors in fp16 by encoder weights, preprocessing and
picture; decoded and resized pictures in bytes. Once it is there, an epoch only reads. Pictures that are seen once
(`seen_once`) leave nothing behind.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor

from avebench.contracts.examples import ZERO_PICTURE, Example, Picture
from avebench.files.errors import AvebenchError
from avebench.files.places import expanded
from avebench.files.rowstore import Row, RowStore, limit_bytes
from avebench.nn.image_encoder import ImageEncoder, pixels_of
from avebench.nn.weights import PRECOMPUTED_IDS, weights_digest

FORMAT = 2
"""Raised whenever the same encoder and picture give another row."""
BATCH = 16
"""Pictures that are computed at once."""
REGIONS, POOLED = "imgs.embedded.npy", "imgs.embeddedG.npy"
_KEPT: ContextVar[bool] = ContextVar("kept", default=True)


@contextmanager
def seen_once() -> Iterator[None]:
    """Keep nothing of the pictures that are asked for inside, in memory or on disk: a stream of products has no end."""
    limit_bytes()  # Complains now rather than about every picture.
    token = _KEPT.set(False)
    try:
        yield
    finally:
        _KEPT.reset(token)


def picture_identity(picture: Picture) -> bytes:
    """Return 32 bytes that differ wherever the pixels do: of path, size and time of a file, else of the drawn pixels.

    DataError if the file is missing.
    """
    if picture == ZERO_PICTURE:
        return hashlib.sha256(b"zero after normalisation").digest()
    if not isinstance(picture.source, Path):
        drawn = picture.open()
        return hashlib.sha256(f"{drawn.mode}{drawn.size}".encode() + drawn.tobytes()).digest()
    try:
        status = picture.source.stat()
    except OSError:
        picture.open()  # Says what is wrong and what to do.
        raise
    identity = f"{picture.source.resolve()}\x1f{status.st_size}\x1f{status.st_mtime_ns}"
    return hashlib.sha256(identity.encode(errors="surrogateescape")).digest()


class _PictureRows:
    """Rows of pictures: from the store, or made by `compute`, at most `batch_size` pictures at a time."""

    def __init__(self, store: RowStore, compute: Callable[[list[Picture]], Row], batch_size: int) -> None:
        self.store = store
        self._compute = compute
        self._batch_size = batch_size
        self._identities: dict[Picture, bytes] = {}
        # Batches may be made on a thread beside the one that validates.
        self._thread = threading.RLock()

    def get(self, pictures: Sequence[Picture | None]) -> list[Row | None]:
        """Return one read-only row per picture, None for None."""
        if not _KEPT.get():
            return self._made(pictures)
        with self._thread:
            keys = [None if picture is None else self._identity(picture) for picture in pictures]
            found: dict[bytes, Row] = {}
            missing: dict[bytes, Picture] = {}
            for key, picture in zip(keys, pictures, strict=True):
                if key is None or picture is None:
                    continue
                row = self.store.get(key)
                if row is None:
                    missing[key] = picture
                else:
                    found[key] = row
            for chunk in self._chunks(missing):
                found.update(self._fill(chunk))
            return [None if key is None else found[key] for key in keys]

    def _made(self, pictures: Sequence[Picture | None]) -> list[Row | None]:
        """Return the rows as the store would hold them, without looking there."""
        given = [picture for picture in pictures if picture is not None]
        starts = range(0, len(given), self._batch_size)
        rows = (row for start in starts for row in self._compute(given[start : start + self._batch_size]))
        return [None if picture is None else next(rows) for picture in pictures]

    def _identity(self, picture: Picture) -> bytes:
        known = self._identities.get(picture)
        if known is None:
            known = self._identities[picture] = picture_identity(picture)
        return known

    def _chunks(self, pictures: Mapping[bytes, Picture]) -> Iterable[dict[bytes, Picture]]:
        items = list(pictures.items())
        for start in range(0, len(items), self._batch_size):
            yield dict(items[start : start + self._batch_size])

    def _fill(self, chunk: Mapping[bytes, Picture]) -> dict[bytes, Row]:
        """Return the rows of a chunk; only one process at a time computes, and none what another has stored."""
        with self.store.exclusive():
            rows = {key: row for key in chunk if (row := self.store.get(key)) is not None}
            missing = {key: picture for key, picture in chunk.items() if key not in rows}
            if missing:
                made = dict(zip(missing, self._compute(list(missing.values())), strict=True))
                self.store.append(made)
                rows.update(made)
            return rows


class CachedPatches:
    """The patches (P, C) that a frozen encoder gives for the picture of an example, from the cache where they are.

    An example without a picture has zero patches, so that every product with them vanishes. Pictures are encoded in
    batches of exactly `batch_size`, filled up with blank ones: a row never depends on what was computed beside it.
    """

    def __init__(self, encoder: ImageEncoder, batch_size: int = BATCH) -> None:
        if encoder.tuned:
            raise ValueError("the features of an encoder that is tuned change with every step; cache its pictures")
        self.patches, self.channels = encoder.patches, encoder.channels
        self._encoder = encoder
        self._batch_size = batch_size

    @cached_property
    def _rows(self) -> _PictureRows:
        # Opened with the first example: by then the encoder has its weights and stands on its device.
        store = RowStore(self._description(), (self.patches, self.channels), np.float16)
        return _PictureRows(store, self._encode, self._batch_size)

    def __getitem__(self, example: Example) -> Tensor:
        """Return the patches (P, C) of an example in float16, on the CPU."""
        return self._halves([example])[0]

    def stack(self, examples: Sequence[Example]) -> Tensor:
        """Return the patches (B, P, C) of a batch in float32, on the CPU."""
        return self._halves(examples).float()

    def _halves(self, examples: Sequence[Example]) -> Tensor:
        table = np.zeros((len(examples), self.patches, self.channels), np.float16)
        for place, row in zip(table, self._rows.get([example.picture for example in examples]), strict=True):
            if row is not None:
                place[...] = row
        return torch.from_numpy(table)

    def _description(self) -> dict[str, Any]:
        """Return everything that decides a row besides the picture."""
        encoder = self._encoder
        tensors = hashlib.sha256()
        for name, tensor in sorted(encoder.state_dict().items()):
            tensors.update(f"{name}{tuple(tensor.shape)}".encode())
            tensors.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {
            "kind": "patches",
            "format": FORMAT,
            "weights": weights_digest(encoder.name, "image"),
            "tensors": tensors.hexdigest(),
            "size": encoder.size,
            "layout": encoder.layout,
            "mean": encoder.mean.flatten().tolist(),
            "deviation": encoder.deviation.flatten().tolist(),
            "batch_size": self._batch_size,
            "device": encoder.mean.device.type,
            "versions": {"torch": torch.__version__, "pillow": PIL.__version__},
        }

    def _encode(self, pictures: list[Picture]) -> Row:
        """Return the patches of at most `batch_size` pictures in fp16."""
        size = self._encoder.size
        pixels = np.zeros((self._batch_size, 3, size, size), np.uint8)
        for place, picture in zip(pixels, pictures, strict=False):
            place[...] = pixels_of(picture, size)
        device = self._encoder.mean.device
        zeroed = torch.zeros(self._batch_size, dtype=torch.bool)
        zeroed[: len(pictures)] = torch.tensor([picture == ZERO_PICTURE for picture in pictures])
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            patches = self._encoder(torch.from_numpy(pixels).to(device), zeroed=zeroed.to(device))[: len(pictures)]
        row: Row = patches.to(torch.float16).cpu().numpy()
        if not np.isfinite(row).all():
            raise AvebenchError(
                f"Features of {self._encoder.place} are not finite in half precision (above 65,504). Check its weights "
                "and its normalisation, or tune it, which caches nothing."
            )
        return row


class CachedPictures:
    """The picture of an example as an encoder of `size` takes it, decoded once and kept on disk in bytes."""

    def __init__(self, size: int) -> None:
        description = {"kind": "pictures", "format": FORMAT, "size": size, "versions": {"pillow": PIL.__version__}}
        store = RowStore(description, (3, size, size), np.uint8)
        self._rows = _PictureRows(
            store, lambda pictures: np.stack([pixels_of(picture, size) for picture in pictures]), BATCH
        )

    def __getitem__(self, example: Example) -> Tensor | None:
        """Return RGB bytes (3, size, size) as `ImageEncoder.encode` does, or None if there is no picture."""
        row = self._rows.get([example.picture])[0]
        return None if row is None else torch.from_numpy(np.array(row))


class PrecomputedFeatures:
    """Features that others computed, in the layout of the JAVE release, memory-mapped.

    `imgs.embedded.npy` holds regions (m, P, C), `imgs.embeddedG.npy` pooled vectors (m, C), and `cids_of_imgs` the m
    product ids of their rows, one a line. An example is found by its product id, else by its picture's name, with or
    without suffix. AvebenchError if a file is missing, broken or of another shape, as soon as it is needed.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = expanded(Path(folder))
        self._positions = released_ids(self.folder / PRECOMPUTED_IDS, f"{REGIONS} and {POOLED}")
        self._arrays: dict[str, Row] = {}

    @property
    def patches(self) -> int:
        """P, the number of regions of a picture."""
        return int(self._array(REGIONS, 3).shape[1])

    @property
    def channels(self) -> int:
        """C, the width of a region."""
        return int(self._array(REGIONS, 3).shape[2])

    def __getitem__(self, example: Example) -> Tensor:
        """Return the regions (P, C) of an example; AvebenchError if it has none."""
        return self.stack([example])[0]

    def stack(self, examples: Sequence[Example]) -> Tensor:
        """Return the regions (B, P, C) of a batch in float32."""
        return self._gather(REGIONS, 3, examples)

    def pooled(self, examples: Sequence[Example]) -> Tensor:
        """Return the pooled vectors (B, C) of a batch in float32."""
        return self._gather(POOLED, 2, examples)

    def _gather(self, file: str, dimensions: int, examples: Sequence[Example]) -> Tensor:
        array = self._array(file, dimensions)
        return torch.from_numpy(array[[self._position(example) for example in examples]].astype(np.float32))

    def _position(self, example: Example) -> int:
        if example.picture == ZERO_PICTURE:
            raise AvebenchError(
                f"The computed features in {self.folder} have none of an input of zeros. Choose an encoder that reads "
                "pictures for this control, or the control 'none', which takes the features away."
            )
        names = [example.product_id]
        if example.picture is not None:
            names += [example.picture.name, Path(example.picture.name).stem]
        for name in names:
            if name and name in self._positions:
                return self._positions[name]
        raise AvebenchError(
            f"The precomputed features in {self.folder} have no row for the product '{example.product_id}' of example "
            f"'{example.id}': {PRECOMPUTED_IDS} does not name it. Add it, or choose an encoder that reads pictures."
        )

    def _array(self, file: str, dimensions: int) -> Row:
        """Return one of the arrays."""
        if file not in self._arrays:
            shape = "(m, P, C)" if dimensions == 3 else "(m, C)"
            self._arrays[file] = released_array(self.folder / file, shape, len(self._positions), PRECOMPUTED_IDS)
        return self._arrays[file]


def released_ids(path: Path, arrays: str) -> dict[str, int]:
    """Return id -> row of a file of the JAVE release that names the rows of `arrays`, one a line.

    AvebenchError if it is missing, no UTF-8, or names a row twice.
    """
    try:
        ids = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise AvebenchError(
            f"The ids of precomputed features cannot be read from {path} ({error}). The folder needs {path.name}, "
            f"{arrays} of the JAVE release."
        ) from None
    positions: dict[str, int] = {}
    for number, identity in enumerate(ids):
        if positions.setdefault(identity.strip(), number) != number:
            raise AvebenchError(f"{path}, line {number + 1}: the id '{identity}' is there twice. Remove one row.")
    return positions


def released_array(path: Path, shape: str, rows: int, ids: str) -> Row:
    """Return an array of the JAVE release, memory-mapped; pickled objects are refused.

    AvebenchError if it is missing, broken, or not of as many dimensions as `shape` names and of `rows` rows, the number
    of lines of the file `ids`.
    """
    if not path.is_file():
        raise AvebenchError(
            f"The file {path.name} of the precomputed features is missing in {path.parent}. The public sample of JAVE "
            "lacks it; the full release, by application to its authors, has it."
        )
    try:
        array: Row = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AvebenchError(f"The array {path} cannot be read ({error}). Copy the file again.") from None
    if array.ndim != shape.count(",") + 1 or len(array) != rows or array.dtype.kind != "f":
        raise AvebenchError(
            f"The array {path} is {array.dtype}{array.shape}; it must hold floating-point numbers {shape} with "
            f"{shape[1]} = {rows}, the number of lines of {ids}."
        )
    return array
