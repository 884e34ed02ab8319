"""Pictures of the `demo` data set: 64x64 RGB, drawn with integer arithmetic only, hence equal on every machine.

An attribute that the product has is drawn by a device of its own (a body in its colour, large motifs, pockets, a
closing strip, a notch at the neck, a longer leg); an attribute that it lacks is not. The background distracts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from avebench.datasets.demo_stream import Stream

SIZE = 64
Mask = npt.NDArray[np.bool_]
Colour = tuple[int, int, int]

RGB: dict[str, Colour] = {
    "black": (30, 30, 34), "white": (244, 244, 240), "navy": (28, 40, 96), "grey": (128, 130, 134),
    "brown": (110, 70, 42), "beige": (222, 206, 170), "red": (204, 32, 40), "green": (38, 140, 66),
    "blue": (44, 98, 208), "yellow": (244, 214, 50), "pink": (246, 150, 186), "purple": (122, 58, 160),
    "orange": (250, 128, 16), "rose": (232, 70, 124), "peach": (252, 184, 140), "cherry": (160, 12, 52),
    "olive": (126, 130, 30), "plum": (104, 30, 92), "camel": (194, 142, 84), "denim": (74, 112, 164),
    "pearl": (234, 226, 214), "copper": (190, 96, 50), "khaki": (178, 166, 104), "army": (74, 88, 46),
    "ranger": (40, 92, 80), "golden": (222, 172, 34), "crimson": (200, 16, 60), "ivory": (250, 244, 218),
}  # fmt: skip
"""Words with a colour of their own."""
_SKIN: Colour = (226, 176, 146)
_DARK: Colour = (24, 24, 30)
_LIGHT: Colour = (246, 246, 242)
_FAR = 170
"""Least sum of channel differences between a body and a colour that it must not be taken for."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture shows: category, attribute -> values in alphabetical order, and the seed of everything else."""

    category: str
    values: tuple[tuple[str, tuple[str, ...]], ...]
    seed: tuple[str | int, ...]

    def get(self, attribute: str) -> str:
        """Return the first value of an attribute, or the empty string."""
        return dict(self.values).get(attribute, ("",))[0]


def far_colour(stream: Stream, names: Sequence[str], avoid: Sequence[str]) -> str:
    """Return one of the colours `names` that is far from every colour among the words `avoid`."""
    taken = [RGB[word] for word in avoid if word in RGB]
    far = [
        name
        for name in names
        if all(sum(abs(a - b) for a, b in zip(RGB[name], other, strict=True)) >= _FAR for other in taken)
    ]
    return stream.pick(far)


class _Sheet:
    """Masks of simple shapes on the 64x64 grid, shifted by a small offset."""

    def __init__(self, shift_x: int, shift_y: int) -> None:
        rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.int32)
        self.y = rows - shift_y
        self.x = columns - shift_x

    def box(self, left: int, top: int, right: int, bottom: int) -> Mask:
        inside: Mask = (self.x >= left) & (self.x <= right) & (self.y >= top) & (self.y <= bottom)
        return inside

    def disc(self, x: int, y: int, radius: int) -> Mask:
        inside: Mask = (self.x - x) ** 2 + (self.y - y) ** 2 <= radius * radius
        return inside

    def trapezoid(self, x: int, top: int, half_top: int, bottom: int, half_bottom: int) -> Mask:
        half = half_top + (half_bottom - half_top) * (self.y - top) // max(bottom - top, 1)
        inside: Mask = (abs(self.x - x) <= half) & (self.y >= top) & (self.y <= bottom)
        return inside


@dataclass(slots=True)
class _Figure:
    """A product's outline and the places of its details: boxes as (left, top, right, bottom)."""

    body: Mask
    strip: tuple[int, int, int, int]
    craft: tuple[int, int, int, int]
    pockets: tuple[tuple[int, int, int, int], ...] = ()
    extras: list[tuple[Mask, Colour]] = field(default_factory=list)


