"""Picture encoders that give a grid of patches: torchvision's ResNets, any Hugging Face vision model, or `demo`.

A picture becomes P patch vectors of C channels (49 of 2048 for a ResNet-152 at 224x224). Nothing is ever fetched: an
encoder is a file or a folder on this machine.
"""

from __future__ import annotations

import inspect
import json
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet  # type: ignore[import-untyped]  # It has no types.

from avebench.contracts.examples import Example, Picture
from avebench.files.errors import AvebenchError
from avebench.nn.pretrained import check_finite, first_line, load_pretrained, quiet
from avebench.nn.weights import PRECOMPUTED_IDS, TORCHVISION_FILES, image_weights

Layout = Literal["transpose", "reshape"]
Normalisation = Literal["imagenet", "released", "encoder"]
BatchNorm = Literal["auto", "train", "frozen"]
Triple = tuple[float, float, float]
Pixels = npt.NDArray[np.uint8]

MEAN_AND_DEVIATION: dict[str, tuple[Triple, Triple]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "released": ((0.48, 0.498, 0.531), (0.214, 0.207, 0.207)),
}
"""Of RGB in [0, 1]: the ImageNet constants, and those in the authors' code of DRAM."""
SMALLEST_BATCH = 16
"""From this batch size on, batch statistics are trusted (`batch_norm` "auto")."""
RESNETS: dict[str, tuple[type[nn.Module], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
    "resnet152": (Bottleneck, (3, 8, 36, 3)),
}
"""He et al. 2016, Table 1: kind and number of the blocks of each stage."""


def pixels_of(picture: Picture, size: int) -> Pixels:
    """Return the picture as RGB bytes (3, size, size), resized straight to a square (bilinear, without cropping)."""
    square = picture.open().convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1))


def patches_of(grid: Tensor, layout: Layout) -> Tensor:
    """Return a grid (B, C, h, w) as patches (B, h * w, C).

    `transpose` keeps one cell of the grid, all its channels, in one patch. `reshape` reads the same memory as if the
    channels stood last, as the authors' code of DRAM does: a patch is then a run of channels over many cells.
    """
    batch, channels, height, width = grid.shape
    if layout == "reshape":
        return grid.reshape(batch, height * width, channels)
    return grid.flatten(2).transpose(1, 2)


