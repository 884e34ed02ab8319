"""OpenTag (Zheng et al., KDD 2018): BiLSTM, self-attention and CRF; plain BiLSTM-CRF as an option.

    h = BiLSTM(x)  (B, S, 2H)
    g_ij = tanh(W h_i + W' h_j + b_g)  (d)      a_ij = sigmoid(w_a . g_ij + b_a)      l_i = sum_j a_ij h_j  (B, S, 2H)
    emissions = Linear(2H -> 2N+1)(l)           loss = -log p(tags) of a linear-chain CRF, the mean over texts

x are vectors of units (words, or characters in Chinese), learnt or pretrained. The weights a_ij are sigmoids: each
position j of the text (padding never) is taken or not for itself, they do not sum to 1. An attribute is predicted, with
score 1, iff it has a span: the system has no classifier.

There is no code by the authors. One model tags all attributes (the paper also trains one per attribute), with BIO tags
(the paper: BIOE). Sizes, dropout and optimiser are the paper's as far as they are known; unstated and ours are the size
d of the attention, where dropout stands (on x and before the tag layer), the rate 1e-3, clipping to norm 5, the epochs,
and that units which occur once in training stand for the unknown. Active learning is not part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction, prediction_of
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.contracts.tagging import bio_labels, spans_to_tags, tags_to_spans
from avebench.models.shared.options import UnitVectorOptions
from avebench.nn.crf import CRF
from avebench.nn.lstm import run_lstm
from avebench.nn.neural import Batch, NeuralModel
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.word_vectors import UnitEmbeddings, learn_units

CARD = ModelCard(
    name="opentag",
    summary="BiLSTM, sigmoid-weighted self-attention and CRF over learnt or pretrained vectors of words or characters",
    paper="OpenTag: Open Attribute Value Extraction from Product Profiles, KDD 2018; arXiv 1806.01264",
    year=2018,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    published_with="GloVe vectors of 50 numbers",
)

HELD_NUMBERS = 1 << 26
"""Numbers of g that are held at once; the queries of more follow one another."""


class Config(UnitVectorOptions):
    """Options of OpenTag; the default is the paper's, `mepave` has the sizes for that data set (ours)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "mepave": {"embedding": 200, "hidden": 200, "training": {"batch_size": 128}},
    }

    system: Literal["opentag", "bilstm-crf"] = "opentag"
    """With self-attention, or the plain BiLSTM-CRF that the paper compares with."""
    embedding: int = Field(default=50, ge=1)
    vectors_tuned: bool = True
    """Whether pretrained vectors are trained further."""
    hidden: int = Field(default=100, ge=1)
    """Size of the LSTM of one direction."""
    attention_inner: int = Field(default=100, ge=1)
    """Size d of the additive attention."""
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """Dropout on the vectors and before the tag layer."""
    training: TrainingConfig = TrainingConfig(optimizer="adam", batch_size=32, epochs=50, selection="tag_f1")

    def pretrained(self) -> dict[str, str]:
        """Return the file of vectors, if there is one."""
        return {} if self.vectors is None else {"vectors": self.vectors}


class SigmoidAttention(nn.Module):
    """The self-attention of OpenTag: l_i = sum_j sigmoid(w_a . tanh(W h_i + W' h_j + b_g) + b_a) h_j.

    `query` is W with b_g, `key` is W' (2H -> d), `score` is w_a with b_a (d -> 1).
    """

    def __init__(self, hidden: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden, inner)
        self.key = nn.Linear(hidden, inner, bias=False)
        self.score = nn.Linear(inner, 1)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return l (B, S, 2H) of states h (B, S, 2H); positions outside `mask` (B, S) are never taken."""
        queries, keys = self.query(states), self.key(states).unsqueeze(1)  # (B, S, d), (B, 1, S, d)
        at_once = max(1, HELD_NUMBERS // max(1, keys.numel()))
        weights = [
            self.score(torch.tanh(some.unsqueeze(2) + keys)).squeeze(3).sigmoid()  # (B, some of S, S)
            for some in queries.split(at_once, dim=1)
        ]
        taken = torch.cat(weights, dim=1) * mask.unsqueeze(1)
        found: Tensor = taken @ states.to(taken.dtype)
        return found


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: the ids and the gold tags (S,) of its units."""

    example: Example
    ids: NDArray[np.int32]
    tags: NDArray[np.int32]


class Model(NeuralModel):
    """OpenTag and the BiLSTM-CRF that it extends."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.labels = bio_labels(schema.attributes)
        self._tags = {label: number for number, label in enumerate(self.labels)}
        self.embeddings = UnitEmbeddings(
            vocabulary["units"], config.embedding, config.vectors, tuned=config.vectors_tuned
        )
        self.lstm = nn.LSTM(self.embeddings.size, config.hidden, batch_first=True, bidirectional=True)
        self.attention: SigmoidAttention | None = None
        if config.system == "opentag":
            self.attention = SigmoidAttention(2 * config.hidden, config.attention_inner)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(2 * config.hidden, len(self.labels))
        self.crf = CRF(len(self.labels))

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `units`, the lower-cased units of the training texts, the most frequent first."""
        return {"units": learn_units(train, config.min_count)}

    def encode(self, example: Example) -> Encoded:
        """Return ids and gold tags; an attribute that the schema does not know is tagged O."""
        tags, _ = spans_to_tags(example.spans, example.tokens)
        numbers = np.array([self._tags.get(tag, 0) for tag in tags], dtype=np.int32)
        return Encoded(example, self.embeddings.ids(example), numbers)

    def length(self, encoded: Encoded) -> int:
        """Return the number of units."""
        return len(encoded.ids)

    def held_numbers(self, size: int, length: int, *, training: bool) -> int:
        """Return the numbers of the self-attention: a for every pair of units, and all of g for its gradient."""
        if self.attention is None:
            return 0
        return size * length**2 * (self.config.attention_inner + 2 if training else 2)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return `ids` and `tags` (B, S), S at least 1, and lists of `lengths` and `examples`."""
        return {
            "ids": padded([one.ids for one in encoded]),
            "tags": padded([one.tags for one in encoded]),
            "lengths": [len(one.ids) for one in encoded],
            "examples": [one.example for one in encoded],
        }

    def _emissions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the tag scores (B, S, 2N+1) and the mask (B, S) of the units."""
        vectors = self.dropout(self.embeddings(batch["ids"]))  # (B, S, E)
        mask = prefix_mask(batch["lengths"], vectors.size(1), vectors.device)
        states = run_lstm(self.lstm, vectors, batch["lengths"])  # (B, S, 2H)
        if self.attention is not None:
            states = self.attention(states, mask)
        return self.linear(self.dropout(states)), mask

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf`, the mean negative log-likelihood of the tags of a text."""
        emissions, mask = self._emissions(batch)
        return {"crf": -self.crf(emissions, batch["tags"], mask, "mean")}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch: the spans of the best tags, and the attributes that have one."""
        emissions, mask = self._emissions(batch)
        paths = self.crf.decode(emissions, mask)
        return [self._prediction(example, path) for example, path in zip(batch["examples"], paths, strict=True)]

    def _prediction(self, example: Example, path: Sequence[int]) -> Prediction:
        tags = [self.labels[tag] for tag in path]
        return prediction_of(example, tags_to_spans(tags, example.tokens, self.config.chunk_scheme))
