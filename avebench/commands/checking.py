"""A check of a data set that takes long says how far it is: on a terminal every few seconds, else every minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from avebench.data.pictures import PictureCheck

SECONDS_ON_A_TERMINAL, SECONDS = 5.0, 60.0


@contextmanager
def pictures_counted() -> Iterator[None]:
    """Say on standard error how many pictures the check within was through, now and then."""
    said = time.monotonic()
    pause = SECONDS_ON_A_TERMINAL if sys.stderr.isatty() else SECONDS

    def tell(number: int) -> None:
        nonlocal said
        if time.monotonic() - said >= pause:
            said = time.monotonic()
            print(f"Pictures looked at: {number:,}.", file=sys.stderr, flush=True)

    PictureCheck.looked_at = tell
    try:
        yield
    finally:
        PictureCheck.looked_at = None
