"""What a pass of the network gives: outputs for the RoIs of each image that may be detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.collate import PreprocessedImage
from ..runtime.device import Download
from ..structures import HeadOutput
from .scoring import Candidates


@dataclass(frozen=True)
class RoiPredictions:
    """RoIs of one image, with the output of the network for each."""

    output: HeadOutput  # of R RoIs
    rois: NDArray[np.float32]  # R×4, pixels of the original image

    @staticmethod
    def concatenate(parts: Sequence[RoiPredictions]) -> RoiPredictions:
        """The RoIs of all parts, in order."""
        if len(parts) == 1:
            return parts[0]
        logits = torch.cat([part.output.class_logits for part in parts])
        deltas = torch.cat([part.output.box_deltas for part in parts])
        rois = np.concatenate([part.rois for part in parts])
        return RoiPredictions(HeadOutput(logits, deltas), rois)

    @staticmethod
    def of(output: HeadOutput, inverse: Tensor, rois: NDArray[np.float32]) -> RoiPredictions:
        """Give every RoI a row of its own, from an output with one row for RoIs of equal features.

        Args:
            inverse: [R], the row in `output` of each RoI; RoIs with -1 are left out.
            rois: [R, 4], pixels of the original image.
        """
        (scored,) = (inverse >= 0).nonzero(as_tuple=True)
        rows = inverse[scored]
        return RoiPredictions(
            HeadOutput(output.class_logits[rows], output.box_deltas[rows]),
            rois[scored.numpy()],
        )


@dataclass(frozen=True)
class PendingPass:
    """A pass of the network over images, which a GPU may still be computing."""

    images: Sequence[PreprocessedImage]
    inverse: Tensor  # [R], for each RoI of all images, the index of its features among the U
    distinct: int  # U, the number of RoIs with different features
    packed: Download  # of `Candidates.pack`

    def predictions(self) -> list[RoiPredictions]:
        """Wait for the network; predictions for the RoIs of each image that may be detections."""
        candidates = Candidates.unpack(self.packed.wait())
        row = torch.full((self.distinct,), -1)
        row[candidates.index] = torch.arange(len(candidates.index))
        rows = torch.split(row[self.inverse], [len(image.rois) for image in self.images])
        return [
            RoiPredictions.of(candidates.output, own, image.rois)
            for own, image in zip(rows, self.images, strict=True)
        ]
