"""A small ResNet (He et al. 2016) that learns a kind of picture: its category, and which attribute values it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import ResNetConfig, ResNetModel

from avebench.nn.batching import plan
from avebench.nn.image_encoder import MEAN_AND_DEVIATION
from avebench.training.optimisation import Optimisation, minimise
from avebench.training.picture_labels import LabelledPictures, Labels


@dataclass(frozen=True, slots=True)
class PictureRecipe(Optimisation):
    """How the encoder is built and trained; the defaults made the shipped one.

    The stem divides the sides by 4, every stage after the first by 2. In training a picture is mirrored half of the
    time and moved by up to `shift` pixels.
    """

    steps: int = 2000
    stem: int = 32
    widths: tuple[int, ...] = (32, 64, 128)
    depths: tuple[int, ...] = (1, 1, 1)
    shift: int = 4


@dataclass(frozen=True, slots=True)
class PictureAccuracy:
    """Shares, in %, of what was told right: by the model, and by always the most frequent one in training.

    `category` is over `pictures`. `value` is over the `attributes` of pictures of which a known value is gold: right if
    the best of the attribute's values is gold.
    """

    category: float
    most_frequent_category: float
    value: float
    most_frequent_value: float
    pictures: int
    attributes: int


class PictureClassifier(nn.Module):
    """An encoder, and one linear layer over the mean of its grid for categories and one for values."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, recipe: PictureRecipe, labels: Labels) -> None:
        super().__init__()
        self.encoder = ResNetModel(
            ResNetConfig(
                embedding_size=recipe.stem,
                hidden_sizes=list(recipe.widths),
                depths=list(recipe.depths),
                layer_type="basic",
            )
        )
        self.categories = nn.Linear(recipe.widths[-1], len(labels.categories))
        self.values = nn.Linear(recipe.widths[-1], len(labels.values))
        mean, deviation = MEAN_AND_DEVIATION["imagenet"]
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits of categories (B, C) and values (B, V) of pictures (B, 3, size, size) in bytes."""
        grid = self.encoder((pixels / 255 - self.mean) / self.deviation).last_hidden_state  # (B, H, h, w)
        pooled = grid.mean((2, 3))
        return self.categories(pooled), self.values(pooled)


def augmented(pixels: Tensor, shift: int) -> Tensor:
    """Return pictures (B, 3, size, size), each mirrored or not and moved by up to `shift` both ways, edges repeated."""
    count, _, size, _ = pixels.shape
    places = torch.arange(size) + torch.randint(-shift, shift + 1, (2, count, 1))
    rows, columns = places.clamp(0, size - 1)  # (B, size) each
    columns = torch.where(torch.rand(count, 1) < 0.5, columns.flip(1), columns)
    moved = pixels[torch.arange(count).view(-1, 1, 1), :, rows.unsqueeze(2), columns.unsqueeze(1)]
    return moved.permute(0, 3, 1, 2)  # (B, size, size, 3) before


def loss_of(categories: Tensor, values: Tensor, pictures: LabelledPictures) -> Tensor:
    """Return the mean over pictures of the cross-entropies of the category and, summed, of all values told."""
    category = nn.functional.cross_entropy(categories, pictures.categories)
    each = nn.functional.binary_cross_entropy_with_logits(values, pictures.shown.to(values.dtype), reduction="none")
    return category + each[pictures.annotated].sum() / len(values)


def train(
    model: PictureClassifier,
    pictures: LabelledPictures,
    recipe: PictureRecipe,
    device: str,
    report: Callable[[int, float], None],
) -> None:
    """Train `model` in place; `report` as for `minimise`."""
    lengths = [1] * len(pictures.pixels)
    batches = plan(lengths, recipe.batch_size, 1, order="shuffled", repetition=recipe.seed, start=0, stop=recipe.steps)

    def losses() -> Iterator[Tensor]:
        for batch in batches:
            rows = torch.from_numpy(batch.positions)
            chosen = LabelledPictures(
                augmented(pictures.pixels[rows], recipe.shift).to(device),
                *(part[rows].to(device) for part in (pictures.categories, pictures.shown, pictures.annotated)),
            )
            categories, values = model(chosen.pixels)
            yield loss_of(categories, values, chosen)

    # Channels last is the faster order of memory for convolutions; what is saved does not know it.
    model.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]  # No such overload.
    minimise(model, losses(), recipe, report)
    model.to(memory_format=torch.contiguous_format).train(False)  # type: ignore[call-overload]  # As above.


@torch.inference_mode()
def picture_accuracy(model: PictureClassifier, pictures: LabelledPictures, labels: Labels) -> PictureAccuracy:
    """Return how often the model is right about pictures that it was not trained on."""
    model.train(False)
    found = [model(pixels.to(model.mean.device)) for pixels in torch.split(pictures.pixels, 256)]
    category, value = (torch.cat(logits).cpu() for logits in zip(*found, strict=True))
    right = frequent = asked = 0
    for columns in labels.columns().values():
        gold = pictures.shown[:, columns]  # (N, values of the attribute)
        best = gold.gather(1, value[:, columns].argmax(1, keepdim=True))
        right += int(best.sum())
        frequent += int(gold[:, 0].sum())
        asked += int(gold.any(1).sum())
    return PictureAccuracy(
        category=_percent(int((category.argmax(1) == pictures.categories).sum()), len(category)),
        most_frequent_category=_percent(int((pictures.categories == 0).sum()), len(category)),
        value=_percent(right, asked),
        most_frequent_value=_percent(frequent, asked),
        pictures=len(category),
        attributes=asked,
    )


def _percent(part: int, whole: int) -> float:
    return 100 * part / max(1, whole)
