"""Outlines of the products of the `demo` data set, by category: where the body is, and where its details go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from avebench.datasets.demo.looks import DARK, RGB, SKIN, Colour, Look

SIZE = 64
"""Pixels a side."""
Mask = npt.NDArray[np.bool_]


class Sheet:
    """Masks of simple shapes on the 64x64 grid, shifted by a small offset."""

    def __init__(self, shift_x: int, shift_y: int) -> None:
        rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.int32)
        self.y = rows - shift_y
        self.x = columns - shift_x

    def box(self, left: int, top: int, right: int, bottom: int) -> Mask:
        """Return a rectangle, its edges included."""
        inside: Mask = (self.x >= left) & (self.x <= right) & (self.y >= top) & (self.y <= bottom)
        return inside

    def disc(self, x: int, y: int, radius: int) -> Mask:
        """Return a filled circle."""
        inside: Mask = (self.x - x) ** 2 + (self.y - y) ** 2 <= radius * radius
        return inside

    def trapezoid(self, x: int, top: int, half_top: int, bottom: int, half_bottom: int) -> Mask:
        """Return a figure around the column `x`, of these half widths at top and bottom."""
        half = half_top + (half_bottom - half_top) * (self.y - top) // max(bottom - top, 1)
        inside: Mask = (abs(self.x - x) <= half) & (self.y >= top) & (self.y <= bottom)
        return inside


@dataclass(slots=True)
class Figure:
    """A product's outline and the places of its details: boxes as (left, top, right, bottom)."""

    body: Mask
    strip: tuple[int, int, int, int]
    craft: tuple[int, int, int, int]
    pockets: tuple[tuple[int, int, int, int], ...] = ()
    extras: list[tuple[Mask, Colour]] = field(default_factory=list)


def _notch(sheet: Sheet, word: str, top: int) -> Mask:
    """Return the opening at the neck: round, square, v, or a small default."""
    if word.startswith(("round", "crew")):
        return sheet.disc(32, top, 9) & sheet.box(0, top, 63, 63)
    if word.startswith("square"):
        return sheet.box(24, top, 40, top + 8)
    if word.startswith(("v", "lapel")):
        return sheet.trapezoid(32, top, 7, top + 18, 0)
    return sheet.box(29, top, 35, top + 1)


