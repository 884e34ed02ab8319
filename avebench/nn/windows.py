"""Overlapping windows over the labelling units of a text that does not fit into an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Window = tuple[int, int]
"""First unit of a window, and the unit behind its last."""
Numbers = NDArray[np.int64]


def cut_windows(counts: Sequence[int], room: int) -> list[Window]:
    """Return windows over units of `counts` word pieces each, of at most `room` pieces, that cover every unit.

    Each window begins half a window of pieces behind the one before, at the first unit there, and takes as many units
    as fit; the last one reaches back as far as it can. ValueError if a unit has more than `room` pieces.
    """
    if counts and max(counts) > room:
        raise ValueError(f"a unit of {max(counts)} pieces does not fit into a window of {room}")
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    units, start = len(counts), 0
    windows: list[Window] = []
    while True:
        stop = int(np.searchsorted(ends, ends[start] + room, side="right")) - 1
        if stop == units:
            break
        windows.append((start, stop))
        half = int(np.searchsorted(ends, ends[start] + room // 2))
        start = min(max(half, start + 1), stop)
    return [*windows, (int(np.searchsorted(ends, ends[units] - room)), units)]


def nearest_windows(windows: Sequence[Window], counts: Sequence[int]) -> Numbers:
    """Return for each unit (U,) the number of the window in which it stands furthest from an edge, in word pieces.

    An edge is where the text was cut: its own beginning and end are none. Of windows that are level the first is taken.
    """
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    units = len(counts)
    chosen, furthest = np.zeros(units, np.int64), np.full(units, -1, np.int64)
    nowhere = ends[-1] + 1  # Further than any edge.
    for number, (start, stop) in enumerate(windows):
        before = ends[start:stop] - ends[start] if start else nowhere
        behind = ends[stop] - ends[start + 1 : stop + 1] if stop < units else nowhere
        distance = np.broadcast_to(np.minimum(before, behind), (stop - start,))
        better = distance > furthest[start:stop]
        chosen[start:stop][better] = number
        furthest[start:stop][better] = distance[better]
    return chosen
