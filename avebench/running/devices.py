"""What a run computes with, as the user names it: the device and the threads. Only `computing_on` imports torch."""

from __future__ import annotations

import os
import re

from avebench.files.errors import AvebenchError, DataError

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,4})?")


def check_device(name: str) -> None:
    """Raise AvebenchError unless `name` names a device; whether this machine has it is known when torch is there."""
    if _DEVICE.fullmatch(name) is None:
        raise AvebenchError(f"There is no device '{name}'. Give --device cpu, cuda, cuda:N or auto.")


def threads() -> int:
    """Return the threads of a process: the first number of $OMP_NUM_THREADS, by default 1.

    AvebenchError if that is no whole number from 1 on.
    """
    text = os.environ.get("OMP_NUM_THREADS", "1")
    first = text.split(",")[0].strip()
    if not (first.isascii() and first.isdigit() and 0 < int(first[:9]) <= 4096):
        raise AvebenchError(f"OMP_NUM_THREADS is '{text}'. Set it to a number of threads, for instance 1.")
    return int(first)


def computing_on(name: str) -> str:
    """Set the threads of torch and return the device that `name` means; DataError if this machine cannot do so."""
    import torch

    from avebench.nn.neural import device_named

    try:
        torch.set_num_threads(threads())
        return str(device_named(name))
    except AvebenchError as error:
        raise DataError(str(error)) from None  # Every row would meet it.