def _sleeves(sheet: Sheet, look: Look, half: int, top: int, ends: dict[str, int], default: int) -> Mask:
    """Return both sleeves; `default` is the row where they end if the length is not told."""
    word = look.get("sleeve length")
    wide = bool(look.get("sleeve type"))
    end = next((row for prefix, row in ends.items() if word.startswith(prefix)), default)
    if wide:
        end = max(end, top + 10 if word else top + 22)
    growth = np.where(wide, (sheet.y - top) // 2, 0)
    inner, outer = half + 2, half + 9 + np.minimum(growth, 11)
    offset = abs(sheet.x - 32)
    mask: Mask = (offset >= inner) & (offset <= outer) & (sheet.y >= top + 1) & (sheet.y <= end)
    joint = sheet.box(32 - half - 2, top + 1, 32 + half + 2, top + 7) if end > top else np.zeros_like(mask)
    return mask | joint


def _half_width(look: Look, normal: int) -> int:
    """Return half the width of a torso for its fit."""
    word = look.get("fit")
    if not word:
        return normal
    return normal - 3 if word.startswith(("slim", "straight")) else normal + 6


def _clothes(sheet: Sheet, look: Look) -> Figure:
    half = _half_width(look, 11)
    body = sheet.box(32 - half, 14, 32 + half, 50)
    hem = look.get("hem type")
    if hem.startswith(("round", "curved")):
        body &= ~((sheet.y > 38) & (abs(sheet.x - 32) > half - (sheet.y - 38) ** 2 * half // 160))
    elif hem.startswith("square"):
        body &= ~sheet.box(32 - half // 2, 40, 32 + half // 2, 52)
    elif hem == "v":
        body |= sheet.trapezoid(32, 50, half, 62, 0)
    elif hem:
        body &= ~(sheet.y > 40 + (sheet.x - 20) // 3)
    extras: list[tuple[Mask, Colour]] = []
    collar = look.get("collar")
    extras.append((_notch(sheet, collar, 14), SKIN))
    if collar.startswith(("turtle", "hooded", "polo")):
        extras.append((sheet.box(26, 6, 38, 15), RGB["grey"]))
    ends = {"short": 24, "cap": 20, "three": 36, "long": 52, "sleeveless": 0}
    body |= _sleeves(sheet, look, half, 14, ends, 36)
    pockets = ((32 - half + 1, 35, 30, 44), (34, 35, 32 + half - 1, 44))
    return Figure(body, (31, 25, 33, 49), (32 - half + 1, 25, 32 + half - 1, 32), pockets, extras)


def _dresses(sheet: Sheet, look: Look) -> Figure:
    half = _half_width(look, 9)
    length = look.get("skirt length")
    end = 38 if length.startswith(("short", "mini")) else 62 if length.startswith(("long", "maxi")) else 50
    body = sheet.box(32 - half, 10, 32 + half, 28) | sheet.trapezoid(32, 28, half, end, half + 11)
    extras = [(_notch(sheet, look.get("collar"), 10), SKIN)]
    if look.get("slit type"):
        extras.append((sheet.trapezoid(40, end - 16, 0, end, 6), SKIN))
    if waist := look.get("waist"):
        row = 36 if waist.startswith("low") else 22 if waist.startswith(("high", "raised", "empire")) else 28
        extras.append((sheet.box(32 - half - 2, row, 32 + half + 2, row + 3), DARK))
    ends = {"short": 20, "cap": 16, "three": 30, "long": 44, "sleeveless": 0}
    body |= _sleeves(sheet, look, half, 10, ends, 0)
    return Figure(body, (31, 21, 33, end - 2), (32 - half, end - 12, 32 + half, end - 5), (), extras)


def _pants(sheet: Sheet, look: Look) -> Figure:
    length, waist, kind, fit = (look.get(name) for name in ("trouser length", "waist", "trouser type", "fit"))
    end = 32 if length.startswith(("short", "knee")) else 44 if length.startswith(("cropped", "ankle")) else 60
    top = 4 if waist.startswith(("high", "raised", "empire", "elastic", "stretch")) else 18 if waist else 13
    half = 5 if not fit else 3 if fit.startswith(("slim", "straight")) else 9
    body = sheet.box(30 - half - 3, top, 34 + half + 3, 26)
    left, right = 29 - half, 35 + half
    for centre in (left, right):
        body |= sheet.box(centre - half, 24, centre + half, end)
    extras: list[tuple[Mask, Colour]] = []
    if kind in {"cargo pants", "khaki", "army", "ranger"}:
        extras += [(sheet.box(x - 4, 32, x + 4, 41), DARK) for x in (left - half, right + half)]
    elif kind:
        for centre in (left, right):
            body |= sheet.trapezoid(centre, max(end - 20, 24), half, end, half + 8)
    if waist:
        extras.append((sheet.box(30 - half - 3, top, 34 + half + 3, top + 3), DARK))
    pockets = ((30 - half - 2, 20, 29, 28), (35, 20, 34 + half + 2, 28))
    return Figure(body, (30, top, 34, 26), (left - 3, end - 9, right + 3, end - 3), pockets, extras)


def _toe(sheet: Sheet, word: str) -> Mask:
    if word.startswith("round"):
        return sheet.disc(15, 43, 10) & sheet.box(0, 33, 63, 51)
    if word.startswith("square"):
        return sheet.box(6, 36, 20, 51)
    if word.startswith("pointed"):
        below: Mask = sheet.y >= 38 + (20 - sheet.x) * 12 // 19
        return sheet.box(1, 38, 20, 51) & below
    return sheet.trapezoid(18, 40, 4, 51, 9)


def _footwear(sheet: Sheet, look: Look) -> Figure:
    """Draw a shoe or boot from the side, toe to the left."""
    boots = look.category == "Boots"
    height = look.get("shaft height" if boots else "upper height")
    high = height.startswith(("high", "tall", "raised", "knee", "over"))
    top = (1 if high else 26) if boots else (16 if high else 34)
    body = sheet.box(18, 38, 54, 51) | sheet.box(35, top, 54, 51) | _toe(sheet, look.get("toe style"))
    extras: list[tuple[Mask, Colour]] = []
    heel = look.get("heel height")
    if heel.startswith(("high", "tall", "raised", "mid")):
        extras.append((sheet.box(44, 52, 54, 62), DARK))
        extras.append((sheet.trapezoid(38, 52, 10, 57, 0), DARK))
    else:
        extras.append((sheet.box(8, 52, 54, 53), DARK))
    opening = look.get("opening depth")
    if opening.startswith(("shallow", "low")):
        extras.append((sheet.box(20, 34, 46, 42), SKIN))
    elif opening:
        body |= sheet.box(22, 24, 36, 40)
    return Figure(body, (20, 44, 34, 50), (38, max(top + 3, 28), 53, max(top + 3, 28) + 9), (), extras)


def _bags(sheet: Sheet, look: Look) -> Figure:
    shape = look.get("shape")
    if shape.startswith(("round", "oval", "half")):
        body = sheet.disc(32, 40, 20)
    elif shape:
        body = sheet.box(9, 21, 55, 60)
    else:
        body = sheet.trapezoid(32, 30, 13, 54, 20)
    handle = sheet.disc(32, 24, 14) & ~sheet.disc(32, 24, 11) & ~body
    return Figure(body, (19, 33, 45, 36), (18, 50, 46, 55), ((24, 39, 40, 49),), [(handle, DARK)])


def _luggage(sheet: Sheet, look: Look) -> Figure:
    shape = look.get("shape")
    if shape.startswith(("round", "oval", "half")):
        body = sheet.disc(32, 36, 21)
    elif shape:
        body = sheet.box(10, 20, 54, 56)
    else:
        body = sheet.box(20, 14, 44, 56)
    frame = sheet.box(26, 2, 38, 20) & ~sheet.box(28, 4, 36, 20) & ~body
    wheels = sheet.disc(23, 59, 3) | sheet.disc(41, 59, 3)
    return Figure(body, (30, 17, 34, 54), (22, 46, 42, 52), (), [(frame, DARK), (wheels, DARK)])


OUTLINES: dict[str, Callable[[Sheet, Look], Figure]] = {
    "Clothes": _clothes, "Shoes": _footwear, "Bags": _bags, "Luggage": _luggage, "Dresses": _dresses,
    "Boots": _footwear, "Pants": _pants,
}  # fmt: skip
