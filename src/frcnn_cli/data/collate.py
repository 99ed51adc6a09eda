"""Makes the batches that go into the network, from images and RoIs; for training and detection.

B: images of the batch; R: RoIs, of one image in `PreprocessedImage` and of the batch in `Batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..config import MIN_SIDE
from ..ops import boxes as box_ops
from ..structures import Batch, RoiTargets
from . import transforms


@dataclass(frozen=True, kw_only=True)
class PreprocessedImage:
    """One image, resized for the network, with its RoIs."""

    image: NDArray[np.uint8]  # h×w×3, resized
    scale: float  # resized side / original side
    original_size: tuple[int, int]  # (height, width)
    # R×4, pixels of the original image, in the geometry of the network (`boxes.to_last_pixel`);
    # mirrored if the image is
    rois: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None  # R; None when detecting
    deltas: NDArray[np.float32] | None = None  # R×4; None when detecting
    is_mirrored: bool = False  # left to right
    other_scales: tuple[PreprocessedImage, ...] = ()  # the same image, with RoIs of their own
    other_views: tuple[PreprocessedImage, ...] = ()  # the same image, with the same RoIs

    @property
    def passes(self) -> tuple[PreprocessedImage, ...]:
        """All images that go through the network, with this one first."""
        return (self, *self.other_scales, *self.other_views)

    @property
    def roi_count(self) -> int:
        """The number of different RoIs."""
        return sum(len(each.rois) for each in (self, *self.other_scales))

    def narrowed(self, index: NDArray[np.intp]) -> PreprocessedImage:
        """The image with some of its RoIs, for detection in this pass alone."""
        return replace(self, rois=self.rois[index], other_scales=(), other_views=())


def preprocess(
    image: NDArray[np.uint8], rois: NDArray[np.float32], short_side: int, max_side: int
) -> PreprocessedImage:
    """Resize one image for the network.

    Args:
        image: uint8 [H, W, 3]. rois: [R, 4], pixels of `image`.
        short_side, max_side: pixels; see `transforms.resize_factor`.
    """
    height, width = image.shape[:2]
    factor = transforms.resize_factor((height, width), short_side, max_side)
    return PreprocessedImage(
        image=transforms.resize(image, factor),
        scale=factor,
        original_size=(height, width),
        rois=rois,
    )


def preprocess_scales(
    image: NDArray[np.uint8],
    rois: NDArray[np.float32],
    short_sides: Sequence[int],
    max_side: int,
) -> PreprocessedImage:
    """Resize one image to several scales: the image pyramid of Fast R-CNN, section 2.4.

    Each RoI goes to the scale that brings its area nearest to 224² pixels (He et al. 2014).

    Args:
        image: uint8 [H, W, 3]. rois: [R, 4], pixels of `image`.
        short_sides: pixels, one for each scale. max_side: pixels.
    Returns:
        The image at the first scale; its `other_scales` holds it at the others.
    """
    factors = [transforms.resize_factor(image.shape[:2], side, max_side) for side in short_sides]
    areas = box_ops.area(rois)[:, None] * np.square(factors)  # [R, scales]
    level = np.abs(areas - 224**2).argmin(axis=1)
    first, *others = (
        preprocess(image, rois[level == index], side, max_side)
        for index, side in enumerate(short_sides)
    )
    return replace(first, other_scales=tuple(others))


def preprocess_views(
    image: NDArray[np.uint8],
    rois: NDArray[np.float32],
    short_sides: Sequence[int],
    max_side: int,
    ends_are_inside: bool,
) -> PreprocessedImage:
    """Resize one image to several sizes, every second of them mirrored, with all RoIs in each.

    Args:
        image: uint8 [H, W, 3]. rois: [R, 4], pixels of `image`.
        short_sides: pixels, one for each view. max_side: pixels.
        ends_are_inside: RoIs end with their last pixel.
    Returns:
        The first view; its `other_views` holds the others.
    """
    mirrored = image[:, ::-1], box_ops.flip(rois, image.shape[1] - ends_are_inside)
    first, *others = (
        replace(
            preprocess(*(mirrored if number % 2 else (image, rois)), side, max_side),
            is_mirrored=number % 2 == 1,
        )
        for number, side in enumerate(short_sides)
    )
    return replace(first, other_views=tuple(others))


def collate(images: Sequence[PreprocessedImage], size: tuple[int, int] = (1, 1)) -> Batch:
    """Make a batch of images, padded at the right and bottom.

    Args:
        images: B images, all with targets or all without.
        size: (height, width) that the batch has at least.
    """
    sizes = tuple(item.image.shape[:2] for item in images)
    height, width = (max(MIN_SIDE, *sides) for sides in zip(size, *sizes, strict=True))
    padded = torch.zeros((len(images), height, width, 3), dtype=torch.uint8)
    rois = []
    for index, (item, own) in enumerate(zip(images, sizes, strict=True)):
        padded.numpy()[index, : own[0], : own[1]] = item.image
        scaled = box_ops.scale(item.rois, item.scale)
        rois.append(np.insert(scaled, 0, index, axis=1))
    labels = [item.labels for item in images if item.labels is not None]
    deltas = [item.deltas for item in images if item.deltas is not None]
    targets = None
    if labels:
        targets = RoiTargets.of(
            torch.from_numpy(np.concatenate(labels)), torch.from_numpy(np.concatenate(deltas))
        )
    return Batch(
        images=padded.permute(0, 3, 1, 2),
        sizes=sizes,
        roi_counts=tuple(len(item.rois) for item in images),
        rois=torch.from_numpy(np.concatenate(rois)),
        scales=tuple(item.scale for item in images),
        targets=targets,
    )
