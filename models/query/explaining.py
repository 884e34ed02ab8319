"""What query systems say of their answers: per attribute that is asked, what decided whether and where it has a value.

All of it comes from the scores that the prediction is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from avebench.contracts.explanation import Figures
from avebench.models.query.questions import OUTSIDE

BEST_PATH = (
    "The CRF's best path decides: an attribute has the values that it tags. Score: the probability, over all paths, "
    "that some token is tagged; inside: that this one is."
)


@contextmanager
def at_test(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation without gradients; its mode is restored afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def by_name(names: Sequence[str], rows: Tensor, units: int) -> dict[str, Figures]:
    """Return of every name its row of figures (K, S), as many as there are units."""
    found = rows[:, :units].float().cpu().numpy()
    return dict(zip(names, found, strict=True))


def inside_values(marginals: Tensor) -> Tensor:
    """Return the probability (Q, S) that a unit is tagged, of the marginals (Q, S, T) of its tags."""
    return 1 - marginals[:, :, OUTSIDE]


def some_value(nothing: Tensor) -> Tensor:
    """Return the probability (Q,) that a text has a value, of the log-likelihood (Q,) of the path that tags nothing."""
    return -torch.expm1(nothing.clamp(max=0))
