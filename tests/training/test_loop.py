"""The training loop: order, schedule, budgets, selection, and a resume that gives the same bits."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.model import TrainedConfig, TrainingConfig
from avebench.files.errors import AvebenchError
from avebench.nn.batching import BUCKET_STEPS, epoch_batches, load, plan
from avebench.nn.neural import NeuralModel
from avebench.training import checkpoint, loop
from avebench.training.loop import train
from avebench.training.record import Progress, TrainingRecord
from avebench.training.stepping import rate_factor

WORDS = 12


class Toy(NeuralModel):
    """Says for every word whether its number is even, through an embedding with dropout; two loss parts."""

    def __init__(self, config: TrainedConfig, dropout: float = 0.3) -> None:
        super().__init__(config, AttributeSchema(("Even",)), {})
        self.embedding = nn.Embedding(WORDS, 8)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(8, 2)
        self.register_buffer("steps_seen", torch.zeros((), dtype=torch.int64))
        self.dropout_rate = dropout

    def encode(self, example):
        words = [int(word) for word in example.text.split()]
        return {"id": example.id, "words": words}

    def length(self, encoded):
        return len(encoded["words"])

    def collate(self, encoded):
        longest = max(len(item["words"]) for item in encoded)
        words = torch.tensor([item["words"] + [0] * (longest - len(item["words"])) for item in encoded])
        mask = torch.tensor([[place < len(item["words"]) for place in range(longest)] for item in encoded])
        return {"id": [item["id"] for item in encoded], "words": words, "mask": mask}

    def scores(self, batch):
        return self.output(self.dropout(self.embedding(batch["words"])))  # (B, S, 2)

    def forward(self, batch):
        if self.training:
            self.steps_seen += 1
            random.random(), np.random.rand()  # A model may draw from these generators as well.
        losses = nn.functional.cross_entropy(self.scores(batch).transpose(1, 2), batch["words"] % 2, reduction="none")
        per_example = (losses * batch["mask"]).sum(1) / batch["mask"].sum(1)
        return {"tagging": per_example.mean(), "norm": 1e-3 * self.output.weight.square().sum()}

    def predict_batch(self, batch):
        even = self.scores(batch).argmax(-1) == 0
        return [
            Prediction(identity, {}, {"Even": frozenset(str(int(w)) for w in words[row & mask])})
            for identity, words, row, mask in zip(batch["id"], batch["words"], even, batch["mask"], strict=True)
        ]


def examples(count: int, seed: int = 0) -> list[Example]:
    drawn = random.Random(seed)
    texts = [" ".join(str(drawn.randrange(WORDS)) for _ in range(drawn.randint(1, 9))) for _ in range(count)]
    return [Example(f"{seed}-{number}", text, ()) for number, text in enumerate(texts)]


TRAIN, VALID = examples(50, 1), examples(20, 2)


def config(**changes: Any) -> TrainingConfig:
    base = {"steps": 20, "batch_size": 8, "validate_every": 5, "selection": "accuracy"}
    return TrainingConfig.model_validate({**base, **changes})


def accuracy(predictions: list[Prediction]) -> dict[str, float]:
    gold = {example.id: {word for word in example.text.split() if int(word) % 2 == 0} for example in VALID}
    assert [prediction.id for prediction in predictions] == [example.id for example in VALID]
    right = sum(prediction.pairs["Even"] == gold[prediction.id] for prediction in predictions)
    return {"accuracy": 100 * right / len(predictions)}


def scripted(values: list[float]):
    """Return a score function that returns the values one after the other."""
    remaining = iter(values)
    return lambda predictions: {"accuracy": next(remaining)}


def toy(settings_: TrainingConfig, dropout: float = 0.3) -> Toy:
    torch.manual_seed(7)
    return Toy(TrainedConfig(training=settings_), dropout)


def run(folder: Path, settings_: TrainingConfig | None = None, **changes: Any) -> tuple[Toy, TrainingRecord]:
    settings_ = settings_ or config()
    model = changes.pop("model", None) or toy(settings_)
    call = {"valid": VALID, "score": accuracy, "repetition": 0, "train": TRAIN, **changes}
    record = train(model, config=settings_, folder=folder / "checkpoint", **call)
    checkpoint.clear(folder / "checkpoint")  # As the caller does when it has kept the weights.
    return model, record


def outcome(model: Toy, record: TrainingRecord) -> dict[str, Any]:
    """Return everything of a finished run that must not depend on when it was interrupted."""
    history = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record.history]
    weights = {name: tensor.numpy().tobytes().hex() for name, tensor in model.state_dict().items()}
    kept = {"best_step": record.best_step, "steps": record.steps, "stopped_early": record.stopped_early}
    return {"history": history, "weights": weights, **kept}


@pytest.fixture(autouse=True)
def _checkpoints_may_take_any_time(monkeypatch):
    """Let `checkpoint_seconds=0.0` mean every step: here steps are so fast that the cap would skip most of them."""
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", math.inf)


def get_scheduler(*arguments: Any, **options: Any) -> Any:
    """Return transformers' schedule, imported late: only two tests need it."""
    from transformers import get_scheduler as reference

    return reference(*arguments, **options)


