"""M-JAVE (Zhu et al., EMNLP 2020): JAVE with the picture's regions, through a global and a regional gate.

Everything but the pictures is in `avebench.models.jave.jave`, the equations in `avebench.models.jave.network`. Regions
are the patches of a picture encoder, which is frozen as in the paper (each picture is encoded once and kept on disk) or
tuned; the pooled vector is their mean, as in a ResNet, or that of the release's own files. A product without a picture
has zeros, so that all that pictures add vanishes.

The preset `fine-tuned` is the row that DRAM's authors mark with a double dagger (all encoders tuned, "with the settings
of" their own system): no code of it is public. Its BiLSTM-CRF over the fused states is a reconstruction; with the
option `decoder` "softmax" it has the paper's tag layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from avebench.contracts.model import ModelCard
from avebench.models.jave import jave
from avebench.models.jave.network import Images, JaveNetwork
from avebench.models.shared.options import PictureOptions
from avebench.models.shared.pictures import Pictures
from avebench.nn.neural import Batch

CARD = ModelCard(
    name="m-jave",
    summary="JAVE with picture regions through a global and a regional gate, over frozen or tuned encoders",
    paper=(
        "Multimodal Joint Attribute Prediction and Value Extraction for E-commerce Product, EMNLP 2020; "
        "arXiv 2009.07162"
    ),
    year=2020,
    modality="T+V",
    family="tagger",
    implementation=1,
    protocol="native",
    needs=("text encoder", "picture encoder"),
    published_with="BERT-base Chinese (or a BiLSTM) and a ResNet, frozen; double dagger: tuned, ResNet-152",
    code="https://github.com/jd-aig/JAVE",
)


class Config(jave.Config, PictureOptions):
    """Options of M-JAVE: those of JAVE and of the pictures."""

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        **jave.Config.presets,
        "fine-tuned": {**jave.FINE_TUNED, "image_encoder": "resnet152", "image_tuned": True},
    }

    global_images: Images = "gated"
    """How pictures enter the states of units: through the global gate, without a gate, or (no picture at all) not."""
    regional_images: Images = "gated"
    """How they enter the tag layer: through the regional gate, without a gate, or not."""
    image_encoder: str = "resnet101"
    image_tuned: bool = False

    def pretrained(self) -> dict[str, str]:
        """Return the encoders in use by role."""
        images = {} if self.global_images == "none" else {"image_encoder": self.image_encoder}
        return {**super().pretrained(), **images}


class Model(jave.Model):
    """M-JAVE; without pictures (`global_images` "none") it is JAVE."""

    config: Config
    pictures: Pictures | None

    def _network(self, **pictures: Any) -> JaveNetwork:
        config = self.config
        if config.global_images == "none":
            self.pictures = None
            return super()._network()
        self.pictures = Pictures(config, "transpose")
        return super()._network(
            channels=self.pictures.channels,
            global_images=config.global_images,
            regional_images=config.regional_images,
        )

    def collate(self, encoded: Sequence[jave.Encoded]) -> Batch:
        """Return the batch of JAVE and the pictures."""
        batch = super().collate(encoded)
        if self.pictures is None:
            return batch
        examples = [one.example for one in encoded]
        return {**batch, **self.pictures.collate(examples), **self.pictures.collate_pooled(examples)}

    def _pictures(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        if self.pictures is None:
            return None, None
        patches = self.pictures(batch)
        return patches, self.pictures.pooled(batch, patches)