class ImageEncoder(nn.Module):
    """The encoder `name` over square pictures of `size` pixels a side.

    `name` is `resnet18` to `resnet152` (torchvision, ImageNet V1), a checkpoint file of such a ResNet, `demo`, a hub id
    in the local cache, or a folder of a Hugging Face vision model, whose last hidden state is a grid (B, C, h, w) or a
    sequence of tokens (B, prefix + P, C). `normalisation` "encoder" takes the constants of the folder's
    preprocessor_config.json. With `tuned` False no gradient flows and all statistics stay as they were pretrained.
    `batch_norm` says when BatchNorm computes statistics from the batch in training: always ("train"), never ("frozen"),
    or from 16 pictures on ("auto"). AvebenchError if weights are missing, broken, pickled or of another architecture,
    or if the model refuses pictures of this size.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        name: str,
        layout: Layout = "transpose",
        normalisation: Normalisation = "imagenet",
        size: int = 224,
        tuned: bool = True,
        batch_norm: BatchNorm = "auto",
    ) -> None:
        super().__init__()
        self.name, self.layout, self.size, self.tuned, self.batch_norm = name, layout, size, tuned, batch_norm
        location = image_weights(name)
        if (location / PRECOMPUTED_IDS).is_file():
            raise AvebenchError(f"The folder {location} holds computed features, which no encoder can be made from.")
        self.place = f"the picture encoder '{name}'" + ("" if name == str(location) else f" ({location})")
        # The unused initial values must not shift the seeds of what is built next.
        with torch.random.fork_rng(devices=[]):
            self.model = _build(self.place, location, size, name)
        mean, deviation = _constants(self.place, location, normalisation)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1), persistent=False)
        self._norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        self.model.requires_grad_(tuned)
        self.channels, self.cells = self._probe()
        """Channels C of a patch; rows and columns of the grid of patches."""
        self.patches = self.cells[0] * self.cells[1]
        self.train()

    def _probe(self) -> tuple[int, tuple[int, int]]:
        """Return C and the grid of a blank picture; parameters that do not act on patches (poolers) are not trained."""
        self.model.eval()
        blank = torch.zeros(1, 3, self.size, self.size)
        try:
            with torch.enable_grad():
                grid = self.model(self.normalise(blank))
                total = grid.sum()
        except (ValueError, RuntimeError, AttributeError, TypeError, IndexError) as error:
            raise AvebenchError(
                f"No patches of pictures of {self.size} x {self.size} come from {self.place}: {first_line(error)} "
                "Choose another size, or a vision model with a last_hidden_state."
            ) from None
        if self.tuned:
            parameters = list(self.model.parameters())
            gradients = torch.autograd.grad(total, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.requires_grad_(gradient is not None)
        return grid.shape[1], (grid.shape[2], grid.shape[3])

    def train(self, mode: bool = True) -> ImageEncoder:
        """Set the training mode; an encoder that is not tuned stays in evaluation mode."""
        super().train(mode)
        self.model.train(mode and self.tuned)
        return self

    def encode(self, example: Example) -> Tensor | None:
        """Return the example's picture as RGB bytes (3, size, size), or None if it has none.

        DataError if the file is missing or cannot be decoded.
        """
        return None if example.picture is None else torch.from_numpy(pixels_of(example.picture, self.size))

    def collate(self, pictures: Sequence[Tensor | None]) -> dict[str, Tensor]:
        """Return `pixels` (B, 3, size, size) in bytes, blank where there is no picture, and `present` (B,)."""
        pixels = torch.zeros(len(pictures), 3, self.size, self.size, dtype=torch.uint8)
        for row, picture in zip(pixels, pictures, strict=True):
            if picture is not None:
                row.copy_(picture)
        return {"pixels": pixels, "present": torch.tensor([picture is not None for picture in pictures])}

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return bytes, or numbers in [0, 1], as the network's input: minus the mean, over the deviation."""
        unit = pixels.to(self.mean.dtype) / 255 if pixels.dtype == torch.uint8 else pixels
        normalised: Tensor = (unit - self.mean) / self.deviation
        return normalised

    def grid(self, inputs: Tensor) -> Tensor:
        """Return the grid (B, C, h, w) of normalised pictures (B, 3, size, size)."""
        if self.model.training:
            trusted = self.batch_norm == "train" or (self.batch_norm == "auto" and len(inputs) >= SMALLEST_BATCH)
            for norm in self._norms:
                norm.train(trusted)
        with torch.set_grad_enabled(self.tuned and torch.is_grad_enabled()):
            grid: Tensor = self.model(inputs)
            return grid

    def forward(self, pixels: Tensor, present: Tensor | None = None, zeroed: Tensor | None = None) -> Tensor:
        """Return the patches (B, P, C) of pictures (B, 3, size, size), in bytes or in [0, 1].

        The patches of rows that are not `present` (B,) are zero, so that a product of them vanishes; such rows do not
        count for the batch statistics either. The input of `zeroed` rows (B,) is zero after normalisation.
        """
        inputs = self.normalise(pixels)
        if zeroed is not None:
            inputs = inputs.masked_fill(zeroed.view(-1, 1, 1, 1), 0.0)
        if present is None or bool(present.all()):
            return patches_of(self.grid(inputs), self.layout)
        patches = torch.zeros(len(pixels), self.patches, self.channels, device=pixels.device)
        if not present.any():
            return patches
        found = patches_of(self.grid(inputs[present]), self.layout)
        return patches.to(found.dtype).masked_scatter(present.view(-1, 1, 1), found)


def _build(place: str, location: Path, size: int, name: str) -> nn.Module:
    """Return the network from normalised pictures (B, 3, size, size) to their grid (B, C, h, w)."""
    if location.is_file():
        return _resnet(place, location, name)
    with quiet():
        return _HiddenGrid(_vision_model(place, location), size)


class _ResNetGrid(ResNet):  # type: ignore[misc]  # torchvision has no types.
    """A ResNet without average pool and classifier: h and w are 1/32 of the picture."""

    def __init__(self, block: type[nn.Module], depths: Sequence[int]) -> None:
        super().__init__(block, list(depths))
        del self.avgpool, self.fc

    def forward(self, inputs: Tensor) -> Tensor:
        grid: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(inputs))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            grid = stage(grid)
        return grid


class _HiddenGrid(nn.Module):
    """The last hidden state of a Hugging Face model as a grid."""

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        self.model = model
        self.size = size
        takes = inspect.signature(model.forward).parameters
        other_size = size != getattr(model.config, "image_size", None)
        self.options = {"interpolate_pos_encoding": True} if other_size and "interpolate_pos_encoding" in takes else {}

    def forward(self, inputs: Tensor) -> Tensor:
        states: Tensor = self.model(inputs, **self.options).last_hidden_state
        if states.dim() == 4:
            return states
        side = _side(states.size(1), self.size, getattr(self.model.config, "patch_size", None))
        cells = states[:, states.size(1) - side * side :]  # [CLS] and registers stand in front.
        return cells.transpose(1, 2).reshape(len(states), -1, side, side)


