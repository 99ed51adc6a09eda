"""Compressing the fully connected layers of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from ..config import CompressConfig
from ..errors import WeightsError
from ..models.fast_rcnn import FastRCNN
from ..models.low_rank import Basis, output_basis, output_error, singular_basis, truncate
from .calibrate import Calibration, whole_layers
from .checkpoint import WeightsHeader
from .measure import HeadTimer
from .ranks import Ranks, Spectrum, choose

Method = Literal["plain", "aware"]
METHODS: dict[Method, str] = {
    "plain": "truncated SVD",
    "aware": "activation-aware SVD",
}


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer."""

    name: str
    shape: tuple[int, int]  # outputs × inputs
    break_even: float  # the rank at which nothing would be saved
    rank: int | None  # None: left whole
    before: int  # weights, without biases
    after: int
    method: Method | None  # None: left whole
    weight_error: float | None  # ‖W − W'‖² / ‖W‖²
    output_error: dict[Method, float]  # relative squared error on held-out RoIs, if there are any


class Compressor:
    """The ways to compress one network.

    Args:
        calibration: None leaves the plain SVD alone.
    Raises:
        WeightsError: compressed already, or damaged weights.
    """

    def __init__(
        self, model: FastRCNN, header: WeightsHeader, calibration: Calibration | None
    ) -> None:
        if header.ranks:
            ranks = ", ".join(f"{name} rank {rank}" for name, rank in header.ranks.items())
            raise WeightsError(
                f"these weights are compressed already ({ranks})", "start from the full ones"
            )
        self.model, self.header, self.calibration = model, header, calibration
        self.layers = dict(whole_layers(model))
        self.bases: dict[Method, dict[str, Basis]] = {
            "plain": {name: singular_basis(layer) for name, layer in self.layers.items()}
        }
        if calibration is not None:
            self.bases["aware"] = {
                name: output_basis(layer, calibration.fit[name])
                for name, layer in self.layers.items()
            }

    @property
    def best_method(self) -> Method:
        """What the ranks are chosen by."""
        return "plain" if self.calibration is None else "aware"

    @property
    def other_weights(self) -> int:
        """Of the two output layers, which stay whole."""
        return self.model.cls_score.weight.numel() + self.model.bbox_pred.weight.numel()

    def spectra(self) -> list[Spectrum]:
        """What the directions of each layer are worth."""
        bases = self.bases[self.best_method]
        return [
            Spectrum(name, layer.out_features, layer.in_features, bases[name].energy.numpy())
            for name, layer in self.layers.items()
        ]

    def choose(self, config: CompressConfig) -> Ranks:
        """The ranks that a configuration asks for; for errors see `ranks.choose`."""
        device = self.model.feature_scale.device
        timer = HeadTimer(self.model, device)
        return choose(config, self.spectra(), self.other_weights, timer)

    def report(self, ranks: Ranks) -> list[LayerReport]:
        """What would become of every layer, the output layers included.

        Where real outputs are known, each layer takes the method that keeps more of those held
        out.
        """
        reports = []
        for spectrum in self.spectra():
            name, rank = spectrum.name, ranks[spectrum.name]
            errors: dict[Method, float] = {}
            if rank is not None and self.calibration is not None:
                held_out = self.calibration.held_out[name]
                errors = {
                    method: float(output_error(bases[name], held_out)[rank])
                    for method, bases in self.bases.items()
                }
            method = min(errors, key=lambda each: errors[each]) if errors else "plain"
            weight = self.layers[name].weight.detach().double().cpu()
            reports.append(
                LayerReport(
                    name,
                    (spectrum.outputs, spectrum.inputs),
                    spectrum.break_even,
                    rank,
                    spectrum.weights,
                    spectrum.weights_at(rank),
                    None if rank is None else method,
                    None if rank is None else _error(weight, self.bases[method][name], rank),
                    errors,
                )
            )
        for name in ("cls_score", "bbox_pred"):
            layer = getattr(self.model, name)
            u, v = layer.weight.shape
            reports.append(
                LayerReport(name, (u, v), u * v / (u + v), None, u * v, u * v, None, None, {})
            )
        return reports

    def apply(self, reports: Sequence[LayerReport], keep_full: bool = False) -> WeightsHeader:
        """Replace the layers in the network; the header that tells of it.

        Args:
            keep_full: leave them, and put the small ones beside them, to choose the RoIs that the
                full ones score.
        """
        target = self.model.screen if keep_full else self.model.fc_layers
        self.model.screen.clear()
        ranks, layers = {}, {}
        for report in reports:
            if report.rank is None or report.method is None:
                continue
            basis = self.bases[report.method][report.name]
            pair = truncate(self.layers[report.name], basis, report.rank)
            target[report.name] = pair.to(self.model.feature_scale.device)
            ranks[report.name] = report.rank
            layers[report.name] = {
                **asdict(report),
                "method": METHODS[report.method],
            }
        history: dict[str, object] = {"layers": layers}
        if self.calibration is not None:
            history["calibration"] = (
                f"{self.calibration.images} images of {self.calibration.source}"
            )
        provenance = {**self.header.provenance, "compression": history}
        whole, screen = (self.header.ranks, ranks) if keep_full else (ranks, {})
        return replace(self.header, ranks=whole, screen=screen, provenance=provenance)


def _error(weight: torch.Tensor, basis: Basis, rank: int) -> float:
    """‖W − P_t W‖² / ‖W‖²."""
    kept = (basis.vectors[:, :rank].T @ weight).square().sum()
    return float(1 - kept / weight.square().sum())
