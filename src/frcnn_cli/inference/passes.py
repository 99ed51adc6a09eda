"""Passes of the network over images, and what they say of the RoIs of each image.

R: RoIs of an image, or of all images of a pass; U: those with different features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.collate import PreprocessedImage
from ..runtime.device import Download
from ..structures import HeadOutput
from .scoring import Candidates, above


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
    def mean(views: Sequence[RoiPredictions]) -> RoiPredictions:
        """The mean outputs for the same RoIs in several views of an image."""
        logits = torch.stack([view.output.class_logits for view in views]).mean(dim=0)
        deltas = torch.stack([view.output.box_deltas for view in views]).mean(dim=0)
        return RoiPredictions(HeadOutput(logits, deltas), views[0].rois)

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

    def passing(
        self, scores: Callable[[Tensor], Tensor], wanted: Tensor, threshold: float
    ) -> list[NDArray[np.intp]]:
        """Wait for the network; the indices of the RoIs of each image with a high enough score.

        On the CPU `score_rois` has left out the others already. To compare the few that are left
        again takes 0.03 ms, and needs no case of its own.

        Args:
            scores: from logits. wanted, threshold: see `scoring.above`.
        """
        candidates = Candidates.unpack(self.packed.wait())
        chosen = above(scores(candidates.output.class_logits), wanted.cpu(), threshold)
        passes = torch.zeros(self.distinct, dtype=torch.bool)
        passes[candidates.index[chosen]] = True
        each = torch.split(passes[self.inverse], [len(image.rois) for image in self.images])
        return [np.flatnonzero(own.numpy()) for own in each]

    def narrowed(self, kept: Sequence[NDArray[np.intp]]) -> PendingPass:
        """The same pass for some of the RoIs of each image, by their indices."""
        images = [each.narrowed(own) for each, own in zip(self.images, kept, strict=True)]
        rows = torch.split(self.inverse, [len(image.rois) for image in self.images])
        chosen = [each[torch.from_numpy(own)] for each, own in zip(rows, kept, strict=True)]
        return replace(self, images=images, inverse=torch.cat(chosen))

    def predictions(self) -> list[RoiPredictions]:
        """Wait for the network; predictions for the RoIs of each image that may be detections."""
        candidates = Candidates.unpack(self.packed.wait())
        row = torch.full((self.distinct,), -1)
        row[candidates.index] = torch.arange(len(candidates.index))
        rows = torch.split(row[self.inverse], [len(image.rois) for image in self.images])
        output, mirrored = candidates.output, candidates.output.mirrored()
        return [
            RoiPredictions.of(mirrored if image.is_mirrored else output, own, image.rois)
            for own, image in zip(rows, self.images, strict=True)
        ]
