"""LSTMs over rows of different lengths: exact whatever stands beside a row, and one fused call per direction on a CPU.

Packing does the first too, but runs step by step on a CPU, 2 to 4 times slower. There are two ways round it:

* `run_lstm` runs torch's own `nn.LSTM` and gives its states: each row is turned around within its own length.
* `BiLSTM` has the weights of TensorFlow's cell, as the slot-filling systems start and count them, and gives each row's
  last cell state too, which turning does not: behind a row's end the gates hold the state.

They stay two: one way in the other's place changes rounding (gradients by some 2e-6), and so every measured figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avebench.nn.ragged import prefix_mask

SHUT = 1e4
"""What padding adds to the input gate (negative) and to the forget gate: in float32 they are then exactly 0 and 1."""


class BiLSTM(nn.Module):
    """One bidirectional layer, E -> H per direction, with one bias vector per gate and a constant 1 added to forget.

        i, f, o = sigmoid(W x_t + U h_(t-1) + b [+ 1 for f])    g = tanh(W x_t + U h_(t-1) + b)
        c_t = f c_(t-1) + i g                                   h_t = o tanh(c_t)

    `input_weights` (2, 4H, E), `hidden_weights` (2, 4H, H) and `bias` (2, 4H) hold forward and backward direction, the
    gates in the order i, f, g, o (TensorFlow's is i, g, f, o). They start as TensorFlow's: Glorot-uniform over W and U
    of all gates as one matrix, zero bias. `dropout` falls on inputs, drawn for each direction anew, and on outputs,
    never on the state that the layer hands on.

    Rows never see padding nor each other: at padding the input gate is shut and the forget gate open, by one more input
    with constant weights. So the last cell state is that of each row's own end.
    """

    _forget: Tensor
    _shut: Tensor

    def __init__(self, inputs: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = hidden
        self.input_weights = nn.Parameter(torch.empty(2, 4 * hidden, inputs))
        self.hidden_weights = nn.Parameter(torch.empty(2, 4 * hidden, hidden))
        self.bias = nn.Parameter(torch.zeros(2, 4 * hidden))
        self.dropout = nn.Dropout(dropout)
        limit = math.sqrt(6 / (inputs + 5 * hidden))
        for weights in (self.input_weights, self.hidden_weights):
            nn.init.uniform_(weights, -limit, limit)
        forget = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(hidden)
        shut = torch.tensor([-SHUT, SHUT, 0.0, 0.0]).repeat_interleave(hidden)
        self.register_buffer("_forget", forget, persistent=False)
        self.register_buffer("_shut", shut.unsqueeze(1), persistent=False)

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return states (B, S, 2H) and final states (B, 4H) of `inputs` (B, S, E) with `lengths` (B,).

        States are zero behind a row's end; final states are c and h of the forward, then of the backward direction, of
        each row's own end and without dropout. A row may be empty: its states are zero. Computed in at least float32.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            padding = torch.arange(inputs.size(1), device=inputs.device).unsqueeze(1) >= lengths  # (S, B)
            steps = inputs.transpose(0, 1).to(self.bias.dtype)  # (S, B, E)
            column = padding.unsqueeze(2).to(steps.dtype)
            ahead, (_, ahead_cell) = self._run(0, torch.cat([self.dropout(steps), column], 2))
            back, (back_last, back_cell) = self._run(1, torch.cat([self.dropout(steps), column], 2).flip(0))
            states = torch.cat([ahead, back.flip(0)], 2) * (1 - column)  # (S, B, 2H)
            last = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, self.hidden)
            ahead_last = states[..., : self.hidden].gather(0, last)
            final = torch.cat([ahead_cell, ahead_last, back_cell, back_last], 2).squeeze(0)  # (B, 4H)
        return self.dropout(states.transpose(0, 1)), final

    def _run(self, direction: int, inputs: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the outputs (S, B, H) of one direction over `inputs` (S, B, E + 1), and the last h and c (1, B, H)."""
        start = inputs.new_zeros(1, inputs.size(1), self.hidden)
        weights = [
            torch.cat([self.input_weights[direction], self._shut], 1),
            self.hidden_weights[direction],
            self.bias[direction],
            self._forget,
        ]
        outputs, last, cell = torch.lstm(inputs, (start, start), weights, True, 1, 0.0, self.training, False, False)
        return outputs, (last, cell)


def run_lstm(lstm: nn.LSTM, states: Tensor, lengths: Sequence[int]) -> Tensor:
    """Return what a batch-first LSTM makes of `states` (B, S, D), as (B, S, H or 2H).

    Neither padding nor the other rows change a state; what stands behind a row's end is 0. A row may be empty.
    """
    if states.device.type != "cpu" or lstm.num_layers > 1:
        return _packed(lstm, states, lengths)
    # Forwards, padding comes last and changes nothing; backwards, each row is turned around within its own length.
    with torch.autocast("cpu", enabled=False):
        states = states.to(lstm.all_weights[0][0].dtype)
        mask = prefix_mask(lengths, states.size(1), states.device)
        outputs = _direction(lstm, 0, states)
        if lstm.bidirectional:
            places = torch.arange(states.size(1)).expand_as(mask)
            mirror = torch.where(mask, torch.as_tensor(lengths).unsqueeze(1) - 1 - places, places)
            mirror = mirror.unsqueeze(2)  # (B, S, 1)
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