def _notch(sheet: _Sheet, word: str, top: int) -> Mask:
    """Return the opening at the neck: round, square, v, or a small default."""
    if word.startswith(("round", "crew")):
        return sheet.disc(32, top, 9) & sheet.box(0, top, 63, 63)
    if word.startswith("square"):
        return sheet.box(24, top, 40, top + 8)
    if word.startswith(("v", "lapel")):
        return sheet.trapezoid(32, top, 7, top + 18, 0)
    return sheet.box(29, top, 35, top + 1)


def _sleeves(sheet: _Sheet, look: Look, half: int, top: int, ends: dict[str, int], default: int) -> Mask:
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


def _clothes(sheet: _Sheet, look: Look) -> _Figure:
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
    extras.append((_notch(sheet, collar, 14), _SKIN))
    if collar.startswith(("turtle", "hooded", "polo")):
        extras.append((sheet.box(26, 6, 38, 15), RGB["grey"]))
    ends = {"short": 24, "cap": 20, "three": 36, "long": 52, "sleeveless": 0}
    body |= _sleeves(sheet, look, half, 14, ends, 36)
    pockets = ((32 - half + 1, 35, 30, 44), (34, 35, 32 + half - 1, 44))
    return _Figure(body, (31, 25, 33, 49), (32 - half + 1, 25, 32 + half - 1, 32), pockets, extras)


def _dresses(sheet: _Sheet, look: Look) -> _Figure:
    half = _half_width(look, 9)
    length = look.get("skirt length")
    end = 38 if length.startswith(("short", "mini")) else 62 if length.startswith(("long", "maxi")) else 50
    body = sheet.box(32 - half, 10, 32 + half, 28) | sheet.trapezoid(32, 28, half, end, half + 11)
    extras = [(_notch(sheet, look.get("collar"), 10), _SKIN)]
    if look.get("slit type"):
        extras.append((sheet.trapezoid(40, end - 16, 0, end, 6), _SKIN))
    if waist := look.get("waist"):
        row = 36 if waist.startswith("low") else 22 if waist.startswith(("high", "raised", "empire")) else 28
        extras.append((sheet.box(32 - half - 2, row, 32 + half + 2, row + 3), _DARK))
    ends = {"short": 20, "cap": 16, "three": 30, "long": 44, "sleeveless": 0}
    body |= _sleeves(sheet, look, half, 10, ends, 0)
    return _Figure(body, (31, 21, 33, end - 2), (32 - half, end - 12, 32 + half, end - 5), (), extras)


def _pants(sheet: _Sheet, look: Look) -> _Figure:
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
        extras += [(sheet.box(x - 4, 32, x + 4, 41), _DARK) for x in (left - half, right + half)]
    elif kind:
        for centre in (left, right):
            body |= sheet.trapezoid(centre, max(end - 20, 24), half, end, half + 8)
    if waist:
        extras.append((sheet.box(30 - half - 3, top, 34 + half + 3, top + 3), _DARK))
    pockets = ((30 - half - 2, 20, 29, 28), (35, 20, 34 + half + 2, 28))
    return _Figure(body, (30, top, 34, 26), (left - 3, end - 9, right + 3, end - 3), pockets, extras)


def _toe(sheet: _Sheet, word: str) -> Mask:
    if word.startswith("round"):
        return sheet.disc(15, 43, 10) & sheet.box(0, 33, 63, 51)
    if word.startswith("square"):
        return sheet.box(6, 36, 20, 51)
    if word.startswith("pointed"):
        below: Mask = sheet.y >= 38 + (20 - sheet.x) * 12 // 19
        return sheet.box(1, 38, 20, 51) & below
    return sheet.trapezoid(18, 40, 4, 51, 9)


