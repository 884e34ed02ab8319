"""What a range of attributes costs: time and memory of a training step and a test pass as their number grows.

The journal argues with counts of classification outputs, C_o and C_m (Equations 1 and 2), and measures neither. Here
the systems themselves are measured on made-up sentences with random weights, each number of attributes and each phase
in a process of its own, one after the other, on one thread. What was measured is kept in the output folder.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from avebench.analysis.range_cost.jobs import (
    ENOUGH_SECONDS,
    PASSES,
    Costs,
    Found,
    Job,
    Measurement,
    clock_of,
    cost_device,
    cost_jobs,
    keep,
    kept,
)
from avebench.contracts.examples import AttributeSchema, Example, Picture, Span, blind, pairs_from_spans
from avebench.contracts.registry import add_plugin_file, plugin, plugin_files
from avebench.nn.weights import PRECOMPUTED_IDS
from avebench.planning.experiment import Cost, Experiment
from avebench.planning.request import Request
from avebench.running.asking import for_training
from avebench.running.runner import main_hidden, processes
from avebench.running.worker import end_with_reader, keep_freed_memory
from avebench.store.provenance import resident_peak

ALPHABET = "abcdefgh"


def examples_of(sizes: Cost, number: int) -> tuple[AttributeSchema, list[Example]]:
    """Return `number` attributes and the sentences, the first attributes of which are gold; they differ in nothing."""
    names = tuple(f"{place:04d}" for place in range(number))
    text = (ALPHABET * sizes.characters)[: sizes.characters]
    width = max(1, min(2, sizes.characters // sizes.selected - 1))
    starts = [place * (sizes.characters // sizes.selected) for place in range(min(sizes.selected, number))]
    spans = tuple(Span(name, start, start + width) for name, start in zip(names, starts, strict=False))
    units = tuple((place, place + 1) for place in range(len(text)))
    picture = Picture("p", Path("p"))
    return AttributeSchema(names, "character"), [
        Example(str(row), text, units, spans, pairs_from_spans(text, spans), "p", picture)
        for row in range(sizes.sentences)
    ]


def asked_of(job: Job, schema: AttributeSchema, examples: Sequence[Example], config: Any) -> list[Example]:
    """Return what a system of the options `config` gets: to learn from with gold, as its training asks; else blind."""
    if job.phase == "step":
        return for_training(examples, schema, config.negatives, 0) if job.asked else list(examples)
    return [replace(blind(example), asked=schema.attributes if job.asked else None) for example in examples]


def write_encoders(folder: Path, sizes: Cost) -> None:
    """Write a BERT and the patches of one picture, both random, of the sizes to measure."""
    import numpy as np
    from transformers import BertConfig, BertModel

    from avebench.nn.pretrained import quiet

    text, image = folder / "text_encoder", folder / "image_encoder"
    config = BertConfig(
        vocab_size=100,
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=max(1, sizes.hidden // 64),
        intermediate_size=4 * sizes.hidden,
    )
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ALPHABET, *"0123456789"]
    with quiet():
        BertModel(config).save_pretrained(text)
    (text / "vocab.txt").write_text("\n".join(pieces))
    image.mkdir()
    random = np.random.default_rng(0)
    patches = random.standard_normal((1, sizes.patches, sizes.channels)).astype(np.float32)
    np.save(image / "imgs.embedded.npy", patches)
    np.save(image / "imgs.embeddedG.npy", patches.mean(axis=1))
    (image / PRECOMPUTED_IDS).write_text("p\n")


def measure(job: Job, folder: Path) -> Measurement:
    """Build the system of a job with the encoders in `folder` and measure it in this process."""
    import torch

    from avebench.nn.neural import move

    torch.set_num_threads(1)
    torch.manual_seed(0)
    schema, examples = examples_of(job.sizes, job.attributes)
    module = plugin("models", job.model).load()
    encoders = {role: str(folder / role) for role in job.encoders}
    config = module.Config.model_validate({**job.config, **encoders})
    model = module.Model(config, schema, module.Model.learn_vocabulary(config, schema, examples))
    ranged = model.fix_range(range(job.sizes.selected))
    device = torch.device(job.device)
    model.to(device)
    examples = asked_of(job, schema, examples, config)
    sentences = len(examples)
    selected: list[int] = []

    def test(pass_: Sequence[Any]) -> None:
        selected[:] = [len(one.attributes) for one in model.eval().predict_encoded(pass_)]

    if job.phase == "test":
        encoded = [model.encode(examples[0])]
        (took,) = _timed(lambda: test(encoded), device, passes=1)
        # Of a system that is slow, a pass has as many sentences as fit into the time. What is done once per pass, as
        # reading the names of attributes, must not count for every sentence: the pace is that of further ones.
        pace = took
        while len(encoded) < sentences and took + pace * len(encoded) <= ENOUGH_SECONDS:
            before, number = took, len(encoded)
            encoded.extend(model.encode(example) for example in examples[number : 2 * number])
            (took,) = _timed(lambda: test(encoded), device, passes=1)
            pace = max(0.0, took - before) / (len(encoded) - number)
        sentences = len(encoded)
        times = [took] if took > ENOUGH_SECONDS else _timed(lambda: test(encoded), device)
    else:
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=1e-6, fused=True)
        batch = move(model.collate([model.encode(example) for example in examples]), device)

        def step() -> None:
            sum(model.train()(batch).values()).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        times = _timed(step, device)
    seconds = statistics.median(times) / (sentences if job.phase == "test" else 1)
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident_peak()
    mean_selected = statistics.fmean(selected) if selected and ranged else None
    return Measurement(
        seconds=seconds, peak_memory=peak, passes=len(times), sentences=sentences, selected=mean_selected
    )


def _timed(run: Callable[[], object], device: Any, passes: int = PASSES + 1) -> list[float]:
    """Return the seconds of some passes; the first, which lays memory out, counts only if no other is made.

    On a CPU they are the processor's: a pass runs on one thread, and other programs do not lengthen it.
    """
    import torch

    clock = time.process_time if clock_of(device.type) == "processor" else time.perf_counter
    times: list[float] = []
    while len(times) < passes and sum(times) < ENOUGH_SECONDS:
        started = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(clock() - started)
    return times[1:] or times


def _resident_peak() -> int:
    """Return the largest resident set of this very process in bytes; on Linux that of its parent does not count."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resident_peak()
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), resident_peak())


