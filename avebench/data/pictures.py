"""Picture files on disk: are they there, are they whole, and one digest over a folder of them. No torch here."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from avebench.contracts.examples import Picture
from avebench.files.errors import AvebenchError
from avebench.files.places import exists, is_file


def picture_at(
    path: Path, name: str, missing_images: Literal["error", "blank"], counts: Counter[str]
) -> Picture | None:
    """Return the picture at `path`, which is opened only when a model asks for it.

    With "error" a missing file is not looked for here: `Picture.open` raises, so that systems which read no pictures
    run on a release without them. With "blank" a missing or broken file gives None, counted in `counts`.
    """
    path = _on_disk(path)
    if missing_images == "blank":
        if not is_file(path):
            counts["pictures missing"] += 1
            return None
        if not _ends_well(path) and picture_fault(path) is not None:
            counts["pictures broken"] += 1
            return None
    return Picture(name, path)


def pictures_at(
    folder: Path, names: Sequence[str], missing_images: Literal["error", "blank"], counts: Counter[str]
) -> tuple[Picture, ...]:
    """Return the pictures of a product, files `names` of a folder in order, each as `picture_at` gives it.

    Further pictures are counted apart from the first. Most systems look at the first alone: a product without it counts
    as one without pictures for all of them.
    """
    if not names:
        return ()
    first, *others = names
    picture = picture_at(folder / first, first, missing_images, counts)
    if picture is None:
        if others:
            counts["further pictures left out, the first being unusable"] += len(others)
        return ()
    apart: Counter[str] = Counter()
    further = [picture_at(folder / name, name, missing_images, apart) for name in others]
    counts.update({f"further {what}": number for what, number in apart.items()})
    return (picture, *(one for one in further if one is not None))


def _on_disk(path: Path) -> Path:
    """Return a path made of text from a file as this locale writes it: by its UTF-8 bytes, also where that is ASCII."""
    try:
        return Path(os.fsdecode(str(path).encode(errors="surrogateescape")))
    except UnicodeEncodeError:  # Half of a surrogate pair names no file.
        return path


def picture_fault(path: Path) -> str | None:
    """Return what is wrong with a picture file after decoding all of it, or None."""
    path = _on_disk(path)
    if not is_file(path):
        return "the picture is no regular file" if exists(path) else "the picture is missing"
    try:
        Picture(path.name, path).open()
    except AvebenchError:
        return "the picture cannot be decoded"
    return None


class PictureCheck:
    """What `data check` finds of the pictures of a data set, each of which is decoded once.

    With `missing_images` "blank" a picture that is missing or broken is counted and is no fault, as in a run.
    `looked_at` is called with the number of pictures so far: decoding them is what takes the time of a check.
    """

    looked_at: ClassVar[Callable[[int], None] | None] = None

    def __init__(self, missing_images: Literal["error", "blank"], counts: Counter[str]) -> None:
        self._blank, self._counts = missing_images == "blank", counts
        self._known: set[Path] = set()

    def fault(self, path: Path) -> str | None:
        """Return what is wrong with a picture that was not looked at before; None if nothing is, or it is no fault."""
        if path in self._known:
            return None
        self._known.add(path)
        wrong = picture_fault(path)
        if PictureCheck.looked_at is not None:
            PictureCheck.looked_at(len(self._known))
        if wrong is None:
            return None
        self._counts["pictures missing" if wrong.endswith("missing") else "pictures broken"] += 1
        return None if self._blank else wrong


def _ends_well(path: Path) -> bool:
    """Return True for a JPEG or PNG with its first and last marker: a whole file for the price of two small reads."""
    with path.open("rb") as stream:
        head = stream.read(8)
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 12))
        tail = stream.read()
    if head.startswith(b"\xff\xd8\xff"):
        return tail.endswith(b"\xff\xd9")
    return head == b"\x89PNG\r\n\x1a\n" and tail[4:8] == b"IEND"
