"""What the pretraining of every encoder of texts shares: learning from rows of piece ids, accuracy, and the folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from avebench.contracts.seeds import derive_seed
from avebench.nn.batching import epoch_batches, plan
from avebench.nn.pretrained import quiet
from avebench.nn.weights import Modality
from avebench.training.encoder_folders import check_device, open_source, texts_of, whole_folder, write_card
from avebench.training.optimisation import Optimisation, minimise, reproducible

Rows = Sequence[Sequence[int]]
"""Texts as ids of their pieces."""
IGNORED = -100
"""Target of a piece that is not to be guessed."""
Tokenizer = TypeVar("Tokenizer")


@dataclass(frozen=True, slots=True)
class SentencePlan:
    """What an encoder of texts is made from; `recipe` is how.

    `held_out` sentences after the first `sentences` measure its accuracy, less those whose product or text is among the
    first. At most `pieces` pieces are learnt, from pairs that occur `min_count` times: enough for words, too many for
    most numbers.
    """

    sentences: int = 50_000
    held_out: int = 2_000
    pieces: int = 1_600
    min_count: int = 50
    recipe: Optimisation = field(default_factory=Optimisation)


@dataclass(frozen=True, slots=True)
class PieceAccuracy:
    """Shares, in %, of the hidden pieces that were guessed: by the model, and by always the most frequent piece."""

    model: float
    most_frequent: float
    pieces: int


def learn(
    model: Any,
    rows: Rows,
    recipe: Optimisation,
    device: str,
    report: Callable[[int, float], None],
    loss: Callable[[Rows], Tensor],
) -> None:
    """Train `model` in place by its `loss` on batches of rows; `report` as for `minimise`."""
    lengths = [len(row) for row in rows]
    batches = plan(lengths, recipe.batch_size, 1, order="bucketed", repetition=recipe.seed, start=0, stop=recipe.steps)
    model.to(device).train()
    minimise(model, (loss([rows[position] for position in batch.positions]) for batch in batches), recipe, report)
    model.train(False)


@torch.inference_mode()
def piece_accuracy(rows: Rows, most_frequent: int, guess: Callable[[Rows], tuple[Tensor, Tensor]]) -> PieceAccuracy:
    """Return how many pieces are guessed: `guess` gives the guessed and the true ids (M,) of what it hides of rows.

    The baseline always guesses the id `most_frequent`. All figures are 0 where nothing was hidden.
    """
    right = frequent = pieces = 0
    for positions in epoch_batches([len(row) for row in rows], 128, order="sequential", repetition=0, epoch=0):
        guessed, wanted = guess([rows[position] for position in positions])
        right += int((guessed == wanted).sum())
        frequent += int((wanted == most_frequent).sum())
        pieces += len(wanted)
    return PieceAccuracy(100 * right / max(1, pieces), 100 * frequent / max(1, pieces), pieces)


def most_frequent_piece(rows: Iterable[Sequence[int]]) -> int:
    """Return the piece that rows have most often, of equally frequent ones the first."""
    return min(Counter(piece for row in rows for piece in row).items(), key=lambda item: (-item[1], item))[0]


def pretrain_on_texts(
    name: str,
    out: Path,
    modality: Modality,
    plan: SentencePlan,
    device: str,
    report: Callable[[str], None],
    task: str,
    figure: str,
    tokenizer_of: Callable[[Sequence[str]], Tokenizer],
    train: Callable[[Tokenizer, Sequence[str], Sequence[str]], tuple[Any, PieceAccuracy]],
) -> tuple[Path, PieceAccuracy]:
    """Learn a tokenizer and a model from sentences of the data set `name`; return `out`/NAME-MODALITY and its accuracy.

    The folder is what `save_pretrained` makes of tokenizer and model (weights in float16), and the card, which names
    the `task` and has the accuracy as `figure`. `train` gets the tokenizer, the texts and those held out. On a CPU the
    same call gives the same bytes on the same machine. The folder appears whole or not at all; one that an earlier call
    made is replaced. AvebenchError if the data set has no examples for pretraining, the device is not here, or the
    folder cannot be written.
    """
    dataset = open_source(name)
    check_device(device)
    texts, held_out = texts_of(dataset, plan.sentences, plan.held_out)
    target = out / f"{name}-{modality}"
    with whole_folder(target) as folder:
        report(f"{len(texts)} sentences to learn from, {len(held_out)} held out; {plan.recipe.steps} steps.")
        tokenizer: Any = tokenizer_of(texts)
        tokenizer.save_pretrained(folder)
        with reproducible(derive_seed("pretraining", name, modality, plan.recipe.seed)):
            model, accuracy = train(tokenizer, texts, held_out)
        with quiet():
            model.half().save_pretrained(folder)
        held = {
            figure: accuracy.model,
            "most_frequent_piece": accuracy.most_frequent,
            "hidden_pieces": accuracy.pieces,
        }
        content = {"task": task, "texts_sha256": hashlib.sha256("\n".join(texts).encode()).hexdigest()}
        write_card(folder, dataset, modality, asdict(plan), device, content, held)
    return target, accuracy
