"""AdaTag: one BiLSTM for all attributes, and a CRF whose weights are made from the vector of the attribute.

Yan et al., AdaTag: Multi-Attribute Value Extraction from Product Profiles with Adaptive Decoding, ACL 2021
(arXiv 2106.02318). For the states h_i of a text and the vector r of an attribute, over the tags B, I, O, E:

    P_i = W(r) h_i + b(r),  W(r) = reshape(U_w r + b_w) (T x 2h),  b(r) = U_b r + b_b
    T(r) = sum over k of lambda_k T_k,  lambda = softmax(U_m r + b_m), k experts
    L = the negative log-likelihood of the tags under emissions P and transitions T(r)

r is [name; value]: of the training texts that have a value, the mean over them of what a frozen BERT makes of the value
("contextual") and of the name in its place; or the mean of the word vectors of names and of values ("uncontextual");
or drawn ("random"). It is trained further. The paper's marks around the name are left out, as pretrained weights do not
know them. With `tags` "bio" there is no E; a value of one unit is a lone B in both. An attribute without a vector
cannot be asked for. What the paper does not state (how many texts make a vector, scores of start and end) is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction, Units
from avebench.contracts.explanation import Explanation
from avebench.contracts.model import ModelCard, QueryOptions, TrainingConfig, Vocabulary
from avebench.contracts.tagging import tags_to_spans, text_units
from avebench.files.errors import AvebenchError, near_matches
from avebench.models.query.adaptive_crf import best_paths, log_likelihood
from avebench.models.query.explaining import BEST_PATH, at_test, by_name, inside_values, some_value
from avebench.models.query.questions import BEGIN, INSIDE, OUTSIDE, answered, tags_for
from avebench.models.shared.asking import asked_of
from avebench.models.shared.options import UnitVectorOptions
from avebench.nn.crf import marginals
from avebench.nn.lstm import run_lstm
from avebench.nn.neural import Batch, NeuralModel, move
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.word_vectors import UnitEmbeddings, learn_units, read_vectors

CARD = ModelCard(
    name="adatag",
    summary="BiLSTM and a CRF whose emissions and transitions are made from the vector of the attribute",
    paper="AdaTag: Multi-Attribute Value Extraction from Product Profiles with Adaptive Decoding, ACL 2021",
    year=2021,
    modality="T",
    family="query",
    implementation=1,
    protocol="all",
    protocols=("oracle", "annotated", "category", "predicted"),
    needs=("text encoder",),
    published_with="GloVe vectors of 50 numbers, BERT-base for attributes",
)
END = 3
"""Tag of the last unit of a value of several."""
PAIRS_AT_ONCE = 4096
INSTANCES, AT_ONCE = 64, 32
"""Most training texts that make the vector of an attribute, and how many of them are read together."""


class Config(UnitVectorOptions, QueryOptions):
    """Options of AdaTag; `mepave` has characters of 200 numbers and plain B, I, O (ours)."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "mepave": {"embedding": 200, "hidden": 200, "tags": "bio", "text_encoder": "bert-base-chinese"},
    }

    embedding: int = Field(default=50, ge=1)
    hidden: int = Field(default=200, ge=1)
    """Size of the LSTM of one direction."""
    attribute_vectors: Literal["contextual", "uncontextual", "random"] = "contextual"
    text_encoder: str = "bert-base-uncased"
    """What makes contextual vectors; it is not trained."""
    attribute_size: int = Field(default=100, ge=1)
    """Size of random vectors."""
    experts: int = Field(default=3, ge=1)
    tags: Literal["bioe", "bio"] = "bioe"
    dropout: float = Field(default=0.4, ge=0, lt=1)
    """On the vectors of units and on the states."""
    training: TrainingConfig = TrainingConfig(
        learning_rates={"default": 1e-3}, batch_size=32, epochs=30, selection="tag_f1"
    )

    @model_validator(mode="after")
    def _has_vectors(self) -> Config:
        if self.attribute_vectors == "uncontextual" and self.vectors is None:
            raise ValueError("attribute_vectors 'uncontextual' are means of word vectors: give their file as vectors")
        return self

    def pretrained(self) -> dict[str, str]:
        """Return the encoder of contextual vectors, and the file of word vectors if there is one."""
        encoder = {"text_encoder": self.text_encoder} if self.attribute_vectors == "contextual" else {}
        return encoder | ({} if self.vectors is None else {"vectors": self.vectors})


@dataclass(frozen=True, slots=True)
class Encoded:
    """One text: the ids of its units, the numbers of the attributes that are asked for, and their gold tags (S,)."""

    example: Example
    ids: NDArray[np.int32]
    asked: tuple[int, ...]
    tags: tuple[NDArray[np.int32], ...]


