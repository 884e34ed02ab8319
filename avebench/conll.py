"""CoNLL-style columns of BIO tags: a token per line, columns split by tabs or spaces, an empty line per sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from avebench.jsonlines import fault, text_lines

_GOLD_TAG = re.compile(r"O|[BI]-.+")
_PREDICTED_TAG = re.compile(r"O|[BI]-.+|\[PAD\]|\[UNK\]")
_COLUMNS = ("token", "gold tag", "predicted tag")


@dataclass(slots=True)
class Tagged:
    """Parallel sentences of gold and predicted tags."""

    gold: list[list[str]] = field(default_factory=list)
    predicted: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    columns: tuple[str, ...]


def read_conll(path: Path, gold: Path | None = None) -> Tagged:
    """Read tags for scoring.

    Without `gold` the file has three columns: token, gold tag, predicted tag. With it both files have two, token and
    tag, and must hold the same tokens. A tag is `O`, `B-x` or `I-x`; a predicted one may also be `[PAD]` or `[UNK]`,
    which a tagger's own vocabulary can yield. `-DOCSTART-` lines are passed over. AvebenchError names file, line and
    column.
    """
    found = Tagged()
    if gold is None:
        for sentence in _sentences(path, _COLUMNS):
            found.gold.append([_tag(path, row, 1, _GOLD_TAG) for row in sentence])
            found.predicted.append([_tag(path, row, 2, _PREDICTED_TAG) for row in sentence])
        return found
    for wanted, given in zip_longest(_sentences(gold, _COLUMNS[:2]), _sentences(path, (_COLUMNS[0], _COLUMNS[2]))):
        _same_tokens(gold, wanted, path, given)
        found.gold.append([_tag(gold, row, 1, _GOLD_TAG) for row in wanted])
        found.predicted.append([_tag(path, row, 1, _PREDICTED_TAG) for row in given])
    return found


def _sentences(path: Path, columns: tuple[str, ...]) -> Iterator[list[_Row]]:
    """Yield the sentences; AvebenchError for a line without exactly these columns, or a file without any sentence."""
    sentence: list[_Row] = []
    tabs: bool | None = None
    none_yet = True
    for number, text in text_lines(path):
        if not text.strip() or text.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            sentence = []
            continue
        if tabs is None:
            tabs = "\t" in text
        # Only ASCII spaces separate: a title may hold an ideographic or a no-break space as a token.
        cells = text.split("\t") if tabs else [cell for cell in text.split(" ") if cell]
        if len(cells) != len(columns) or not all(cells):
            kind = "tabs" if tabs else "spaces"
            message = f"{len(cells)} columns separated by {kind}, {len(columns)} are needed: {', '.join(columns)}."
            if len(cells) == len(columns):
                message = f"the column '{columns[cells.index('')]}' is empty."
            raise fault(path, number, None, message)
        none_yet = False
        sentence.append(_Row(number, tuple(cells)))
    if sentence:
        yield sentence
    if none_yet:
        raise fault(path, None, None, "the file holds no sentence.")


def _tag(path: Path, row: _Row, column: int, pattern: re.Pattern[str]) -> str:
    tag = row.columns[column]
    if not pattern.fullmatch(tag):
        name = "gold tag" if pattern is _GOLD_TAG else "predicted tag"
        raise fault(path, row.line, name, f"'{tag}' is no BIO tag. Write O, B-attribute or I-attribute.")
    return tag


def _same_tokens(gold: Path, wanted: list[_Row] | None, path: Path, given: list[_Row] | None) -> None:
    """Raise AvebenchError at the first token in which the two files differ."""
    if wanted is None and given is not None:
        raise fault(
            path, given[0].line, None, f"a sentence more than in {gold}. Predict the sentences of the gold file."
        )
    if given is None and wanted is not None:
        message = (
            f"the sentence of {gold}, line {wanted[0].line}, and all after it are missing. Predict every sentence."
        )
        raise fault(path, None, None, message)
    for left, right in zip_longest(wanted or (), given or ()):
        if right is None:
            row = (given or [])[-1]
            raise fault(
                path, row.line, None, f"the sentence ends before {gold}, line {left.line}, '{left.columns[0]}'."
            )
        if left is None:
            raise fault(
                path, right.line, "token", f"'{right.columns[0]}' stands after the end of the sentence in {gold}."
            )
        if left.columns[0] != right.columns[0]:
            message = f"'{right.columns[0]}' stands where {gold}, line {left.line}, has '{left.columns[0]}'."
            raise fault(path, right.line, "token", message)