# Order and batches


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=300),
    size=st.integers(1, 9),
    order=st.sampled_from(["bucketed", "shuffled", "sequential"]),
    epoch=st.integers(0, 3),
)
def test_an_epoch_has_every_example_once_in_full_batches_but_one(lengths, size, order, epoch):
    batches = epoch_batches(lengths, size, order=order, repetition=1, epoch=epoch)
    assert sorted(int(position) for batch in batches for position in batch) == list(range(len(lengths)))
    assert sorted(len(batch) for batch in batches)[1:] == [size] * (len(batches) - 1)
    assert len(batches) == math.ceil(len(lengths) / size)


def listed(lengths, **changes):
    settings_ = {"order": "bucketed", "repetition": 0, "epoch": 0, **changes}
    return [batch.tolist() for batch in epoch_batches(lengths, 4, **settings_)]


def test_order_depends_on_repetition_and_epoch_only_and_is_frozen():
    lengths = [1] * 10
    assert listed(lengths, order="sequential") == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert listed(lengths, order="shuffled") == listed([5] * 10, order="shuffled")
    # Written down once: a change of it changes every result, and must raise every model's `implementation`.
    assert listed(lengths, order="shuffled") == [[9, 7, 3, 0], [8, 5, 6, 1], [2, 4]]
    assert listed(lengths) != listed(lengths, epoch=1)
    assert listed(lengths) != listed(lengths, repetition=1)
    before = listed(lengths)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)
    assert listed(lengths) == before


def test_bucketed_batches_hold_neighbouring_lengths_in_random_order():
    drawn = random.Random(3)
    lengths = [drawn.randint(1, 100) for _ in range(4 * BUCKET_STEPS)]
    batches = listed(lengths)
    by_length = sorted(lengths)
    expected = sorted(by_length[start : start + 4] for start in range(0, len(lengths), 4))
    assert sorted(sorted(lengths[position] for position in batch) for batch in batches) == expected
    means = [sum(lengths[position] for position in batch) for batch in batches]
    assert means != sorted(means)


def test_plan_continues_where_it_is_told_to():
    def positions(start: int) -> list[list[int]]:
        pieces = plan([1] * 10, 2, 2, order="shuffled", repetition=0, start=start, stop=7)
        return [piece.positions.tolist() for piece in pieces]

    whole = positions(0)
    assert [len(piece) for piece in whole[:5]] == [2] * 5  # Ten examples are steps of 4, 4 and 2.
    assert positions(4) == whole[2 * 4 - 1 :]  # The third step of an epoch is one piece.
    shares = [
        (piece.share, piece.closes_step)
        for piece in plan([1] * 5, 2, 2, order="sequential", repetition=0, start=0, stop=2)
    ]
    assert shares == [(0.5, False), (0.5, True), (1.0, True)]


