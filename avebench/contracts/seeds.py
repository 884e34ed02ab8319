"""Seeds derived by hashing the axes that are meant to vary."""

from __future__ import annotations

import hashlib

MOST_REPETITIONS = 1000
"""More repetitions than this of one row cannot be asked for: it is a slip of the finger."""


def derive_seed(*axes: str | int) -> int:
    """Return a 63-bit seed from named axes, for instance ("order", repetition, epoch); equal on every machine."""
    digest = hashlib.sha256("\x1f".join(str(axis) for axis in axes).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
