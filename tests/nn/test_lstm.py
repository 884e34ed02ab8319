"""The LSTM over ragged rows against PyTorch's own over packed sequences: outputs and gradients."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avebench.nn.lstm import run_lstm


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("lengths", [[5], [1, 7, 3, 7], [9, 9], [2, 1, 1]])
def test_equals_a_packed_batch(lengths: list[int], bidirectional: bool) -> None:
    torch.manual_seed(sum(lengths))
    width = max(lengths) + 2
    lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=bidirectional)
    states = torch.randn(len(lengths), width, 6, requires_grad=True)
    packed = pack_padded_sequence(states, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=width)
    weights = torch.randn_like(expected)
    leaves = [states, *lstm.parameters()]
    gradients = torch.autograd.grad((expected * weights).sum(), leaves)
    found = run_lstm(lstm, states, lengths)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad((found * weights).sum(), leaves), gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_an_empty_row_is_zero_and_half_precision_is_computed_in_single() -> None:
    lstm = nn.LSTM(6, 4, batch_first=True, bidirectional=True)
    states = torch.randn(2, 3, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = run_lstm(lstm, states, [0, 3])
    assert found.dtype == torch.float32 and not found[0].any()
    torch.testing.assert_close(found[1:], lstm(states[1:])[0])