def _footwear(sheet: _Sheet, look: Look) -> _Figure:
    """Draw a shoe or boot from the side, toe to the left."""
    boots = look.category == "Boots"
    height = look.get("shaft height" if boots else "upper height")
    high = height.startswith(("high", "tall", "raised", "knee", "over"))
    top = (1 if high else 26) if boots else (16 if high else 34)
    body = sheet.box(18, 38, 54, 51) | sheet.box(35, top, 54, 51) | _toe(sheet, look.get("toe style"))
    extras: list[tuple[Mask, Colour]] = []
    heel = look.get("heel height")
    if heel.startswith(("high", "tall", "raised", "mid")):
        extras.append((sheet.box(44, 52, 54, 62), _DARK))
        extras.append((sheet.trapezoid(38, 52, 10, 57, 0), _DARK))
    else:
        extras.append((sheet.box(8, 52, 54, 53), _DARK))
    opening = look.get("opening depth")
    if opening.startswith(("shallow", "low")):
        extras.append((sheet.box(20, 34, 46, 42), _SKIN))
    elif opening:
        body |= sheet.box(22, 24, 36, 40)
    return _Figure(body, (20, 44, 34, 50), (38, max(top + 3, 28), 53, max(top + 3, 28) + 9), (), extras)


def _bags(sheet: _Sheet, look: Look) -> _Figure:
    shape = look.get("shape")
    if shape.startswith(("round", "oval", "half")):
        body = sheet.disc(32, 40, 20)
    elif shape:
        body = sheet.box(9, 21, 55, 60)
    else:
        body = sheet.trapezoid(32, 30, 13, 54, 20)
    handle = sheet.disc(32, 24, 14) & ~sheet.disc(32, 24, 11) & ~body
    return _Figure(body, (19, 33, 45, 36), (18, 50, 46, 55), ((24, 39, 40, 49),), [(handle, _DARK)])


def _luggage(sheet: _Sheet, look: Look) -> _Figure:
    shape = look.get("shape")
    if shape.startswith(("round", "oval", "half")):
        body = sheet.disc(32, 36, 21)
    elif shape:
        body = sheet.box(10, 20, 54, 56)
    else:
        body = sheet.box(20, 14, 44, 56)
    frame = sheet.box(26, 2, 38, 20) & ~sheet.box(28, 4, 36, 20) & ~body
    wheels = sheet.disc(23, 59, 3) | sheet.disc(41, 59, 3)
    return _Figure(body, (30, 17, 34, 54), (22, 46, 42, 52), (), [(frame, _DARK), (wheels, _DARK)])


_FIGURES: dict[str, Callable[[_Sheet, Look], _Figure]] = {
    "Clothes": _clothes, "Shoes": _footwear, "Bags": _bags, "Luggage": _luggage, "Dresses": _dresses,
    "Boots": _footwear, "Pants": _pants,
}  # fmt: skip

Canvas = npt.NDArray[np.int32]


