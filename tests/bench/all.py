"""All measurements of `make bench`, one after the other; run it when nothing else runs on the machine."""

import subprocess
import sys
from pathlib import Path

PARTS = ("start", "viterbi", "scoring", "compare", "loop", "range", "slots", "mae", "features", "asked")


def main() -> None:
    """Run every part in a process of its own: the memory of one must not count for the next."""
    for part in PARTS:
        subprocess.run([sys.executable, Path(__file__).with_name(f"{part}.py")], check=True)


if __name__ == "__main__":
    main()
