"""SMARTAVE without pictures: a Transformer whose segments have hyper-tokens and see each other by a fixed structure.

Wang et al., SMARTAVE: Structured Multimodal Transformer for Product Attribute Value Extraction, Findings of EMNLP 2022.
Segments m are the name of the attribute and the text. Each has a hyper-token, a learnt vector plus that of the segment,
and local tokens, its word pieces and [SEP]. Who sees whom, in each of BERT's layers:

    hyper-tokens      one another, and the local tokens of their own segment
    local tokens      every hyper-token, and those of their own segment within `radius`
    those of the text moreover all of the attribute's

and B, I, O of the text's units: a linear layer over their states, and a CRF. L = -log p(tags), the mean over pairs.

There is no code, and we have not seen the paper's layer sizes: the structure is a reconstruction from its neighbours
(ETC, and WebFormer by the same first author), as are AdamW, 3e-5, ten epochs, batches of 32 and the warm-up, a tenth of
ten epochs of MEPAVE. Each distance within a segment has a vector, as in WebFormer, zero at first; all of it is computed
by `avebench.models.query.global_local`, with hyper-tokens for its global ones. A batch is of texts, each with all that
it is asked for, three absent attributes among them. Pictures and OCR text are further segments, which this has none of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.query.explaining import BEST_PATH, inside_values, some_value
from avebench.models.query.global_local import GlobalLocal, Structure
from avebench.models.query.pairs import Answers, Encoded, PairModel
from avebench.models.query.questions import OUTSIDE, runs
from avebench.models.query.segments import GlobalLocalOptions, segment_numbers
from avebench.models.shared.options import UnitStateOptions
from avebench.nn.crf import CRF
from avebench.nn.neural import Batch
from avebench.nn.ragged import padded, prefix_mask

CARD = ModelCard(
    name="smartave",
    summary="Hyper-tokens of attribute and text, structured attention, CRF over B, I, O of the text; no pictures",
    paper="SMARTAVE: Structured Multimodal Transformer for Product Attribute Value Extraction, Findings of EMNLP 2022",
    year=2022,
    modality="T",
    family="query",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    open_attributes=True,
    needs=("text encoder",),
    published_with="BERT-base",
)
NAME, TEXT = 0, 1
"""Segments: of both hyper-tokens and local ones the number, the kind and the token type, of which BERT has these."""


class Config(GlobalLocalOptions, UnitStateOptions):
    """Options of SMARTAVE; `mepave` has the small Chinese encoder of the papers that report it there."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"mepave": {"text_encoder": "uer/chinese_roberta_L-4_H-512"}}

    text_encoder: str = "bert-base-uncased"
    long_length: int = Field(default=512, ge=16)
    radius: int = Field(default=32, ge=1)
    distance: int = Field(default=32, ge=1)
    training: TrainingConfig = TrainingConfig(
        optimizer="adamw",
        learning_rates={"default": 3e-5},
        schedule="linear",
        warmup_steps=2225,
        batch_size=32,
        epochs=10,
        selection="tag_f1",
    )


class Model(PairModel):
    """SMARTAVE over texts."""

    config: Config
    decides = BEST_PATH
    threshold = None

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        # The place of [CLS] in a pair is the name's hyper-token's.
        super().__init__(config, schema, vocabulary, config.pooling, config.long_length + 1)
        structure = Structure(config.radius, config.distance, global_long="own", apart=True, shown=NAME)
        self.global_local = GlobalLocal(self.text_encoder, structure, TEXT + 1, (NAME, TEXT))
        self.linear = nn.Linear(self.text_encoder.hidden, 3)
        self.crf = CRF(3)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of pairs with the segments of its pieces."""
        batch = super().collate(encoded)
        if not batch["questions"]:
            return batch
        both = torch.tensor([NAME, TEXT])
        return batch | {
            "segments": segment_numbers(batch, NAME, torch.zeros_like(batch["ids"])),
            "kinds": both,
            "kind_types": both,
            "segment_types": both.expand(len(batch["ids"]), -1),
        }

    def emissions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores (Q, S, 3) of O, B and I, and which units (Q, S) there are."""
        _, pieces = self.global_local(self.text_encoder, batch)
        states = self.text_encoder.pool(pieces, batch)
        return self.linear(states), prefix_mask(batch["lengths"], states.size(1), states.device)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf`, the mean negative log-likelihood over pairs."""
        if not batch["questions"]:
            return {"crf": (self.linear.bias.sum() + self.crf.start_transitions.sum()) * 0}
        emissions, mask = self.emissions(batch)
        rows = [np.array(question.tags, np.int32) for question in batch["questions"]]
        tags = padded(rows, width=emissions.size(1)).to(emissions.device)
        return {"crf": -self.crf(emissions, tags, mask, "mean")}

    def answers(self, batch: Batch) -> Answers:
        """Return the values on the best path of every pair."""
        emissions, mask = self.emissions(batch)
        nothing = self.crf(emissions, torch.full_like(mask, OUTSIDE, dtype=torch.long), mask, "none")
        units = {"inside": inside_values(self.crf.marginals(emissions, mask))}
        return Answers([list(runs(path)) for path in self.crf.decode(emissions, mask)], some_value(nothing), units)
