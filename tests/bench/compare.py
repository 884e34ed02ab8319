"""Speed of a comparison on one thread: both tests and the interval, 10,000 resamples over 20,000 examples."""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import time

import numpy as np

from avebench.scoring.significance import contrasts

EXAMPLES = 20_000
RESAMPLES = 10_000


def systems(repetitions: int, spread: int) -> tuple[np.ndarray, np.ndarray]:
    """Return made-up counts (n, R, 3) of two systems; `spread` is the largest number of gold items of an example."""
    rng = np.random.default_rng(0)
    gold = np.repeat(rng.integers(0, spread + 1, (EXAMPLES, 1)), repetitions, axis=1)
    found = []
    for hit in (0.80, 0.81):
        tp = rng.binomial(gold, hit)
        found.append(np.stack([tp, tp + rng.binomial(gold, 0.2), gold], axis=2))
    return found[0], found[1]


def main() -> None:
    """Print the seconds for counts as they are met, and for counts that differ in nearly every example."""
    for repetitions, spread, what in (
        (1, 4, "one repetition, up to 4 values"),
        (3, 4, "three repetitions, up to 4 values"),
        (3, 40, "three repetitions, up to 40 values"),
    ):
        a, b = systems(repetitions, spread)
        distinct = len(np.unique(np.concatenate([a, b], axis=1).reshape(EXAMPLES, -1), axis=0))
        taken = []
        for _ in range(5):
            begin = time.perf_counter()
            contrasts(np.stack([a, b]), products=EXAMPLES, measure="f1", seed=0, resamples=RESAMPLES)
            taken.append(time.perf_counter() - begin)
        print(
            f"comparing, {what} ({distinct:,} of {EXAMPLES:,} distinct): {min(taken):.2f} s (goal 2) for "
            f"{RESAMPLES:,} resamples of bootstrap and randomisation, one core"
        )


if __name__ == "__main__":
    main()
