"""Dropout with a mask for each image of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ImageDropout(nn.Module):
    """Dropout whose mask for the RoIs of an image depends only on the seed of that image.

    So several processes that divide the images of a batch drop the same outputs as one process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.p = 0.0  # probability that an output is dropped
        self._generators: list[tuple[torch.Generator, int]] = []

    def reseed(self, seeds: Sequence[int], counts: Sequence[int], device: torch.device) -> None:
        """Begin a batch.

        Args:
            seeds: one for each image. counts: number of RoIs of each image, in order.
        """
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._generators = list(zip(generators, counts, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of x [R, U] while training, and scale up the others by 1 / (1 - p)."""
        if not self.training or not self.p:
            return x
        keep = 1 - self.p
        masks = [
            torch.empty((count, x.shape[1]), device=x.device, dtype=x.dtype).bernoulli_(
                keep, generator=generator
            )
            for generator, count in self._generators
        ]
        return x * torch.cat(masks).div_(keep)
