"""Cost of a training step and a test pass against the number of attributes, as the experiment `range` measures it."""

import subprocess
import sys
import tempfile
from pathlib import Path

ROWS = "DRAM,V-IRC (CRF over 2N+1 tags)"


def main() -> None:
    """Measure afresh the two rows that do not ask for every attribute; `avebench run range` measures every row."""
    with tempfile.TemporaryDirectory() as out:
        command = [Path(sys.executable).parent / "avebench", "run", "range", "--rows", ROWS, "--out", out]
        subprocess.run([*command, "--no-mlflow"], check=True)


if __name__ == "__main__":
    main()
