"""Any Hugging Face BERT or RoBERTa as an encoder of labelling units: one vector per unit, exactly aligned.

Units are tokenised one by one, so no word piece ever spans two of them; word pieces, [CLS], [SEP], padding and the
windows of long texts stay in this room. Nothing is ever fetched: an encoder is a folder on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.masking_utils import create_bidirectional_mask

from avebench.contracts.examples import Units
from avebench.contracts.model import LongTexts
from avebench.nn.pretrained import load_pretrained, quiet
from avebench.nn.ragged import padded
from avebench.nn.unit_pieces import EncodedText, UnitPieces

__all__ = ["EncodedText", "Pooling", "TextEncoder", "TextStates"]

Pooling = Literal["first", "mean"]
WINDOWS_AT_ONCE = 16
"""Windows that pass through the encoder together, where the batch has fewer texts than that."""


class TextStates(NamedTuple):
    """What leaves the encoder: unit states (B, S, H), zero behind a row's last unit, and [CLS] states (B, H).

    The [CLS] state of a text in windows is the mean over them.
    """

    units: Tensor
    cls: Tensor


class TextEncoder(nn.Module, UnitPieces):
    """The pretrained encoder `name` (`demo`, `minilm`, folder, hub id in the local cache) over units of one kind.

    A unit's vector is the last-layer state of its first word piece, or the `mean` over its pieces; how units become
    pieces, `UnitPieces` says. With `long_texts` "window" a text that does not fit is read in overlapping windows, in
    training as at test; a unit's vector is that of the window in which it stands furthest from where the text was cut.
    Every window is a row of the batch of pieces, and units are merged by `pool`: what works on units sees one text.
    With `pooler` the encoder has BERT's layer over [CLS], pretrained or, where the weights have none, new.
    AvebenchError if tokenizer or weights are missing, broken, or of another architecture.
    """

    def __init__(
        self,
        name: str,
        units: Units,
        pooling: Pooling = "first",
        *,
        pooler: bool = False,
        long_texts: LongTexts = "cut",
    ) -> None:
        nn.Module.__init__(self)
        UnitPieces.__init__(self, name, units, long_texts)
        self.pooling = pooling
        with quiet():
            self.model = load_pretrained(self.place, self.folder, "pooler.", add_pooling_layer=pooler)
        self.hidden: int = self.model.config.hidden_size

    def collate(self, encoded: Sequence[EncodedText]) -> dict[str, Any]:
        """Return a padded batch: `ids` and `mask` (W, P), `first` and `counts` (B, S), and `lengths`, a list of B.

        S is at least 1, so that a batch of empty texts has tensors too. The rows of `ids` are the B texts, or their
        first windows. If there are more windows, they follow as further rows up to W; then there are also `window`
        (B, S), the row in which each unit is read, `rows` (B, V), the rows of each text, -1 behind its last, and
        `owner` (W,), the text of each row.
        """
        rows = [text.ids for text in encoded]
        owner = list(range(len(encoded)))
        for number, text in enumerate(encoded):
            rows += text.further
            owner += [number] * len(text.further)
        ids = padded(rows, self.tokenizer.pad_token_id)
        pieces = torch.tensor([len(row) for row in rows])
        batch: dict[str, Any] = {
            "ids": ids,
            "mask": torch.arange(ids.size(1)) < pieces.unsqueeze(1),
            "first": padded([text.first for text in encoded], 0),
            "counts": padded([text.counts for text in encoded], 0),
            "lengths": [len(text.first) for text in encoded],
        }
        if len(rows) > len(encoded):
            batch |= _windows(encoded, owner, batch["first"].shape)
        return batch

    def embed(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Return E (B, P, H) of `ids` (B, P): word, position and type embeddings after LayerNorm and dropout.

        `types` (B, P) are 0 without it, and where the encoder knows no other.
        """
        if types is not None and self.model.config.type_vocab_size < 2:
            types = None
        embeddings: Tensor = self.model.embeddings(input_ids=ids, token_type_ids=types)
        return embeddings

    def layers(self, embeddings: Tensor, mask: Tensor, batch: dict[str, Any] | None = None) -> tuple[Tensor, ...]:
        """Return the output (B, P, H) of every Transformer layer over E (B, P, H); `mask` (B, P) cuts keys.

        If they are the windows of a `batch`, no more pass at once than it has texts, but `WINDOWS_AT_ONCE`; in training
        what lies between the layers' outputs is computed again on the way back. So memory grows with a text's length by
        these outputs alone.
        """
        return self.in_parts(self._layers, batch or {}, embeddings, mask)

    def in_parts(
        self, compute: Callable[..., tuple[Tensor, ...]], batch: dict[str, Any], *inputs: Tensor
    ) -> tuple[Tensor, ...]:
        """Return what `compute` makes of inputs with a row per window of a batch, as `layers` lets them pass."""
        at_once = len(inputs[0])
        if "owner" in batch:
            at_once = max(len(batch["lengths"]), WINDOWS_AT_ONCE)
        if len(inputs[0]) <= at_once:
            return compute(*inputs)
        parts = [
            checkpoint(compute, *some, use_reentrant=False) if torch.is_grad_enabled() else compute(*some)
            for some in zip(*(torch.split(one, at_once) for one in inputs), strict=True)
        ]
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    def _layers(self, embeddings: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        attention = create_bidirectional_mask(
            config=self.model.config, inputs_embeds=embeddings, attention_mask=mask.long()
        )
        states: list[Tensor] = []
        for layer in self.model.encoder.layer:
            embeddings = layer(embeddings, attention)
            states.append(embeddings)
        return tuple(states)

    def pool(self, states: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the unit vectors (B, S, H) of piece states (W, P, H), zero where a row has no unit."""
        first, counts = batch["first"], batch["counts"]  # (B, S)
        if "window" in batch:
            return self._pool_windows(states, first + batch["window"] * states.size(1), counts)
        if self.pooling == "first":
            units = states.gather(1, first.unsqueeze(2).expand(-1, -1, states.size(2)))
            return units.masked_fill((counts == 0).unsqueeze(2), 0.0)
        positions = torch.arange(states.size(1), device=states.device)
        owned = (positions >= first.unsqueeze(2)) & (positions < (first + counts).unsqueeze(2))  # (B, S, P)
        shares = owned / counts.clamp(min=1).unsqueeze(2)
        means: Tensor = shares.to(states.dtype) @ states
        return means

    def _pool_windows(self, states: Tensor, places: Tensor, counts: Tensor) -> Tensor:
        """Return the unit vectors (B, S, H) of states (W, P, H), of units that begin at `places` (B, S) of all W P."""
        flat = states.flatten(0, 1)
        if self.pooling == "first":
            return flat[places].masked_fill((counts == 0).unsqueeze(2), 0.0)
        total = flat.new_zeros(*places.shape, flat.size(1))
        for offset in range(int(counts.max())):
            own = counts > offset
            total = total + flat[(places + offset) * own].masked_fill(~own.unsqueeze(2), 0.0)
        return total / counts.clamp(min=1).unsqueeze(2)

    def of_windows(self, values: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return values (B, ...) of the texts for every window (W, ...): a picture's patches go with each window."""
        return values[batch["owner"]] if "owner" in batch else values

    def highest(self, scores: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the scores (B, N) of texts from those (W, N) of windows: what is true of one window is of the text."""
        if "rows" not in batch:
            return scores
        rows = batch["rows"]  # (B, V)
        return scores[rows.clamp(min=0)].masked_fill((rows < 0).unsqueeze(2), -torch.inf).amax(dim=1)

    def pooled(self, cls: Tensor) -> Tensor:
        """Return tanh(Linear([CLS])) (W, H) of [CLS] states (W, H), of an encoder with a pooler."""
        pooled: Tensor = self.model.pooler(cls.unsqueeze(1))
        return pooled

    def last(self, batch: dict[str, Any]) -> Tensor:
        """Return the last layer's states (W, P, H) of all pieces of a batch that `collate` made."""
        return self.layers(self.embed(batch["ids"]), batch["mask"], batch)[-1]

    def forward(self, batch: dict[str, Any]) -> TextStates:
        """Return the last layer's states of the units and of [CLS], one for each text."""
        return self.states_of(self.last(batch), batch)

    def states_of(self, last: Tensor, batch: dict[str, Any]) -> TextStates:
        """Return the states of units and of [CLS] from the last layer's (W, P, H) of a batch's pieces."""
        units, cls = self.pool(last, batch), last[:, 0]
        if "rows" not in batch:
            return TextStates(units, cls)
        own = batch["rows"] >= 0  # (B, V)
        shares = (own / own.sum(dim=1, keepdim=True)).to(cls.dtype)
        return TextStates(units, (cls[batch["rows"].clamp(min=0)] * shares.unsqueeze(2)).sum(dim=1))


def _windows(encoded: Sequence[EncodedText], owner: Sequence[int], shape: torch.Size) -> dict[str, Tensor]:
    """Return `window`, `rows` and `owner` of texts of which some have further windows; `shape` is (B, S)."""
    own: list[list[int]] = [[] for _ in encoded]
    for row, number in enumerate(owner):
        own[number].append(row)
    rows = torch.full((len(encoded), max(map(len, own))), -1)
    window = torch.zeros(shape, dtype=torch.long)
    for number, (text, found) in enumerate(zip(encoded, own, strict=True)):
        rows[number, : len(found)] = torch.tensor(found)
        window[number] = number
        if text.window is not None:
            window[number, : len(text.window)] = rows[number, torch.from_numpy(text.window).long()]
    return {"window": window, "rows": rows, "owner": torch.tensor(owner)}
