"""Masked language modelling with whole words hidden (Devlin et al. 2019): a small BERT learns a kind of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from avebench.training.optimisation import Optimisation
from avebench.training.pieces import IGNORED, PieceAccuracy, Rows, learn, piece_accuracy
from avebench.training.wordpieces import CONTINUES


@dataclass(frozen=True, slots=True)
class Recipe(Optimisation):
    """How the encoder is built and trained; the defaults made the shipped one."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    feed_forward: int = 512
    positions: int = 64
    dropout: float = 0.1
    hidden_share: float = 0.15


def build(recipe: Recipe, tokenizer: BertTokenizer) -> BertForMaskedLM:
    """Return a BERT with random weights over the tokenizer's pieces."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=recipe.feed_forward,
            max_position_embeddings=recipe.positions,
            hidden_dropout_prob=recipe.dropout,
            attention_probs_dropout_prob=recipe.dropout,
            type_vocab_size=1,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class WordMasker:
    """Hides whole words of rows of word pieces; each word is chosen by itself, with the same probability."""

    def __init__(self, tokenizer: BertTokenizer, share: float) -> None:
        pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self.share = share
        self.mask, self.pad, self.size = tokenizer.mask_token_id, tokenizer.pad_token_id, len(pieces)
        self.special = torch.zeros(self.size, dtype=torch.bool)
        self.special[tokenizer.all_special_ids] = True
        self.starts = torch.tensor([not piece.startswith(CONTINUES) for piece in pieces])

    def padded(self, rows: Rows) -> Tensor:
        """Return the rows as one tensor (B, P) of ids."""
        return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=self.pad)

    def __call__(
        self, ids: Tensor, hide: float = 0.8, swap: float = 0.1, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the ids (B, P) to read and the targets (B, P), `IGNORED` outside the chosen words.

        Of the chosen words a part `hide` becomes [MASK], piece by piece, a part `swap` random pieces; the rest stays.
        """
        word = self.starts[ids].long().cumsum(1)  # (B, P), the number of each piece's word in its row
        fate = torch.rand(2, *ids.shape, generator=generator)  # One draw per word, read by all of its pieces.
        chosen = (fate[0].gather(1, word - 1) < self.share) & ~self.special[ids]
        action = fate[1].gather(1, word - 1)
        others = torch.randint(self.size, ids.shape, generator=generator)
        read = ids.masked_fill(chosen & (action < hide), self.mask)
        read = torch.where(chosen & (action >= hide) & (action < hide + swap), others, read)
        return read, ids.masked_fill(~chosen, IGNORED)


def guess(model: BertForMaskedLM, read: Tensor, targets: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """Return logits (M, V) and targets (M,) of the M pieces that are to be guessed."""
    states = model.bert(input_ids=read, attention_mask=(read != pad).long()).last_hidden_state  # (B, P, H)
    wanted = targets != IGNORED
    # The head is as large as a layer; it sees only what counts.
    return model.cls(states[wanted]), targets[wanted]


def train(
    model: BertForMaskedLM,
    masker: WordMasker,
    rows: Rows,
    recipe: Recipe,
    device: str,
    report: Callable[[int, float], None],
) -> None:
    """Train `model` in place on rows of ids, [CLS] and [SEP] included; `report` as for `minimise`."""

    def loss(some: Rows) -> Tensor:
        read, targets = masker(masker.padded(some))
        logits, wanted = guess(model, read.to(device), targets.to(device), masker.pad)
        # Summed by hand, as the mean over no piece at all is not a number.
        return nn.functional.cross_entropy(logits, wanted, reduction="sum") / max(1, len(wanted))

    learn(model, rows, recipe, device, report, loss)


def masked_accuracy(
    model: BertForMaskedLM, masker: WordMasker, rows: Rows, most_frequent: int, seed: int = 0
) -> PieceAccuracy:
    """Return how many pieces of hidden words the model guesses when every chosen word is [MASK].

    Which words are hidden depends on `rows` and `seed` only.
    """
    model.train(False)
    generator = torch.Generator().manual_seed(seed)

    def guessed(some: Rows) -> tuple[Tensor, Tensor]:
        read, targets = masker(masker.padded(some), hide=1.0, swap=0.0, generator=generator)
        logits, wanted = guess(model, read.to(model.device), targets.to(model.device), masker.pad)
        return logits.argmax(1), wanted

    return piece_accuracy(rows, most_frequent, guessed)
