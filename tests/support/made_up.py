"""Systems and data sets of a test's own: of a plug-in file and of gold lines, the test writes what it is about."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from textwrap import indent
from typing import Any

SPLITS = ("train", "valid", "test")

_CARD = """CARD = ModelCard(
    name="{name}",
    summary="made up",
    paper="none",
    year=2026,
    modality="{modality}",
    family="test",
    protocols=("oracle",),
    implementation=1,
)
"""
_PLUGIN = '''"""A made-up system."""

{imports}
from avebench.contracts.examples import Prediction, Span, pairs_from_spans
from avebench.contracts.model import Model as BaseModel
from avebench.contracts.model import ModelCard, ModelConfig

{card}

class Config(ModelConfig):
{options}


def spans_of(text, words):
    """Return the first place of every word, by attribute, that stands in a text."""
    starts = {{attribute: text.find(word) for attribute, word in words.items()}}
    return tuple(Span(a, start, start + len(words[a])) for a, start in starts.items() if start >= 0)


def answer(example, spans, **more):
    """Return the prediction of these spans, each attribute with score 1."""
    pairs = pairs_from_spans(example.text, spans)
    return Prediction(example.id, **({{"attributes": dict.fromkeys(pairs, 1.0)}} | more), pairs=pairs, spans=spans)


class Model(BaseModel):
{methods}
'''
EMPTY = """
def predict(self, examples):
    return [answer(example, ()) for example in examples]
"""
"""Methods of a system that finds nothing."""


def card(name: str, modality: str = "T") -> str:
    """Return the statement by which a plug-in file gives its card."""
    return _CARD.format(name=name, modality=modality)


def system(name: str, methods: str, *, options: str = "pass", imports: str = "", modality: str = "T") -> str:
    """Return the text of a plug-in file: a model called `name` with these methods, options and imports.

    Its methods may call `spans_of(text, words)` and `answer(example, spans)`.
    """
    inside = [indent(text.strip("\n"), "    ") for text in (options, methods)]
    return _PLUGIN.format(card=card(name, modality), options=inside[0], methods=inside[1], imports=imports)


def gold_line(name: str, text: str, values: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Return the line of an example: each value, by attribute, is marked where it stands first in the text."""
    starts = {attribute: text.index(value) for attribute, value in values.items()}
    spans = [{"attribute": a, "start": start, "end": start + len(values[a])} for a, start in starts.items()]
    return {"id": name, "text": text, "spans": spans, **more}


def write_gold(folder: Path, lines: Callable[[str], Iterable[Mapping[str, Any]]]) -> Path:
    """Write a data set into a new folder, and return it: `lines` gives those of a split."""
    folder.mkdir(parents=True)
    for split in SPLITS:
        text = "".join(json.dumps(line) + "\n" for line in lines(split))
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder
