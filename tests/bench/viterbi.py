"""Viterbi search against `torchcrf.CRF.decode`: batch 1000, 128 positions, 3 tags, one thread; goal 5 times faster."""

import statistics
import time

import torch
import torchcrf

from avebench.nn.crf import CRF

BATCH, LENGTH, TAGS, PAIRS = 1000, 128, 3, 5


def seconds(crf: torch.nn.Module, emissions: torch.Tensor) -> float:
    start = time.perf_counter()
    crf.decode(emissions)
    return time.perf_counter() - start


def main() -> None:
    """Print the median ratio of interleaved pairs and both median times."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reference, ours = torchcrf.CRF(TAGS, batch_first=True), CRF(TAGS)
    ours.load_state_dict(reference.state_dict())
    emissions = torch.randn(BATCH, LENGTH, TAGS)
    assert ours.decode(emissions) == reference.decode(emissions)
    pairs = [(seconds(reference, emissions), seconds(ours, emissions)) for _ in range(PAIRS)]
    torch.set_num_threads(threads)
    ratio = statistics.median(theirs / own for theirs, own in pairs)
    slow, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"Viterbi, batch {BATCH} x length {LENGTH} x {TAGS} tags, one thread: {ratio:.1f} times faster than "
        f"torchcrf.CRF.decode (goal 5; {1000 * slow:.0f} ms against {1000 * fast:.1f} ms, median of {PAIRS} pairs)"
    )


if __name__ == "__main__":
    main()