def _background(stream: Stream) -> Canvas:
    """Return a gradient with muted boxes and discs near the edges."""
    sheet = _Sheet(0, 0)
    base = np.array([120 + stream.below(110) for _ in range(3)], dtype=np.int32)
    slope = (sheet.x * (stream.below(61) - 30) + sheet.y * (stream.below(61) - 30)) // SIZE
    canvas: Canvas = base[None, None, :] + slope[:, :, None]
    for _ in range(2 + stream.below(4)):
        colour = [60 + stream.below(150) for _ in range(3)]
        x, y, size = stream.pick((2, 8, 56, 62)), stream.below(SIZE), 4 + stream.below(8)
        mask = (
            sheet.disc(x, y, size) if stream.chance(50) else sheet.box(x - size, y - size // 2, x + size, y + size // 2)
        )
        canvas[mask] = colour
    return canvas


def _contrast(colour: Colour) -> Colour:
    """Return dark for a light colour and light for a dark one."""
    return _DARK if 3 * colour[0] + 6 * colour[1] + colour[2] > 1250 else _LIGHT


def _shade(colour: Colour, step: int) -> Colour:
    return (colour[0] + step, colour[1] + step, colour[2] + step)


def _paint_material(canvas: Canvas, sheet: _Sheet, body: Mask, word: str, base: Colour) -> None:
    """Draw a weave of two-pixel threads; its direction depends on the word."""
    kind = len(word) % 3
    threads = (sheet.x // 2 + sheet.y // 2, sheet.x // 2 + sheet.y, sheet.x + sheet.y // 2)[kind]
    step = -55 if _contrast(base) == _DARK else 70
    canvas[body & (threads % 2 == 0)] += step


def _paint_pattern(canvas: Canvas, sheet: _Sheet, body: Mask, word: str, base: Colour) -> None:
    """Draw large motifs: discs in the word's colour, stripes, checks, spots or block letters."""
    ink = RGB.get(word, _contrast(base))
    x, y = sheet.x, sheet.y
    if word in {"college", "rock", "military", "retro"}:
        letter = (abs(x % 16 - 8) >= 3) & (abs(x % 16 - 8) <= 6) | (
            (y % 14 >= 5) & (y % 14 <= 7) & (abs(x % 16 - 8) <= 6)
        )
        motif = letter & (y % 14 <= 11)
    elif word in {"zebra", "tiger", "striped"}:
        motif = (y + abs(x % 12 - 6) // 2) % 9 < 4
    elif word in {"checked", "tartan", "geometric", "crocodile"}:
        motif = (x // 6 + y // 6) % 2 == 0
    elif word in {"leopard", "snake", "pony", "camouflage", "paisley"}:
        motif = ((x + 3 * (y // 8 % 2)) % 8 - 3) ** 2 + (y % 8 - 3) ** 2 <= 7
    elif word == "solid":
        return
    else:
        motif = ((x + 6 * (y // 12 % 2)) % 12 - 6) ** 2 + (y % 12 - 6) ** 2 <= 18
    canvas[body & motif] = ink


def _paint_style(canvas: Canvas, body: Mask, base: Colour) -> None:
    """Draw a broad sash with a red middle over the left of the body."""
    columns = np.flatnonzero(body.any(axis=0))
    left, width = int(columns[0]) + len(columns) // 5, max(len(columns) // 4, 6)
    sash = np.zeros_like(body)
    sash[:, left : left + width] = True
    canvas[body & sash] = _contrast(base)
    sash[:, : left + width // 3] = False
    sash[:, left + 2 * width // 3 :] = False
    canvas[body & sash] = RGB["red"]


def _grow(mask: Mask, steps: int) -> Mask:
    """Return `mask` with `steps` more pixels on every side."""
    grown = mask.copy()
    for _ in range(steps):
        grown[1:] |= grown[:-1].copy()
        grown[:-1] |= grown[1:].copy()
        grown[:, 1:] |= grown[:, :-1].copy()
        grown[:, :-1] |= grown[:, 1:].copy()
    return grown


def _paint_thickness(canvas: Canvas, sheet: _Sheet, body: Mask) -> None:
    """Draw a broad pale border around the body and quilting lines across it."""
    canvas[_grow(body, 3) & ~body] = _LIGHT
    canvas[body & (sheet.y % 10 == 0)] = _LIGHT


def _paint_craft(canvas: Canvas, sheet: _Sheet, body: Mask, figure: _Figure, word: str, base: Colour) -> None:
    """Draw a framed row of blocks, like lettering or stitching, in the word's colour."""
    left, top, right, bottom = figure.craft
    band = sheet.box(left, top, right, bottom) & body
    ink = RGB.get(word, _contrast(base))
    canvas[band] = _contrast(ink)
    canvas[band & sheet.box(left, top + 1, right, bottom - 1) & ((sheet.x - left) % 5 < 4)] = ink


def _paint_closure(canvas: Canvas, sheet: _Sheet, figure: _Figure, word: str) -> None:
    """Draw the closing strip: teeth for a zip, discs for buttons, crossed cords for laces, else a framed clasp."""
    left, top, right, bottom = figure.strip
    strip = sheet.box(left - 1, top, right + 1, bottom)
    canvas[strip] = _LIGHT
    middle = ((left + right) // 2, (top + bottom) // 2)
    if word.startswith(("zip", "velcro", "strap")):
        canvas[sheet.box(left, top, right, bottom) & ((sheet.x + sheet.y) // 2 % 2 == 0)] = _DARK
    elif word.startswith(("button", "snap")):
        along = sheet.x if right - left > bottom - top else sheet.y
        across = sheet.y - middle[1] if right - left > bottom - top else sheet.x - middle[0]
        canvas[sheet.box(left - 2, top, right + 2, bottom) & ((along % 8 - 4) ** 2 + across**2 <= 6)] = _DARK
    elif word.startswith(("lace", "cord", "ribbon", "drawstring")):
        canvas[strip & (((sheet.x + sheet.y) % 5 < 2) | ((sheet.x - sheet.y) % 5 < 2))] = _DARK
    else:
        canvas[sheet.box(middle[0] - 5, middle[1] - 4, middle[0] + 5, middle[1] + 4)] = _DARK
        canvas[sheet.box(middle[0] - 2, middle[1] - 1, middle[0] + 2, middle[1] + 1)] = RGB["yellow"]


def _paint_pockets(canvas: Canvas, sheet: _Sheet, figure: _Figure, base: Colour) -> None:
    for left, top, right, bottom in figure.pockets:
        canvas[sheet.box(left, top, right, bottom)] = _contrast(base)
        canvas[sheet.box(left + 1, top + 3, right - 1, bottom - 1)] = _shade(base, 30 if base[1] < 128 else -30)


def _paint_details(canvas: Canvas, sheet: _Sheet, figure: _Figure, look: Look, base: Colour) -> None:
    """Paint on the body what the product has, from the cloth upwards."""
    body = figure.body
    if word := look.get("material"):
        _paint_material(canvas, sheet, body, word, base)
    if word := look.get("pattern"):
        _paint_pattern(canvas, sheet, body, word, base)
    if look.get("style"):
        _paint_style(canvas, body, base)
    if look.get("elasticity"):
        canvas[body & ((sheet.y + (sheet.x % 8 >= 4)) % 6 < 2)] = _contrast(base)
    if look.get("thickness"):
        _paint_thickness(canvas, sheet, body)
    if word := look.get("craft"):
        _paint_craft(canvas, sheet, body, figure, word, base)
    for mask, colour in figure.extras:
        canvas[_grow(mask, 1)] = _DARK
        canvas[mask] = colour
    if look.get("pocket type"):
        _paint_pockets(canvas, sheet, figure, base)
    if word := look.get("closure"):
        _paint_closure(canvas, sheet, figure, word)


_SEASONS: dict[str, Colour] = {"spring": (120, 220, 120), "summer": (255, 220, 60), "autumn": (214, 110, 30),
                               "winter": (220, 240, 255)}  # fmt: skip


def pixels(look: Look) -> npt.NDArray[np.uint8]:
    """Return the picture as (64, 64, 3) bytes."""
    stream = Stream(*look.seed, "pixels")
    canvas = _background(stream)
    sheet = _Sheet(stream.below(5) - 2, stream.below(3) - 1)
    figure = _FIGURES[look.category](sheet, look)
    colours = [RGB[word] for word in dict(look.values)["colour"]]
    canvas[_grow(figure.body, 1)] = _DARK  # An outline, so that no background hides a product of its own colour.
    canvas[figure.body] = colours[0]
    if len(colours) > 1:
        canvas[figure.body & (sheet.y > 36)] = colours[1]
    _paint_details(canvas, sheet, figure, look, colours[0])
    if season := look.get("season"):
        canvas[_Sheet(0, 0).disc(57, 6, 5)] = _SEASONS[season]
    if stream.chance(50):
        canvas = canvas[:, ::-1]
    noise = _noise(stream.below(1 << 62))
    clipped: npt.NDArray[np.uint8] = np.clip(canvas + noise, 0, 255).astype(np.uint8)
    return clipped


def _noise(seed: int) -> Any:
    """Return (64, 64, 3) integers in [-6, 6] from a multiplicative hash of the position."""
    place = np.arange(SIZE * SIZE * 3, dtype=np.uint64) + np.uint64(seed)
    mixed = (place ^ (place >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed >> np.uint64(33)) % np.uint64(13)).astype(np.int32).reshape(SIZE, SIZE, 3) - 6


def render(look: Look) -> Image.Image:
    """Return the picture of a product, 64x64 RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels(look)))