def test_building_ahead_gives_the_same_batches_and_passes_errors_on(monkeypatch):
    monkeypatch.setattr("avebench.nn.batching.pin", lambda batch: batch)  # Page-locking needs a GPU.
    pieces = list(plan([1] * 30, 4, 1, order="shuffled", repetition=0, start=0, stop=20))
    build = lambda positions: {"positions": positions.tolist()}  # noqa: E731
    assert list(load(pieces, build, ahead=True)) == list(load(pieces, build, ahead=False))
    with pytest.raises(ZeroDivisionError):
        list(load(pieces, lambda positions: {"x": 1 // 0}, ahead=True))


# Schedule and optimiser


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 4])
def test_schedule_equals_transformers(schedule, warmup):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    reference = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=15)
    for step in range(15):
        expected = optimizer.param_groups[0]["lr"]
        assert rate_factor(config(schedule=schedule, warmup_steps=warmup), step, 15) == pytest.approx(
            expected, abs=1e-12
        )
        optimizer.step()
        reference.step()


def test_schedule_by_hand():
    linear = config(schedule="linear", warmup_steps=2)
    assert [rate_factor(linear, step, 6) for step in range(6)] == [0, 0.5, 1, 0.75, 0.5, 0.25]
    cosine = config(schedule="cosine")
    assert rate_factor(cosine, 1, 3) == pytest.approx(0.75)
    assert rate_factor(cosine, 2, 3) == pytest.approx(0.25)


class Grouped(Toy):
    def parameter_groups(self):
        return {"text_encoder": [self.embedding.weight], "default": list(self.output.parameters())}


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_loop_equals_a_loop_written_by_hand(tmp_path, optimizer, clip):
    rates = {"default": 3e-2, "text_encoder": 1e-2, "image_encoder": 1.0}
    changes = {"learning_rates": rates, "weight_decay": 0.1, "adam_eps": 1e-6, "schedule": "linear", "warmup_steps": 3}
    settings_ = config(optimizer=optimizer, clip_norm=clip, order="sequential", selection="last", **changes)
    torch.manual_seed(7)
    model = Grouped(TrainedConfig(training=settings_), dropout=0.0)
    by_hand = Grouped(TrainedConfig(training=settings_), dropout=0.0)
    by_hand.load_state_dict(model.state_dict())
    run(tmp_path, settings_, model=model)

    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.Adam
    groups = [
        {"params": [by_hand.embedding.weight], "lr": 1e-2},
        {"params": list(by_hand.output.parameters()), "lr": 3e-2},
    ]
    reference = kind(groups, eps=1e-6, weight_decay=0.1, foreach=False)
    schedule = get_scheduler("linear", reference, num_warmup_steps=3, num_training_steps=20)
    for step in range(20):
        start = 8 * (step % 7)
        batch = by_hand.collate([by_hand.encode(example) for example in TRAIN[start : start + 8]])
        sum(by_hand(batch).values()).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(by_hand.parameters(), clip)
        reference.step()
        schedule.step()
        reference.zero_grad()
    for name, parameter in by_hand.named_parameters():
        assert torch.allclose(dict(model.named_parameters())[name], parameter, atol=1e-6), name


@pytest.mark.parametrize("order", ["bucketed", "sequential"])
def test_accumulation_changes_no_result(tmp_path, order):
    outcomes = []
    for size, accumulation in ((8, 1), (4, 2)):
        settings_ = config(order=order, batch_size=size, accumulation=accumulation)
        outcomes.append(run(tmp_path, settings_, model=toy(settings_, dropout=0.0)))
    (first, first_record), (second, second_record) = outcomes
    for name, parameter in first.named_parameters():
        assert torch.allclose(dict(second.named_parameters())[name], parameter, atol=1e-6), name
    for one, other in zip(first_record.history, second_record.history, strict=True):
        assert one["losses"] == pytest.approx(other["losses"], rel=1e-5)


def test_a_trainable_parameter_outside_all_groups_is_an_error(tmp_path):
    class Forgetful(Toy):
        def parameter_groups(self):
            return {"default": [self.embedding.weight]}

    with pytest.raises(AvebenchError, match=r"output\.weight"):
        run(tmp_path, model=Forgetful(TrainedConfig(training=config())))


