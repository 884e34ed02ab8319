"""MAVEQA: the units of a long text that are inside a value, where its paragraph has one.

Yang et al., MAVE: A Product Dataset for Multi-source Attribute Value Extraction, WSDM 2022. The input is `category`
[SEP] `attribute` [SEP] `text` [SEP], read by ETC's global-local attention (`avebench.models.query.global_local`), with
the global tokens [CLS] and one for each segment: the category, the name of the attribute, and every paragraph. Over the
states h of the units i, and g of the segments s,

    inside  sigmoid(w_u . h_i + b_u)
    has     sigmoid(w_s . g_s + b_s)    gold: any of the segment's units is inside a value
    L = sum over i of BCE(inside) + sum over s of BCE(has)

the mean over pairs. A unit counts where both are above 1/2; contiguous units of a paragraph are a value, scored by its
highest unit. The paper takes the highest value (`values` "top"); on data with several of one attribute, "all" are.

The authors begin with ETC's own checkpoint (radius 84, distances up to 12), ours with those of a BERT folder. Where an
example has no category, it has no such segment, and where training has none, nothing has. The losses are over units,
where the authors' are over word pieces, those of category and name among them, which are never inside a value; of a
text in several windows a segment's logit is the highest of them. `encoder` "bert" is the form for texts of one short
segment (MEPAVE): BERT over `[CLS] attribute [SEP] text [SEP]`, with `has` of [CLS]; that, and its ten epochs in batches
of 32, are ours. A batch is of texts, each with all that it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import AttributeSchema, Example
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.query import segments
from avebench.models.query.global_local import GlobalLocal, Structure
from avebench.models.query.pairs import Answers, Encoded, PairModel, Pieces
from avebench.models.query.questions import BEGIN, INSIDE, OUTSIDE, runs
from avebench.models.query.segments import GlobalLocalOptions, piece_paragraphs, segment_numbers, unit_paragraphs
from avebench.models.shared.options import UnitStateOptions
from avebench.nn.neural import Batch
from avebench.nn.ragged import padded, prefix_mask

CARD = ModelCard(
    name="maveqa",
    summary="Global-local attention over category, attribute and paragraphs, which gate the units inside values",
    paper="MAVE: A Product Dataset for Multi-source Attribute Value Extraction, WSDM 2022",
    year=2022,
    modality="T",
    family="query",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    open_attributes=True,
    needs=("text encoder",),
    published_with="ETC-base",
    code="https://github.com/google-research/google-research/tree/master/mave",
)
DECIDES = (
    "Score: the highest probability of a paragraph that it has a value. Values are runs of tokens that are inside one "
    "with more than 1/2, in paragraphs that have one with more than 1/2"
)
TYPES = (0, 0, 0, 1, 1, 1)
"""The token types of BERT that `avebench.models.query.segments` begins with: the text is the second of a pair."""
CLS, OF_CATEGORY, OF_NAME, OF_PARAGRAPH = range(4)
"""Kinds of global tokens."""


class Config(GlobalLocalOptions, UnitStateOptions):
    """Options of MAVEQA; `mepave` is the form for texts of one segment, with the Chinese encoder."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "mepave": {
            "encoder": "bert",
            "values": "all",
            "text_encoder": "bert-base-chinese",
            "training": {"batch_size": 32, "steps": None, "epochs": 10, "warmup_steps": 2225},
        }
    }

    text_encoder: str = "bert-base-uncased"
    encoder: Literal["global-local", "bert"] = "global-local"
    """Global-local attention over segments, or BERT over the pair, the sizes below being those of the first."""
    long_length: int = Field(default=1024, ge=16)
    radius: int = Field(default=84, ge=1)
    distance: int = Field(default=12, ge=1)
    global_length: int = Field(default=64, ge=4)
    """Global tokens; further paragraphs are of the last one."""
    hard: bool = False
    """Whether a segment's global token and its long ones see none of the other kind but each other."""
    values: Literal["top", "all"] = "top"
    """Of the values that are found for an attribute the highest, or all."""
    training: TrainingConfig = TrainingConfig(
        optimizer="adamw",
        learning_rates={"default": 3e-5},
        schedule="linear",
        warmup_steps=10_000,
        batch_size=128,
        steps=200_000,
        selection="tag_f1",
    )


