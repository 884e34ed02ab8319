"""Options that systems of several families have; each system gives those without a default the one of its paper."""

from __future__ import annotations

from pydantic import Field

from avebench.contracts.model import EncoderConfig, TrainedConfig
from avebench.nn.image_encoder import BatchNorm, Normalisation
from avebench.nn.text_encoder import Pooling


class UnitStateOptions(EncoderConfig):
    """Options of a system that reads one state per unit off its text encoder."""

    pooling: Pooling = "first"
    """What stands for a unit of several word pieces: the state of the first, or the mean."""


class UnitVectorOptions(TrainedConfig):
    """Options of a system with a vector per unit (`avebench.nn.word_vectors`)."""

    embedding: int = Field(ge=1)
    """Size of the vectors; with `vectors` it is that of the file."""
    vectors: str | None = None
    """Text file of pretrained vectors (GloVe, word2vec); None: learnt with the model."""
    min_count: int = Field(default=2, ge=1)
    """Units that are rarer in training are the unknown unit, which so has a vector that was trained."""


class PictureOptions(TrainedConfig):
    """Options of a system that sees pictures (`avebench.models.shared.pictures`)."""

    image_encoder: str
    """torchvision ResNet, `.pth` file, hub id in the local cache, folder, `demo`, or a folder of computed features."""
    image_tuned: bool
    """Whether the picture encoder is trained; a frozen one is run once per picture and cached."""
    image_size: int = Field(default=224, ge=1)
    """Pixels a side."""
    image_normalisation: Normalisation = "imagenet"
    """Mean and deviation of the pixels; the constants of DRAM's authors (`released`) are others than the papers'."""
    image_batch_norm: BatchNorm = "auto"
    """When BatchNorm trains: at batches from 16 on, always, or never."""
