"""Filling in what was cut out of texts (Raffel et al. 2020): a small T5 learns to read and write a kind of text.

Spans of pieces are cut out of a text, with a mark in the place of each; what is to be written is every mark followed by
what stood there. 15 % of the pieces are hidden, in spans of 3 on average, as for T5; where spans may lie is ours, any
place as long as no two touch, while T5's code always hides the end of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import T5Config, T5ForConditionalGeneration

from avebench.training.optimisation import Optimisation
from avebench.training.pieces import IGNORED, PieceAccuracy, Rows, learn, piece_accuracy

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SPECIAL = (PAD, END, UNKNOWN)
"""Special symbols of a T5, with the ids 0, 1 and 2."""


@dataclass(frozen=True, slots=True)
class DenoisingRecipe(Optimisation):
    """How the encoder-decoder is built and trained; the defaults made the shipped one.

    `layers` are those of the encoder, and as many of the decoder. `marks` are there for spans that are cut out.
    """

    layers: int = 3
    width: int = 128
    heads: int = 4
    feed_forward: int = 512
    dropout: float = 0.1
    positions: int = 64
    marks: int = 16
    hidden_share: float = 0.15
    mean_span: float = 3.0


def marks(count: int) -> list[str]:
    """Return the symbols that stand for what was cut out, as T5 calls them."""
    return [f"<extra_id_{number}>" for number in range(count)]


def build(recipe: DenoisingRecipe, pieces: int) -> T5ForConditionalGeneration:
    """Return a T5 with random weights over so many pieces."""
    return T5ForConditionalGeneration(
        T5Config(  # type: ignore[call-arg]  # It takes what every configuration takes; its types do not know.
            vocab_size=pieces,
            d_model=recipe.width,
            d_kv=recipe.width // recipe.heads,
            d_ff=recipe.feed_forward,
            num_layers=recipe.layers,
            num_heads=recipe.heads,
            dropout_rate=recipe.dropout,
            decoder_start_token_id=SPECIAL.index(PAD),
        )
    )


class SpanCutter:
    """Cuts spans out of rows of piece ids; `marks` are the ids of the marks in their order."""

    def __init__(self, marks: Sequence[int], share: float, mean: float) -> None:
        self.marks, self.share, self.mean = list(marks), share, mean

    def __call__(self, row: Sequence[int], generator: torch.Generator | None = None) -> tuple[list[int], list[int]]:
        """Return what is read of a row without its end, and what is to be written, both with their ends.

        Of a row with fewer than two pieces nothing is hidden.
        """
        end = SPECIAL.index(END)
        if len(row) < 2:
            return [*row, end], [end]
        hidden = min(max(1, round(len(row) * self.share)), len(row) - 1)
        kept = len(row) - hidden
        spans = min(max(1, round(hidden / self.mean)), kept + 1, hidden, len(self.marks))
        # Before which of the pieces that are kept, or behind all of them, a span lies.
        slots = torch.randperm(kept + 1, generator=generator)[:spans].sort().values.tolist()
        cuts = (1 + torch.randperm(hidden - 1, generator=generator)[: spans - 1]).sort().values.tolist()
        lengths = [stop - start for start, stop in zip([0, *cuts], [*cuts, hidden], strict=True)]
        read: list[int] = []
        written: list[int] = []
        place = seen = 0
        for slot, length, mark in zip(slots, lengths, self.marks, strict=False):
            read += [*row[place : place + slot - seen], mark]
            place, seen = place + slot - seen, slot
            written += [mark, *row[place : place + length]]
            place += length
        return [*read, *row[place:], end], [*written, end]

    def batch(self, rows: Rows, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Return the ids (B, P) to read, padded, and those to write (B, T), `IGNORED` behind their ends."""
        read, written = zip(*(self(row, generator) for row in rows), strict=True)
        return _padded(read, SPECIAL.index(PAD)), _padded(written, IGNORED)


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=value)


def guess(model: T5ForConditionalGeneration, read: Tensor, written: Tensor) -> Tensor:
    """Return the logits (B, T, V) of each piece that is to be written, given those before it."""
    pad = SPECIAL.index(PAD)
    before = torch.cat([torch.full_like(written[:, :1], pad), written[:, :-1]], dim=1)
    before = before.masked_fill(before == IGNORED, pad)
    logits: Tensor = model(input_ids=read, attention_mask=(read != pad).long(), decoder_input_ids=before).logits
    return logits


def train(
    model: T5ForConditionalGeneration,
    cutter: SpanCutter,
    rows: Rows,
    recipe: DenoisingRecipe,
    device: str,
    report: Callable[[int, float], None],
) -> None:
    """Train `model` in place on rows of ids without their ends; `report` as for `minimise`."""

    def loss(some: Rows) -> Tensor:
        read, written = cutter.batch(some)
        logits = guess(model, read.to(device), written.to(device))
        return nn.functional.cross_entropy(logits.flatten(0, 1), written.to(device).flatten(), ignore_index=IGNORED)

    learn(model, rows, recipe, device, report, loss)


def denoising_accuracy(
    model: T5ForConditionalGeneration, cutter: SpanCutter, rows: Rows, most_frequent: int, seed: int = 0
) -> PieceAccuracy:
    """Return how many hidden pieces the model guesses, each given those before it; marks and ends do not count.

    What is hidden depends on `rows` and `seed` only.
    """
    generator = torch.Generator().manual_seed(seed)
    known = torch.tensor([*cutter.marks, SPECIAL.index(END), IGNORED])

    def guessed(some: Rows) -> tuple[Tensor, Tensor]:
        read, written = cutter.batch(some, generator)
        found = guess(model, read.to(model.device), written.to(model.device)).argmax(2).cpu()
        hidden = ~torch.isin(written, known)
        return found[hidden], written[hidden]

    return piece_accuracy(rows, most_frequent, guessed)
