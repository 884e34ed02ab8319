"""Rows of different lengths in one batch: their mask, and an LSTM over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def prefix_mask(lengths: Sequence[int] | Tensor, width: int, device: torch.device) -> Tensor:
    """Return the mask (B, width) that is true at the first `lengths[b]` positions of row b."""
    ends = torch.as_tensor(lengths, dtype=torch.long, device=device)
    return torch.arange(width, device=device) < ends.unsqueeze(1)


def run_lstm(lstm: nn.LSTM, states: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return what a batch-first LSTM makes of `states` (B, S, D), as (B, S, H or 2H).

    Neither padding nor the other rows change a state; what stands behind a row's end is 0. A row may be empty.
    """
    if states.device.type != "cpu" or lstm.num_layers > 1:
        return _packed(lstm, states, lengths)
    # A packed batch runs step by step on a CPU; a padded one is a single fused call, 2 to 4 times as fast. Forwards,
    # padding comes last and changes nothing; backwards, each row is turned around within its own length.
    with torch.autocast("cpu", enabled=False):
        states = states.to(lstm.all_weights[0][0].dtype)
        mask = prefix_mask(lengths, states.size(1), states.device)
        outputs = _direction(lstm, 0, states)
        if lstm.bidirectional:
            places = torch.arange(states.size(1)).expand_as(mask)
            mirror = torch.where(mask, torch.as_tensor(lengths).unsqueeze(1) - 1 - places, places).unsqueeze(
                2
            )  # (B, S, 1)
            turned = _direction(lstm, 1, states.gather(1, mirror.expand_as(states)))
            outputs = torch.cat([outputs, turned.gather(1, mirror.expand_as(turned))], 2)
        return outputs.masked_fill(~mask.unsqueeze(2), 0.0)


def _direction(lstm: nn.LSTM, number: int, states: Tensor) -> Tensor:
    """Return the outputs (B, S, H) of one direction's weights, run forwards over `states` (B, S, D)."""
    start = states.new_zeros(1, len(states), lstm.hidden_size)
    outputs: Tensor = torch.lstm(
        states, (start, start), tuple(lstm.all_weights[number]), lstm.bias, 1, 0.0, lstm.training, False, True
    )[0]
    return outputs


def _packed(lstm: nn.LSTM, states: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return the same through a packed batch, for which GPUs have a fused kernel."""
    # An LSTM refuses empty rows: they run over one padding position.
    ends = torch.as_tensor(lengths).cpu().clamp(min=1)
    packed = pack_padded_sequence(states, ends, batch_first=True, enforce_sorted=False)
    hidden, _ = pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=states.size(1))
    return hidden.masked_fill(~prefix_mask(lengths, states.size(1), states.device).unsqueeze(2), 0.0)