def test_frozen_parameters_stay_and_are_counted(tmp_path):
    model = toy(config())
    model.embedding.requires_grad_(False)
    before = model.embedding.weight.clone()
    _, record = run(tmp_path, model=model)
    assert torch.equal(model.embedding.weight, before)
    assert record.parameters == {"trained": 18, "total": 18 + 8 * WORDS}


# Budget, selection, early stopping


def test_budgets_and_validation_points(tmp_path):
    _, record = run(tmp_path, config(steps=None, epochs=3, validate_every=None))
    assert (record.steps, record.epochs) == (21, 3.0)  # Fifty examples are seven steps of eight, the last one of two.
    assert [entry["step"] for entry in record.history] == [7, 14, 21]
    _, record = run(tmp_path, config(steps=17, validate_every=None))
    assert [entry["step"] for entry in record.history] == [7, 14, 17]
    assert record.epochs == pytest.approx(17 / 7)
    _, record = run(tmp_path, config(steps=12, validate_every=5))
    assert [entry["step"] for entry in record.history] == [5, 10, 12]
    assert json.loads(json.dumps(dataclasses.asdict(record)))["steps"] == 12
    assert record.examples_per_second > 0 and record.peak_memory_bytes > 10**7


def test_it_learns_and_keeps_the_weights_of_the_best_validation(tmp_path):
    model, record = run(tmp_path, config(steps=200, learning_rates={"default": 3e-2}))
    best = max(record.history, key=lambda entry: entry["valid"]["accuracy"])
    assert best["valid"]["accuracy"] == 100 and record.best_step == best["step"] < 200
    assert accuracy(model.predict(VALID)) == best["valid"]
    assert not model.training


@pytest.mark.parametrize(("values", "best"), [([1, 3, 3, 2], 10), ([5, 4, 3, 2], 5), ([1, 2, 3, 4], 20), ([0] * 4, 5)])
def test_the_first_of_the_best_wins(tmp_path, values, best):
    model, record = run(tmp_path, score=scripted(values))
    assert record.best_step == best
    shorter = config(steps=best, selection="last")
    assert outcome(*run(tmp_path, shorter))["weights"] == outcome(model, record)["weights"]


def test_last_keeps_the_last_weights_and_needs_no_validation(tmp_path):
    model, record = run(tmp_path, config(selection="last"), score=scripted([4, 3, 2, 1]))
    assert record.best_step == 20
    without, other = run(tmp_path, config(selection="last"), valid=[])
    assert outcome(without, other)["weights"] == outcome(model, record)["weights"]
    assert [entry["valid"] for entry in other.history] == [{}] * 4


def test_early_stopping_waits_for_half_of_the_budget(tmp_path):
    _, record = run(tmp_path, config(steps=100, patience=2), score=scripted([9.0] + [1.0] * 19))
    assert (record.steps, record.stopped_early, record.best_step) == (50, True, 5)
    _, record = run(tmp_path, config(steps=100, patience=2), score=scripted([1.0] * 10 + [2.0] + [1.0] * 9))
    assert (record.steps, record.stopped_early) == (50, True)
    rising = [*range(14), *[1.0] * 6]
    _, record = run(tmp_path, config(steps=100, patience=2), score=scripted(rising))
    assert (record.steps, record.stopped_early, record.best_step) == (80, True, 70)
    _, record = run(tmp_path, config(steps=100, patience=2), score=scripted([*range(19), 1.0]))
    assert (record.steps, record.stopped_early) == (100, False)


def test_history_has_the_mean_losses_since_the_last_validation(tmp_path):
    settings_ = config(steps=4, validate_every=2, order="sequential", learning_rates={"default": 0.0})
    model, record = run(tmp_path, settings_, model=toy(settings_, dropout=0.0))
    model.train()
    batches = [model.collate([model.encode(example) for example in TRAIN[s : s + 8]]) for s in (0, 8, 16, 24)]
    parts = [{name: part.item() for name, part in model(batch).items()} for batch in batches]
    for entry, pair in zip(record.history, (parts[:2], parts[2:]), strict=True):
        for name, value in entry["losses"].items():
            assert value == pytest.approx((pair[0][name] + pair[1][name]) / 2, rel=1e-5)


