"""Pictures of the `demo` data set: 64x64 RGB, drawn with integer arithmetic only, hence equal on every machine.

An attribute that the product has is drawn by a device of its own (a body in its colour, large motifs, pockets, a
closing strip, a notch at the neck, a longer leg); an attribute that it lacks is not. The background distracts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from avebench.datasets.demo.looks import DARK, LIGHT, RGB, Colour, Look
from avebench.datasets.demo.outlines import OUTLINES, SIZE, Figure, Mask, Sheet
from avebench.datasets.demo.stream import Stream

Canvas = npt.NDArray[np.int32]


def _background(stream: Stream) -> Canvas:
    """Return a gradient with muted boxes and discs near the edges."""
    sheet = Sheet(0, 0)
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
    return DARK if 3 * colour[0] + 6 * colour[1] + colour[2] > 1250 else LIGHT


def _shade(colour: Colour, step: int) -> Colour:
    return (colour[0] + step, colour[1] + step, colour[2] + step)


def _paint_material(canvas: Canvas, sheet: Sheet, body: Mask, word: str, base: Colour) -> None:
    """Draw a weave of two-pixel threads; its direction depends on the word."""
    kind = len(word) % 3
    threads = (sheet.x // 2 + sheet.y // 2, sheet.x // 2 + sheet.y, sheet.x + sheet.y // 2)[kind]
    step = -55 if _contrast(base) == DARK else 70
    canvas[body & (threads % 2 == 0)] += step


def _paint_pattern(canvas: Canvas, sheet: Sheet, body: Mask, word: str, base: Colour) -> None:
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


def _paint_thickness(canvas: Canvas, sheet: Sheet, body: Mask) -> None:
    """Draw a broad pale border around the body and quilting lines across it."""
    canvas[_grow(body, 3) & ~body] = LIGHT
    canvas[body & (sheet.y % 10 == 0)] = LIGHT


def _paint_craft(canvas: Canvas, sheet: Sheet, body: Mask, figure: Figure, word: str, base: Colour) -> None:
    """Draw a framed row of blocks, like lettering or stitching, in the word's colour."""
    left, top, right, bottom = figure.craft
    band = sheet.box(left, top, right, bottom) & body
    ink = RGB.get(word, _contrast(base))
    canvas[band] = _contrast(ink)
    canvas[band & sheet.box(left, top + 1, right, bottom - 1) & ((sheet.x - left) % 5 < 4)] = ink


def _paint_closure(canvas: Canvas, sheet: Sheet, figure: Figure, word: str) -> None:
    """Draw the closing strip: teeth for a zip, discs for buttons, crossed cords for laces, else a framed clasp."""
    left, top, right, bottom = figure.strip
    strip = sheet.box(left - 1, top, right + 1, bottom)
    canvas[strip] = LIGHT
    middle = ((left + right) // 2, (top + bottom) // 2)
    if word.startswith(("zip", "velcro", "strap")):
        canvas[sheet.box(left, top, right, bottom) & ((sheet.x + sheet.y) // 2 % 2 == 0)] = DARK
    elif word.startswith(("button", "snap")):
        along = sheet.x if right - left > bottom - top else sheet.y
        across = sheet.y - middle[1] if right - left > bottom - top else sheet.x - middle[0]
        canvas[sheet.box(left - 2, top, right + 2, bottom) & ((along % 8 - 4) ** 2 + across**2 <= 6)] = DARK
    elif word.startswith(("lace", "cord", "ribbon", "drawstring")):
        canvas[strip & (((sheet.x + sheet.y) % 5 < 2) | ((sheet.x - sheet.y) % 5 < 2))] = DARK
    else:
        canvas[sheet.box(middle[0] - 5, middle[1] - 4, middle[0] + 5, middle[1] + 4)] = DARK
        canvas[sheet.box(middle[0] - 2, middle[1] - 1, middle[0] + 2, middle[1] + 1)] = RGB["yellow"]


def _paint_pockets(canvas: Canvas, sheet: Sheet, figure: Figure, base: Colour) -> None:
    for left, top, right, bottom in figure.pockets:
        canvas[sheet.box(left, top, right, bottom)] = _contrast(base)
        canvas[sheet.box(left + 1, top + 3, right - 1, bottom - 1)] = _shade(base, 30 if base[1] < 128 else -30)


def _paint_details(canvas: Canvas, sheet: Sheet, figure: Figure, look: Look, base: Colour) -> None:
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
        canvas[_grow(mask, 1)] = DARK
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
    sheet = Sheet(stream.below(5) - 2, stream.below(3) - 1)
    figure = OUTLINES[look.category](sheet, look)
    colours = [RGB[word] for word in dict(look.values)["colour"]]
    canvas[_grow(figure.body, 1)] = DARK  # An outline, so that no background hides a product of its own colour.
    canvas[figure.body] = colours[0]
    if len(colours) > 1:
        canvas[figure.body & (sheet.y > 36)] = colours[1]
    _paint_details(canvas, sheet, figure, look, colours[0])
    if season := look.get("season"):
        canvas[Sheet(0, 0).disc(57, 6, 5)] = _SEASONS[season]
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
