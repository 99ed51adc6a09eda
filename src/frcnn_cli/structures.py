"""The data types that pass from stage to stage.

Their shapes and types are checked on construction; a wrong one raises a DataError.

N: proposals, G: objects, R: RoIs, M: detections, B: images in a batch, K: classes; class 0 is the
background. Boxes are float32 (x1, y1, x2, y2) in pixels of the original image, continuous and
half-open. Sizes are (height, width).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, device

MAX_CLASS_NAME = 1000  # letters of the name of a class; every detection prints it
MAX_CLASSES = 10_000
MAX_OBJECTS = 10_000  # in an image; every two of them are compared


def _check_shape(
    owner: str, field: str, array: NDArray[Any] | Tensor, *expected: int | None
) -> None:
    """Raise a DataError unless `array` has the expected shape; None stands for any length."""
    shape = tuple(array.shape)
    if len(shape) != len(expected) or any(
        length is not None and got != length for got, length in zip(shape, expected, strict=True)
    ):
        text = "×".join("any" if length is None else str(length) for length in expected)
        raise DataError(f"{owner}.{field}: expected shape {text}, got {shape}")


def _check_boxes(owner: str, boxes: NDArray[np.float32]) -> None:
    _check_shape(owner, "boxes", boxes, None, 4)
    if boxes.dtype != np.float32:
        raise DataError(f"{owner}.boxes: expected float32, got {boxes.dtype}")
    if not np.isfinite(boxes).all():
        raise DataError(f"{owner}.boxes: expected finite numbers, got NaN or infinity")


def unfit_class_name(names: Iterable[object]) -> object | None:
    """The first value that cannot be the name of a class; None if all of them can.

    A name is text of at most MAX_CLASS_NAME letters without control characters, that can be
    written as UTF-8.
    """
    for name in names:
        if not isinstance(name, str) or len(name) > MAX_CLASS_NAME:
            return name
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            return name
    return None


@dataclass(frozen=True)
class PixelStatistics:
    """The normalisation of a network's input: (pixel - mean) / std, for RGB pixels in 0..255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Proposals:
    """Candidate regions of one image, best first."""

    boxes: NDArray[np.float32]  # N×4
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_boxes("Proposals", self.boxes)

    def top(self, count: int) -> Proposals:
        """The first `count` proposals."""
        return Proposals(self.boxes[:count], self.image_size)


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """The annotated objects of one image."""

    boxes: NDArray[np.float32]  # G×4
    labels: NDArray[np.int64]  # G, in 1..K
    difficult: NDArray[np.bool_]  # G
    # G, square pixels: areas of COCO's outlines; None: the areas of the boxes count
    areas: NDArray[np.float32] | None = None
    # G: boxes around many objects; also marked difficult. None: there are none
    crowds: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        _check_boxes("GroundTruth", self.boxes)
        _check_shape("GroundTruth", "labels", self.labels, len(self.boxes))
        _check_shape("GroundTruth", "difficult", self.difficult, len(self.boxes))
        if self.areas is not None:
            _check_shape("GroundTruth", "areas", self.areas, len(self.boxes))
        if self.crowds is not None:
            _check_shape("GroundTruth", "crowds", self.crowds, len(self.boxes))

    def __getitem__(self, chosen: NDArray[np.bool_]) -> GroundTruth:
        areas = None if self.areas is None else self.areas[chosen]
        crowds = None if self.crowds is None else self.crowds[chosen]
        return GroundTruth(
            boxes=self.boxes[chosen],
            labels=self.labels[chosen],
            difficult=self.difficult[chosen],
            areas=areas,
            crowds=crowds,
        )


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One training image with its proposals and its objects."""

    image_id: str
    image: NDArray[np.uint8]  # H×W×3, RGB
    proposals: Proposals
    ground_truth: GroundTruth

    def __post_init__(self) -> None:
        _check_shape("Sample", "image", self.image, *self.proposals.image_size, 3)


@dataclass(frozen=True)
class RoiTargets:
    """The training targets of the RoIs of a batch."""

    labels: Tensor  # R, in 0..K
    deltas: Tensor  # R×4, normalised; those of background RoIs (label 0) are not used
    foreground: Tensor  # F, the indices of the RoIs with label > 0

    def __post_init__(self) -> None:
        _check_shape("RoiTargets", "labels", self.labels, None)
        _check_shape("RoiTargets", "deltas", self.deltas, len(self.labels), 4)
        _check_shape("RoiTargets", "foreground", self.foreground, None)

    @staticmethod
    def of(labels: Tensor, deltas: Tensor) -> RoiTargets:
        """Targets on the CPU; to find the foreground on a GPU, the program would wait for it."""
        return RoiTargets(labels, deltas, labels.nonzero().squeeze(1))

    def pin_memory(self) -> RoiTargets:
        """See `Batch.pin_memory`."""
        return RoiTargets(*(each.pin_memory() for each in self._tensors()))

    def to(self, device: device) -> RoiTargets:
        """The same targets on a device, without waiting for the copy from page-locked memory."""
        return RoiTargets(*(each.to(device, non_blocking=True) for each in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.labels, self.deltas, self.foreground


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The images of one pass of the network, resized and padded to a common size."""

    images: Tensor  # B×3×H×W, uint8, channels-last in memory; see `data.transforms.Normalizer`
    sizes: tuple[tuple[int, int], ...]  # B: resized sizes; the rest of H×W is padding
    rois: Tensor  # R×5: index of the image, then x1, y1, x2, y2 in pixels of the resized image
    roi_counts: tuple[int, ...]  # B: RoIs of each image, which follow each other in `rois`
    scales: tuple[float, ...]  # B: resized size / original size
    targets: RoiTargets | None  # None when detecting

    def __post_init__(self) -> None:
        _check_shape("Batch", "images", self.images, len(self.scales), 3, None, None)
        _check_shape("Batch", "rois", self.rois, sum(self.roi_counts), 5)
        if self.targets is not None:
            _check_shape("Batch", "targets", self.targets.labels, len(self.rois))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which a GPU copies asynchronously."""
        return replace(
            self,
            images=self.images.pin_memory(),
            rois=self.rois.pin_memory(),
            targets=None if self.targets is None else self.targets.pin_memory(),
        )


@dataclass(frozen=True)
class HeadOutput:
    """The output of the network: class logits and box deltas of each RoI."""

    class_logits: Tensor  # R×(K+1)
    box_deltas: Tensor  # R×(K+1)×4

    def __post_init__(self) -> None:
        _check_shape("HeadOutput", "class_logits", self.class_logits, None, None)
        rois, classes = self.class_logits.shape
        _check_shape("HeadOutput", "box_deltas", self.box_deltas, rois, classes, 4)

    def mirrored(self) -> HeadOutput:
        """The output for an image that was mirrored left to right, for the original image."""
        return HeadOutput(
            self.class_logits, self.box_deltas * self.box_deltas.new_tensor([-1, 1, 1, 1])
        )


@dataclass(frozen=True)
class Losses:
    """The two terms of the multitask loss (equation 1), each divided by the number of RoIs."""

    cls: Tensor
    loc: Tensor

    def total(self, loc_weight: float = 1.0) -> Tensor:
        """L = L_cls + lambda L_loc; the paper's lambda is 1."""
        return self.cls + loc_weight * self.loc


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Objects found in one image, best first."""

    boxes: NDArray[np.float32]  # M×4
    scores: NDArray[np.floating]  # M, in 0..1
    labels: NDArray[np.int64]  # M, in 1..K
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        _check_boxes("Detections", self.boxes)
        _check_shape("Detections", "scores", self.scores, len(self.boxes))
        _check_shape("Detections", "labels", self.labels, len(self.boxes))

    def __len__(self) -> int:
        return len(self.boxes)
