"""What asking for all N attributes costs at test: query systems beside DRAM, which selects three of them."""

import statistics
import time
from itertools import islice

import torch

from avebench.contracts.examples import AttributeSchema, blind
from avebench.contracts.registry import plugin
from avebench.data.opening import open_dataset
from avebench.nn.neural import NeuralModel

SIZES, TEXTS, ROUNDS = (26, 100, 500), 32, 3
TRAINING = {"steps": 1, "batch_size": 16, "prediction_batch_size": 32}
SYSTEMS = {
    "dram": {"text_encoder": "minilm", "fusion": "none", "arm": "prototype"},
    "suopentag": {"text_encoder": "minilm"},
    "adatag": {"attribute_vectors": "random", "min_count": 1},
    "aveqa": {"text_encoder": "minilm", "distillation": 0.0},
    "maveqa": {"text_encoder": "minilm"},
    "smartave": {"text_encoder": "minilm"},
}
PAIRED = ("aveqa", "maveqa", "smartave")
"""Those that read a text anew for every attribute."""


def build(name: str, schema: AttributeSchema, examples: list) -> NeuralModel:
    """Return a system of N attributes with fresh heads; DRAM's range is fixed to three."""
    module = plugin("models", name).load()
    config = module.Config(**SYSTEMS[name], training=TRAINING)
    torch.manual_seed(0)
    model = module.Model(config, schema, module.Model.learn_vocabulary(config, schema, examples))
    model.fix_range([0, 1, 2])
    return model.eval()


def main() -> None:
    """Print seconds per 1,000 texts, the median of rounds, and the ratio to DRAM at the same N."""
    torch.set_num_threads(1)
    examples = [blind(example) for example in islice(open_dataset("demo", None, {}).read("test"), TEXTS)]
    for size in SIZES:
        schema = AttributeSchema(tuple(f"attribute {number}" for number in range(size)))
        base = 0.0
        for name in SYSTEMS:
            model = build(name, schema, examples)
            encoded = [model.encode(example) for example in examples]
            rounds = []
            for _ in range(ROUNDS if name not in PAIRED or size < 500 else 1):
                begun = time.perf_counter()
                model.predict_encoded(encoded)
                rounds.append(time.perf_counter() - begun)
            seconds = 1000 * statistics.median(rounds) / TEXTS
            base = base or seconds
            print(
                f"all {size} asked, {name}: {seconds:.1f} s per 1,000 texts, {seconds / base:.2f} times DRAM",
                flush=True,
            )


if __name__ == "__main__":
    main()
