"""A training step of Slot-Gated on sentences as short as those of SNIPS, on one thread; and its BiLSTM three ways.

The BiLSTM is compared with nn.LSTM over packed rows and with a loop over LSTM cells, forward and backward.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from avebench.contracts.examples import INTENT, AttributeSchema, Example
from avebench.contracts.tagging import word_units
from avebench.models.slot_filling import slot_gated
from avebench.nn.lstm import BiLSTM

ROWS, SIZE, WORDS, CALLS, ROUNDS = 16, 64, 11_241, 20, 7


def lengths() -> Tensor:
    """Return 16 lengths as SNIPS has them: 9 words on average."""
    drawn = random.Random(0)
    return torch.tensor([max(2, min(25, round(drawn.gauss(9, 3)))) for _ in range(ROWS)])


def packed(inputs: Tensor, rows: Tensor, module: nn.LSTM) -> Tensor:
    """Return the states of nn.LSTM over packed rows."""
    found = module(pack_padded_sequence(inputs, rows, batch_first=True, enforce_sorted=False))[0]
    return pad_packed_sequence(found, batch_first=True)[0]


def cells(inputs: Tensor, ahead: nn.LSTMCell, back: nn.LSTMCell) -> Tensor:
    """Return the states of a loop over cells in both directions, without regard to lengths."""
    found = []
    for cell, steps in ((ahead, range(inputs.size(1))), (back, reversed(range(inputs.size(1))))):
        state = (inputs.new_zeros(ROWS, SIZE), inputs.new_zeros(ROWS, SIZE))
        outputs = []
        for step in steps:
            state = cell(inputs[:, step], state)
            outputs.append(state[0])
        found.append(torch.stack(outputs))
    return torch.cat(found, 2)


def milliseconds(call: Callable[[], object]) -> float:
    """Return the time of a call: the median of rounds, each the mean of some calls."""
    call()
    rounds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(CALLS):
            call()
        rounds.append(1000 * (time.process_time() - started) / CALLS)
    return statistics.median(rounds)


def examples() -> list[Example]:
    """Return made-up utterances over as many words as SNIPS has; the first ones name every word once."""
    drawn = random.Random(1)
    texts = [" ".join(f"w{drawn.randrange(WORDS)}" for _ in range(int(length))) for length in lengths()]
    texts += [" ".join(f"w{word}" for word in range(WORDS))]
    return [
        Example(str(number), text, word_units(text), (), {INTENT: frozenset({f"i{number % 7}"})})
        for number, text in enumerate(texts)
    ]


def slot_gated_step() -> Callable[[], None]:
    """Return a function that makes the gradients of a step of Slot-Gated, clips them and applies both updates."""
    schema = AttributeSchema(("a",), "word", tuple(f"i{number}" for number in range(7)))
    config, data = slot_gated.Config(), examples()
    model = slot_gated.Model(config, schema, slot_gated.Model.learn_vocabulary(config, schema, data)).train()
    encoded = [model.encode(example) for example in data[:ROWS]]
    adam = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        parts = model(model.collate(encoded))
        updates = model.updates()
        found = [
            torch.autograd.grad(parts[update.losses[0]], update.parameters, retain_graph=update is updates[0])
            for update in updates
        ]
        for update, gradients in zip(updates, found, strict=True):
            for parameter, gradient in zip(update.parameters, gradients, strict=True):
                parameter.grad = gradient
            nn.utils.clip_grad_norm_(update.parameters, 5.0)
            adam.step()
            adam.zero_grad()

    return step


def main() -> None:
    """Print milliseconds and ratios."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = lengths()
    inputs = torch.randn(ROWS, int(rows.max()), SIZE, requires_grad=True)
    own, other = BiLSTM(SIZE, SIZE), nn.LSTM(SIZE, SIZE, batch_first=True, bidirectional=True)
    ahead, back = nn.LSTMCell(SIZE, SIZE), nn.LSTMCell(SIZE, SIZE)
    base = milliseconds(lambda: own(inputs, rows)[0].sum().backward())
    for name, call in (
        ("packed nn.LSTM", lambda: packed(inputs, rows, other).sum().backward()),
        ("cells", lambda: cells(inputs, ahead, back).sum().backward()),
    ):
        found = milliseconds(call)
        print(f"BiLSTM of 16 rows against {name}: {base:.1f} to {found:.1f} ms, ratio {found / base:.1f}.")
    print(f"A step of Slot-Gated, batch 16, both updates: {milliseconds(slot_gated_step()):.1f} ms of CPU time.")


if __name__ == "__main__":
    main()
