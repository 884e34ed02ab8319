"""Attribute names as vectors, for the BERT-guided attribute range module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from avebench.contracts.examples import Units
from avebench.models.dram.text import whole
from avebench.nn.text_encoder import TextEncoder

NameUse = Literal["tuned", "shared", "frozen"]
NAMES_AT_ONCE = 64


class NameEncoder(nn.Module):
    """The [CLS] vector of `[CLS]` name `[SEP]`: of a second encoder (`tuned`, `frozen`) or of the text's (`shared`)."""

    def __init__(self, names: Sequence[str], use: NameUse, encoder: str, units: Units) -> None:
        super().__init__()
        own = None if use == "shared" else TextEncoder(encoder, units)
        # A frozen one is no part of the model: it is run once, in `frozen`.
        self.encoder = own if use == "tuned" else None
        self._outside = [own] if use == "frozen" else []
        self._names = tuple(names)
        self._remembered: Tensor | None = None

    def forward(self, attributes: Tensor, text: TextEncoder) -> tuple[Tensor, Tensor]:
        """Return the vectors (K, H) of the K different `attributes` (M,), and where each of the M stands among them."""
        if self._remembered is not None:
            return self._remembered, attributes
        different, places = torch.unique(attributes, return_inverse=True)
        return self._encode(different.tolist(), self.encoder or text), places

    def frozen(self) -> Tensor:
        """Return the vectors (N, H) of all names, and forget the encoder."""
        encoder = self._outside.pop()
        assert encoder is not None
        with torch.no_grad():
            return self._encode(range(len(self._names)), encoder.eval())

    @contextmanager
    def remembered(self, text: TextEncoder) -> Iterator[None]:
        """Encode all names once for as long as the weights do not change."""
        training = self.training, text.training
        self.eval()
        text.eval()
        with torch.no_grad():
            self._remembered = self._encode(range(len(self._names)), self.encoder or text)
        self.train(training[0])
        text.train(training[1])
        try:
            yield
        finally:
            self._remembered = None

    def _encode(self, numbers: Sequence[int], encoder: TextEncoder) -> Tensor:
        """Return the vectors (K, H) of the names with these numbers, which must not be empty."""
        found: list[Tensor] = []
        for start in range(0, len(numbers), NAMES_AT_ONCE):
            rows = [
                torch.from_numpy(whole(encoder, self._names[number])).long()
                for number in numbers[start : start + NAMES_AT_ONCE]
            ]
            device = next(encoder.parameters()).device
            lengths = torch.tensor([len(row) for row in rows], device=device)
            padding = encoder.tokenizer.pad_token_id
            ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=padding).to(device)
            mask = torch.arange(ids.size(1), device=device) < lengths.unsqueeze(1)
            found.append(encoder.layers(encoder.embed(ids), mask)[-1][:, 0])
        return torch.cat(found)
