"""How a system sees pictures: an encoder that is tuned, cached patches of a frozen one, or arrays made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from avebench.contracts.examples import ZERO_PICTURE, Example
from avebench.models.shared.options import PictureOptions
from avebench.nn.features import CachedPatches, CachedPictures, PrecomputedFeatures
from avebench.nn.image_encoder import ImageEncoder, Layout
from avebench.nn.neural import Batch
from avebench.nn.weights import PRECOMPUTED_IDS, image_weights


class Pictures(nn.Module):
    """Gives the patches G (B, P, C) of a batch. An example without a picture has G = 0 and is not `present`.

    The encoder is a part of the model only if it is tuned. A frozen one stands outside: its weights are not stored with
    the model's, and every picture goes through it once, whatever the number of epochs.
    """

    here: Tensor

    def __init__(self, options: PictureOptions, layout: Layout) -> None:
        super().__init__()
        name, size, tuned = options.image_encoder, options.image_size, options.image_tuned
        # Follows the model to its device, where a frozen encoder has to follow.
        self.register_buffer("here", torch.empty(0), persistent=False)
        self.encoder: ImageEncoder | None = None
        self._outside: tuple[ImageEncoder, ...] = ()
        self._ready: CachedPatches | PrecomputedFeatures | None = None
        self._pixels: CachedPictures | None = None
        self.cells: tuple[int, int] | None = None
        """Rows and columns of the picture that its patches are, in reading order; None where they are no such cells."""
        if (image_weights(name) / PRECOMPUTED_IDS).is_file():
            self._ready = PrecomputedFeatures(name)
            self.channels, self.patches = self._ready.channels, self._ready.patches
            return
        encoder = ImageEncoder(name, layout, options.image_normalisation, size, tuned, options.image_batch_norm)
        self.channels, self.patches = encoder.channels, encoder.patches
        self.cells = encoder.cells if layout == "transpose" else None
        if tuned:
            self.encoder, self._pixels = encoder, CachedPictures(size)
        else:
            self._outside = (encoder,)  # In a tuple it is no sub-module.

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return `pixels` and `zeroed` (B,), or `patches`; and `present` (B,), of the examples' pictures."""
        if self.encoder is not None and self._pixels is not None:
            zeroed = torch.tensor([example.picture == ZERO_PICTURE for example in examples])
            return {**self.encoder.collate([self._pixels[example] for example in examples]), "zeroed": zeroed}
        if isinstance(self._ready, PrecomputedFeatures):
            present = torch.ones(len(examples), dtype=torch.bool)
        else:
            present = torch.tensor([example.picture is not None for example in examples])
        return {"patches": self._frozen().stack(examples), "present": present}

    def collate_each(self, examples: Sequence[Example]) -> Batch:
        """Return what `collate` and `collate_pooled` give for every picture of the examples, M in all.

        `product` (M,) is the place of the example that a picture is of, `place` (M,) its number among that one's.
        Arrays made elsewhere have one row per product.
        """
        single = isinstance(self._ready, PrecomputedFeatures)
        shown = [
            (example,) if single else [replace(example, picture=one, further_pictures=()) for one in example.pictures]
            for example in examples
        ]
        each = [one for some in shown for one in some]
        product = [place for place, some in enumerate(shown) for _ in some]
        place = [number for some in shown for number, _ in enumerate(some)]
        return {
            **self.collate(each),
            **self.collate_pooled(each),
            "product": torch.tensor(product, dtype=torch.long),
            "place": torch.tensor(place, dtype=torch.long),
        }

    def collate_pooled(self, examples: Sequence[Example]) -> Batch:
        """Return `pooled` (B, C) of arrays made elsewhere; empty with an encoder, whose pooled vector is the mean."""
        return {"pooled": self._ready.pooled(examples)} if isinstance(self._ready, PrecomputedFeatures) else {}

    def _frozen(self) -> CachedPatches | PrecomputedFeatures:
        """Return the patches of the frozen encoder, which computes on the model's device."""
        if self._ready is None:
            self._ready = CachedPatches(self._outside[0].to(self.here.device))
        return self._ready

    def forward(self, batch: Batch) -> Tensor:
        """Return G (B, P, C)."""
        if self.encoder is None:
            patches: Tensor = batch["patches"]
            return patches
        found: Tensor = self.encoder(batch["pixels"], batch["present"], batch["zeroed"])
        return found

    def pooled(self, batch: Batch, patches: Tensor) -> Tensor:
        """Return one vector (B, C) per picture: the arrays' own, else the mean of the patches G (B, P, C).

        That mean is what a ResNet's average pool gives. It is 0 without a picture.
        """
        vectors: Tensor = batch["pooled"] if "pooled" in batch else patches.mean(dim=1)
        return vectors
