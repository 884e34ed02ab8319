"""The decoder on ragged batches: rows never see padding or each other."""

import pytest
import torch

from avebench.nn.bilstm_crf import BiLSTMCRF


def decoder() -> BiLSTMCRF:
    torch.manual_seed(0)
    return BiLSTMCRF(8, 5).eval()


def test_a_row_alone_equals_the_row_in_a_batch() -> None:
    model, lengths = decoder(), [4, 0, 7, 1]
    states, tags = torch.randn(4, 9, 8), torch.randint(5, (4, 9))
    losses = model.loss(states, lengths, tags, "none")
    paths = model.decode(states, lengths)
    for row, length in enumerate(lengths):
        alone = states[row : row + 1, : max(length, 1)]
        torch.testing.assert_close(
            losses[row : row + 1], model.loss(alone, [length], tags[row : row + 1, : max(length, 1)], "none")
        )
        assert model.decode(alone, [length]) == [paths[row]]
    assert [len(path) for path in paths] == lengths
    torch.testing.assert_close(model.loss(states, lengths, tags), losses.sum() / 4)


def test_padding_has_no_gradient_and_the_batch_loss_is_that_of_an_lstm_run_by_hand() -> None:
    model = decoder()
    states = torch.randn(2, 6, 8, requires_grad=True)
    tags = torch.randint(5, (2, 6))
    model.loss(states, [6, 2], tags).backward()
    assert states.grad is not None and not states.grad[1, 2:].any() and states.grad[1, :2].any()
    emissions = model.linear(model.lstm(states[1:2, :2])[0])
    torch.testing.assert_close(model.emissions(states, [6, 2])[1, :2], emissions[0])


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (2, 3, 8)])
def test_nothing_to_tag(shape: tuple[int, int, int]) -> None:
    model, lengths = decoder(), [0] * shape[0]
    states, tags = torch.randn(shape), torch.zeros(shape[:2], dtype=torch.long)
    loss = model.loss(states, lengths, tags)
    loss.backward()
    assert loss.item() == 0
    assert model.decode(states, lengths) == [[] for _ in lengths]


@pytest.mark.parametrize(("size", "parameters"), [(512, 1_576_960), (768, 3_545_088), (1024, 6_299_648)])
def test_parameter_counts_of_the_released_architecture(size: int, parameters: int) -> None:
    model = BiLSTMCRF(size, 3)
    assert sum(parameter.numel() for parameter in model.lstm.parameters()) == parameters
    assert sum(parameter.numel() for parameter in model.linear.parameters()) == 3 * size + 3
    assert sum(parameter.numel() for parameter in model.crf.parameters()) == 3 * 3 + 2 * 3


def test_an_odd_size_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        BiLSTMCRF(7, 3)
