"""Scores that are the probability of being right: Platt scaling of a detector's scores.

Platt, "Probabilistic outputs for support vector machines" (1999). A softmax that is trained on
batches with a quarter of foreground RoIs is too sure of objects in an image, where nearly all RoIs
are background. The order of the scores does not change, so neither does average precision.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MAX_CALIBRATION = 100.0  # of slope and offset, which are a few units where they mean anything


@dataclass(frozen=True, kw_only=True)
class ScoreCalibration:
    """A score s becomes 1 / (1 + exp(-(slope · log(s / (1 - s)) + offset)))."""

    slope: float
    offset: float

    @property
    def is_valid(self) -> bool:
        """Whether the numbers are finite and of a usual size, and the order of scores stays."""
        return 1 / MAX_CALIBRATION <= self.slope <= MAX_CALIBRATION >= abs(self.offset)

    def calibrated(self, scores: Tensor) -> Tensor:
        """Probabilities, float32, from the scores 0..1 of a network; the shape stays."""
        return torch.sigmoid(self.slope * torch.logit(scores.double()) + self.offset).float()

    def uncalibrated(self, probabilities: Tensor) -> Tensor:
        """The scores of a network, float64, that become these probabilities 0..1."""
        return torch.sigmoid((torch.logit(probabilities.double()) - self.offset) / self.slope)

    def after(self, first: ScoreCalibration | None) -> ScoreCalibration:
        """This calibration of scores that `first` has calibrated already, in one."""
        if first is None:
            return self
        return ScoreCalibration(
            slope=self.slope * first.slope, offset=self.slope * first.offset + self.offset
        )
