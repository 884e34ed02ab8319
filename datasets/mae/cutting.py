"""How much of a text of MAE is kept: so many units, or the units within so many word pieces of an encoder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from avebench.contracts.tagging import word_units
from avebench.files.errors import AvebenchError
from avebench.files.places import expanded, is_file
from avebench.nn.weights import encoder_folder

CUT = re.compile(r"(?P<unit>words|pieces):(?P<count>[1-9][0-9]*)(?::(?P<vocabulary>.+))?")
"""`words:100`, or `pieces:126:VOCABULARY`."""


def vocabulary_file(cut: str) -> Path | None:
    """Return the tokenizer file that a cut in pieces names; AvebenchError if it is not here."""
    match = CUT.fullmatch(cut)
    assert match is not None
    name = match["vocabulary"]
    if name is None:
        return None
    if is_file(expanded(Path(name))):
        return expanded(Path(name))
    folder = encoder_folder(name)
    for file in ("tokenizer.json", "vocab.txt"):
        if (folder / file).is_file():
            return folder / file
    raise AvebenchError(f"The data set 'mae', option 'cut': {folder} has neither tokenizer.json nor vocab.txt.")


def cutter(cut: str) -> Callable[[str], tuple[tuple[int, int], ...]]:
    """Return the function from a text to the character ranges of its units that lie wholly inside the cut.

    A vocab.txt is read as that of an uncased BERT. AvebenchError if the vocabulary is not on this machine.
    """
    match = CUT.fullmatch(cut)
    assert match is not None
    count = int(match["count"])
    vocabulary = vocabulary_file(cut)
    if vocabulary is None:
        return lambda text: _first_units(text, count)
    from tokenizers import BertWordPieceTokenizer, Tokenizer

    if vocabulary.suffix == ".json":
        tokenizer = Tokenizer.from_file(str(vocabulary))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    else:
        tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def units_inside(text: str) -> tuple[tuple[int, int], ...]:
        units = word_units(text)
        # Almost every unit is a piece or more: the rest of a long text is encoded only when it has to be.
        for ahead in (2 * count, len(units)):
            if not units[:ahead]:
                return ()
            pieces = tokenizer.encode(text[: units[:ahead][-1][1]], add_special_tokens=False).offsets
            if len(pieces) > count:
                # The first piece outside may lie within a unit, which is then outside as well.
                return tuple(unit for unit in units[:ahead] if unit[1] <= pieces[count][0])
        return units

    return units_inside


def _first_units(text: str, count: int) -> tuple[tuple[int, int], ...]:
    """Return the first `count` units, without cutting all of a long text into units."""
    units = word_units(text[: 10 * count])
    # The last unit of a beginning may go on behind it; with one more than needed that does not matter.
    return (units if len(units) > count else word_units(text))[:count]
