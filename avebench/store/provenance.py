"""Where a number comes from: git revision of this package, library versions, hardware. No host name."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("avebench", "torch", "torchvision", "transformers", "tokenizers", "accelerate", "numpy", "pytorch-crf")


def revision() -> tuple[str, bool]:
    """Return the git revision of this package's checkout and whether it has uncommitted changes; ("", False) elsewhere.

    Untracked files do not count as changes, nor do recorded results: no number depends on either.
    """
    package = Path(__file__).parents[1]
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=package, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        # A checkout that merely contains an installed copy of the package says nothing about it.
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", str(Path(__file__).relative_to(package))],
            cwd=package,
            capture_output=True,
            check=True,
            timeout=10,
        )
        changes = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)results"],
            cwd=package,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "", False
    return head, bool(changes)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def resident_peak() -> int:
    """Return the largest resident set of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def hardware(device: str) -> dict[str, Any]:
    """Return the processor or GPU model, cores and threads used. torch is asked only if it is already imported."""
    found: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if device.startswith("cuda"):
            found["gpu"] = torch.cuda.get_device_name(device)
    return found


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