def test_progress_is_reported_with_losses_metrics_and_time_left(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "REPORT_SECONDS", 0.0)
    seen: list[Progress] = []
    _, record = run(tmp_path, report=seen.append)
    assert [progress.step for progress in seen] == list(range(1, 21))
    assert {progress.total_steps for progress in seen} == {20}
    assert seen[3].valid == {} and seen[7].valid == record.history[0]["valid"]
    assert set(seen[3].losses) == set(seen[4].losses) == {"tagging", "norm"}
    assert seen[-1].eta_seconds == 0 and seen[3].eta_seconds > 0


# Errors


@pytest.mark.parametrize(
    ("changes", "call", "message"),
    [
        ({}, {"train": []}, "no training examples"),
        ({}, {"valid": []}, "training.selection"),
        ({"selection": "last", "patience": 2}, {}, "training.patience"),
        ({"selection": "acuracy"}, {}, "'acuracy'.*Did you mean 'accuracy'"),
        ({}, {"device": "cuda:99"}, "cuda:99"),
        ({}, {"device": "gpu"}, "'gpu'"),
        ({"precision": "fp16"}, {}, "fp16"),
        ({}, {"score": scripted([math.nan])}, "not finite"),
    ],
)
def test_what_cannot_be_done_is_said(tmp_path, changes, call, message):
    with pytest.raises(AvebenchError, match=message):
        run(tmp_path, config(**changes), **call)


def test_a_loss_that_is_not_finite_stops_and_leaves_no_checkpoint_of_it(tmp_path):
    class Diverging(Toy):
        def forward(self, batch):
            parts = super().forward(batch)
            return parts | {"tagging": parts["tagging"] * (math.inf if self.steps_seen == 8 else 1.0)}

    with pytest.raises(AvebenchError, match=r"step 8 of 20 \(tagging inf, norm .*learning_rates"):
        run(tmp_path, model=Diverging(TrainedConfig(training=config())), checkpoint_seconds=0.0)
    assert [path.name for path in (tmp_path / "checkpoint").glob("step-*")] == ["step-00000007"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "checkpoint").write_text("a file")
    with pytest.raises(AvebenchError, match=r"checkpoint.*cannot be written"):
        run(tmp_path)


def test_bf16_on_a_cpu_trains_under_autocast_and_float32_follows(tmp_path):
    kinds = set()

    class Watching(Toy):
        def scores(self, batch):
            found = super().scores(batch)
            kinds.add((self.training, found.dtype))
            return found

    settings_ = config(precision="bf16")
    run(tmp_path, settings_, model=Watching(TrainedConfig(training=settings_)))
    assert kinds == {(True, torch.bfloat16), (False, torch.float32)}
    kinds.clear()
    run(tmp_path, model=Watching(TrainedConfig(training=config())))
    assert kinds == {(True, torch.float32), (False, torch.float32)}


# Resume


class Interruption(Exception):  # noqa: N818
    pass


def interrupt(model: Toy, step: int) -> None:
    """Make the model fail in the forward pass of the given micro-batch, counted from 1."""
    forward = model.forward

    def failing(batch):
        if model.training and model.steps_seen == step - 1:
            raise Interruption
        return forward(batch)

    model.forward = failing


