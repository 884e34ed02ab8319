"""Kills a run wherever it can be killed, continues it, and looks whether it ends with the same bits and leaves nothing.

    python tests/campaigns/kill.py                # every file operation of a small training, ten random kills of a run
    python tests/campaigns/kill.py --operations 8 # eight of the operations, evenly spread, as the tests do

A file operation is whatever changes a file or a folder of the run: a file opened for writing, forced to the disk,
renamed, removed; a folder made or removed. The process is killed (SIGKILL) right before it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from commandline import COMMAND, environment

TABLE = """
title = "A small table"
dataset = "jsonl"
metrics = ["tag_f1"]
[[rows]]
label = "dictionary"
model = "dictionary"
[[rows]]
label = "opentag"
model = "opentag"
options = { embedding = 8, hidden = 8, attention_inner = 4, training = { epochs = 3, batch_size = 4 } }
"""
SETTINGS = {"training": {"validate_every": 2}}
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.symlink", "os.link"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def write_data(folder: Path) -> Path:
    """Write a table and a data set of a few sentences into a new folder, and return it."""
    (folder / "data").mkdir(parents=True)
    for split, numbers in (("train", range(12)), ("valid", range(12, 16)), ("test", range(16, 24))):
        lines = []
        for number in numbers:
            colour = ("blue", "red", "green")[number % 3]
            text = f"a {colour} long dress, number {number}"
            span = {"attribute": "Color", "start": 2, "end": 2 + len(colour)}
            lines.append(json.dumps({"id": f"p{number}", "text": text, "spans": [span]}) + "\n")
        (folder / "data" / f"{split}.jsonl").write_text("".join(lines))
    (folder / "mine.toml").write_text(TABLE)
    return folder


def bits(out: Path) -> dict[str, Any]:
    """Return what every finished cell under `out` holds but for times, memory and who it ran as."""
    found = {}
    for path in sorted(out.glob("cells/*/result.json")):
        result = json.loads(path.read_text())
        for name in ("seconds", "peak_memory", "started", "finished", "revision", "dirty", "digest"):
            result.pop(name, None)
        result["history"] = [{k: v for k, v in entry.items() if k != "seconds"} for entry in result["history"]]
        files = {one.name: one.read_bytes().hex() for one in path.parent.glob("*.safetensors")}
        files["predictions"] = (path.parent / "predictions.jsonl.gz").read_bytes().hex()
        found[path.parent.name] = {"result": result, **files}
    return found


def names(out: Path) -> set[str]:
    """Return every file and folder under `out`."""
    return {str(path.relative_to(out)) for path in out.rglob("*")}


def difference(out: Path, whole: Path) -> str | None:
    """Return how `out` differs from an uninterrupted run, None if it does not."""
    if names(out) != names(whole):
        return f"left or missing: {', '.join(sorted(names(out) ^ names(whole)))}"
    return None if bits(out) == bits(whole) else "other bits"


# ---------------------------------------------------------------------------------------------------------------------
# At every file operation of one training


def _watch(root: Path, before: Callable[[str], None]) -> None:
    """Call `before` with the name of every file operation under `root` that this process is about to begin."""
    inside = str(root)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | os.PathLike) and flags & WRITING and os.fspath(path).startswith(inside):
                before(f"open {path}")
        elif event in CHANGES:
            path = os.fsdecode(os.fspath(arguments[0])) if not isinstance(arguments[0], int) else ""
            if path.startswith(inside) or not path.startswith("/"):  # Relative to an open folder: that of rmtree.
                before(f"{event} {path}")

    from avebench.training import checkpoint

    fsync, save = os.fsync, checkpoint.save_file

    def watched_fsync(descriptor: int) -> None:
        before("fsync")
        fsync(descriptor)

    def watched_save(tensors: Any, path: Path) -> None:
        before(f"save {path}")
        save(tensors, path)

    os.fsync, checkpoint.save_file = watched_fsync, watched_save
    sys.addaudithook(audit)


def _attempt(job: Any, kill_at: int | None) -> tuple[int, int]:
    """Run a cell in a child, killed before its file operation `kill_at`; return its status and how many it began."""
    from avebench.running.cell_run import finish_cell
    from avebench.store.results import Store

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        begun = 0

        def count(what: str) -> None:
            nonlocal begun
            begun += 1
            os.write(writer, b".")
            if begun == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        _watch(job.out, count)
        Store(job.out).prepare()
        finish_cell(job, lambda kind, detail: None)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        number = len(stream.read())
    return os.waitpid(child, 0)[1], number


def kill_at_operations(base: Path, chosen: int | None) -> list[str]:
    """Kill one small training at each of its file operations, or at `chosen` of them; return what went wrong."""
    from avebench.planning.plan import make_plan
    from avebench.planning.request import Request
    from avebench.running.cell_run import Job

    # Once, here, rather than in every child; the optimiser imports the second at its first step.
    for name in ("avebench.training.loop", "torch._dynamo"):
        importlib.import_module(name)
    folder = write_data(base / "operations")
    table, data = str(folder / "mine.toml"), folder / "data"
    request = Request(table, folder / "out", data=data, rows=["opentag"], settings=SETTINGS)
    (cell,) = make_plan(request).cells()

    def job(name: str) -> Any:
        return Job(cell, "mine", folder / name, "cpu", (), False)

    status, operations = _attempt(job("whole"), None)
    assert status == 0, "the uninterrupted training failed"
    step = 1 if chosen is None else max(1, operations // chosen)
    points = range(1, operations + 1, step)
    wrong = []
    for point in points:
        one = job(f"killed-{point}")
        killed, _ = _attempt(one, point)
        status, _ = _attempt(one, None)
        if killed != signal.SIGKILL or status != 0:
            wrong.append(f"operation {point}: ended with {killed}, continued with {status}")
        elif (how := difference(one.out, folder / "whole")) is not None:
            wrong.append(f"operation {point}: {how}")
        else:
            shutil.rmtree(one.out)
    print(
        f"killed before {len(points)} of {operations} file operations of one training: {len(wrong)} wrong", flush=True
    )
    return wrong


# ---------------------------------------------------------------------------------------------------------------------
# At random moments of a run


def kill_at_random(base: Path, kills: int, seed: int) -> list[str]:
    """Kill a run `kills` times at random moments, continuing it each time; return what went wrong."""
    generator = random.Random(seed)
    started = time.perf_counter()
    whole = _run(write_data(base / "whole"))
    whole.wait()
    needed = time.perf_counter() - started
    assert whole.returncode == 0, "the uninterrupted run failed"
    wrong: list[str] = []
    done = rounds = 0
    while done < kills:
        rounds += 1
        folder = write_data(base / f"round-{rounds}")
        for kill in _kills(folder, needed, generator):
            done += kill
            if done == kills:
                break
        last = _run(folder)
        last.wait()
        if last.returncode != 0:
            wrong.append(f"round {rounds}: continued with {last.returncode}")
        elif (how := difference(folder / "runs", base / "whole" / "runs")) is not None:
            wrong.append(f"round {rounds}: {how}")
        if _alive_in(folder):
            wrong.append(f"round {rounds}: a process was left")
    print(f"killed {done} times at random moments in {rounds} runs (seed {seed}): {len(wrong)} wrong", flush=True)
    return wrong


def _run(folder: Path) -> subprocess.Popen[bytes]:
    """Start a run of the table in a folder."""
    options = ["--data", "data", "--seeds", "2", "--jobs", "2", "--no-mlflow", "--set", "training.validate_every=2"]
    command = [COMMAND, "run", "mine.toml", *options, "--set", "training.epochs=60"]
    variables = environment() | {"AVEBENCH_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=nowhere, stderr=nowhere, start_new_session=True)


def _kills(folder: Path, needed: float, generator: random.Random) -> Iterator[int]:
    """Yield 1 for every kill of a run in `folder`, until one of its starts comes to its end before it is killed."""
    while True:
        process = _run(folder)
        try:
            process.wait(timeout=generator.uniform(0.2, 1.0) * needed)
        except subprocess.TimeoutExpired:
            # By turns everything that it started, as a machine does that stops, and it alone.
            if generator.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            process.wait()
            yield 1
            continue
        return


def _alive_in(folder: Path, seconds: float = 20.0) -> bool:
    """Return whether a process whose current folder is `folder` is still there after some time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(_works_in(process, folder) for process in Path("/proc").glob("[0-9]*")):
            return False
        time.sleep(0.2)
    return True


def _works_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:
        return False


def main() -> int:
    """Run the campaign and return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, help="this many of the file operations only, and no random kills")
    parser.add_argument("--kills", type=int, default=10, help="number of random kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="avebench-kill-")).resolve()
    os.environ["AVEBENCH_CACHE"] = str(base / "cache")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    wrong = kill_at_operations(base, arguments.operations)
    if arguments.operations is None:
        wrong += kill_at_random(base, arguments.kills, arguments.seed)
    for line in wrong:
        print(line)
    if wrong:
        print(f"What is left of them is in {base}.")
        return 1
    shutil.rmtree(base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
