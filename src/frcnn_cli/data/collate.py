"""From images and RoIs to the batch that the network is given, in training and detection alike.

R: RoIs of the batch; B: images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..ops import boxes as box_ops
from ..structures import Batch, PixelStatistics, RoiTargets
from . import transforms

MIN_SIDE = 32  # pixels; of less the convolutions of some backbones leave nothing


@dataclass(frozen=True)
class PreprocessedImage:
    """One image at network scale, with its RoIs. R here counts the RoIs of this image."""

    image: NDArray[np.uint8]  # h×w×3, resized
    scale: float
    original_size: tuple[int, int]
    rois: NDArray[np.float32]  # R×4, pixels of the original image
    labels: NDArray[np.int64] | None = None  # R; None when detecting
    deltas: NDArray[np.float32] | None = None  # R×4
    others: tuple[PreprocessedImage, ...] = ()  # the image at other scales, with RoIs of their own

    @property
    def roi_count(self) -> int:
        """RoIs at all scales."""
        return len(self.rois) + sum(len(other.rois) for other in self.others)


def preprocess(
    image: NDArray[np.uint8], rois: NDArray[np.float32], short_side: int, max_side: int
) -> PreprocessedImage:
    """Resize one image for the network; sides in pixels."""
    height, width = image.shape[:2]
    factor = transforms.resize_factor((height, width), short_side, max_side)
    return PreprocessedImage(transforms.resize(image, factor), factor, (height, width), rois)


def preprocess_scales(
    image: NDArray[np.uint8],
    rois: NDArray[np.float32],
    short_sides: Sequence[int],
    max_side: int,
) -> PreprocessedImage:
    """Resize one image to several scales, each RoI going to the one where its area is nearest to
    224² pixels (section 2.3's pyramid, from He et al. 2014)."""
    factors = [transforms.resize_factor(image.shape[:2], side, max_side) for side in short_sides]
    areas = box_ops.area(rois)[:, None] * np.square(factors)
    level = np.abs(areas - 224**2).argmin(axis=1)
    first, *others = (
        preprocess(image, rois[level == index], side, max_side)
        for index, side in enumerate(short_sides)
    )
    return replace(first, others=tuple(others))


def collate(
    prepared: Sequence[PreprocessedImage],
    pixels: PixelStatistics,
    size: tuple[int, int] = (1, 1),
) -> Batch:
    """Put images of one pass together, padded at the right and bottom with zeros (the mean).

    Args:
        prepared: B images, all with targets or all without.
        size: (height, width) to pad to at least.
    """
    tensors = [transforms.to_tensor(item.image, pixels.mean, pixels.std) for item in prepared]
    height = max(MIN_SIDE, size[0], *(tensor.shape[1] for tensor in tensors))
    width = max(MIN_SIDE, size[1], *(tensor.shape[2] for tensor in tensors))
    images = torch.zeros((len(tensors), 3, height, width)).to(memory_format=torch.channels_last)
    rois = []
    for index, (tensor, item) in enumerate(zip(tensors, prepared, strict=True)):
        images[index, :, : tensor.shape[1], : tensor.shape[2]] = tensor
        scaled = box_ops.scale(item.rois, item.scale)
        rois.append(np.insert(scaled, 0, index, axis=1))
    labels = [item.labels for item in prepared if item.labels is not None]
    deltas = [item.deltas for item in prepared if item.deltas is not None]
    targets = None
    if labels:
        targets = RoiTargets(
            torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(deltas))
        )
    return Batch(
        images=images,
        rois=torch.from_numpy(np.concatenate(rois)),
        scales=tuple(item.scale for item in prepared),
        image_sizes=tuple(item.original_size for item in prepared),
        targets=targets,
    )