VARIANTS = {
    "float32": {},
    "scheduled": {"schedule": "cosine", "warmup_steps": 4, "optimizer": "adamw", "weight_decay": 0.01},
    "accumulated": {"batch_size": 3, "accumulation": 3},
    "bf16": {"precision": "bf16"},
    "patient": {"steps": 40, "patience": 2, "learning_rates": {"default": 1e-5}},
    "last": {"selection": "last", "validate_every": None},
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("checkpoint_seconds", [0.0, 1000.0])
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, variant, checkpoint_seconds):
    settings_ = config(**VARIANTS[variant])
    expected = outcome(*run(tmp_path / "whole", settings_, checkpoint_seconds=1000.0))
    for step in (3, 6, 11, 18):
        folder = tmp_path / f"at-{step}"
        model = toy(settings_)
        interrupt(model, step)
        with pytest.raises(Interruption):
            run(folder, settings_, model=model, checkpoint_seconds=checkpoint_seconds)
        torch.manual_seed(99), random.seed(99), np.random.seed(99)
        assert outcome(*run(folder, settings_, checkpoint_seconds=checkpoint_seconds)) == expected


def interrupted_folder(tmp_path: Path, step: int = 9) -> Path:
    model = toy(config())
    interrupt(model, step)
    with pytest.raises(Interruption):
        run(tmp_path, model=model, checkpoint_seconds=0.0)
    return tmp_path / "checkpoint"


def steps_taken(tmp_path: Path, **changes: Any) -> tuple[int, dict[str, Any]]:
    """Run to the end and return how many micro-batches this attempt trained, and its outcome."""
    settings_ = changes.pop("settings_", config())
    model = toy(settings_)
    calls = []
    model.dropout.register_forward_hook(lambda module, *rest: calls.append(1) if module.training else None)
    _, record = run(tmp_path, settings_, model=model, **changes)
    return len(calls), outcome(model, record)


def test_only_the_missing_steps_are_trained(tmp_path):
    interrupted_folder(tmp_path)
    assert steps_taken(tmp_path)[0] == 20 - 8


