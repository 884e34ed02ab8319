"""MAE-model: a product and an attribute in, a ranking of all values out (Logan, Humeau, Singh 2017).

Multimodal Attribute Extraction, arXiv 1711.11118. The equations from text, pictures and attribute to the vector h of a
query stand in `avebench.models.ranking.network`; a value with the embedding e is scored by s = cos(h, e). Loss of a
query with the gold value + and drawn values -, the mean over gold values:

    squared   (1 - s+)^2 + (s-)^2                     one value, by its frequency in training
    hinge     sum over - of max(0, 1 + d+ - d-)       d = 1 - s; one of all values by frequency, and one of the
                                                      attribute's own values, all alike

The default is the best model of 2017 (Concat) with the loss of the authors' sketch of it; `later` has the
hyper-parameters of their later repository, `mae` the model of 2017 trained by that repository's loss.

Departures and what is ours: the pooled vector of a frozen picture encoder stands for VGG-16's fc7; word vectors are
learnt where no file is given; a text is padded with zeros for the convolution; dropout stands on the text's maximum
over time and on the pooled vectors; a drawn value is never a gold one of the query, and an attribute without another
value has no drawn one; longer texts are cut, not left out; rate, epochs and batch of 2017 are not known. The later
repository's decay of the rate begins at step 100,000, where `later` ends; its encoders of titles and of known
attributes are left out. Every attribute of the data can be asked for; one without a value in training has an embedding
that was never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import RANKED, AttributeSchema, Example, Prediction
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.ranking.network import Fusion, PictureReader, TextReader, ValueQuery, start
from avebench.models.ranking.values import answered, gold_values, known_asked, learn_values
from avebench.models.shared.options import PictureOptions, UnitVectorOptions
from avebench.models.shared.pictures import Pictures
from avebench.nn.neural import Batch, NeuralModel
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.word_vectors import UnitEmbeddings, learn_units
from avebench.scoring.pairs import normalise_value

CARD = ModelCard(
    name="mae-model",
    summary="Ranks all values for a given attribute by the cosine with text and pictures; it does not extract",
    paper="Multimodal Attribute Extraction, 2017; arXiv 1711.11118",
    year=2017,
    modality="T+V",
    family="query",
    implementation=1,
    protocol="oracle",
    needs=("picture encoder",),
    needs_spans=False,
    published_with="VGG-16, frozen; GloVe vectors of 200 numbers made of the descriptions",
    code="https://github.com/rloganiv/mae-model",
)

HINGE: dict[str, Any] = {
    "loss": "hinge",
    "text_dropout": 0.1,
    "picture_dropout": 0.5,
    "training": {"batch_size": 32, "learning_rates": {"default": 3e-3}, "clip_norm": 0.5},
}
"""How the later repository trains."""


class Config(UnitVectorOptions, PictureOptions):
    """Options of MAE-model; the defaults are those of 2017."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "later": {
            **HINGE,
            "windows": [5, 7],
            "training": {**HINGE["training"], "epochs": None, "steps": 100_000, "validate_every": 5_000},
        },
        "mae": HINGE,
    }

    modality: Literal["both", "text", "picture"] = "both"
    """What is read of a product."""
    fusion: Fusion = "concat"
    """How text and pictures are joined."""
    embedding: int = Field(default=200, ge=1)
    vectors_tuned: bool = False
    """Whether pretrained word vectors are trained further; those without a file always are."""
    windows: tuple[int, ...] = (5,)
    """Widths of the convolutions in words, odd numbers."""
    filters: int = Field(default=1024, ge=1)
    """Filters of all convolutions together."""
    size: int = Field(default=1024, ge=1)
    """Size of the embeddings of attributes and values, and of every vector that is compared or joined with them."""
    picture_inner: int = Field(default=4096, ge=1)
    """Size of the layer between the pooled vector of a picture and v."""
    max_words: int = Field(default=1000, ge=1)
    """Units of a text that are read."""
    loss: Literal["squared", "hinge"] = "squared"
    text_dropout: float = Field(default=0.0, ge=0, lt=1)
    picture_dropout: float = Field(default=0.0, ge=0, lt=1)
    image_encoder: str = "resnet152"
    image_tuned: Literal[False] = False
    training: TrainingConfig = TrainingConfig(batch_size=32, epochs=20, clip_norm=None, selection="hits_1")

    @model_validator(mode="after")
    def _has_windows(self) -> Config:
        if not self.windows or any(width < 1 or width % 2 == 0 for width in self.windows):
            raise ValueError("windows are odd numbers of words, at least one of them")
        if self.filters % len(self.windows):
            raise ValueError(f"filters ({self.filters}) are shared evenly by {len(self.windows)} windows")
        return self

    def pretrained(self) -> dict[str, str]:
        """Return the picture encoder and the file of word vectors, where they are in use."""
        pictures = {} if self.modality == "text" else {"image_encoder": self.image_encoder}
        return pictures | ({} if self.vectors is None or self.modality == "picture" else {"vectors": self.vectors})


