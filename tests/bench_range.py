"""Cost of a training step and a test pass against the number of attributes: DRAM, and one CRF over all 2N + 1 tags.

Made-up data of MEPAVE's size: 16 sentences of 46 characters, a BERT of 4 layers and width 512 (random weights), no
pictures, whose cost is the same for both. DRAM's classifier is set by hand to select three attributes of a sentence.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIZES = (26, 100, 500, 2000)
SENTENCES, CHARACTERS, SELECTED, STEPS = 16, 46, 3, 3


def encoder(folder: Path) -> None:
    """Write a BERT of the size of RoBERTa-small-Chinese with random weights."""
    from transformers import BertConfig, BertModel

    from avebench.nn.pretrained import quiet

    shape = {"hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 2048}
    with quiet():
        BertModel(BertConfig(vocab_size=100, **shape)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh"]))


def measure(folder: str, arm: str, number: int) -> dict[str, float]:
    """Return seconds of a training step and of a test pass (medians), and the peak memory of this process in MiB."""
    import torch

    from avebench.examples import AttributeSchema, Example, Span
    from avebench.models.dram import Config, Model

    torch.set_num_threads(1)
    torch.manual_seed(0)
    schema = AttributeSchema(tuple(f"a{place}" for place in range(number)), "character")
    text = ("abcdefgh" * CHARACTERS)[:CHARACTERS]
    units = tuple((place, place + 1) for place in range(CHARACTERS))
    spans = tuple(Span(f"a{place}", 5 * place, 5 * place + 2) for place in range(SELECTED))
    values = {span.attribute: frozenset({text[span.start : span.end]}) for span in spans}
    examples = [Example(str(row), text, units, spans, values) for row in range(SENTENCES)]
    config = Config.model_validate({"text_encoder": folder, "arm": arm, "warmup_at_least": 0, "warmup_share": 0.0})
    model = Model(config, schema, {"train_examples": SENTENCES, "mean_range": SELECTED, "width": CHARACTERS + 2})
    if arm != "none":
        with torch.no_grad():
            model.classifier.second.weight.zero_()
            model.classifier.second.bias.fill_(-9.0)[:SELECTED] = 9.0
        model.classifier.requires_grad_(False)
    optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], fused=True)
    batch = model.collate([model.encode(example) for example in examples])
    step, test = [], []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        sum(model.train()(batch).values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step.append(time.perf_counter() - started)
        started = time.perf_counter()
        model.eval().predict(examples)
        test.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"step": statistics.median(step[1:]), "test": statistics.median(test[1:]), "peak": peak}


def main() -> None:
    """Print one line per number of attributes; every model is measured in a process of its own."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
        return
    print(f"Cost against the number of attributes, batch {SENTENCES}, {CHARACTERS} characters, H = 512, one thread;")
    print(
        f"DRAM tags {SELECTED} selected attributes of a sentence. Seconds a training step / a test pass, peak memory:"
    )
    with tempfile.TemporaryDirectory() as name:
        encoder(Path(name))
        for number in SIZES:
            found = {}
            for arm in ("prototype", "none"):
                command = [sys.executable, __file__, name, arm, str(number)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[arm] = json.loads(done.stdout.splitlines()[-1])
            dram, crf = (
                f"{one['step']:.2f} / {one['test']:.2f} s, {one['peak']:,.0f} MiB"
                for one in (found["prototype"], found["none"])
            )
            print(f"  {number:>5,} attributes: DRAM {dram}; CRF over {2 * number + 1:,} tags {crf}")


if __name__ == "__main__":
    main()
