"""JAVE (Zhu et al., EMNLP 2020), text only: attributes of a sentence and tags of its units, learnt together.

`JaveNetwork` holds the equations; `avebench.models.jave.m_jave` adds pictures. States of units come from a frozen BERT
(default), a tuned one, a BiLSTM, or the release's own files. Loss of a batch, as in the authors' code

    sum over sentences of  L_value + L_attribute + 0.5 L_KL

L_value is the mean cross-entropy of a sentence's units over the tags, L_attribute the mean binary cross-entropy over
the attributes, L_KL draws them together (`kl_divergence`). Gradients are clipped to norm 5. An attribute is predicted
if it scores above 0.5, tags are the arg-max; neither corrects the other.

As released: attention without softmax, no dropout, [PAD] and [UNK] among labels and tags (never gold). Departures:
validation after each epoch instead of after every batch, batches of similar length, and [PAD] and [UNK] are no answer
at test; the preset `released` undoes them. Initial values are PyTorch's. The authors did not publish their LSTM
variant: sizes are those of a port, equations those of the BERT variant, without the sentence vector, and characters
that occur once in training stand for the unknown. The preset `fine-tuned` is the row that DRAM's authors call
M-JAVE with a double dagger, in its text-only form: no code of it is public, decoder and settings are a reconstruction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from avebench.contracts.examples import AttributeSchema, Example, Prediction, gold_attributes, pairs_from_spans
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.contracts.tagging import bio_labels, spans_to_tags, tags_to_spans
from avebench.models.jave.network import (
    AttentionNorm,
    JaveNetwork,
    JaveOutput,
    KLPositions,
    attribute_loss,
    kl_divergence,
)
from avebench.models.jave.release import SPECIALS, read_vocabulary
from avebench.models.jave.text import Text, texts_of
from avebench.models.shared.options import UnitStateOptions, UnitVectorOptions
from avebench.nn.bilstm_crf import BiLSTMCRF
from avebench.nn.neural import Batch, NeuralModel, parameters_by_home
from avebench.nn.ragged import padded, prefix_mask
from avebench.nn.word_vectors import learn_units

__all__ = ["CARD", "Config", "JaveNetwork", "Model"]

CARD = ModelCard(
    name="jave",
    summary="Joint attribute prediction and value extraction from text, over a frozen BERT or a BiLSTM",
    paper=(
        "Multimodal Joint Attribute Prediction and Value Extraction for E-commerce Product, EMNLP 2020; "
        "arXiv 2009.07162"
    ),
    year=2020,
    modality="T",
    family="tagger",
    implementation=1,
    protocol="native",
    needs=("text encoder",),
    published_with="BERT-base Chinese, frozen; or a BiLSTM",
    code="https://github.com/jd-aig/JAVE",
)

THRESHOLD = 0.5
"""An attribute is predicted if it scores above this."""
FINE_TUNED: Mapping[str, Any] = {
    "text_encoder": "uer/chinese_roberta_L-4_H-512",
    "text_tuned": True,
    "decoder": "bilstm-crf",
    "loss_reduction": "mean",
    "training": {"learning_rates": {"default": 5e-5}, "batch_size": 70, "epochs": 45},
}
"""The row with a double dagger "with the settings of" DRAM, which are those of its journal version."""


class Config(UnitStateOptions, UnitVectorOptions):
    """Options of JAVE; the defaults are those of the released code with BERT, which is frozen."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {"predict_specials": True, "training": {"order": "shuffled", "validate_every": 1}},
        "fine-tuned": {**FINE_TUNED},
        "mae": {"text_encoder": "bert-base-uncased"},
    }

    encoder: Literal["bert", "lstm"] = "bert"
    """What gives the states of units: `text_encoder`, or a BiLSTM over learnt vectors."""
    text_encoder: str = "bert-base-chinese"
    """Hub id in the local cache, folder, `minilm`, `demo`, or a folder with the release's `txts.embedded.npy`."""
    text_tuned: bool = False
    """Whether the text encoder is trained."""
    embedding: int = Field(default=300, ge=1)
    """Size of the BiLSTM's vectors; with `vectors` it is that of the file."""
    lstm_hidden: int = Field(default=128, ge=1)
    """Size of the LSTM of one direction."""
    lstm_layers: int = Field(default=2, ge=1)
    """Layers of the BiLSTM."""
    lstm_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout between these layers."""
    released_vocabulary: str | None = None
    """Folder with the release's `vocab.*`: order of labels, tags and the BiLSTM's characters; None: the data's own."""

    inner: int = Field(default=200, ge=1)
    """Size of attention and of the layers before the outputs."""
    attention_norm: AttentionNorm = "none"
    """The authors' code has no softmax in the attention, their formulas do."""
    specials: bool = True
    """Whether [PAD] and [UNK] are among labels and tags, as released; never with the decoder `bilstm-crf`."""
    predict_specials: bool = False
    """Whether they may be an answer at test, which makes a tag [PAD] behind a value a span of no attribute."""
    attribute_task: bool = True
    """Whether attributes are predicted; without, what is made of them is missing too: injection, KL, regional term."""
    label_injection: bool = True
    """Whether the tag layer reads the predicted attributes."""
    kl_weight: float = Field(default=0.5, ge=0)
    """Weight of the KL term; 0 takes it away."""
    kl_positions: KLPositions = "all"
    """Where a tag is most probable, in that term: padding counts as released; with `bilstm-crf` units alone."""
    decoder: Literal["softmax", "bilstm-crf"] = "softmax"
    """How units are tagged: each by itself, or by a BiLSTM and CRF over the fused states."""
    decoder_dropout: float = Field(default=0.2, ge=0, lt=1)
    """Dropout before the tag layer of `bilstm-crf`."""
    loss_reduction: Literal["sum", "mean"] = "sum"
    """Over the sentences of a batch."""
    training: TrainingConfig = TrainingConfig(
        optimizer="adam",
        learning_rates={"default": 1e-3},
        clip_norm=5.0,
        batch_size=128,
        epochs=50,
        selection="tag_f1",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.decoder == "bilstm-crf" and self.inner % 2:
            raise ValueError(f"inner is {self.inner}; decoder 'bilstm-crf' needs an even number, half per direction")
        return self

    def pretrained(self) -> dict[str, str]:
        """Return the encoder, or the file of vectors, and the released vocabulary, by role."""
        found = super().pretrained() if self.encoder == "bert" else {}
        if self.encoder == "lstm" and self.vectors is not None:
            found["vectors"] = self.vectors
        if self.released_vocabulary is not None:
            found["released_vocabulary"] = self.released_vocabulary
        return found


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example: its text, the gold tags (S,) of its units, and the numbers of its gold labels."""

    example: Example
    text: Text
    tags: NDArray[np.int32]
    labels: tuple[int, ...]


class Model(NeuralModel):
    """JAVE."""

    config: Config

    def __init__(self, config: Any, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        specials = list(SPECIALS) if config.specials and config.decoder == "softmax" else []
        self.specials = len(specials)
        self.labels = specials + list(vocabulary["attributes"])
        self.tags = specials + bio_labels(vocabulary["attributes"])
        self._label_numbers = {label: number for number, label in enumerate(self.labels)}
        self._tag_numbers = {tag: number for number, tag in enumerate(self.tags)}
        # The order of what follows fixes the initial values of the layers.
        self.texts = texts_of(config, schema.units, vocabulary["units"])
        self.network = self._network()
        self.decoder: BiLSTMCRF | None = None
        if config.decoder == "bilstm-crf":
            self.decoder = BiLSTMCRF(config.inner, len(self.tags), config.decoder_dropout)

    def _network(self, **pictures: Any) -> JaveNetwork:
        config = self.config
        return JaveNetwork(
            self.texts.hidden,
            len(self.labels),
            len(self.tags) if config.decoder == "softmax" else 0,
            sentence=self.texts.sentence,
            inner=config.inner,
            specials=self.specials,
            attention_norm=config.attention_norm,
            attribute_task=config.attribute_task,
            label_injection=config.label_injection,
            **pictures,
        )

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `attributes` in the order of the labels, and `units`, those that a BiLSTM knows."""
        if config.released_vocabulary is not None:
            return read_vocabulary(config.released_vocabulary, schema.attributes)
        units = learn_units(train, config.min_count) if config.encoder == "lstm" else []
        return {"attributes": list(schema.attributes), "units": units}

    def encode(self, example: Example) -> Encoded:
        """Return text and targets; an attribute that the vocabulary does not know is tagged O."""
        text = self.texts.encode(example)
        tags, _ = spans_to_tags(example.spans, example.tokens)
        labels = {self._label_numbers[name] for name in gold_attributes(example) if name in self._label_numbers}
        outside = self._tag_numbers["O"]
        numbers = [self._tag_numbers.get(tag, outside) for tag in tags[: text.units]]
        return Encoded(example, text, np.array(numbers, dtype=np.int32), tuple(sorted(labels)))

    def length(self, encoded: Encoded) -> int:
        """Return the number of units that have a state."""
        return encoded.text.units

    def truncated(self, encoded: Encoded) -> int:
        """Return the number of units beyond the encoder's limit; they are tagged O."""
        return encoded.text.truncated

    def beyond(self, encoded: Encoded) -> int:
        """Return the number of units beyond the encoder's limit, read in further windows or not."""
        return encoded.text.truncated + encoded.text.windowed

    def text_limit(self) -> int | None:
        """Return the word pieces, of the release's arrays the units, that are read at once; None: a BiLSTM has none."""
        return self.texts.limit

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return the texts, `tags` (B, S), `labels` (B, A) and the encoded `examples`."""
        labels = torch.zeros(len(encoded), len(self.labels))
        for row, one in zip(labels, encoded, strict=True):
            row[list(one.labels)] = 1.0
        tags = padded([one.tags for one in encoded])
        return {
            **self.texts.collate([one.text for one in encoded]),
            "tags": tags,
            "labels": labels,
            "examples": list(encoded),
        }

    def _pictures(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Return regions (B, P, C) and pooled vectors (B, C); JAVE sees none."""
        return None, None

    def _output(self, batch: Batch) -> JaveOutput:
        states, sentence = self.texts(batch)
        output: JaveOutput = self.network(states, sentence, *self._pictures(batch), batch["lengths"])
        return output

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `value`, and with the attribute task `attribute` and `kl`, weighted and reduced over sentences."""
        output = self._output(batch)
        parts = self._tag_losses(output, batch) if self.decoder is None else self._crf_losses(output, batch)
        total = parts["value"].new_tensor(1.0 if self.config.loss_reduction == "sum" else 1 / len(batch["tags"]))
        weights = {"kl": self.config.kl_weight}
        return {name: part.sum() * total * weights.get(name, 1.0) for name, part in parts.items()}

    def _tag_losses(self, output: JaveOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the losses (B,) of units that are tagged each by itself."""
        losses = self.network.losses(output, batch["labels"], batch["tags"], batch["lengths"], self.config.kl_positions)
        return {name: loss for name, loss in losses._asdict().items() if loss is not None and self._counts(name)}

    def _crf_losses(self, output: JaveOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the losses (B,) with the CRF; KL is that of the softmax of its emissions."""
        assert self.decoder is not None
        mask = prefix_mask(batch["lengths"], output.fused.size(1), output.fused.device)
        emissions = self.decoder.emissions(output.fused, batch["lengths"])
        parts = {"value": -self.decoder.crf(emissions, batch["tags"], mask, "none")}
        if output.label_logits is not None:
            parts["attribute"] = attribute_loss(output.label_logits, batch["labels"])
            if self._counts("kl"):
                parts["kl"] = kl_divergence(output.label_logits, emissions, mask, self.specials)
        return parts

    def _counts(self, name: str) -> bool:
        return name != "kl" or self.config.kl_weight > 0

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch; without the attribute task attributes are those that have a span."""
        output = self._output(batch)
        scores = [None] * len(batch["examples"])
        if output.label_logits is not None:
            scores = output.label_logits.float().sigmoid().tolist()
        paths = self._paths(output, batch["lengths"])
        return [self._prediction(*row) for row in zip(batch["examples"], paths, scores, strict=True)]

    def _paths(self, output: JaveOutput, lengths: Sequence[int]) -> list[list[int]]:
        """Return the tags of every row, as many as its length."""
        if self.decoder is not None:
            return self.decoder.decode(output.fused, lengths)
        assert output.tag_logits is not None
        logits = output.tag_logits.clone()
        if not self.config.predict_specials:
            logits[:, :, : self.specials] = -torch.inf
        return [row[:length] for row, length in zip(logits.argmax(dim=2).tolist(), lengths, strict=True)]

    def _prediction(self, encoded: Encoded, path: Sequence[int], scores: Sequence[float] | None) -> Prediction:
        example = encoded.example
        tags = [self.tags[tag] for tag in path] + ["O"] * encoded.text.truncated
        spans = tuple(tags_to_spans(tags, example.tokens, self.config.chunk_scheme))
        attributes = {span.attribute: 1.0 for span in spans if span.attribute}
        if scores is not None:
            rated = list(zip(self.labels, scores, strict=True))
            first = 0 if self.config.predict_specials else self.specials
            attributes = {name: score for name, score in rated[first:] if score > THRESHOLD}
        return Prediction(example.id, attributes, pairs_from_spans(example.text, spans), spans)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the tuned encoders and the new layers apart."""
        return parameters_by_home(self, {"texts.encoder.": "text_encoder", "pictures.": "image_encoder"})
