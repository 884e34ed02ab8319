"""Time of `avebench --help`, and of a table whose cells are all finished, as a user waits for them."""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "avebench")
TIMES = 7


def seconds(folder: str, *arguments: str) -> float:
    """Return the wall time of one command."""
    begun = time.perf_counter()
    subprocess.run([COMMAND, *arguments], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    """Print the median of each."""
    with tempfile.TemporaryDirectory() as folder:
        table = ("run", "table6", "--dataset", "demo", "--set", "training.steps=1")
        seconds(folder, *table)
        helps = statistics.median(seconds(folder, "--help") for _ in range(TIMES))
        again = statistics.median(seconds(folder, *table) for _ in range(TIMES))
    print(f"avebench --help: {helps:.2f} s (goal 0.3); a finished table again: {again:.2f} s (goal 1.5)")


if __name__ == "__main__":
    main()
