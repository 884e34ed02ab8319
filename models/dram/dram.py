"""DRAM (ULS-DRAM): dynamic range modulation, with every row of Tables 4 to 7 as an option of it.

Base (Vanilla IRC, V-IRC; `fusion` "none" and "concatenate", `arm` "none"), journal section 3.1.1:

    X = BERT(text [+ patches])  (B, S, H)  ->  BiLSTM (H -> H/2 per direction)  ->  dropout  ->  Linear (2N+1)  ->  CRF

TEM (`fusion` "tem"), journal section 3.1.2: text queries gather from text and picture before BERT; see
`TextRelatedEmbeddings`. ARM (`arm` "prototype", "dynet", "bert"), journal section 3.2: a classifier on [CLS] scores the
attributes, R (B, N); each attribute with R above `range_threshold` is tagged by itself over guided states:

    F = X[b]  (M, S, H)  ->  guidance (M, S, 2H)  ->  BiLSTM (2H -> H per direction)  ->  dropout  ->  Linear (3) -> CRF

S counts labelling units: characters in Chinese, words otherwise; M counts selected (example, attribute) pairs. [CLS],
[SEP], further word pieces and padding never reach the decoder. Loss (journal section 3.3): the mean over pairs, without
ARM over sentences, of -log p(gold tags), plus `range_weight` times the binary cross-entropy of R. In training the
range is the predicted one: a selected attribute that is not gold is tagged O throughout, a gold one that is not
selected has no tags to learn.

Departures from the authors' code, all undone by the preset `released`: tags without blank and X, units instead of
word pieces (theirs shifts tags against Latin letters and digits in Chinese), padding masked (theirs is attended by BERT
and by TEM), patches by transposition (theirs reshapes channels into patches), all projections of TEM trained (theirs
takes the switch from an unrelated field, which is off), no label for "no attribute", CRF averaged instead of summed.
Their training script is not public. Ours: constant rate, clipping to norm 5, the checkpoint chosen on validation, a
warm-up of the classifier alone (`WarmUp`), and at most `training_cap` attributes of an example in training. The MAE
label X stands behind a unit's first piece only, and a unit's label is that of its first piece.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from avebench.contracts.examples import PAD, AttributeSchema, Example, Prediction, Span, prediction_of
from avebench.contracts.explanation import Explanation, Figures
from avebench.contracts.model import ModelCard, TrainingConfig, Vocabulary
from avebench.models.dram.blocks import (
    DyNetGuidance,
    NameGuidance,
    PrototypeGuidance,
    RangeClassifier,
    WarmUp,
    cosines,
    selected_pairs,
)
from avebench.models.dram.config import Config
from avebench.models.dram.names import NameEncoder
from avebench.models.dram.stream import JointStream, Read, TextStream, packed
from avebench.models.dram.targets import CANDIDATE_SCORE, Encoded, Targets
from avebench.models.dram.text import RELEASED_WIDTH, Labeller
from avebench.models.shared.encoder_model import EncoderModel
from avebench.models.shared.pictures import Pictures
from avebench.nn.bilstm_crf import BiLSTMCRF
from avebench.nn.neural import Batch, move, parameters_by_home
from avebench.nn.ragged import padded
from avebench.nn.text_encoder import TextEncoder
from avebench.nn.unit_pieces import EncodedText

__all__ = ["CARD", "Config", "Model"]

CARD = ModelCard(
    name="dram",
    summary="Dynamic range modulation: BERT, BiLSTM and CRF with text-related embeddings and an attribute range module",
    paper=(
        "DRAM: Dynamic Range Modulation for Multimodal Attribute Value Extraction on E-Commerce Product Data, "
        "Electronics 2026, 15(5), 969; arXiv 2207.07278"
    ),
    year=2026,
    modality="T+V",
    family="tagger",
    implementation=2,
    protocol="native",
    needs=("text encoder", "picture encoder"),
    published_with="RoBERTa-small-Chinese (uer/chinese_roberta_L-4_H-512), ResNet-152; MAE: BERT-base, ResNet-152",
    code="https://github.com/AnonymousAz01/ULS-DRAM",
)

PAIRS_AT_ONCE = 256
"""Selected pairs that are decoded at once at test."""


class Model(EncoderModel):
    """Vanilla IRC, V-IRC, their variants with ARM, and DRAM."""

    config: Config

    def __init__(self, config: Config, schema: AttributeSchema, vocabulary: Vocabulary) -> None:
        super().__init__(config, schema, vocabulary)
        self.targets = Targets(config, schema)
        self.attributes, self.tags = self.targets.attributes, self.targets.tags
        self.labels = self.tags.labels
        self._sweeps = True
        # The order of what follows fixes the initial values of the layers.
        self.text_encoder = TextEncoder(
            config.text_encoder, schema.units, config.pooling, long_texts=config.reads_long_texts()
        )
        self._build_stream()
        width = config.padded_length or vocabulary["width"] if config.sees_padding() else None
        self.labeller = Labeller(self.text_encoder, config.labelling, width)
        hidden = self.text_encoder.hidden
        if config.arm != "none":
            self._build_range(hidden)
            hidden *= 2
        self.decoder = BiLSTMCRF(hidden, len(self.labels), config.dropout)

    def _build_stream(self) -> None:
        config = self.config
        self.pictures: Pictures | None = None
        channels = patches = 0
        if config.sees_pictures():
            self.pictures = Pictures(config, config.patch_layout)
            channels, patches = self.pictures.channels, self.pictures.patches
        self.stream: TextStream | JointStream = (
            JointStream(config, self.text_encoder, channels, patches)
            if config.fusion == "concatenate"
            else TextStream(config, self.text_encoder, channels)
        )

    def _build_range(self, hidden: int) -> None:
        config, number = self.config, len(self.attributes)
        mean_range = self.vocabulary["mean_range"]
        self.classifier = RangeClassifier(hidden, number, 2 if config.range_feature == "two-layers" else 1)
        self.classifier.start_at(mean_range / number)
        pieces = config.training.accumulation  # A step takes so many batches.
        total = _total_steps(config.training, self.vocabulary["train_examples"]) * pieces
        self.warm_up = WarmUp(config.warmup_at_least * pieces, int(config.warmup_share * total), mean_range)
        self.guidance: PrototypeGuidance | DyNetGuidance | NameGuidance
        if config.arm == "prototype":
            self.guidance = PrototypeGuidance(number, hidden)
        elif config.arm == "dynet":
            self.guidance = DyNetGuidance(number, hidden, config.dynet_noise)
        else:
            self.guidance = NameGuidance(number, hidden)
            self.names = NameEncoder(self.attributes, config.name_encoder, config.text_encoder, self.schema.units)
            if config.name_encoder == "frozen":
                self.guidance.names.copy_(self.names.frozen())

    @classmethod
    def learn_vocabulary(cls, config: Any, schema: AttributeSchema, train: Sequence[Example]) -> Vocabulary:
        """Return `train_examples`, `mean_range` (mean number of gold attributes) and `width` (pieces to pad to)."""
        targets = Targets(config, schema)
        ranges = [len(targets.gold(example)) for example in train]
        longest = max((len(example.tokens) for example in train), default=1) + 2
        return {
            "train_examples": len(train),
            "mean_range": sum(ranges) / max(len(ranges), 1),
            "width": longest if schema.units == "character" else RELEASED_WIDTH,
        }

    def encode(self, example: Example) -> Encoded:
        """Return ids and gold tags; an attribute that the schema does not know is tagged O."""
        return self.targets.encode(example, self.labeller)

    def pieces(self, encoded: Encoded) -> EncodedText:
        """Return the word pieces of an encoded example."""
        return encoded.text.pieces

    def collate(self, encoded: Sequence[Encoded]) -> Batch:
        """Return text, pictures and targets: `tags` (B, S), or with ARM `gold` (B, N), and the encoded `examples`."""
        batch = self.labeller.collate([example.text for example in encoded])
        if self.pictures is not None:
            batch |= self.pictures.collate([example.example for example in encoded])
        if self.config.arm == "none":
            batch["tags"] = padded([example.tags for example in encoded], width=batch["width"])
        else:
            batch["gold"] = torch.zeros(len(encoded), len(self.attributes), dtype=torch.bool)
            for row, example in zip(batch["gold"], encoded, strict=True):
                row[list(example.gold)] = True
        return {**batch, "examples": list(encoded)}

    def _patches(self, batch: Batch) -> Tensor | None:
        """Return the patches (W, P, C) that go with each window of a batch; None for a system that sees none."""
        return None if self.pictures is None else self.text_encoder.of_windows(self.pictures(batch), batch)

    def _read(self, batch: Batch, *, attend: bool = False) -> Read:
        patches = self._patches(batch)
        read: Read = self.stream(self.text_encoder, batch, patches, attend=attend)
        return read

    def _states(self, read: Read, batch: Batch) -> Tensor:
        """Return the states (B, S, H) that the decoder labels."""
        if self.config.labelling == "pieces":
            return packed(read, batch["mask"].sum(dim=1))
        return self.text_encoder.pool(read.last, batch)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return `crf` and, with ARM, `range`, both weighted (journal section 3.3)."""
        read = self._read(batch)
        states = self._states(read, batch)
        if self.config.arm == "none":
            return {
                "crf": self.decoder.loss(
                    states, batch["lengths"], batch["tags"], self.config.crf_reduction, batch["scored"]
                )
            }
        logits = self._range_logits(read, batch)
        losses = {
            "crf": self._pair_loss(states, logits.sigmoid(), batch),
            "range": functional.binary_cross_entropy_with_logits(logits, batch["gold"].to(logits.dtype)),
        }
        weighted = "range" if self.config.range_weight_on == "bce" else "crf"
        return {name: loss * (self.config.range_weight if name == weighted else 1) for name, loss in losses.items()}

    def _pair_loss(self, states: Tensor, scores: Tensor, batch: Batch) -> Tensor:
        """Return the CRF loss over the pairs in range; 0 if there is none, or while the classifier learns alone."""
        config, kind = self.config, self.config.training_range
        if self.training and kind != "gold":
            selected = float((scores > config.range_threshold).sum(dim=1).float().mean())
            if not self.warm_up.advance(selected):
                return scores.new_zeros(())
        rows, attributes = selected_pairs(
            scores,
            config.range_threshold,
            None if kind == "predicted" else batch["gold"],
            predicted=kind != "gold",
            cap=config.training_cap if self.training else None,
        )
        if not len(rows):
            return scores.new_zeros(())
        pairs = list(zip(rows.tolist(), attributes.tolist(), strict=True))
        guided, lengths, scored = self._guided(states, rows, attributes, batch)
        tags = padded([batch["examples"][row].target(number) for row, number in pairs], width=states.size(1))
        tags = tags.to(states.device)
        if config.range_gradient == "soft":
            # The factor is 1; only its gradient is that of the score.
            own = scores[rows, attributes]
            guided = guided * (1 + (own - own.detach()))[:, None, None]
        return self.decoder.loss(guided, lengths, tags, config.crf_reduction, scored)

    def _guided(
        self, states: Tensor, rows: Tensor, attributes: Tensor, batch: Batch
    ) -> tuple[Tensor, list[int], list[int]]:
        """Return the guided states (M, S, 2H) of pairs, and how many positions of each are read and are scored."""
        chosen = rows.tolist()
        lengths, scored = ([batch[key][row] for row in chosen] for key in ("lengths", "scored"))
        pieces = states[rows]  # (M, S, H)
        if not self._names_change():
            return self.guidance(pieces, attributes), lengths, scored
        names, attributes = self.names(attributes, self.text_encoder)
        return self.guidance(pieces, attributes, names), lengths, scored

    def predict_encoded(self, encoded: Sequence[Any]) -> list[Prediction]:
        """Return one prediction per encoded example, in order; the training mode is restored afterwards.

        Validation within a training run leaves `candidates` out: nobody sweeps a threshold there.
        """
        self._sweeps = not self.training
        # Every batch needs the names of the attributes, in evaluation mode.
        names = self.names.remembered(self.text_encoder) if self._names_change() else nullcontext()
        with names:
            return super().predict_encoded(encoded)

    def _names_change(self) -> bool:
        return self.config.arm == "bert" and self.config.name_encoder != "frozen"

    def predict_batch(self, batch: Batch) -> list[Prediction]:
        """Return the predictions of a batch.

        Without ARM an attribute is predicted, with score 1, iff it has a span. With ARM the selected attributes are
        predicted with their scores R, whether or not a value of them is found.
        """
        return self._predictions(self._read(batch), batch)

    def _predictions(self, read: Read, batch: Batch) -> list[Prediction]:
        states = self._states(read, batch)
        if self.config.arm == "none":
            paths = self.decoder.decode(states, batch["lengths"], batch["scored"])
            return [self._tagged(example, path) for example, path in zip(batch["examples"], paths, strict=True)]
        scores = self._scores(read, batch)
        spans = self._decoded(states, scores, batch)
        return [
            self.targets.prediction(encoded.example, row, found, self.config.range_threshold, sweeps=self._sweeps)
            for encoded, row, found in zip(batch["examples"], scores.tolist(), spans, strict=True)
        ]

    def _range_logits(self, read: Read, batch: Batch) -> Tensor:
        """Return the logits of R (B, N); of a text in windows, each attribute's highest."""
        return self.text_encoder.highest(self.classifier(read.cls_previous, read.last[:, 0]).float(), batch)

    def _scores(self, read: Read, batch: Batch) -> Tensor:
        """Return R (B, N)."""
        return self._range_logits(read, batch).sigmoid()

    def _tagged(self, encoded: Encoded, path: Sequence[int]) -> Prediction:
        found = self.labeller.spans(encoded.text, path, self.tags, self.config.chunk_scheme)
        return prediction_of(encoded.example, (span for span in found if span.attribute != PAD))

    def _decoded(self, states: Tensor, scores: Tensor, batch: Batch) -> list[dict[int, tuple[Span, ...]]]:
        """Return each example's spans by attribute, of those that are selected or are candidates; [PAD] has none."""
        wanted = scores > self.config.range_threshold
        if self._sweeps:
            wanted |= scores >= CANDIDATE_SCORE
        wanted[:, self.targets.extractable :] = False
        rows, attributes = wanted.nonzero(as_tuple=True)
        found: list[dict[int, tuple[Span, ...]]] = [{} for _ in batch["examples"]]
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            piece = slice(start, start + PAIRS_AT_ONCE)
            paths = self.decoder.decode(*self._guided(states, rows[piece], attributes[piece], batch))
            for row, number, path in zip(rows[piece].tolist(), attributes[piece].tolist(), paths, strict=True):
                text = batch["examples"][row].text
                spans = self.labeller.spans(text, path, self.tags, self.config.chunk_scheme)
                name = self.attributes[number]
                found[row][number] = tuple(Span(name, span.start, span.end) for span in spans)
        return found

    @torch.inference_mode()
    def explain(self, example: Example) -> Explanation:
        """Return the prediction of an example with ranges and similarities (with ARM) and attention (with a picture).

        Attention is A_v with TEM, with concatenation the first layer's from text to patches, the mean over its heads.
        DyNet has matrices instead of vectors, which are similar to nothing.
        """
        batch = move(self.collate([self.encode(example)]), next(self.parameters()).device)
        was_training, self._sweeps = self.training, True
        self.eval()
        seen = self.pictures is not None and bool(batch["present"].all())
        read = self._read(batch, attend=seen)
        explained = Explanation(example, self._predictions(read, batch)[0])
        if self.config.arm != "none":
            scores = self._scores(read, batch)
            explained = replace(
                explained,
                ranges=dict(zip(self.attributes, scores[0].tolist(), strict=True)),
                threshold=self.config.range_threshold,
                similarities=self._similarities(self._states(read, batch), scores[0], batch),
            )
        self.train(was_training)
        if not seen or read.attention is None or self.pictures is None:
            return explained
        weights = read.attention if self.config.labelling == "pieces" else self.text_encoder.pool(read.attention, batch)
        attention = self.labeller.of_units(weights[0], batch["examples"][0].text)
        return replace(explained, attention=attention, attends=self.stream.attends, cells=self.pictures.cells)

    def _similarities(self, states: Tensor, scores: Tensor, batch: Batch) -> dict[str, Figures]:
        """Return w (U,) (journal Eq. 12) of every selected attribute, of the states (1, S, H) of one example."""
        chosen = (scores > self.config.range_threshold).nonzero()[:, 0]  # (M,)
        if isinstance(self.guidance, DyNetGuidance) or not len(chosen):
            return {}
        names, places = self.names(chosen, self.text_encoder) if self._names_change() else (None, chosen)
        vectors = self.guidance.vectors(places, names)  # (M, H)
        weights = cosines(vectors, states.expand(len(chosen), -1, -1))  # (M, S)
        units = self.labeller.of_units(weights.T, batch["examples"][0].text)  # (U, M)
        return {self.attributes[number]: units[:, place] for place, number in enumerate(chosen.tolist())}

    @torch.no_grad()
    def fix_range(self, attributes: Collection[int]) -> bool:
        """Let the classifier score these attributes all but 1 and the others all but 0; return False without ARM."""
        if self.config.arm == "none":
            return False
        self.classifier.second.weight.zero_()
        self.classifier.second.bias.fill_(-9.0)[list(attributes)] = 9.0
        return True

    def diagnostics(self, batch: Batch) -> dict[str, float]:
        """Return how far what was added to the text can matter.

        V-IRC: `visual_gamma`, the mean absolute scale of the patches. TEM: the size of E_m over that of E at the text's
        positions, `related_to_embeddings`, and of its part from the picture alone, `picture_to_embeddings` (sizes are
        root mean squares).
        """
        patches = self._patches(batch)
        found: dict[str, float] = self.stream.diagnostics(self.text_encoder, batch, patches)
        return found

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the pretrained encoders, TEM (`tem`) and the other new layers apart.

        TEM is a product of three matrices without a softmax in front of the pretrained layers: a rate that suits the
        decoder can drown their input within some tens of steps.
        """
        homes = {"text_encoder.": "text_encoder", "names.": "text_encoder"}
        return parameters_by_home(self, {**homes, "pictures.": "image_encoder", "stream.tem.": "tem"})


def _total_steps(training: TrainingConfig, examples: int) -> int:
    """Return the optimiser steps of a run, as the training loop counts them."""
    if training.steps is not None:
        return training.steps
    return (training.epochs or 0) * -(-examples // (training.batch_size * training.accumulation))
