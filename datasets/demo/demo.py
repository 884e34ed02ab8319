"""The built-in data set: generated product sentences with pictures, the same bytes on every machine.

Its shape (7 categories, 26 attributes ranged by category) follows MEPAVE, journal Table 1. Some words are ambiguous in
the text and settled by the picture; `generator` says how, and computes how far text alone can go.

The splits are the streams of the seeds "train", "valid" and "test". Encoders are pretrained on the stream of the seed
"pretraining", which shares no product with them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from avebench.contracts.dataset import Dataset as BaseDataset
from avebench.contracts.dataset import DatasetCard, DatasetOptions, Fault, check_split
from avebench.contracts.examples import AttributeSchema, Example
from avebench.datasets.demo.generator import candidates_of, generate, optimal_f1, samples, text_only_ceiling
from avebench.datasets.demo.words import ATTRIBUTES, CATEGORIES

__all__ = ["CARD", "Dataset", "Options", "digest", "generate", "split_ceiling", "text_only_ceiling"]

CARD = DatasetCard(
    name="demo",
    summary="Generated English product sentences with 64x64 pictures; words that only the picture settles",
    languages=("en",),
    units="word",
    licence="MIT, made up by this project",
    obtain="Nothing to obtain: it is generated.",
    reader=1,
    fingerprint="cad7f1e2a1bcdd725167183ce4de6144a0e4b41ea90716090e028d1657b25f26",
    built_in=True,
)

SIZES = {"train": 2000, "valid": 300, "test": 500}
"""Split -> sentences; the split's name is the seed of its generator."""


class Options(DatasetOptions):
    """The demo set has no switches of its own."""


def digest(examples: Iterable[Example]) -> str:
    """Return the SHA-256 of texts, labels, identifiers and pixels, in order."""
    state = hashlib.sha256()
    for example in examples:
        spans = [[span.attribute, span.start, span.end] for span in example.spans]
        fields = [example.id, example.product_id, example.category, example.text, example.tokens, spans]
        state.update(json.dumps(fields).encode())
        if example.picture is not None:
            state.update(example.picture.open().tobytes())
    return state.hexdigest()


def split_ceiling(split: str) -> float:
    """Return the expected micro-F1, in %, of the optimal text-only rule on the very texts of `split`.

    The true worlds are not looked at: the expectation is over the generator's posterior given these texts.
    """
    check_split(split)
    return optimal_f1(candidates_of(samples(split, SIZES[split])))


class Dataset(BaseDataset):
    """The generated splits. Nothing is read from disk, and pictures are drawn when they are opened."""

    def read(self, split: str) -> Iterator[Example]:
        """Yield the examples of `split`; AvebenchError if there is no such split."""
        check_split(split)
        yield from generate(split, SIZES[split])

    def pretraining(self, count: int) -> Iterator[Example]:
        """Yield `count` examples of a stream that is no split, for `avebench pretrain`."""
        yield from generate("pretraining", count)

    def schema(self) -> AttributeSchema:
        """Return the 26 attributes, in the order of MEPAVE's vocabulary, labelled by words."""
        return AttributeSchema(ATTRIBUTES, "word")

    def check(self) -> Iterator[Fault]:
        """Yield a fault if this machine generates other bytes than the frozen ones."""
        found = digest(example for split in SIZES for example in self.read(split))
        if found != self.card.fingerprint:
            message = f"the generator makes {found}, not the frozen {self.card.fingerprint}. Reinstall the package."
            yield Fault("demo (generated)", None, None, message)

    def statistics(self) -> dict[str, Any]:
        """Return Table 1's columns per category and in total, sentences per split, and the text-only ceilings in %."""
        by_split = {split: list(self.read(split)) for split in SIZES}
        everything = [example for examples in by_split.values() for example in examples]
        figures: dict[str, Any] = {f"{split} sentences": len(examples) for split, examples in by_split.items()}
        for category in CATEGORIES:
            members = [example for example in everything if example.category == category]
            figures |= {f"{category} {name}": count for name, count in _columns(members).items()}
        figures |= _columns(everything)
        mentions = Counter(span.attribute for example in everything for span in example.spans)
        figures |= {f"mentions of {attribute}": mentions[attribute] for attribute in ATTRIBUTES}
        figures["text_only_ceiling"] = text_only_ceiling()
        figures["test text_only_ceiling"] = split_ceiling("test")
        return figures

    def annotation_files(self) -> list[Path]:
        """Return no file: the set is generated."""
        return []

    def fingerprint(self) -> str:
        """Return the frozen digest without generating anything; `check` compares it with what is generated."""
        return self.card.fingerprint


def _columns(examples: list[Example]) -> dict[str, int]:
    """Return products, instances (sentences), attributes and distinct attribute-value pairs, as in Table 1."""
    values = {(attribute, value.lower()) for e in examples for attribute, found in e.pairs.items() for value in found}
    return {
        "products": len({example.product_id for example in examples}),
        "instances": len(examples),
        "attributes": len({attribute for attribute, _ in values}),
        "values": len(values),
    }