# ---------------------------------------------------------------------------------------------------------------------
# All measurements of an experiment


def measure_all(jobs: Sequence[Job], out: Path, *, fresh: bool) -> Found:
    """Measure what is not kept under `out`, each in a process of its own, and say on standard error how it goes."""
    found: Found = {}
    missing = []
    for job in jobs:
        known = None if fresh else kept(job, out)
        if known is None:
            missing.append(job)
        else:
            found[job.row, job.attributes, job.phase] = known
    if not missing:
        return found
    context = processes(heavy=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _in_process(context, write_encoders, (folder, missing[0].sizes))
        for place, job in enumerate(missing):
            measured = _in_process(context, _measure, (job, folder, plugin_files()))
            found[job.row, job.attributes, job.phase] = measured
            said = measured if isinstance(measured, str) else f"{measured.seconds:.3g} s"
            what = f"{job.row}, {job.attributes:,} attributes, {job.phase}"
            print(f"{what}: {said} ({place + 1} of {len(missing)})", file=sys.stderr, flush=True)
            if isinstance(measured, Measurement):
                keep(job, measured, out)
    return found


def _in_process(context: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return what a function returns in a process of its own, or in words why it returned nothing."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(function, arguments, sender))
    with main_hidden():
        process.start()
    sender.close()
    try:
        answer = receiver.recv()
    except EOFError:
        process.join()
        answer = f"failed: its process ended with code {process.exitcode}"
    except BaseException:
        process.kill()
        raise
    process.join()
    return answer


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], connection: Connection) -> None:
    """Send what a function returns, or why it failed; the entry point of a process."""
    end_with_reader(connection)
    try:
        connection.send(function(*arguments))
    except Exception as error:  # Whatever it is, the other measurements go on.
        connection.send(f"failed: {type(error).__name__}: {error}")
    connection.close()


def _measure(job: Job, folder: Path, plugins: Sequence[Path]) -> Measurement:
    for path in plugins:
        add_plugin_file(path)
    keep_freed_memory()
    return measure(job, folder)


def measure_costs(experiment: Experiment, request: Request, device: str) -> Costs:
    """Return the measurements of a cost experiment; what is not there is measured."""
    jobs = cost_jobs(experiment, request, cost_device(device))
    return Costs(jobs, measure_all(jobs, request.out, fresh=request.fresh))
