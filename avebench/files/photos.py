"""How a picture file becomes pixels: the one way for training, caches, predictions, explanations and reports."""

from __future__ import annotations

import stat
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from avebench.files.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PIXELS = 178_956_970
"""Pictures of more pixels are refused: they are taken for files that are made to fill the memory (Pillow's limit)."""
ORIENTATION = 0x0112
"""The tag of EXIF that says how a camera was held."""
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def decoded(path: Path) -> Image:
    """Return the picture in a file as people see it, in RGB of 8 bits.

    It is turned as its EXIF orientation says; grey of 16 bits is scaled, not clipped; what is transparent is white; of
    several frames the first counts. Grey of 32 bits is read as 16 bits (integers) or as 0 to 1 (fractions) where its
    values allow. DataError if the file is missing, is no regular file, cannot be decoded, or has more than
    `MOST_PIXELS` pixels.
    """
    from PIL import Image, UnidentifiedImageError

    # Broken files also claim to be too large, or trip a decoder.
    broken = (OSError, UnidentifiedImageError, SyntaxError, ValueError, RuntimeError, MemoryError, LookupError)
    strange = (ArithmeticError, EOFError, TypeError, AssertionError)
    instead = "or run with --missing-images blank"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(
                f"The picture {path} is no regular file (a folder, a pipe or a device). Replace it {instead}."
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Of odd metadata and of size, which is looked at here.
            with Image.open(path) as picture:
                width, height = picture.size
                if width * height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                return _as_seen(picture)
    except FileNotFoundError:
        raise DataError(f"The picture {path} is missing. Put it there, {instead}.") from None
    except Image.DecompressionBombError:
        raise DataError(
            f"The picture {path} has more than {MOST_PIXELS // 10**6} million pixels. Make it smaller, {instead}."
        ) from None
    except (*broken, *strange) as error:
        raise DataError(f"The picture {path} cannot be decoded ({error}). Replace it {instead}.") from None


def opens_as_stored(path: Path) -> bool:
    """Return whether a picture's pixels are simply those in the file, from its header alone; True if that is broken.

    Those of the others were read otherwise by earlier versions: unturned, clipped, or with what transparency hides.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as picture:
                return not (_is_turned(picture) or _is_deep(picture) or _is_transparent(picture))
    except (
        Exception
    ):  # A decoder may raise anything on a broken file, which is reported where its pixels are asked for.
        return True


def _as_seen(picture: Image) -> Image:
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture) if _is_turned(picture) else picture
    if _is_deep(upright):
        upright = _eight_bits(upright)
    elif _is_transparent(upright):
        shown = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    return upright.convert("RGB")


def _is_turned(picture: Image) -> bool:
    return picture.getexif().get(ORIENTATION, 1) in range(2, 9)


def _is_deep(picture: Image) -> bool:
    return picture.mode in (*SIXTEEN_BIT, "I", "F")


def _is_transparent(picture: Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info


def _eight_bits(picture: Image) -> Image:
    """Return grey of more than 8 bits as grey of 8."""
    import numpy as np
    from PIL import Image

    values = np.nan_to_num(np.asarray(picture).astype(np.float64))
    if picture.mode in SIXTEEN_BIT or (picture.mode == "I" and values.max() > 255):
        values = values / 257
    elif picture.mode == "F" and values.max() <= 1:
        values = values * 255
    return Image.fromarray(np.clip(values.round(), 0, 255).astype(np.uint8))
