"""What a picture of the `demo` data set shows, and the colours of its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from avebench.datasets.demo.stream import Stream

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
SKIN: Colour = (226, 176, 146)
DARK: Colour = (24, 24, 30)
LIGHT: Colour = (246, 246, 242)
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
