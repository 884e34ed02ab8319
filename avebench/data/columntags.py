"""Tags as column files have them, read as the BIO tags that stand for them.

BIOES (also BMES and BMEWO) and BILOU say where a value ends as well: `S`, `U` and `W` are values of one token, `E` and
`L` the last token, `M` one inside. As in conlleval and seqeval a tag that continues what has ended begins a value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from avebench.contracts.tagging import split_tag

Scheme = Literal["auto", "bio", "bioes", "bilou", "bmes"]
UNLABELLED = "UNK"
"""The tag of a token that nobody has labelled."""

_PREFIXES: dict[Scheme, str] = {"auto": "BIESULMW", "bio": "BI", "bioes": "BIES", "bilou": "BILU", "bmes": "BMESW"}
_TAGS = {
    scheme: re.compile(rf"[oO]|[{prefixes}{prefixes.lower()}]-.+", re.DOTALL) for scheme, prefixes in _PREFIXES.items()
}
_PLAIN = re.compile(r"O|[BI]-.+", re.DOTALL)
_ALONE, _LAST = frozenset("SUW"), frozenset("EL")
_READ_AS = {"E": "BIOES", "S": "BIOES", "M": "BMES", "W": "BMES", "U": "BILOU", "L": "BILOU"}


def is_tag(tag: str, scheme: Scheme = "auto") -> bool:
    """Return whether a tag is one of the scheme, in upper or lower case; `auto` takes all of them."""
    return _TAGS[scheme].fullmatch(tag) is not None


def wrong_tag(tag: str, scheme: Scheme = "auto") -> str:
    """Return what is said of a tag that is none."""
    if scheme != "auto" and is_tag(tag):
        return f"'{tag}' is no tag of the scheme '{scheme}', which was asked for. Name another, or auto."
    kind = "BIO" if scheme in {"auto", "bio"} else scheme.upper()
    write = {"bioes": "O, or B-, I-, E- or S-", "bilou": "O, or B-, I-, L- or U-", "bmes": "O, or B-, M-, E- or S-"}
    more = f"Write {write[scheme]} and the attribute." if scheme in write else "Write O, B-attribute or I-attribute."
    return f"'{tag}' is no {kind} tag. {more}"


def bio_tags(tags: Sequence[str], counts: Counter[str]) -> list[str]:
    """Return the tags of a sentence as BIO; what is no tag of any scheme stays as it is.

    `counts` gains how many were in another scheme or in lower case.
    """
    if all(map(_PLAIN.fullmatch, tags)):
        return list(tags)
    found: list[str] = []
    ended, before = False, ""
    for tag in tags:
        if not is_tag(tag):
            found.append(tag)
            ended, before = False, ""
            continue
        written, kind = split_tag(tag)
        prefix = written.upper()
        counts["tags in lower case"] += written != prefix
        if prefix in _READ_AS:
            counts[f"tags of {_READ_AS[prefix]} read as BIO"] += 1
        if prefix == "O":
            found.append("O")
        else:
            begins = prefix == "B" or prefix in _ALONE or (ended and kind == before)
            found.append(f"{'B' if begins else 'I'}-{kind}")
        ended, before = prefix in _ALONE or prefix in _LAST, kind
    return found
