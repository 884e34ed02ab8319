"""The tagging decoder of DRAM and its rows: BiLSTM, dropout, linear layer and CRF over labelling units."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from avebench.nn.crf import CRF, Reduction
from avebench.nn.lstm import run_lstm
from avebench.nn.ragged import prefix_mask


class BiLSTMCRF(nn.Module):
    """A one-layer BiLSTM (D -> D/2 per direction), dropout, Linear (D -> T) and a linear-chain CRF.

    Rows are packed by length, so that neither padding nor the other rows of the batch change a prediction. A row may
    be empty. `inputs` is D, an even number; ValueError if it is odd.
    """

    def __init__(self, inputs: int, num_tags: int, dropout: float = 0.2) -> None:
        super().__init__()
        if inputs % 2:
            raise ValueError(f"The decoder's input size is {inputs}; it must be even, half for each direction.")
        self.lstm = nn.LSTM(inputs, inputs // 2, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, num_tags)
        self.crf = CRF(num_tags)

    def emissions(self, states: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return the tag scores (B, S, T) of unit states (B, S, D); rows are meaningful up to their `lengths`."""
        if not states.numel():
            return states.new_zeros(*states.shape[:2], self.crf.num_tags)
        hidden = run_lstm(self.lstm, states, lengths)  # (B, S, D)
        scores: Tensor = self.linear(self.dropout(hidden))  # (B, S, T)
        return scores

    def loss(
        self,
        states: Tensor,
        lengths: Sequence[int],
        tags: Tensor,
        reduction: Reduction = "mean",
        scored: Sequence[int] | None = None,
    ) -> Tensor:
        """Return the negative log-likelihood of `tags` (B, S); `mean` is over rows (journal 3.3, L_CRF).

        The CRF sees the first `scored[b]` positions of a row, by default all `lengths[b]` that the BiLSTM reads.
        """
        mask = prefix_mask(lengths if scored is None else scored, states.size(1), states.device)
        likelihood: Tensor = self.crf(self.emissions(states, lengths), tags, mask, reduction)
        return -likelihood

    def decode(self, states: Tensor, lengths: Sequence[int], scored: Sequence[int] | None = None) -> list[list[int]]:
        """Return the best tags of every row, as many as its length, or as are `scored`."""
        mask = prefix_mask(lengths if scored is None else scored, states.size(1), states.device)
        return self.crf.decode(self.emissions(states, lengths), mask)
