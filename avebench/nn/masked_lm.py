"""Masked language modelling with whole words hidden (Devlin et al. 2019): a small BERT learns a kind of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from avebench.batching import epoch_batches, plan
from avebench.errors import AvebenchError
from avebench.wordpieces import CONTINUES

IGNORED = -100
"""Target of pieces that need not be guessed, as `cross_entropy` knows it."""
Rows = Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the encoder is built and trained; the defaults made the shipped one.

    Warm-up rises on a line over `warmup_share` of the steps, then the rate falls on a line to 0.
    """

    layers: int = 4
    width: int = 128
    heads: int = 4
    feed_forward: int = 512
    positions: int = 64
    dropout: float = 0.1
    steps: int = 4000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_share: float = 0.1
    clip_norm: float = 1.0
    hidden_share: float = 0.15
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MaskedAccuracy:
    """Shares, in %, of the hidden pieces that were guessed: by the model, and by always the most frequent piece."""

    model: float
    most_frequent: float
    pieces: int


@contextmanager
def reproducible(seed: int) -> Iterator[None]:
    """Seed torch and compute on one thread: on the same machine the same bits. Both are as before afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


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
    """Train `model` in place by AdamW on rows of ids, [CLS] and [SEP] included.

    `report` is called with (steps done, mean loss since the last call) twenty times. AvebenchError if the loss is not
    finite.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    warmup = max(1, round(recipe.warmup_share * recipe.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (recipe.steps - step) / max(1, recipe.steps - warmup))
    )
    lengths = [len(row) for row in rows]
    every, total, since = -(-recipe.steps // 20), torch.zeros((), device=device), 0
    batches = plan(lengths, recipe.batch_size, 1, order="bucketed", repetition=recipe.seed, start=0, stop=recipe.steps)
    model.to(device).train()  # type: ignore[arg-type]  # transformers wraps `to` without its types.
    for step, batch in enumerate(batches, start=1):
        read, targets = masker(masker.padded([rows[position] for position in batch.positions]))
        logits, wanted = guess(model, read.to(device), targets.to(device), masker.pad)
        # Summed by hand, as the mean over no piece at all is not a number.
        loss = nn.functional.cross_entropy(logits, wanted, reduction="sum") / max(1, len(wanted))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here.
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        total, since = total + loss.detach(), since + 1
        if step % every == 0 or step == recipe.steps:
            mean = float(total) / since
            if not mean < float("inf"):
                raise AvebenchError(f"The loss is not finite around step {step}. Lower the learning rate.")
            report(step, mean)
            total, since = torch.zeros_like(total), 0
    model.train(False)


@torch.inference_mode()
def masked_accuracy(
    model: BertForMaskedLM, masker: WordMasker, rows: Rows, most_frequent: int, seed: int = 0
) -> MaskedAccuracy:
    """Return how many pieces of hidden words the model guesses when every chosen word is [MASK].

    Which words are hidden depends on `rows` and `seed` only. The baseline always guesses the id `most_frequent`. All
    figures are 0 where nothing was hidden.
    """
    model.train(False)
    generator = torch.Generator().manual_seed(seed)
    right = frequent = pieces = 0
    for positions in epoch_batches([len(row) for row in rows], 128, order="sequential", repetition=0, epoch=0):
        read, targets = masker(masker.padded([rows[p] for p in positions]), hide=1.0, swap=0.0, generator=generator)
        logits, wanted = guess(model, read.to(model.device), targets.to(model.device), masker.pad)
        right += int((logits.argmax(1) == wanted).sum())
        frequent += int((wanted == most_frequent).sum())
        pieces += len(wanted)
    return MaskedAccuracy(100 * right / max(1, pieces), 100 * frequent / max(1, pieces), pieces)
