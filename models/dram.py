"""DRAM's base tagger: the text-only Vanilla IRC row of Table 6 (dynamic range modulation, journal section 3.1.1).

    X = BERT(text)  (B, S, H)  ->  BiLSTM (H -> H/2 per direction)  ->  dropout  ->  Linear (H -> 2N+1)  ->  CRF

S counts labelling units: characters in Chinese, words otherwise. [CLS], [SEP], further word pieces and padding never
reach the BiLSTM. The loss is the mean over sentences of -log p(gold tags).

Departures from the authors' code: 2N+1 tags as in the papers (the code has a blank tag more), padding is masked in the
encoder (theirs attends to it), Chinese text is tokenised character by character (theirs shifts tags against Latin
letters and digits), and the checkpoint is chosen on validation. Schedule and clipping are unstated in the papers:
constant rate, norm 5.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from avebench.examples import AttributeSchema, Example, Prediction, pairs_from_spans
from avebench.model import ModelCard, TrainedConfig, TrainingConfig, Vocabulary
from avebench.nn.bilstm_crf import BiLSTMCRF
from avebench.nn.neural import Batch, NeuralModel
from avebench.nn.text_encoder import EncodedText, Pooling, TextEncoder
from avebench.tagging import bio_labels, spans_to_tags, tags_to_spans

CARD = ModelCard(
    name="dram",
    summary="Dynamic range modulation; here its base, Vanilla IRC over text: BERT, BiLSTM, CRF over 2N+1 tags",
    paper=(
        "DRAM: Dynamic Range Modulation for Multimodal Attribute Value Extraction on E-Commerce Product Data, "
        "Electronics 2026, 15(5), 969; arXiv 2207.07278"
    ),
    year=2026,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    needs=("text encoder",),
    published_with="RoBERTa-small-Chinese (uer/chinese_roberta_L-4_H-512)",
    code="https://github.com/AnonymousAz01/ULS-DRAM",
)


class Config(TrainedConfig):
    """Options of DRAM; the defaults are the journal's (`lr-a`: one rate of 5e-5 for everything)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lr-b": {"training": {"learning_rates": {"text_encoder": 5e-5, "image_encoder": 1e-5, "default": 1e-3}}}
    }

    text_encoder: str = "uer/chinese_roberta_L-4_H-512"
    """Hub id in the local cache, folder, `minilm` or `demo`."""
    pooling: Pooling = "first"
    """What stands for a unit of several word pieces: the state of the first, or the mean."""
    fusion: Literal["none"] = "none"
    """How the picture enters: not at all."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the tag layer."""
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 5e-5},
        clip_norm=5.0,
        batch_size=70,
        epochs=45,
        selection="tag_f1",
    )

    def pretrained(self) -> dict[str, str]:
        """Return the text encoder by role."""
        return {"text_encoder": self.text_encoder}


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: what a prediction needs of it, its word pieces, and gold tags (U,) of the units that fit."""

    id: str
    text: str
    tokens: tuple[tuple[int, int], ...]
    pieces: EncodedText
    tags: np.ndarray[tuple[int], np.dtype[np.int32]]


class Model(NeuralModel):
    """Vanilla IRC over text (ULS-L)."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.labels = bio_labels(schema.attributes)
        self._tag_ids = {label: number for number, label in enumerate(self.labels)}
        self.text_encoder = TextEncoder(config.text_encoder, schema.units, config.pooling)
        self.decoder = BiLSTMCRF(self.text_encoder.hidden, len(self.labels), config.dropout)

    def encode(self, example: Example) -> Encoded:
        """Return ids and gold tags; an attribute that the schema does not know is tagged O."""
        pieces = self.text_encoder.encode(example)
        tags, _ = spans_to_tags(example.spans, example.tokens)
        ids = [self._tag_ids.get(tag, 0) for tag in tags[: len(pieces.first)]]
        return Encoded(example.id, example.text, example.tokens, pieces, np.array(ids, dtype=np.int32))

    def length(self, encoded: Encoded) -> int:
        """Return the number of word pieces."""
        return len(encoded.pieces.ids)

    def truncated(self, encoded: Encoded) -> int:
        """Return the number of units beyond the encoder's limit; they are tagged O."""
        return encoded.pieces.truncated

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the encoder's batch with `tags` (B, S) and the encoded `examples` themselves."""
        batch = self.text_encoder.collate([example.pieces for example in encoded])
        tags = torch.zeros_like(batch["first"])
        for row, example in zip(tags, encoded, strict=True):
            row[: len(example.tags)] = torch.from_numpy(example.tags)
        return {**batch, "tags": tags, "examples": list(encoded)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf`, the mean over sentences of -log p(gold tags) (journal section 3.3, L_CRF)."""
        states = self.text_encoder(batch).units  # (B, S, H)
        return {"crf": self.decoder.loss(states, batch["lengths"], batch["tags"], "mean")}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the spans of the best tags; an attribute is predicted, with score 1, iff it has a span."""
        paths = self.decoder.decode(self.text_encoder(batch).units, batch["lengths"])
        return [self._prediction(example, path) for example, path in zip(batch["examples"], paths, strict=True)]

    def _prediction(self, example: Encoded, path: Sequence[int]) -> Prediction:
        tags = [self.labels[tag] for tag in path] + ["O"] * example.pieces.truncated
        spans = tuple(tags_to_spans(tags, example.tokens, self.config.chunk_scheme))
        return Prediction(
            id=example.id,
            attributes={span.attribute: 1.0 for span in spans},
            pairs=pairs_from_spans(example.text, spans),
            spans=spans,
        )

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the pretrained encoder and the new layers apart."""
        return {
            "text_encoder": [parameter for parameter in self.text_encoder.parameters() if parameter.requires_grad],
            "default": list(self.decoder.parameters()),
        }