class Model(PairModel):
    """MAVEQA."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        structured = config.encoder == "global-local"
        # [CLS] is a global token.
        super().__init__(config, schema, vocabulary, config.pooling, config.long_length + 1 if structured else None)
        self.decides = DECIDES + ("; of these the highest." if config.values == "top" else ".")
        size = self.text_encoder.hidden
        self.unit, self.segment = nn.Linear(size, 1), nn.Linear(size, 1)
        self.global_local: GlobalLocal | None = None
        self._category_room = 0
        if structured:
            sees: Literal["all", "own"] = "own" if config.hard else "all"
            structure = Structure(config.radius, config.distance, sees, sees)
            self.global_local = GlobalLocal(self.text_encoder, structure, OF_PARAGRAPH + 1, TYPES)
            longest = max([0, *(len(self._names[name].ids) - 1 for name in vocabulary["categories"])])
            self._category_room = min(longest, max(2, self.text_encoder.limit // 3))
            self.text_encoder.limit -= self._category_room
        self._name_segment = OF_NAME if self._category_room else OF_NAME - 1

    @classmethod
    def learn_vocabulary(cls, config: Config, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return the categories, for which there must be room; names are read as texts, so any can be asked for."""
        if config.encoder == "bert":
            return {}
        return {"categories": sorted({example.category for example in train if example.category is not None})}

    def preceding(self, example: Example) -> Pieces:
        """Return the pieces of the category and [SEP], as many as there is room for; none without a category."""
        if not self._category_room or example.category is None:
            return super().preceding(example)
        ids: Pieces = self._names[example.category].ids[1:]
        return ids if len(ids) <= self._category_room else np.concatenate([ids[: self._category_room - 1], ids[-1:]])

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of pairs with `unit_segments` (Q, S), for `has` of each unit, and its segments' tokens."""
        batch = super().collate(encoded)
        if not batch["questions"]:
            return batch
        shape = batch["first"].shape
        if self.global_local is None:
            return batch | {"unit_segments": torch.zeros(shape, dtype=torch.long)}
        name, rows = self._name_segment, []
        for one in encoded:
            rows += [unit_paragraphs(one.example, len(one.text.first))] * len(one.questions)
        paragraphs = padded(rows, width=shape[1]).clamp(max=self.config.global_length - name - 2)
        numbers = segment_numbers(batch, name, piece_paragraphs(batch, paragraphs))
        types = self._types(encoded, int(numbers.max()) + 1)
        kinds = [CLS, OF_CATEGORY, OF_NAME] if name == OF_NAME else [CLS, OF_NAME]
        kinds += [OF_PARAGRAPH] * (types.size(1) - len(kinds))
        return batch | {
            "segments": numbers,
            "kinds": torch.tensor(kinds),
            "kind_types": torch.full((len(kinds),), segments.GLOBAL),
            "segment_types": types[batch["owner"]] if "owner" in batch else types,
            "unit_segments": paragraphs + name,  # [CLS] is no segment.
        }

    def _types(self, encoded: Sequence[Encoded], size: int) -> Tensor:
        """Return the types (Q, G) of the long tokens of G segments, [CLS] among them."""
        front = [segments.GLOBAL, segments.CATEGORY, segments.NAME]
        front = front if self._name_segment == OF_NAME else [front[0], front[2]]
        rows = []
        for one in encoded:
            sources = [source for _, _, source in segments.paragraphs_of(one.example)]
            types = [segments.SOURCES.get(source, segments.OTHER) for source in sources]
            row = [*front, *types][:size]
            rows += [np.array(row + row[-1:] * (size - len(row)))] * len(one.questions)
        return padded(rows)

    def scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits of the units (Q, S) and of the segments (Q, N), minus infinity where there is none."""
        if self.global_local is None:
            states, cls = self.read(batch)
            return self.unit(states).squeeze(2), self.segment(cls)
        tops, pieces = self.global_local(self.text_encoder, batch)
        numbers = torch.arange(1, tops.size(1), device=tops.device)  # [CLS] is no segment.
        there = (batch["segments"].unsqueeze(1) == numbers.unsqueeze(1)).any(dim=2)
        has = self.segment(tops[:, 1:]).squeeze(2).masked_fill(~there, -torch.inf)
        states = self.text_encoder.pool(pieces, batch)
        return self.unit(states).squeeze(2), self.text_encoder.highest(has, batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `units` and `segments`, sums over those of a pair, the means over pairs."""
        if not batch["questions"]:
            nothing = (self.unit.bias + self.segment.bias).sum() * 0
            return {"units": nothing, "segments": nothing}
        inside, has = self.scores(batch)
        tags = padded([np.array(question.tags, np.int32) for question in batch["questions"]], width=inside.size(1))
        gold = (tags != OUTSIDE).to(inside)
        mask = prefix_mask(batch["lengths"], inside.size(1), inside.device)
        of_segments = torch.zeros_like(has).scatter_add(1, batch["unit_segments"], gold).clamp(max=1)
        return {"units": _summed(inside, gold, mask), "segments": _summed(has, of_segments, has > -torch.inf)}

    def answers(self, batch: Batch) -> Answers:
        """Return the runs of units above 1/2 in paragraphs above 1/2, of each pair all or the highest."""
        inside, has = self.scores(batch)
        owners = batch["unit_segments"]
        highest = has.gather(1, owners)
        found = (inside > 0) & (highest > 0)
        highest = highest.masked_fill(~prefix_mask(batch["lengths"], inside.size(1), inside.device), -torch.inf)
        begins = functional.pad(owners[:, 1:] != owners[:, :-1], (1, 0))  # Values end with their paragraph.
        tags = (found * torch.where(begins, BEGIN, INSIDE)).tolist()
        answers = []
        for row, length, scores in zip(tags, batch["lengths"], inside.tolist(), strict=True):
            values = list(runs(row[:length]))
            if self.config.values == "top" and values:
                values = [max(values, key=lambda value: max(scores[value[0] : value[1] + 1]))]
            answers.append(values)
        return Answers(answers, highest.amax(dim=1).sigmoid(), {"inside": inside.sigmoid()})


def _summed(logits: Tensor, gold: Tensor, mask: Tensor) -> Tensor:
    """Return the binary cross-entropy of logits (Q, N), the sum over those of a mask, the mean over Q."""
    known = logits.masked_fill(~mask, 0.0)
    each = functional.binary_cross_entropy_with_logits(known, gold, reduction="none")
    return (each * mask).sum() / len(logits)