@dataclass(frozen=True, slots=True)
class Encoded:
    """One product: the ids of its units, the numbers of the attributes asked for, and of each the gold values'."""

    example: Example
    ids: NDArray[np.int32]
    asked: tuple[int, ...]
    gold: tuple[tuple[int, ...], ...]


class Model(NeuralModel):
    """MAE-model."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self._attribute = schema.index()
        self.listed: list[str] = [value for value, _ in vocabulary["values"]]
        self._value = {normalise_value(value): number for number, value in enumerate(self.listed)}
        self._frequencies = torch.zeros(len(schema.attributes), len(self.listed))
        """Training products with an attribute and a value; they stay where values are drawn, on the CPU."""
        for number, (_, products) in enumerate(vocabulary["values"]):
            for attribute, count in products.items():
                self._frequencies[self._attribute[attribute], number] = count
        self.attributes = nn.Embedding(len(schema.attributes), config.size)
        self.values = nn.Embedding(len(self.listed), config.size)
        self.words: UnitEmbeddings | None = None
        self.text: TextReader | None = None
        if config.modality != "picture":
            self.words = UnitEmbeddings(
                vocabulary["units"], config.embedding, config.vectors, tuned=config.vectors_tuned
            )
            self.text = TextReader(self.words.size, config.windows, config.filters, config.size, config.text_dropout)
        self.pictures: Pictures | None = None
        self.picture: PictureReader | None = None
        if config.modality != "text":
            self.pictures = Pictures(config, "transpose")
            self.picture = PictureReader(
                self.pictures.channels, config.picture_inner, config.size, config.picture_dropout
            )
        self.query = ValueQuery(
            config.size, config.fusion, text=self.text is not None, pictures=self.picture is not None
        )
        for part in (self.text, self.picture, self.query):
            if part is not None:
                start(part)

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `units`, the training texts' units, and `values`, [value, {attribute: training products}]."""
        units = [] if config.modality == "picture" else learn_units(train, config.min_count)
        return {"units": units, "values": learn_values(schema, train)}

    def encode(self, example: Example) -> Encoded:
        """Return ids, attributes and gold values; AvebenchError for an attribute that the data do not have."""
        asked = known_asked(example, self.schema, CARD.name)
        pairs = gold_values(example, set(asked))
        gold = ((self._value[one] for one in pairs.get(name, ()) if one in self._value) for name in asked)
        return Encoded(
            example,
            np.zeros(0, np.int32) if self.words is None else self.words.ids(example)[: self.config.max_words],
            tuple(self._attribute[name] for name in asked),
            tuple(tuple(sorted(some)) for some in gold),
        )

    def length(self, encoded: Encoded) -> int:
        """Return the number of units that are read."""
        return len(encoded.ids)

    def truncated(self, encoded: Encoded) -> int:
        """Return how many units are beyond those that are read."""
        return 0 if self.words is None else len(encoded.example.tokens) - len(encoded.ids)

    def text_limit(self) -> int | None:
        """Return the number of units that are read; None if no text is."""
        return None if self.words is None else self.config.max_words

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return `ids` (B, S), what the pictures are, and of the Q queries `query_product`, `query_attribute` (Q,)."""
        queries = [(place, number) for place, one in enumerate(encoded) for number in one.asked]
        pictures = {} if self.pictures is None else self.pictures.collate_each([one.example for one in encoded])
        return {
            **pictures,
            "ids": padded([one.ids for one in encoded]),
            "lengths": [len(one.ids) for one in encoded],
            "query_product": torch.tensor([place for place, _ in queries], dtype=torch.long),
            "query_attribute": torch.tensor([number for _, number in queries], dtype=torch.long),
            "gold": [values for one in encoded for values in one.gold],
            "encoded": list(encoded),
        }

    def queries(self, batch: Batch) -> Tensor:
        """Return the vectors h (Q, D) of the queries."""
        text = pictures = None
        if self.words is not None and self.text is not None:
            vectors = self.words(batch["ids"])
            text = self.text(vectors, prefix_mask(batch["lengths"], vectors.size(1), vectors.device))
        if self.pictures is not None and self.picture is not None:
            pooled = self.pictures.pooled(batch, self.pictures(batch))
            pictures = self.picture(pooled, batch["product"], batch["place"], len(batch["encoded"]))
        attributes = self.attributes(batch["query_attribute"])
        found: Tensor = self.query(text, pictures, attributes, batch["query_product"])
        return found

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `gold` and `drawn` of the squared loss, or `all` and `attribute`, which the hinge loss draws from."""
        pairs = [(query, value) for query, values in enumerate(batch["gold"]) for value in values]
        if not pairs:
            nothing = self.values.weight.sum() * 0 + self.attributes.weight.sum() * 0
            return dict.fromkeys(("gold", "drawn") if self.config.loss == "squared" else ("all", "attribute"), nothing)
        query, gold = (torch.tensor(column) for column in zip(*pairs, strict=True))
        vectors = self.queries(batch)[query.to(self.values.weight.device)]
        of_all = self._drawn(self._frequencies.sum(dim=0).repeat(len(pairs), 1), query, batch)
        right = self.cosines(vectors, gold)
        if self.config.loss == "squared":
            drawn, there = of_all
            wrong = self.cosines(vectors, drawn) * there.to(right.device)
            return {"gold": ((1 - right) ** 2).mean(), "drawn": (wrong**2).mean()}
        attribute = batch["query_attribute"].cpu()[query]
        own = self._drawn((self._frequencies[attribute] > 0).float(), query, batch)
        losses = {}
        for name, (drawn, there) in {"all": of_all, "attribute": own}.items():
            nearer = torch.relu(1 - right + self.cosines(vectors, drawn))
            losses[name] = (nearer * there.to(right.device)).mean()
        return losses

    def cosines(self, vectors: Tensor, values: Tensor) -> Tensor:
        """Return the cosines (N,) of vectors (N, D) and values (N,) by their numbers, never in half precision."""
        embedded = self.values(values.to(vectors.device))
        return functional.cosine_similarity(vectors.to(embedded.dtype), embedded, dim=1)

    def _drawn(self, weights: Tensor, query: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return one value (N,) of each row of weights (N, V) that is no gold value of its query, and if there is one.

        They are drawn by torch's own generator, whose state a checkpoint holds.
        """
        for row, number in zip(weights, query.tolist(), strict=True):
            row[list(batch["gold"][number])] = 0
        there = weights.any(dim=1)
        weights[~there] = 1
        return torch.multinomial(weights, 1).squeeze(1), there

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return for every attribute that is asked for the best value and the ranks of the best."""
        device = self.values.weight.device
        vectors = self.queries(batch).to(self.values.weight.dtype)
        with torch.autocast(device.type, enabled=False):
            embedded = functional.normalize(self.values.weight, dim=1)
            scores = functional.normalize(vectors, dim=1) @ embedded.t()  # (Q, V)
        best = scores.topk(min(RANKED + 1, len(self.listed)), dim=1)
        rows = iter(zip(best.values.tolist(), best.indices.tolist(), strict=True))
        names = self.schema.attributes
        predictions = []
        for one in batch["encoded"]:
            found = {}
            for number in one.asked:
                cosines, values = next(rows)
                found[names[number]] = dict(zip((self.listed[value] for value in values), cosines, strict=True))
            predictions.append(answered(one.example, found))
        return predictions
