"""CoNLL-style columns of BIO tags: a token per line, columns split by tabs or spaces, an empty line per sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from avebench.dataset import Fault
from avebench.errors import AvebenchError
from avebench.jsonlines import fault, text_lines

_GOLD_TAG = re.compile(r"O|[BI]-.+")
_PREDICTED_TAG = re.compile(r"O|[BI]-.+|\[PAD\]|\[UNK\]")
_COLUMNS = ("token", "gold tag", "predicted tag")


@dataclass(slots=True)
class Tagged:
    """Parallel sentences of tokens, gold and predicted tags."""

    tokens: list[list[str]] = field(default_factory=list)
    gold: list[list[str]] = field(default_factory=list)
    predicted: list[list[str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One token: the line that it stands in, counted from 1, and all its columns."""

    line: int
    columns: tuple[str, ...]


def read_conll(path: Path, gold: Path | None = None) -> Tagged:
    """Read tags for scoring.

    Without `gold` the file has three columns: token, gold tag, predicted tag. With it both files have two, token and
    tag, and must hold the same tokens. A tag is `O`, `B-x` or `I-x`; a predicted one may also be `[PAD]` or `[UNK]`,
    which a tagger's own vocabulary can yield. AvebenchError names file, line and
    column.
    """
    found = Tagged()
    if gold is None:
        for sentence in _sentences(path, _COLUMNS):
            found.tokens.append([row.columns[0] for row in sentence])
            found.gold.append([_tag(path, row, 1, _GOLD_TAG) for row in sentence])
            found.predicted.append([_tag(path, row, 2, _PREDICTED_TAG) for row in sentence])
        return found
    for wanted, given in zip_longest(_sentences(gold, _COLUMNS[:2]), _sentences(path, (_COLUMNS[0], _COLUMNS[2]))):
        _same_tokens(gold, wanted, path, given)
        found.tokens.append([row.columns[0] for row in wanted])
        found.gold.append([_tag(gold, row, 1, _GOLD_TAG) for row in wanted])
        found.predicted.append([_tag(path, row, 1, _PREDICTED_TAG) for row in given])
    return found


def sentences_of(
    lines: Iterable[tuple[int, str] | Fault], shown: str, columns: tuple[str, ...] | None
) -> Iterator[list[Row] | Fault]:
    """Yield the sentences of numbered lines, and every fault: in front of its sentence, which then lacks that line.

    Each line has exactly the named `columns`; without them it has two or more, as many as the first line. Tabs separate
    if the first line holds one, otherwise spaces; a space can thus be a token where tabs separate. `-DOCSTART-` lines
    and lines without any content end a sentence. `shown` names the file in faults.
    """
    sentence: list[Row] = []
    tabs: bool | None = None
    none_yet = True
    for line in lines:
        if isinstance(line, Fault):
            none_yet = False
            yield line
            continue
        number, text = line
        if not (text.replace("\t", "") if "\t" in text else text.strip()) or text.startswith("-DOCSTART-"):
            if sentence:
                yield sentence
            sentence = []
            continue
        none_yet = False
        if tabs is None:
            tabs = "\t" in text
        # Only ASCII spaces separate: a title may hold an ideographic or a no-break space as a token.
        cells = text.split("\t") if tabs else [cell for cell in text.split(" ") if cell]
        if columns is None and len(cells) > 1:
            columns = ("token", *(f"column {position}" for position in range(2, len(cells))), "tag")
        wrong = _wrong_columns(cells, columns, "tabs" if tabs else "spaces")
        if wrong is not None:
            yield Fault(shown, number, None, wrong)
        else:
            sentence.append(Row(number, tuple(cells)))
    if sentence:
        yield sentence
    if none_yet:
        yield Fault(shown, None, None, "the file holds no sentence.")


def _wrong_columns(cells: list[str], columns: tuple[str, ...] | None, kind: str) -> str | None:
    """Return what is wrong with the columns of a line, or None; `kind` is what separates them."""
    if columns is None:
        return f"1 column separated by {kind}, 2 or more are needed: token and tag."
    if len(cells) != len(columns):
        return f"{len(cells)} columns separated by {kind}, {len(columns)} are needed: {', '.join(columns)}."
    return f"the column '{columns[cells.index('')]}' is empty." if not all(cells) else None


def is_gold_tag(tag: str) -> bool:
    """Return True for `O`, `B-x` and `I-x`."""
    return _GOLD_TAG.fullmatch(tag) is not None


def _sentences(path: Path, columns: tuple[str, ...]) -> Iterator[list[Row]]:
    """Yield the sentences; AvebenchError at the first fault."""
    for sentence in sentences_of(text_lines(path), str(path), columns):
        if isinstance(sentence, Fault):
            raise AvebenchError(str(sentence))
        yield sentence


def _tag(path: Path, row: Row, column: int, pattern: re.Pattern[str]) -> str:
    tag = row.columns[column]
    if not pattern.fullmatch(tag):
        name = "gold tag" if pattern is _GOLD_TAG else "predicted tag"
        raise fault(path, row.line, name, f"'{tag}' is no BIO tag. Write O, B-attribute or I-attribute.")
    return tag


def _same_tokens(gold: Path, wanted: list[Row] | None, path: Path, given: list[Row] | None) -> None:
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