def _resnet(place: str, path: Path, name: str) -> _ResNetGrid:
    """Return the ResNet of a checkpoint file without its classifier; its kind is read off the tensors."""
    tensors = {key: value for key, value in _tensors(place, path).items() if not key.startswith("fc.")}
    kind = _kind(tensors)
    if kind is None or (name in TORCHVISION_FILES and kind != name):
        known = f"a {name}" if name in TORCHVISION_FILES else "a ResNet-18, -34, -50, -101 or -152 of torchvision"
        raise AvebenchError(f"The checkpoint of {place} is not that of {known}. Name a state_dict of such a model.")
    block, depths = RESNETS[kind]
    model = _ResNetGrid(block, depths)
    # Checkpoints from before PyTorch 0.4.1 lack the counters of BatchNorm.
    expected = {key: tensor for key, tensor in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    misfits = [key for key, tensor in expected.items() if key not in tensors or tensors[key].shape != tensor.shape]
    misfits += [key for key in tensors if key not in model.state_dict()]
    if misfits:
        raise AvebenchError(
            f"The checkpoint of {place} does not fit a {kind} of torchvision: {len(misfits)} tensors are missing, "
            f"unknown or of another shape, for instance '{min(misfits)}'. Copy the file again."
        )
    check_finite(place, tensors)
    model.load_state_dict(tensors, strict=False)
    return model


def _tensors(place: str, path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file by name; pickled objects are refused, never loaded."""
    try:
        loaded = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except pickle.UnpicklingError:
        raise AvebenchError(
            f"The weights of {place} are damaged, or pickled Python objects instead of plain tensors, which are never "
            "loaded. Copy the file again, or save the state_dict alone where you trust it."
        ) from None
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, EOFError, SafetensorError) as error:
        raise AvebenchError(
            f"The weights of {place} cannot be loaded: {first_line(error)} Copy the file again."
        ) from None
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise AvebenchError(f"The file of {place} holds no state_dict of tensors by name. Save the state_dict alone.")
    return dict(loaded)


def _kind(tensors: dict[str, Tensor]) -> str | None:
    """Return the name of the ResNet whose blocks are those of the tensors, or None."""
    blocks = {tuple(key.split(".")[:2]) for key in tensors if key.startswith("layer")}
    depths = tuple(sum(stage == f"layer{number}" for stage, *_ in blocks) for number in (1, 2, 3, 4))
    block = Bottleneck if "layer1.0.conv3.weight" in tensors else BasicBlock
    return next((name for name, known in RESNETS.items() if known == (block, depths)), None)


def _vision_model(place: str, folder: Path) -> Any:
    """Return the Hugging Face model of a folder, without a pooler where its class allows that."""
    from transformers import MODEL_MAPPING, AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found: Any = MODEL_MAPPING[type(config)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AvebenchError(
            f"The config.json of {place} names no model that transformers knows ({first_line(error)}) Name a folder "
            "saved by save_pretrained."
        ) from None
    model_class = found[0] if isinstance(found, tuple | list) else found
    if model_class.main_input_name != "pixel_values":
        raise AvebenchError(f"The type of {place} is '{config.model_type}', which does not take a picture alone.")
    has_pooler = "add_pooling_layer" in inspect.signature(model_class.__init__).parameters
    return load_pretrained(place, folder, **({"add_pooling_layer": False} if has_pooler else {}))


def _side(tokens: int, size: int, patch_size: Any) -> int:
    """Return how many cells a side the square grid among `tokens` tokens has."""
    if isinstance(patch_size, int) and (size // patch_size) ** 2 <= tokens:
        return size // patch_size
    return math.isqrt(tokens)


def _constants(place: str, location: Path, normalisation: Normalisation) -> tuple[Sequence[float], Sequence[float]]:
    """Return mean and deviation per channel of RGB in [0, 1]."""
    if normalisation != "encoder":
        return MEAN_AND_DEVIATION[normalisation]
    file = location / "preprocessor_config.json"
    try:
        fields = json.loads(file.read_text(encoding="utf-8"))
        mean, deviation = ([float(value) for value in fields[key]] for key in ("image_mean", "image_std"))
    except (OSError, ValueError, KeyError, TypeError):
        mean, deviation = [], []
    if len(mean) != 3 or len(deviation) != 3 or not all(value > 0 for value in deviation):
        raise AvebenchError(
            f"The file preprocessor_config.json of {place} does not give three image_mean and three positive "
            "image_std. Add them, or choose the normalisation 'imagenet'."
        )
    return mean, deviation
