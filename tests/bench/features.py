"""A frozen epoch read from the feature cache against encoding every picture, on one thread."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.models import resnet18

from avebench.contracts.examples import Example, Picture
from avebench.nn.features import CachedPatches
from avebench.nn.image_encoder import ImageEncoder

PICTURES, SIDE, BATCH, PAIRS, GOAL = 96, 224, 16, 3, 10
"""Photos of 400 x 400 pixels, read as JPEG files, on a ResNet-18: the least costly of the papers' family."""


def photos(folder: Path) -> list[Example]:
    """Return examples with smooth random JPEG files."""
    drawn = np.random.default_rng(0)
    examples = []
    for number in range(PICTURES):
        coarse = Image.fromarray(drawn.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        path = folder / f"{number}.jpg"
        coarse.resize((400, 400), Image.Resampling.BICUBIC).save(path)
        examples.append(Example(str(number), "", (), picture=Picture(path.name, path)))
    return examples


def seconds(read: Callable[[Sequence[Example]], Tensor], examples: list[Example]) -> float:
    """Return how long one epoch of batches takes."""
    started = time.perf_counter()
    for start in range(0, len(examples), BATCH):
        read(examples[start : start + BATCH])
    return time.perf_counter() - started


def main() -> None:
    """Print the ratio, median of interleaved pairs."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name, patch.dict(os.environ, {"AVEBENCH_CACHE": str(Path(name) / "cache")}):
        torch.manual_seed(0)
        weights = Path(name) / "resnet18.pth"
        torch.save(resnet18().state_dict(), weights)
        encoder = ImageEncoder(str(weights), size=SIDE, tuned=False)
        examples = photos(Path(name))
        started = time.perf_counter()
        features = CachedPatches(encoder)
        features.stack(examples)
        building = time.perf_counter() - started

        def encode(batch: Sequence[Example]) -> Tensor:
            return encoder(**encoder.collate([encoder.encode(example) for example in batch]))

        pairs = [(seconds(encode, examples), seconds(features.stack, examples)) for _ in range(PAIRS)]
    ratio = statistics.median(slow / fast for slow, fast in pairs)
    slow, fast = (1000 * statistics.median(column) / PICTURES for column in zip(*pairs, strict=True))
    print(
        f"A frozen epoch from the feature cache, ResNet-18 at {SIDE} x {SIDE}: {ratio:.0f} times faster than encoding "
        f"(goal {GOAL}; {slow:.1f} ms against {fast:.3f} ms a picture, building {1000 * building / PICTURES:.1f} ms)."
    )


if __name__ == "__main__":
    main()
