"""CoNLL-style columns of tags: a token per line, columns split by tabs or spaces, an empty line per sentence.

Lines that begin with `#` are comments unless they are tokens: as many columns as the others have, with a tag.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Literal

from avebench.contracts.dataset import Fault
from avebench.data.columntags import UNLABELLED, bio_tags, is_tag, wrong_tag
from avebench.data.jsonlines import fault, text_lines
from avebench.files.errors import AvebenchError

Comments = Literal["auto", "always", "never"]
"""Which lines that begin with `#` are comments; `auto`: those that are no tokens with a tag."""
_VOCABULARY = ("[PAD]", "[UNK]")
"""Predicted tags that a tagger's own vocabulary can yield."""
_COLUMNS = ("token", "gold tag", "predicted tag")


@dataclass(slots=True)
class Tagged:
    """Parallel sentences of tokens, gold and predicted BIO tags; `counts` says what was read as something else."""

    tokens: list[list[str]] = field(default_factory=list)
    gold: list[list[str]] = field(default_factory=list)
    predicted: list[list[str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, tokens: list[str], gold: list[str], predicted: list[str]) -> None:
        """Add a sentence without the tokens that nobody has labelled, which are counted."""
        labelled = [place for place, tag in enumerate(gold) if tag != UNLABELLED]
        count_unlabelled(self.counts, len(gold), len(labelled))
        if not labelled:
            return
        self.tokens.append([tokens[place] for place in labelled])
        self.gold.append(bio_tags([gold[place] for place in labelled], self.counts))
        self.predicted.append(bio_tags([predicted[place] for place in labelled], self.counts))


def count_unlabelled(counts: Counter[str], tokens: int, labelled: int, tag: str = UNLABELLED) -> None:
    """Count the tokens of a sentence that carry the tag `tag`, and the sentence if all do."""
    if labelled < tokens:
        counts[f"tokens without a label ({tag}), left out"] += tokens - labelled
        counts["sentences without any label, left out"] += not labelled


@dataclass(frozen=True, slots=True)
class Row:
    """One token: the line that it stands in, counted from 1, and all its columns."""

    line: int
    columns: tuple[str, ...]


def read_conll(path: Path, gold: Path | None = None) -> Tagged:
    """Read tags for scoring.

    Without `gold` the file has three columns: token, gold tag, predicted tag. With it both files have two, token and
    tag, and must hold the same tokens. Tags are those of `data.columntags`; a predicted one may also be `[PAD]` or
    `[UNK]`, which a tagger's own vocabulary can yield. Tokens whose gold tag is `UNK` are left out. AvebenchError names
    file, line and column of what is wrong, or says that no token has a label.
    """
    found = Tagged()
    if gold is None:
        for sentence in _sentences(path, _COLUMNS, found.counts):
            _add(found, path, sentence, path, sentence, 2)
    else:
        of_gold = _sentences(gold, _COLUMNS[:2], found.counts)
        for wanted, given in zip_longest(of_gold, _sentences(path, (_COLUMNS[0], _COLUMNS[2]), found.counts)):
            _same_tokens(gold, wanted, path, given)
            _add(found, gold, wanted, path, given, 1)
    if not found.tokens:
        raise fault(gold or path, None, None, f"no token has a label: all gold tags are {UNLABELLED}.")
    return found


def _add(found: Tagged, gold: Path, wanted: list[Row], path: Path, given: list[Row], column: int) -> None:
    """Add a sentence of gold and predicted rows, the predicted tag in `column`; AvebenchError for a wrong tag."""
    for row, other in zip(wanted, given, strict=True):
        tag, predicted = row.columns[1], other.columns[column]
        if tag == UNLABELLED:
            continue
        if not is_tag(tag):
            raise fault(gold, row.line, "gold tag", wrong_tag(tag))
        if not is_tag(predicted) and predicted not in _VOCABULARY:
            raise fault(path, other.line, "predicted tag", wrong_tag(predicted))
    tokens, tags = [row.columns[0] for row in wanted], [row.columns[1] for row in wanted]
    found.add(tokens, tags, [row.columns[column] for row in given])


def sentences_of(
    lines: Iterable[tuple[int, str] | Fault],
    shown: str,
    columns: tuple[str, ...] | None,
    counts: Counter[str],
    *,
    comments: Comments = "auto",
    tag_column: int | None = None,
    known: Callable[[str], bool] = is_tag,
) -> Iterator[list[Row] | Fault]:
    """Yield the sentences of numbered lines, and every fault: in front of its sentence, which then lacks that line.

    Each line has exactly the named `columns`; without them it has two or more, as many as the first line. Tabs separate
    if the first line holds one, otherwise spaces; a space can thus be a token where tabs separate. `-DOCSTART-` lines
    and lines without any content end a sentence. `shown` names the file in faults.

    Comments are passed over and counted in `counts`: by `auto` a line that begins with `#` is one unless it has the
    columns of the others, with a tag of those `known` in `tag_column` (counted from 1; None: the last).
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
        parted = "\t" in text if tabs is None else tabs
        # Only ASCII spaces separate: a title may hold an ideographic or a no-break space as a token.
        cells = text.split("\t") if parted else [cell for cell in text.split(" ") if cell]
        if text.startswith("#") and comments != "never":
            fits = len(cells) > 1 if columns is None else len(cells) == len(columns)
            place = (tag_column or len(cells)) - 1
            tagged = place < len(cells) and (known(cells[place]) or (columns is not None and parted))
            if comments == "always" or not (fits and tagged):
                counts["comment lines passed over"] += 1
                continue
        none_yet, tabs = False, parted
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


def _sentences(path: Path, columns: tuple[str, ...], counts: Counter[str]) -> Iterator[list[Row]]:
    """Yield the sentences; AvebenchError at the first fault."""
    for sentence in sentences_of(
        text_lines(path), str(path), columns, counts, known=lambda tag: is_tag(tag) or tag in (*_VOCABULARY, UNLABELLED)
    ):
        if isinstance(sentence, Fault):
            raise AvebenchError(str(sentence))
        yield sentence


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
