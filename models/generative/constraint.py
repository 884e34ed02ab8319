"""Writing nothing but pair lists of a text: attributes of the data, and values that stand in the text.

What may be written is a regular language over bytes, `none` or `name: value` pairs between semicolons with their
backslashes as `codec` writes them, where a value is any part of the text that begins and ends with a character that is
no white space. A word piece may come next if what is written with it is still the beginning of a string of that
language. To find all such pieces, a tree of their bytes is walked along with an automaton, whose states are

    (NONE, k)      k bytes of "none" are written        (VALUE, k)  the value goes on with byte k of the text
    (NAME, a, k)   k bytes of the name a and its colon  (FIRST,)    a value begins
    (GAP, k)       k bytes of " ; " are written         (SPACE,)    nothing is; the space of a word's start may be
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from avebench.files.errors import AvebenchError
from avebench.models.generative.codec import NONE, SEPARATOR, written_value
from avebench.models.generative.encoder_decoder import EncoderDecoder

State = tuple[Any, ...]
States = frozenset[State]
_EMPTY, _GAP = NONE.encode(), SEPARATOR.encode()


class PairLists:
    """The automaton of the pair lists of one text."""

    def __init__(self, text: str, names: Sequence[bytes]) -> None:
        self.names = names
        signs = [written_value(sign).encode() if not sign.isspace() else sign.encode() for sign in text]
        self.bytes = b"".join(signs)
        self.begins: list[int] = []
        """Bytes with which a value can begin."""
        self.ends: set[int] = set()
        """Bytes before which one can end."""
        place = 0
        for sign, written in zip(text, signs, strict=True):
            if not sign.isspace():
                self.begins.append(place)
                self.ends.add(place + len(written))
            place += len(written)
        self.heads: list[State] = [
            ("NAME", number, 0) if name else ("FIRST",) for number, name in enumerate(names) if self.begins
        ]
        self.start: States = frozenset([("SPACE",), ("NONE", 0), *self.heads])

    def after(self, states: States, byte: int) -> States:
        """Return the states after one more byte; none if no pair list goes on so."""
        return frozenset(following for state in states for following in self._after(state, byte))

    def _after(self, state: State, byte: int) -> Iterator[State]:
        kind = state[0]
        if kind == "SPACE" and byte == ord(" "):
            yield from self.start - {state}
        elif kind == "NONE" and state[1] < len(_EMPTY) and _EMPTY[state[1]] == byte:
            yield "NONE", state[1] + 1
        elif kind == "NAME" and self.names[state[1]][state[2]] == byte:
            whole = state[2] + 1 == len(self.names[state[1]])
            yield ("FIRST",) if whole else ("NAME", state[1], state[2] + 1)
        elif kind == "FIRST":
            yield from (("VALUE", place + 1) for place in self.begins if self.bytes[place] == byte)
        elif kind == "VALUE":
            if state[1] < len(self.bytes) and self.bytes[state[1]] == byte:
                yield "VALUE", state[1] + 1
            if state[1] in self.ends and _GAP[0] == byte:
                yield "GAP", 1
        elif kind == "GAP" and _GAP[state[1]] == byte:
            if state[1] + 1 == len(_GAP):
                yield from self.heads
            else:
                yield "GAP", state[1] + 1

    def whole(self, states: States) -> bool:
        """Return whether what is written is a pair list."""
        return any(
            state == ("NONE", len(_EMPTY)) or (state[0] == "VALUE" and state[1] in self.ends) for state in states
        )


class Constraint:
    """Which word pieces may come next, for the pieces of a generator and names as they are written before a value.

    One empty name makes lists of values.
    """

    def __init__(self, generator: EncoderDecoder, names: Sequence[str]) -> None:
        self.generator = generator
        self.names = [name.encode() for name in names]
        self.pieces = piece_bytes(generator)
        self.tree: dict[int, Any] = {}
        for piece, written in self.pieces.items():
            node = self.tree
            for byte in written:
                node = node.setdefault(byte, {})
            node.setdefault(_HERE, []).append(piece)

    def allowed(self, lists: PairLists, states: States) -> list[int]:
        """Return the pieces that may come next, in the order of their ids, and the end where it may be."""
        found: list[int] = [self.generator.eos] if lists.whole(states) else []
        waiting = [(self.tree, states)]
        while waiting:
            node, reached = waiting.pop()
            found += node.get(_HERE, [])
            for byte, inner in node.items():
                if byte != _HERE and (following := lists.after(reached, byte)):
                    waiting.append((inner, following))
        return sorted(found)

    def of(self, texts: Sequence[str]) -> _Batch:
        """Return what `generate` asks for each row of a batch of these texts."""
        return _Batch(self, texts)


_HERE = -1
"""Key of a node of the tree under which the pieces stand that end there."""


class _Batch:
    """The constraint of a batch, which remembers the states of what is written so far."""

    def __init__(self, constraint: Constraint, texts: Sequence[str]) -> None:
        self.constraint = constraint
        self.lists = [PairLists(text, constraint.names) for text in texts]
        self.reached: dict[tuple[int, tuple[int, ...]], States] = {}

    def __call__(self, row: int, ids: Tensor) -> list[int]:
        """Return the pieces that may follow the ids (T,) of a row; where nothing fits any more, the end."""
        generator = self.constraint.generator
        written = tuple(ids.tolist()[1:])  # Behind the decoder's start.
        opening = generator.opening
        if len(written) < len(opening):
            return [opening[len(written)]]
        written = written[len(opening) :]
        if generator.eos in written:
            return [generator.pad]
        return self.constraint.allowed(self.lists[row], self._states(row, written)) or [generator.eos]

    def _states(self, row: int, written: tuple[int, ...]) -> States:
        if not written:
            return self.lists[row].start
        if (row, written) not in self.reached:
            states = self._states(row, written[:-1])
            for byte in self.constraint.pieces.get(written[-1], b""):
                states = self.lists[row].after(states, byte)
            self.reached[row, written] = states
        return self.reached[row, written]


def piece_bytes(generator: EncoderDecoder) -> dict[int, bytes]:
    """Return the bytes that each word piece writes, without special symbols.

    AvebenchError if the tokenizer neither spells bytes (BART) nor marks the starts of words (T5, mT5).
    """
    tokenizer = generator.tokenizer
    decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
    kinds = {decoder.get("type"), *(inner["type"] for inner in decoder.get("decoders", []))}
    pieces = dict(enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))))
    special = set(tokenizer.all_special_ids)
    ordinary = {piece: spelled for piece, spelled in pieces.items() if piece not in special and spelled}
    if "ByteLevel" in kinds:
        table = {sign: byte for byte, sign in enumerate(_byte_signs())}
        return {
            piece: bytes(table[sign] for sign in spelled)
            for piece, spelled in ordinary.items()
            if all(sign in table for sign in spelled)
        }
    if kinds & {"Metaspace", "Replace"}:
        return {piece: spelled.replace("▁", " ").encode() for piece, spelled in ordinary.items()}
    raise AvebenchError(
        f"The word pieces of {generator.place} cannot be constrained: its tokenizer neither spells bytes nor marks "
        "where words start. Leave 'constrained' out, or name another generator."
    )


def _byte_signs() -> list[str]:
    """Return the character that stands for each byte in byte-level vocabularies (Radford et al. 2019)."""
    printed = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in printed else next(others)) for byte in range(256)]
