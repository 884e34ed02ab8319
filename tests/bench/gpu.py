"""A training step at the papers' sizes on the GPU of this machine: time, memory, and whether it agrees with the CPU.

BERT-base and ResNet-152 with random weights at 224 x 224 pixels, 70 products a step, on products of the demo set. The
step is that of the shared loop's parts: forward in the precision named, backward, clipping, Adam. Run by `make gpu`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torchvision.models import resnet152
from transformers import BertConfig, BertModel

from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.registry import plugin
from avebench.datasets.demo.generator import generate
from avebench.nn.neural import Batch, NeuralModel, move, repeat_exactly

BATCH, WARM, TIMED, ROUNDS = 70, 5, 10, 3
ARM = {"fusion": "tem", "arm": "prototype"}
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "virc-text": ("dram", {}),
    "V-IRC": ("dram", {"fusion": "concatenate"}),
    "DRAM": ("dram", ARM),
    "DRAM, frozen pictures": ("dram", {**ARM, "image_tuned": False}),
    "Joint-BERT": ("joint-bert", {}),
    "JAVE": ("jave", {}),
    "M-JAVE": ("m-jave", {}),
}


def encoders(folder: Path, examples: list[Example], small: bool) -> dict[str, str]:
    """Write a BERT and a ResNet-152 of random weights; return the options that name them."""
    torch.manual_seed(0)
    words = sorted({example.text[start:end].lower() for example in examples for start, end in example.tokens})
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "num_attention_heads": 4}
    config = BertConfig(**(sizes if small else {}))
    pieces += [f"[unused{number}]" for number in range(config.vocab_size - len(pieces))]
    BertModel(config).save_pretrained(folder / "bert")
    (folder / "bert" / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    torch.save(resnet152(zero_init_residual=True).state_dict(), folder / "resnet152.pth")
    return {"text_encoder": str(folder / "bert"), "image_encoder": str(folder / "resnet152.pth")}


def build(row: str, folders: dict[str, str], examples: list[Example]) -> NeuralModel:
    """Return the model of a row with the papers' sizes."""
    name, options = ROWS[row]
    module = plugin("models", name).load()
    known = {key: value for key, value in folders.items() if key in module.Config.model_fields}
    config = module.Config(**known, **options)
    schema = AttributeSchema(tuple(sorted({span.attribute for example in examples for span in example.spans})))
    torch.manual_seed(0)
    model: NeuralModel = module.Model(config, schema, module.Model.learn_vocabulary(config, schema, examples))
    return model


def difference(model: NeuralModel, batch: Batch, device: torch.device) -> float:
    """Return the largest relative difference of a loss part between the CPU and the device, in float32."""
    model.eval()
    with torch.no_grad():
        here = {name: loss.item() for name, loss in model(batch).items()}
        there = {name: loss.item() for name, loss in model.to(device)(move(batch, device)).items()}
    return max(abs(here[name] - there[name]) / max(abs(here[name]), 1e-9) for name in here)


def steps(model: NeuralModel, batches: list[Batch], device: torch.device, bf16: bool) -> list[float]:
    """Return the seconds a step of the rounds takes, each over `TIMED` steps, after a warm-up."""
    model.train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-5, fused=True)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def step(number: int) -> None:
        batch = move(batches[number % len(batches)], device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            loss = torch.stack(list(model(batch).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()

    for number in range(WARM):
        step(number)
    found = []
    for _ in range(ROUNDS):
        wait()
        started = time.perf_counter()
        for number in range(TIMED):
            step(number)
        wait()
        found.append((time.perf_counter() - started) / TIMED)
    return found


def costly(model: NeuralModel, batches: list[Batch], device: torch.device) -> list[str]:
    """Return the three kernels that take most of a float32 step, with their shares of the device's time."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[ProfilerActivity.CPU, activity]) as profiler:
        steps(model, batches, device, bf16=False)
    time_of = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda event: -getattr(event, time_of))
    whole = sum(getattr(event, time_of) for event in events) or 1
    return [f"{getattr(event, time_of) / whole:.0%} {event.key[:60]}" for event in events[:3]]


def main() -> None:
    """Print a line per row and precision."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--small", action="store_true", help="a small BERT, to try this script on a CPU")
    parser.add_argument("--rows", nargs="*", default=list(ROWS))
    parser.add_argument("--fastest", action="store_true", help="let the GPU take algorithms that do not repeat bits")
    given = parser.parse_args()
    device = torch.device(given.device)
    if not given.fastest:
        repeat_exactly(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {given.batch} products a step", flush=True)
    examples = generate("gpu", 2 * given.batch)
    with tempfile.TemporaryDirectory() as folder:
        folders = encoders(Path(folder), examples, given.small)
        for row in given.rows:
            model = build(row, folders, examples)
            started = time.perf_counter()
            encoded = [model.encode(example) for example in examples]
            batches = [model.collate(encoded[: given.batch]), model.collate(encoded[given.batch :])]
            prepared = (time.perf_counter() - started) / 2
            apart = difference(model, model.collate(encoded[:8]), device)
            for bf16 in (False, True):
                if device.type == "cuda":
                    torch.cuda.reset_peak_memory_stats()
                found = steps(model, batches, device, bf16)
                peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
                print(
                    f"{row}, {'bf16' if bf16 else 'float32'}: {1000 * statistics.median(found):.1f} ms a step "
                    f"({1000 * min(found):.1f} to {1000 * max(found):.1f}), {peak:.1f} GiB, encoding a batch "
                    f"{1000 * prepared:.0f} ms once, losses within {apart:.1e} of the CPU's in float32",
                    flush=True,
                )
            if row in ("DRAM", "virc-text"):
                print(f"  most time: {'; '.join(costly(model, batches, device))}", flush=True)
            del model, encoded, batches


if __name__ == "__main__":
    main()
