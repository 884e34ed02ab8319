"""What batches of long texts with many tags need, and that it is said before it is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.files.errors import AvebenchError
from avebench.nn import demand
from avebench.nn.crf import CRF
from avebench.nn.demand import check_demand, predicted_at_once
from avebench.nn.neural import NeuralModel


class Pairs(nn.Module):
    """A model with a CRF and an attention over pairs of units."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.crf = CRF(tags)

    def held_numbers(self, size: int, length: int, *, training: bool) -> int:
        return size * length**2 if training else 0


def test_a_batch_that_no_memory_holds_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight numbers per text, unit and tag, one per pair of units of a text, four per pair of tags."""
    monkeypatch.setattr(demand, "free_memory", lambda device: 8 * 10**9)
    with pytest.raises(AvebenchError) as caught:
        check_demand(Pairs(6001), [7, 5000] * 20, 32, 100)
    said = str(caught.value)
    assert said.startswith("Training on a batch of 32 texts of 5,000 units with 6,001 tags needs some 35 GB of memory")
    assert ", and 8.0 GB are free. Set training.batch_size to at most 7; training.accumulation=5 keeps" in said
    check_demand(Pairs(6001), [7, 5000] * 20, 7, 100)
    with pytest.raises(AvebenchError, match="at most 7"):
        check_demand(Pairs(6001), [7, 5000] * 20, 8, 100)
    with pytest.raises(AvebenchError, match="Not even one such text fits"):
        check_demand(Pairs(6001), [50_000], 32, 100)


def test_a_step_that_takes_long_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demand, "free_memory", lambda device: None)
    said = check_demand(Pairs(6001), [5000] * 32, 32, 1200)
    assert said == (
        "a training step on a batch of 32 texts of 5,000 units with 6,001 tags takes about 4.0 hours on one core; "
        "there are 1,200 steps. Fewer attributes or shorter texts take less."
    )


@pytest.mark.parametrize(("tags", "length"), [(61, 500), (201, 120), (3, 5000), (4001, 20)])
def test_what_tables_have_today_is_neither_refused_nor_announced(tags: int, length: int) -> None:
    """The largest of them is 2,000 attributes at 20 units."""
    assert check_demand(CRF(tags), [length] * 70, 16, 100) is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of the memory is read there")
@pytest.mark.parametrize(("size", "length", "tags"), [(8, 100, 501), (16, 60, 101)])
def test_the_estimate_is_not_above_what_a_batch_takes(size: int, length: int, tags: int) -> None:
    """Counted in the tensors that the gradient keeps, which are what grows with the batch."""
    crf = CRF(tags)
    emissions = torch.zeros(size, length, tags, requires_grad=True)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = -crf(emissions, torch.zeros(size, length, dtype=torch.long), None, "mean")
    loss.backward()
    need = demand.demand(crf, size, length, training=True)
    # The emissions, their copies and their gradients are not among the tensors kept.
    assert 0.4 * need.memory < sum(kept.values()) + 5 * emissions.nbytes < 2.5 * need.memory


class Long(NeuralModel):
    """Predicts nothing and counts how many texts it is given at once."""

    def __init__(self, tags: int) -> None:
        config: Any = type("Config", (), {"training": type("Training", (), {"prediction_batch_size": 4})})
        super().__init__(config, AttributeSchema((), "word"), {})
        self.crf = CRF(tags)
        self.sizes: list[int] = []

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: Any, train: Any) -> dict[str, Any]:
        return {}

    def encode(self, example: Example) -> int:
        return int(example.id)

    def length(self, encoded: int) -> int:
        return encoded

    def collate(self, encoded: Any) -> dict[str, Any]:
        return {"encoded": list(encoded)}

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return {}

    def predict_batch(self, batch: Any) -> list[Prediction]:
        self.sizes.append(len(batch["encoded"]))
        return [Prediction(str(one), {}, {}, ()) for one in batch["encoded"]]


def test_long_texts_are_predicted_fewer_at_once_each_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Long(11)
    lengths = [5, 900, 6, 7, 8, 300, 9, 10, 11]
    assert [one.id for one in model.predict_encoded(lengths)] == [str(length) for length in lengths]
    assert model.sizes == [4, 4, 1]
    model.sizes.clear()
    monkeypatch.setattr(demand, "PREDICTED_BYTES", 4 * 4 * 11 * 600)  # Two texts of 300 units.
    assert [one.id for one in model.predict_encoded(lengths)] == [str(length) for length in lengths]
    assert model.sizes == [4, 2, 1, 1, 1]
    assert predicted_at_once(model, []) == 0
