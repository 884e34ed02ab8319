"""SUOpenTag (ScalingUp): a text and the name of an attribute, read apart, meet in a cosine attention; one BIO set.

Xu et al., Scaling up Open Tagging from Tens to Thousands, ACL 2019. For the units i of a text and an attribute a:

    H = BiLSTM(BERT(text))                      h_i, 2h numbers
    h_a = last states of BiLSTM(BERT(name))     forward of the last unit, backward of the first
    a_i = cos(h_i, h_a), c_i = a_i h_i, m_i = [h_i; c_i]
    emissions Linear(m_i) over B, I, O; a CRF shared by all attributes

A text is read once, whatever it is asked for. The paper does not say whether BERT is tuned, and the two that cite its
figures disagree: `text_tuned`. Sizes and rates are those of the ports (512 per direction, dropout 0.2, clip 3, 2e-5,
batches of 32, 20 epochs); a batch of ours is of texts, each with all that it is asked for. The second LSTM, for names,
is an option, as no source says whether it is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import AttributeSchema, Example, Prediction
from avebench.contracts.explanation import Explanation
from avebench.contracts.model import ModelCard, QueryConfig, TrainingConfig, Vocabulary
from avebench.contracts.tagging import tags_to_spans
from avebench.models.query.explaining import BEST_PATH, at_test, by_name, inside_values, some_value
from avebench.models.query.questions import OUTSIDE, Names, answered, tags_for
from avebench.models.shared.asking import asked_of
from avebench.models.shared.encoder_model import EncoderModel
from avebench.models.shared.options import UnitStateOptions
from avebench.nn.crf import CRF
from avebench.nn.lstm import run_lstm
from avebench.nn.neural import Batch, move
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.unit_pieces import EncodedText

CARD = ModelCard(
    name="suopentag",
    summary="Text and attribute name encoded apart, cosine attention, one CRF over B, I, O for every attribute",
    paper="Scaling up Open Tagging from Tens to Thousands, ACL 2019",
    year=2019,
    modality="T",
    family="query",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    open_attributes=True,
    needs=("text encoder",),
    published_with="BERT-base",
)
PAIRS_AT_ONCE, NAMES_AT_ONCE = 4096, 64
"""Pairs of a text and an attribute that are decoded together at test, and names that are read together."""


class Config(QueryConfig, UnitStateOptions):
    """Options of SUOpenTag; the default is that of the ports, `mepave` has the Chinese encoder."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {"mepave": {"text_encoder": "bert-base-chinese"}}

    text_encoder: str = "bert-base-uncased"
    text_tuned: bool = True
    """Whether BERT is trained."""
    hidden: int = Field(default=512, ge=1)
    """Size h of the LSTM of one direction."""
    names_lstm: bool = False
    """Whether names have an LSTM of their own."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout on m."""
    training: TrainingConfig = TrainingConfig(
        learning_rates={"default": 2e-5}, clip_norm=3.0, batch_size=32, epochs=20, selection="tag_f1"
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text: its pieces, what it is asked for, and per attribute the gold tags (S,) of the units that are read."""

    example: Example
    text: EncodedText
    asked: tuple[str, ...]
    tags: tuple[NDArray[np.int32], ...]


class Model(EncoderModel):
    """SUOpenTag: one tagger that is told which attribute to look for."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.text_encoder = TextEncoder(config.text_encoder, schema.units, config.pooling, long_texts=config.long_texts)
        self.text_encoder.requires_grad_(config.text_tuned)
        self._names = Names(self.text_encoder)
        self._read_names: dict[str, Tensor] = {}
        size = self.text_encoder.hidden
        self.lstm = nn.LSTM(size, config.hidden, batch_first=True, bidirectional=True)
        self.names_lstm: nn.LSTM | None = None
        if config.names_lstm:
            self.names_lstm = nn.LSTM(size, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.linear = nn.Linear(4 * config.hidden, 3)
        self.crf = CRF(3)

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return nothing: names are read as texts, so that any can be asked for."""
        return {}

    def train(self, mode: bool = True) -> Model:
        """Set the mode; a frozen encoder stays in evaluation."""
        super().train(mode)
        if not self.config.text_tuned:
            self.text_encoder.eval()
        return self

    def encode(self, example: Example) -> Encoded:
        """Return pieces and gold tags."""
        text = self.text_encoder.encode(example)
        asked = asked_of(example, self.schema)
        units = len(text.first)
        tags = tuple(np.array(tags_for(example, name)[:units], dtype=np.int32) for name in asked)
        return Encoded(example, text, asked, tags)

    def pieces(self, encoded: Encoded) -> EncodedText:
        """Return the text's pieces."""
        return encoded.text

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the batch of B texts as `TextEncoder.collate` makes it, `names`, the K different ones, and Q pairs.

        `pair_text` and `pair_name` (Q,) say which text and which name, `tags` (Q, S) the gold tags.
        """
        names = list(dict.fromkeys(name for one in encoded for name in one.asked))
        number = {name: place for place, name in enumerate(names)}
        pairs = [(place, number[name]) for place, one in enumerate(encoded) for name in one.asked]
        batch = self.text_encoder.collate([one.text for one in encoded])
        rows = [tags for one in encoded for tags in one.tags]
        width = batch["first"].size(1)
        return batch | {
            "names": names,
            "pair_text": torch.tensor([place for place, _ in pairs], dtype=torch.long),
            "pair_name": torch.tensor([name for _, name in pairs], dtype=torch.long),
            "tags": padded(rows, width=width) if rows else torch.zeros(0, width, dtype=torch.long),
            "encoded": list(encoded),
        }

    def _read(self, batch: Batch) -> Tensor:
        """Return the unit states (B, S, H) of the encoder; a frozen one keeps no gradients."""
        with nullcontext() if self.config.text_tuned else torch.no_grad():
            units: Tensor = self.text_encoder(batch).units
        return units

    def _texts(self, batch: Batch) -> Tensor:
        """Return H (B, S, 2h)."""
        return run_lstm(self.lstm, self._read(batch), batch["lengths"])

    def _attributes(self, names: Sequence[str]) -> Tensor:
        """Return h_a (K, 2h) of names."""
        device = self.linear.weight.device
        batch = move(self.text_encoder.collate([self._names[name] for name in names]), device)
        read = run_lstm(self.names_lstm or self.lstm, self._read(batch), batch["lengths"])  # (K, M, 2h)
        last = torch.tensor([max(length, 1) - 1 for length in batch["lengths"]], device=device)
        size = self.config.hidden
        return torch.cat([read[torch.arange(len(read), device=device), last, :size], read[:, 0, size:]], dim=1)

    def emissions(self, states: Tensor, attributes: Tensor) -> Tensor:
        """Return the tag scores (Q, S, 3) of text states H (Q, S, 2h) for the attributes h_a (Q, 2h) of pairs."""
        attention = functional.cosine_similarity(states, attributes.unsqueeze(1), dim=2).unsqueeze(2)  # a (Q, S, 1)
        scores: Tensor = self.linear(self.dropout(torch.cat([states, attention * states], dim=2)))
        return scores

    def emissions_of_all(self, states: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cosines a (B, S, K) of texts H (B, S, 2h) with all h_a (K, 2h), and the tag scores (B, K, S, 3).

        There is no dropout. The layer over m is one over h and one over a h, and a is a number: both are made once per
        text.
        """
        near = functional.normalize(states, dim=2) @ functional.normalize(attributes, dim=1).t()
        plain, near_part = self.linear.weight.chunk(2, dim=1)
        scores = (states @ plain.t() + self.linear.bias).unsqueeze(1)
        return near, scores + near.transpose(1, 2).unsqueeze(3) * (states @ near_part.t()).unsqueeze(1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf`, the mean negative log-likelihood over the pairs of texts and attributes."""
        if not batch["names"]:
            return {"crf": self.crf.start_transitions.sum() * 0}
        states, names = self._texts(batch), self._attributes(batch["names"])
        mask = self._mask(batch)[batch["pair_text"]]
        emissions = self.emissions(states[batch["pair_text"]], names[batch["pair_name"]])
        return {"crf": -self.crf(emissions, batch["tags"], mask, "mean")}

    def _mask(self, batch: Batch) -> Tensor:
        return prefix_mask(batch["lengths"], batch["first"].size(1), batch["first"].device)

    def predict_encoded(self, encoded: Sequence[Encoded]) -> list[Prediction]:
        """Return one prediction per text; every name that is asked for is read once."""
        names = list(dict.fromkeys(name for one in encoded for name in one.asked))
        with at_test(self):
            self._read_names = dict(zip(names, self._vectors(names), strict=True))
            try:
                return super().predict_encoded(encoded)
            finally:
                self._read_names = {}

    def _vectors(self, names: Sequence[str]) -> Sequence[Tensor]:
        """Return h_a (2h,) of each name; some are read together."""
        parts = [
            self._attributes(names[start : start + NAMES_AT_ONCE]) for start in range(0, len(names), NAMES_AT_ONCE)
        ]
        return [vector for part in parts for vector in part]

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return one prediction per text: the spans that are found for every attribute that is asked for."""
        return self._decoded(self._scores(batch)[1], batch)

    def _scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the cosines (B, S, K) and the tag scores (B, K, S, 3) of a batch's texts for its K names."""
        names: list[str] = batch["names"]
        if not names:
            texts, units = batch["first"].shape
            empty = self.linear.weight.new_zeros
            return empty(texts, units, 0), empty(texts, 0, units, 3)
        vectors = [self._read_names[name] for name in names] if self._read_names else self._vectors(names)
        return self.emissions_of_all(self._texts(batch), torch.stack(list(vectors)))

    def _decoded(self, every: Tensor, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch's texts from the tag scores (B, K, S, 3)."""
        encoded: list[Encoded] = batch["encoded"]
        paths: list[list[int]] = []
        mask = self._mask(batch)
        pairs = zip(batch["pair_text"].split(PAIRS_AT_ONCE), batch["pair_name"].split(PAIRS_AT_ONCE), strict=True)
        for texts, asked in pairs:
            if len(texts):
                paths += self.crf.decode(every[texts, asked], mask[texts])
        rows = iter(paths)
        return [self._prediction(one, {name: next(rows) for name in one.asked}) for one in encoded]

    def _prediction(self, encoded: Encoded, paths: dict[str, list[int]]) -> Prediction:
        tokens, scheme = encoded.example.tokens, self.config.chunk_scheme
        found = {}
        for name, path in paths.items():
            tags = [("O", f"B-{name}", f"I-{name}")[tag] for tag in path]
            found[name] = tags_to_spans(tags, tokens[: len(tags)], scheme)
        return answered(encoded.example, found)

    def explain(self, example: Example) -> Explanation:
        """Return the prediction of an example, and for every attribute asked for cosines and probabilities of its CRF.

        The probability of a value, and of each unit to be inside one, are over all paths.
        """
        with at_test(self):
            batch = move(self.collate([self.encode(example)]), self.linear.weight.device)
            near, every = self._scores(batch)
            names, units = batch["names"], batch["lengths"][0]
            mask = self._mask(batch).expand(len(names), -1)
            tagged = inside_values(self.crf.marginals(every[0], mask))
            nothing = self.crf(every[0], torch.full_like(mask, OUTSIDE, dtype=torch.long), mask, "none")
            return Explanation(
                example,
                self._decoded(every, batch)[0],
                ranges=dict(zip(names, some_value(nothing).tolist(), strict=True)),
                decides=BEST_PATH,
                similarities=by_name(names, near[0].t(), units),
                probabilities={"inside": by_name(names, tagged, units)},
            )