def test_a_checkpoint_is_safetensors_and_json_and_the_older_ones_go(tmp_path):
    folder = interrupted_folder(tmp_path)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    step = "step-00000008"
    inside = ["digests.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert files == ["best-00000005.safetensors", "digests.json", *(f"{step}/{name}" for name in inside)]
    state = json.loads((folder / step / "state.json").read_text())
    assert (state["step"], state["best_step"]) == (8, 5)
    optimizer = load_file(folder / step / "optimizer.safetensors")
    assert set(optimizer) == {
        f"{key}/{name}"
        for key in ("step", "exp_avg", "exp_avg_sq")
        for name in ("embedding.weight", "output.weight", "output.bias")
    }
    assert load_file(folder / step / "model.safetensors")["steps_seen"] == 8


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.safetensors", "state.json", "best"])
def test_one_flipped_bit_of_a_checkpoint_is_seen_and_said(tmp_path, part, caplog):
    whole = steps_taken(tmp_path / "other")[1]
    folder = interrupted_folder(tmp_path)
    path = folder / "best-00000005.safetensors" if part == "best" else folder / "step-00000008" / part
    content = bytearray(path.read_bytes())
    if part == "state.json":  # A digit of a number, so that it stays JSON.
        position = content.index(b'"step": 8') + len(b'"step": ')
        content[position] ^= 1
    else:
        content[-3] ^= 4
    path.write_bytes(content)
    assert steps_taken(tmp_path) == (20, whole)
    assert "step-00000008 is damaged" in caplog.text and "its digest differs" in caplog.text


@pytest.mark.parametrize("harm", ["model", "optimizer", "state", "no state", "best", "empty"])
def test_a_torn_checkpoint_is_passed_over(tmp_path, harm):
    whole = steps_taken(tmp_path / "other")[1]
    folder = interrupted_folder(tmp_path)
    step = folder / "step-00000008"
    if harm in ("model", "optimizer"):
        path = step / f"{harm}.safetensors"
        path.write_bytes(path.read_bytes()[:-7])
    elif harm == "state":
        (step / "state.json").write_text('{"format": 1, "identity"')
    elif harm == "no state":
        (step / "state.json").unlink()
    elif harm == "best":
        (folder / "best-00000005.safetensors").write_bytes(b"\x10\x00")
    else:
        (folder / "step-00000019").mkdir()
    taken, ended = steps_taken(tmp_path)
    assert taken == (12 if harm == "empty" else 20)
    assert ended == whole


@pytest.mark.parametrize(
    "changes",
    [
        {"repetition": 1},
        {"settings_": config(learning_rates={"default": 2e-3})},
        {"train": TRAIN[:-1]},
    ],
    ids=["repetition", "config", "data"],
)
def test_the_checkpoint_of_another_run_is_passed_over(tmp_path, changes):
    whole = steps_taken(tmp_path / "other", **changes)
    interrupted_folder(tmp_path)
    assert steps_taken(tmp_path, **changes) == whole == (20, whole[1])


def test_writing_checkpoints_changes_nothing(tmp_path):
    often = outcome(*run(tmp_path / "often", checkpoint_seconds=0.0))
    assert often == outcome(*run(tmp_path / "never", checkpoint_seconds=1000.0))


def test_random_states_survive_json():
    torch.manual_seed(3), random.seed(3), np.random.seed(3)
    random.gauss(0, 1), np.random.randn()  # Both keep a second normal number in their state.
    state = json.loads(json.dumps(checkpoint.random_state(torch.device("cpu"))))
    draw = lambda: (torch.rand(3).tolist(), random.gauss(0, 1), random.random(), np.random.randn(3).tolist())  # noqa: E731
    expected = draw()
    torch.manual_seed(4), random.seed(4), np.random.seed(4)
    checkpoint.restore_random_state(state, torch.device("cpu"))
    assert draw() == expected


def test_tied_parameters_and_views_are_saved_once_and_come_back(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.register_buffer("view", torch.arange(10.0)[2:5])
            self.register_buffer("passing", torch.ones(2), persistent=False)

    model, other = Tied(), Tied()
    checkpoint.write_best(tmp_path, 1, checkpoint.model_tensors(model))
    saved = checkpoint.read_best(tmp_path, 1)
    assert set(saved) == {"first.weight", "first.bias", "second.bias", "view"}
    other.view.zero_()
    checkpoint.load_model_tensors(other, saved)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in other.state_dict().items())
    assert other.second.weight is other.first.weight


DRIVER = """
import importlib.util, json, os, random, signal, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("toy_run", sys.argv[1])
toy_run = importlib.util.module_from_spec(spec)
sys.modules["toy_run"] = toy_run
spec.loader.exec_module(toy_run)
toy_run.loop.CHECKPOINT_SHARE = float("inf")
base = Path(sys.argv[2])

def attempt(folder, kill_after):
    child = os.fork()  # One import of torch serves all attempts.
    if child == 0:
        settings_ = toy_run.config(steps=80, validate_every=9)
        model, record = toy_run.run(folder, settings_, checkpoint_seconds=0.0)
        partial = folder / "outcome.partial"
        partial.write_text(json.dumps(toy_run.outcome(model, record)))
        partial.rename(folder / "outcome.json")
        os._exit(0)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

import torch._dynamo  # The optimiser imports it at its first step: here, rather than in every child.
(base / "whole").mkdir()
started = time.perf_counter()
assert attempt(base / "whole", None) == 0
needed = time.perf_counter() - started
drawn = random.Random()
(base / "killed").mkdir()
killed, reached = 0, set()
for _ in range(10):
    killed += attempt(base / "killed", drawn.uniform(0.05, 0.3) * needed) == signal.SIGKILL
    reached |= {path.name for path in (base / "killed" / "checkpoint").glob("step-*")}
    if (base / "killed" / "outcome.json").exists():
        break
assert attempt(base / "killed", None) == 0
print(killed, len(reached))
"""


def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    driver = tmp_path / "driver.py"
    driver.write_text(textwrap.dedent(DRIVER))
    done = subprocess.run(
        [sys.executable, str(driver), __file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    killed, reached = map(int, done.stdout.split())
    assert killed >= 1 and reached >= 1  # It was killed, and checkpoints were there to continue from.
    whole = json.loads((tmp_path / "whole" / "outcome.json").read_text())
    assert json.loads((tmp_path / "killed" / "outcome.json").read_text()) == whole
    assert whole["history"][-1]["step"] == 80
