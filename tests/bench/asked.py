"""What asking for all N attributes costs at test: every query system beside DRAM, which selects three of them."""

import json
import statistics
import subprocess
import sys
import time
from itertools import islice

from avebench.contracts.examples import AttributeSchema, blind
from avebench.contracts.registry import plugin, plugins
from avebench.data.opening import open_dataset
from avebench.store.provenance import resident_peak

SIZES, TEXTS, ROUNDS, ENOUGH_SECONDS = (26, 100, 500), 32, 3, 20.0
TRAINING = {"steps": 1, "batch_size": 16, "prediction_batch_size": 32}
BASE = "dram"
OPTIONS = {
    BASE: {"fusion": "none", "arm": "prototype"},
    "adatag": {"attribute_vectors": "random", "min_count": 1},
    "aveqa": {"distillation": 0.0},
}
"""Beside the encoder: what is not used at test is not made."""


def systems() -> list[str]:
    """Return DRAM and every system that can be asked for all attributes."""
    cards = {name: one.card for name, one in plugins("models").items()}
    asked = [
        name for name, card in cards.items() if card.protocol != "native" and "all" in {card.protocol, *card.protocols}
    ]
    return [BASE, *sorted(asked)]


def measure(name: str, size: int) -> dict[str, float]:
    """Return the processor's seconds per 1,000 texts, the median of rounds, and this process's peak memory in bytes."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    schema = AttributeSchema(tuple(f"attribute {number}" for number in range(size)))
    examples = [blind(example) for example in islice(open_dataset("demo", None, {}).read("test"), TEXTS)]
    module = plugin("models", name).load()
    encoder = {"text_encoder": "minilm"} if "text_encoder" in module.Config.model_fields else {}
    config = module.Config(**{**encoder, **OPTIONS.get(name, {})}, training=TRAINING)
    model = module.Model(config, schema, module.Model.learn_vocabulary(config, schema, examples)).eval()
    model.fix_range([0, 1, 2])
    encoded = [model.encode(example) for example in examples]
    rounds: list[float] = []
    while len(rounds) < ROUNDS and sum(rounds) < ENOUGH_SECONDS:
        begun = time.process_time()
        model.predict_encoded(encoded)
        rounds.append(time.process_time() - begun)
    return {"seconds": 1000 * statistics.median(rounds) / TEXTS, "peak": resident_peak()}


def main() -> None:
    """Print time and memory of every system with their ratios to DRAM at the same N, each of a process of its own."""
    for size in SIZES:
        base: dict[str, float] = {}
        for name in systems():
            done = subprocess.run([sys.executable, __file__, name, str(size)], check=True, stdout=subprocess.PIPE)
            found = json.loads(done.stdout)
            base = base or found
            slower, larger = (found[figure] / base[figure] for figure in ("seconds", "peak"))
            print(
                f"all {size} asked, {name}: {found['seconds']:.1f} s per 1,000 texts, {slower:.2f} times DRAM; at most "
                f"{found['peak'] / 2**20:.0f} MiB, {larger:.2f} times DRAM",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
    else:
        main()