class Model(NeuralModel):
    """AdaTag."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self._number = schema.index()
        self.embeddings = UnitEmbeddings(vocabulary["units"], config.embedding, config.vectors)
        self.lstm = nn.LSTM(self.embeddings.size, config.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        size, tags = 2 * config.hidden, 4 if config.tags == "bioe" else 3
        known: Mapping[str, Sequence[float]] = vocabulary.get("attributes", {})
        width = len(next(iter(known.values()))) if known else config.attribute_size
        self.attributes = nn.Embedding(len(schema.attributes), width)
        with torch.no_grad():
            for name, number in self._number.items():
                if name in known:
                    self.attributes.weight[number] = torch.tensor(known[name])
        self.weights = nn.Linear(width, tags * size)
        self.biases = nn.Linear(width, tags)
        self.gate = nn.Linear(width, config.experts)
        self.experts = nn.Parameter(torch.empty(config.experts, tags, tags).uniform_(-0.1, 0.1))

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `units`, the training texts' units, and `attributes`, the vectors that attributes start from."""
        found: dict[str, Any] = {"units": learn_units(train, config.min_count)}
        if config.attribute_vectors != "random":
            make = _contextual if config.attribute_vectors == "contextual" else _uncontextual
            found["attributes"] = make(config, schema, train)
        return found

    def encode(self, example: Example) -> Encoded:
        """Return ids and gold tags; AvebenchError if an attribute is asked for that training does not have."""
        asked = asked_of(example, self.schema)
        for name in asked:
            if name not in self._number:
                raise AvebenchError(
                    f"adatag knows the attributes of its training alone and cannot be asked for '{name}'. "
                    f"{near_matches(name, self.schema.attributes)}"
                )
        tags = tuple(self._tags(tags_for(example, name)) for name in asked)
        return Encoded(example, self.embeddings.ids(example), tuple(self._number[name] for name in asked), tags)

    def _tags(self, tags: Sequence[int]) -> NDArray[np.int32]:
        """Return tags with E at the end of every value of several units."""
        found = np.array(tags, dtype=np.int32)
        if self.config.tags == "bioe":
            behind = [*tags[1:], OUTSIDE]
            found[[place for place, tag in enumerate(tags) if tag == INSIDE and behind[place] != INSIDE]] = END
        return found

    def length(self, encoded: Encoded) -> int:
        """Return the number of units."""
        return len(encoded.ids)

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return `ids` (B, S) of the texts, and of the Q pairs `pair_text`, `pair_attribute` (Q,) and `tags` (Q, S)."""
        pairs = [(place, number) for place, one in enumerate(encoded) for number in one.asked]
        ids = padded([one.ids for one in encoded])
        rows = [tags for one in encoded for tags in one.tags]
        return {
            "ids": ids,
            "lengths": [len(one.ids) for one in encoded],
            "pair_text": torch.tensor([place for place, _ in pairs], dtype=torch.long),
            "pair_attribute": torch.tensor([number for _, number in pairs], dtype=torch.long),
            "tags": padded(rows, width=ids.size(1)) if rows else torch.zeros(0, ids.size(1), dtype=torch.long),
            "encoded": list(encoded),
        }

    def decoder(self, attributes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return W (K, T, 2h), b (K, T) and the transitions (K, T, T) of attributes (K,)."""
        vectors = self.attributes(attributes)
        tags = self.experts.size(1)
        return (
            self.weights(vectors).view(len(vectors), tags, -1),
            self.biases(vectors),
            torch.einsum("kn,nij->kij", self.mixture(attributes), self.experts),
        )

    def mixture(self, attributes: Tensor) -> Tensor:
        """Return lambda (K, experts), the weights of the experts in the transitions of attributes (K,)."""
        shares: Tensor = self.gate(self.attributes(attributes)).softmax(dim=1)
        return shares

    def _scores(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return emissions (Q, S, T), transitions (Q, T, T), mask (Q, S) and lengths (Q,) of the pairs of a batch."""
        vectors = self.dropout(self.embeddings(batch["ids"]))
        states = self.dropout(run_lstm(self.lstm, vectors, batch["lengths"]))
        different, place = torch.unique(batch["pair_attribute"], return_inverse=True)
        weights, biases, transitions = self.decoder(different)
        # A text meets every attribute of the batch in one product; of these, the pairs are taken.
        every = torch.einsum("bsh,kth->bkst", states, weights) + biases.unsqueeze(1)
        emissions = every[batch["pair_text"], place]
        lengths = torch.tensor(batch["lengths"], device=states.device)[batch["pair_text"]]
        return emissions, transitions[place], prefix_mask(lengths, states.size(1), states.device), lengths

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf`, the mean negative log-likelihood over the pairs of texts and attributes."""
        if not len(batch["pair_text"]):
            return {"crf": self.experts.sum() * 0}
        emissions, transitions, mask, _ = self._scores(batch)
        return {"crf": -log_likelihood(emissions, transitions, batch["tags"], mask).mean()}

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return one prediction per text: the spans that are found for every attribute that is asked for."""
        if not len(batch["pair_text"]):
            return [self._prediction(one, {}) for one in batch["encoded"]]
        emissions, transitions, _, lengths = self._scores(batch)
        return self._decoded(emissions, transitions, lengths, batch["encoded"])

    def _decoded(
        self, emissions: Tensor, transitions: Tensor, lengths: Tensor, encoded: Sequence[Encoded]
    ) -> list[Prediction]:
        """Return the predictions of texts from the scores of their pairs, which follow one another."""
        paths: list[list[int]] = []
        parts = (torch.split(one, PAIRS_AT_ONCE) for one in (emissions, transitions, lengths))
        for some in zip(*parts, strict=True):
            paths += best_paths(*some)
        rows = iter(paths)
        names = self.schema.attributes
        return [self._prediction(one, {names[number]: next(rows) for number in one.asked}) for one in encoded]

    def _prediction(self, encoded: Encoded, paths: dict[str, list[int]]) -> Prediction:
        found = {}
        for name, path in paths.items():
            ended = [
                BEGIN if before == END and tag in {INSIDE, END} else tag for before, tag in pairwise([OUTSIDE, *path])
            ]
            tags = [("O", f"B-{name}", f"I-{name}", f"I-{name}")[tag] for tag in ended]
            found[name] = tags_to_spans(tags, encoded.example.tokens, self.config.chunk_scheme)
        return answered(encoded.example, found)

    def explain(self, example: Example) -> Explanation:
        """Return the prediction of an example, and for every attribute asked for what its CRF makes of the text.

        The probability of a value, and of each unit to be inside one, are over all paths; mixtures are lambda.
        """
        with at_test(self):
            encoded = self.encode(example)
            if not encoded.asked:
                return Explanation(example, self._prediction(encoded, {}), decides=BEST_PATH)
            batch = move(self.collate([encoded]), self.experts.device)
            emissions, transitions, mask, lengths = self._scores(batch)
            names, units = [self.schema.attributes[number] for number in encoded.asked], len(encoded.ids)
            nothing = log_likelihood(emissions, transitions, torch.full_like(mask, OUTSIDE, dtype=torch.long), mask)
            tagged = inside_values(marginals(emissions, transitions, lengths))
            return Explanation(
                example,
                self._decoded(emissions, transitions, lengths, [encoded])[0],
                ranges=dict(zip(names, some_value(nothing).tolist(), strict=True)),
                decides=BEST_PATH,
                probabilities={"inside": by_name(names, tagged, units)},
                mixtures=by_name(names, self.mixture(batch["pair_attribute"]), len(self.experts)),
            )


# ---------------------------------------------------------------------------------------------------------------------
# Where attribute vectors start


def _uncontextual(config: Config, schema: AttributeSchema, train: Sequence[Example]) -> dict[str, list[float]]:
    """Return [name; value] of every attribute: means of the word vectors of its name, and of its values' words."""
    assert config.vectors is not None
    words, table = read_vectors(Path(config.vectors))
    place = {word: row for row, word in enumerate(words)}

    def mean(texts: Sequence[str]) -> NDArray[np.float64]:
        rows = [place[unit] for text in texts for unit in _lower_units(text, schema.units) if unit in place]
        return table[rows].mean(axis=0, dtype=np.float64) if rows else np.zeros(table.shape[1])

    values: dict[str, list[str]] = {name: [] for name in schema.attributes}
    for example in train:
        for span in example.spans:
            if span.attribute in values:
                values[span.attribute].append(example.text[span.start : span.end])
    return {name: [*mean([name]).tolist(), *mean(values[name]).tolist()] for name in schema.attributes}


def _lower_units(text: str, units: Units) -> list[str]:
    return [text[start:end].lower() for start, end in text_units(text, units)]


@torch.no_grad()
def _contextual(config: Config, schema: AttributeSchema, train: Sequence[Example]) -> dict[str, list[float]]:
    """Return [name; value] of every attribute, means over at most `INSTANCES` training texts that have a value of it.

    Of an attribute without a value in training the value's half is 0, and the name is read by itself.
    """
    encoder = TextEncoder(config.text_encoder, schema.units, "mean").eval()
    values: dict[str, list[tuple[str, int, int]]] = {name: [] for name in schema.attributes}
    for example in train:
        for span in example.spans:
            found = values.get(span.attribute)
            if found is not None and len(found) < INSTANCES:
                found.append((example.text, span.start, span.end))
    vectors = {}
    for name, instances in values.items():
        renamed = [(text[:start] + name + text[end:], start, start + len(name)) for text, start, end in instances]
        of_name = _mean_state(encoder, renamed or [(name, 0, len(name))])
        of_value = _mean_state(encoder, instances) if instances else torch.zeros_like(of_name)
        vectors[name] = torch.cat([of_name, of_value]).tolist()
    return vectors


def _mean_state(encoder: TextEncoder, places: Sequence[tuple[str, int, int]]) -> Tensor:
    """Return the mean (H,) over texts of the mean state of the units that overlap a range; cut texts count if there."""
    means = []
    for start in range(0, len(places), AT_ONCE):
        some = places[start : start + AT_ONCE]
        examples = [Example("", text, text_units(text, encoder.units)) for text, _, _ in some]
        states = encoder(encoder.collate([encoder.encode(example) for example in examples])).units
        for example, row, (_, first, last) in zip(examples, states, some, strict=True):
            own = [n for n, (a, b) in enumerate(example.tokens) if a < last and first < b and n < len(row)]
            if own:
                means.append(row[own].mean(dim=0))
    return torch.stack(means).mean(dim=0) if means else torch.zeros(encoder.hidden)
