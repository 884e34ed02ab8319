"""Converting generated MAE records to gold JSONL: peak memory at 20,000 and at 200,000 records. Run by `make bench`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

SIZES = (20_000, 200_000)
PER_FILE = 5_000

COLOURS = ("red", "navy blue", "black", "olive", "dark grey", "white")
MATERIALS = ("cotton", "steel", "oak", "leather", "nylon", "brass")
NOUNS = ("lamp", "backpack", "kettle", "jacket", "desk", "drill")
FILLER = ("sturdy", "reliable", "light", "compact", "classic", "modern", "everyday", "useful", "quiet", "warm")

CONVERT = """
import json, resource, sys, time
from pathlib import Path
from avebench.data.opening import convert, open_dataset
started = time.perf_counter()
notes = convert(open_dataset('mae', Path(sys.argv[1]), {}), Path(sys.argv[2]))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"peak_kib": peak, "seconds": time.perf_counter() - started, "notes": notes}))
"""


def record(draw: random.Random, number: int) -> dict[str, object]:
    """Return one made-up product in MAE's shape, about 1.5 KB, with specifications in and not in its text."""
    colour, material, noun = draw.choice(COLOURS), draw.choice(MATERIALS), draw.choice(NOUNS)
    specs = {"color": colour.title(), "material": material, "model": f"x-{number}", "sold_by": "Report abuse"}
    specs |= {f"detail_{draw.randrange(300)}": draw.choice(FILLER) for _ in range(4)}
    return {
        "diffbotUri": f"product|4|{number}",
        "title": f"{colour.title()} {material} {noun} X-{number}",
        "text": " ".join(draw.choice(FILLER) for _ in range(180)) + f" made of {material}.",
        "images": [f"{number}.jpg"],
        "specs": specs,
    }


def generate(folder: Path, count: int) -> None:
    """Write `count` training products and a twentieth as many for validation, as files of JSON arrays."""
    draw = random.Random(count)
    for source, size, first in (("train", count, 0), ("val", count // 20, count)):
        (folder / source).mkdir(parents=True)
        for start in range(0, size, PER_FILE):
            records = [record(draw, first + number) for number in range(start, min(size, start + PER_FILE))]
            (folder / source / f"{start:08d}.json").write_text(json.dumps(records), encoding="utf-8")


def measure(count: int) -> dict[str, object]:
    """Convert `count` generated records in a process of its own; return its peak memory, seconds and notes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate(folder / "mae", count)
        environment = os.environ | {"AVEBENCH_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", CONVERT, str(folder / "mae"), str(folder / "gold")]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=name, check=True)
        measured: dict[str, object] = json.loads(done.stdout)
        return measured


def main() -> None:
    """Print the peak memory of both sizes and their ratio."""
    peaks = []
    for count in SIZES:
        measured = measure(count)
        peak, seconds = float(str(measured["peak_kib"])) / 1024, float(str(measured["seconds"]))
        peaks.append(peak)
        rate = count / seconds
        print(f"MAE to gold JSONL, {count:>7,} records: peak {peak:.0f} MiB, {seconds:.0f} s, {rate:,.0f} records/s")
    print(f"Ten times the records take {peaks[1] / peaks[0]:.2f} times the memory.")


if __name__ == "__main__":
    main()
