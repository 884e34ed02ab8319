"""A bidirectional LSTM as the slot-filling systems have it, exact on ragged batches and fast on one CPU thread."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

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
    with constant weights. So the whole padded batch is one call of the fused kernel per direction, and the last cell
    state is that of each row's own end; packing would run the steps one by one (2 to 4 times slower on a CPU).
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
