"""How the small encoders of this package are trained: AdamW under one schedule, and the same bits again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avebench.files.errors import AvebenchError


@dataclass(frozen=True, slots=True)
class Optimisation:
    """Steps of AdamW: the rate rises on a line over `warmup_share` of the steps, then falls on a line to 0."""

    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    clip_norm: float = 1.0
    seed: int = 0


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch and compute on one thread: on the same machine the same bits. Both are as before afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def minimise(
    model: nn.Module, losses: Iterable[Tensor], recipe: Optimisation, report: Callable[[int, float], None]
) -> None:
    """Take one step per loss; `losses` must compute each one when it is asked for, not before.

    `report` is called with (steps done, mean loss since the last call) twenty times. AvebenchError if the loss is not
    finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    warmup = max(1, round(recipe.warmup_share * recipe.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (recipe.steps - step) / max(1, recipe.steps - warmup))
    )
    every, recent = -(-recipe.steps // 20), list[Tensor]()
    for step, loss in enumerate(losses, start=1):
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here.
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        recent.append(loss.detach())
        if step % every == 0 or step == recipe.steps:
            mean = float(torch.stack(recent).mean())
            if not mean < float("inf"):
                raise AvebenchError(f"The loss is not finite around step {step}. Lower the learning rate.")
            report(step, mean)
            recent.clear()
