"""Some of the kills of `make kill`: a training killed at file operations ends with the same bits and leaves nothing."""

import subprocess
import sys
from pathlib import Path

from commandline import environment

CAMPAIGN = Path(__file__).parent / "kill.py"
SUPPORT = Path(__file__).parents[1] / "support"


def test_a_training_killed_at_file_operations_ends_as_if_it_was_not(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(CAMPAIGN), "--operations", "5"],
        cwd=tmp_path,
        env=environment() | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("killed before ") and done.stdout.endswith(" of one training: 0 wrong\n")
    assert not list(tmp_path.glob("avebench-*"))
