"""The options of DRAM: every row of Tables 4 to 7, and every open question of papers and code, as a field."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from avebench.contracts.model import LongTexts, TrainingConfig
from avebench.models.dram.blocks import Initialisation, Output
from avebench.models.dram.names import NameUse
from avebench.models.dram.stream import PatchPosition
from avebench.models.dram.text import Labelling
from avebench.models.shared.options import PictureOptions, UnitStateOptions
from avebench.nn.image_encoder import Layout


class Config(UnitStateOptions, PictureOptions):
    """Options of DRAM: the default is the text-only base. Other defaults are the journal's (`lr-a`: one rate, 5e-5).

    Every open question of papers and code is a field. The preset `clean` is the defaults; `released` follows the
    authors' code bug for bug as far as it is known; `mae` has the settings for that data set.
    """

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "clean": {},
        "lr-b": {
            "training": {"learning_rates": {"text_encoder": 5e-5, "image_encoder": 1e-5, "tem": 5e-5, "default": 1e-3}}
        },
        "released": {
            "labelling": "pieces",
            "blank_tag": True,
            "continuation_tag": True,
            "pad_attribute": True,
            "pad_mask": "concatenate",
            "patch_layout": "reshape",
            "tem_projections": "frozen",
            "text_type": 1,
            "crf_reduction": "sum",
            "image_normalisation": "released",
            "image_batch_norm": "train",
            "training": {"selection": "last"},
        },
        "mae": {
            "text_encoder": "bert-base-uncased",
            "range_threshold": 0.4,
            "name_encoder": "frozen",
            "training": {"adam_eps": 1e-12},
        },
    }

    text_encoder: str = "uer/chinese_roberta_L-4_H-512"
    labelling: Labelling = "units"
    """What is tagged: units, or the authors' word pieces with [CLS] and padding."""
    padded_length: int | None = Field(default=None, ge=3)
    """Word pieces to which texts are padded where padding is seen; None: longest training text + 2, words 128."""
    blank_tag: bool = False
    """A tag more, of [CLS], [SEP] and padding: 2N+2 tags (authors' code) instead of 2N+1 (papers)."""
    continuation_tag: bool = False
    """Tag later pieces of a word X (MAE, authors' code) instead of I; only with `labelling` "pieces"."""
    pad_attribute: bool = False
    """Whether "no attribute" is an attribute of its own, [PAD], as in the authors' code."""
    pad_mask: Literal["always", "concatenate", "never"] = "always"
    """Where BERT and TEM do not see padding; the authors mask it in V-IRC alone."""

    fusion: Literal["none", "concatenate", "tem", "tem-text"] = "none"
    """How the picture enters: not at all, as patch tokens (V-IRC), by TEM, or TEM's self-attention alone (control)."""
    image_encoder: str = "resnet152"
    image_tuned: bool = True
    patch_layout: Layout = "transpose"
    """How the grid becomes patches: by cell, or by the authors' reshape, which scrambles it."""
    patch_position: PatchPosition = "shared"
    """Position of patches in V-IRC: one for all behind the text, one each, or one for all before the text."""
    text_type: Literal[0, 1] = 0
    """Token type of the text in V-IRC; that of patches is a third one, which starts as a copy of type 1."""
    visual_gamma: float = 0.0
    """Scale at which V-IRC's patches start: 0 (VL-BERT) leaves it blind in short trainings."""
    self_attention_layer: bool = False
    """One more self-attention layer between the joint embeddings and BERT (arXiv, an ablation of V-IRC)."""

    tem_inner: int = Field(default=200, ge=1)
    """Inner size of TEM."""
    tem_softmax: bool = False
    """Whether TEM's attention has a softmax; both papers and the code have none."""
    tem_projections: Literal["trained", "frozen"] = "trained"
    """Whether TEM's six matrices are trained."""
    tem_input: Literal["embeddings", "words"] = "embeddings"
    """What TEM reads: BERT's embeddings after LayerNorm, or word embeddings alone."""
    tem_output: Output = "joint"
    """One linear layer after the sum of self- and cross-attention, or one for each."""
    tem_initialisation: Initialisation = "small-normal"
    """How the six matrices start: N(0, 1) / 100, or as a Linear layer."""

    arm: Literal["none", "prototype", "dynet", "bert"] = "none"
    """Attribute range module: none (2N+1 tags), or what guides the tagger of a selected attribute."""
    range_threshold: float = Field(default=0.5, ge=0, le=1)
    """An attribute is selected if it scores above this (0.5 on MEPAVE, 0.4 on MAE)."""
    range_feature: Literal["two-layers", "last-layer"] = "two-layers"
    """What the classifier reads: [CLS] of the last two layers by two linear layers (code), or of the last by one."""
    range_weight: float = Field(default=1e-3, ge=0)
    """Weight of one loss term (lambda)."""
    range_weight_on: Literal["bce", "crf"] = "bce"
    """Which term that is; where the authors' code has it is unknown."""
    range_gradient: Literal["none", "soft"] = "none"
    """Whether the tagger's loss reaches the classifier: not at all, or straight through a pair's guided states."""
    training_range: Literal["predicted", "gold", "union"] = "predicted"
    """Which attributes are tagged in training; at test always the predicted ones."""
    training_cap: int | None = Field(default=16, ge=1)
    """Most attributes of an example that are tagged in training."""
    warmup_at_least: int = Field(default=50, ge=0)
    """Steps in which the classifier learns alone."""
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    """Largest share of all steps that this phase takes."""
    name_encoder: NameUse = "tuned"
    """Encoder of attribute names for `arm` "bert": a second one, tuned or frozen, or the text's own (`shared`)."""
    dynet_noise: float = Field(default=0.02, ge=0)
    """DyNet matrices start as the identity plus this times N(0, 1)."""
    crf_reduction: Literal["mean", "sum", "token_mean"] = "mean"
    """Over pairs, or over sentences without ARM: mean (journal), sum (authors' code), or mean over positions."""
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

    @model_validator(mode="after")
    def _fits_together(self) -> Config:
        if self.continuation_tag and self.labelling != "pieces":
            raise ValueError("continuation_tag needs labelling 'pieces'; units have no continuation")
        if self.self_attention_layer and self.fusion != "concatenate":
            raise ValueError("self_attention_layer needs fusion 'concatenate'")
        return self

    def sees_pictures(self) -> bool:
        """Return True if the model reads pictures."""
        return self.fusion in ("concatenate", "tem")

    def sees_padding(self) -> bool:
        """Return True if padding changes what is predicted, so that its amount must be fixed."""
        masked = self.pad_mask == "always" or (self.pad_mask == "concatenate" and self.fusion == "concatenate")
        return self.labelling == "pieces" or not masked

    def reads_long_texts(self) -> LongTexts:
        """Return how texts over the limit are read: cut, whatever is asked for, where padding is seen or labelled.

        There every text has one width, as in the authors' code, and behind it nothing.
        """
        return "cut" if self.sees_padding() else self.long_texts

    def pretrained(self) -> dict[str, str]:
        """Return the encoders in use by role."""
        images = {"image_encoder": self.image_encoder} if self.sees_pictures() else {}
        return {**super().pretrained(), **images}
