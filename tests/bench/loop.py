"""Overhead of the training loop against a bare PyTorch loop of the same model, batches and optimiser, on one thread."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.model import TrainedConfig, TrainingConfig
from avebench.nn.batching import plan
from avebench.nn.neural import NeuralModel
from avebench.training.loop import train

STEPS, PAIRS, GOAL = 120, 5, 1.05
TRAINING = TrainingConfig(steps=STEPS, batch_size=16, selection="last", validate_every=STEPS)


class SmallTransformer(NeuralModel):
    """A tagger of realistic cost: two transformer layers of width 128 and a linear layer."""

    def __init__(self) -> None:
        super().__init__(TrainedConfig(training=TRAINING), AttributeSchema(("A",)), {})
        layer = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True)
        self.embedding = nn.Embedding(2000, 128)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.output = nn.Linear(128, 53)

    def encode(self, example: Example) -> Any:
        return torch.tensor([int(word) for word in example.text.split()])

    def length(self, encoded: Any) -> int:
        return len(encoded)

    def collate(self, encoded: Any) -> dict[str, Any]:
        return {"words": nn.utils.rnn.pad_sequence(list(encoded), batch_first=True)}

    def forward(self, batch: Any) -> dict[str, torch.Tensor]:
        scores = self.output(self.encoder(self.embedding(batch["words"])))  # (B, S, 53)
        return {"tagging": nn.functional.cross_entropy(scores.flatten(0, 1), batch["words"].flatten() % 53)}

    def predict_batch(self, batch: Any) -> Any:
        return []  # Nothing is validated here.


def examples() -> list[Example]:
    """Return 500 sentences of 10 to 40 made-up words."""
    drawn = random.Random(0)
    texts = (" ".join(str(drawn.randrange(1, 2000)) for _ in range(drawn.randint(10, 40))) for _ in range(500))
    return [Example(str(number), text, ()) for number, text in enumerate(texts)]


def bare(model: SmallTransformer, data: list[Example]) -> None:
    """Train as one would write it in a script: encode, collate, forward, backward, clip, step."""
    encoded = [model.encode(example) for example in data]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    lengths = [model.length(item) for item in encoded]
    model.train()
    for piece in plan(lengths, 16, 1, order="bucketed", repetition=0, start=0, stop=STEPS):
        loss = model(model.collate([encoded[position] for position in piece.positions]))["tagging"]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()


def shared(model: SmallTransformer, data: list[Example]) -> None:
    """Train with the harness's loop."""
    with tempfile.TemporaryDirectory() as folder:
        train(model, data, [], config=TRAINING, repetition=0, folder=Path(folder) / "checkpoint", score=lambda _: {})


def seconds(loop: Callable[[SmallTransformer, list[Example]], None], data: list[Example]) -> float:
    """Return how long the loop takes from the same start."""
    torch.manual_seed(0)
    model = SmallTransformer()
    started = time.perf_counter()
    loop(model, data)
    return time.perf_counter() - started


def main() -> None:
    """Print the overhead ratio: the median of interleaved pairs."""
    torch.set_num_threads(1)
    data = examples()
    seconds(bare, data), seconds(shared, data)  # Warm caches and imports.
    pairs = [(seconds(bare, data), seconds(shared, data)) for _ in range(PAIRS)]
    ratio = statistics.median(ours / theirs for theirs, ours in pairs)
    step = 1000 * statistics.median(theirs for theirs, _ in pairs) / STEPS
    print(f"Training loop against a bare PyTorch loop: {ratio:.3f} (goal {GOAL}), {step:.1f} ms a step, {PAIRS} pairs.")


if __name__ == "__main__":
    main()
