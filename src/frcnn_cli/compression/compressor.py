"""Compressing the fully connected layers of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import nn

from ..checkpoints.weights import WeightsHeader
from ..config import CompressConfig
from ..errors import WeightsError
from ..models.low_rank import (
    Basis,
    onto_inputs,
    output_basis,
    singular_basis,
    truncate,
    truncate_outputs,
)
from ..models.region_network import RegionNetwork
from .calibration import Calibration
from .cost import Cost, HeadTimer
from .distillation import distil, divergence, head_outputs
from .ranks import Ranks, Spectrum, choose

Method = Literal["plain", "aware"]
METHODS: dict[Method, str] = {
    "plain": "truncated SVD",
    "aware": "activation-aware, distilled",
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
    weight_error: float | None  # ‖W − W'‖² / ‖W‖²
    output_error: dict[Method, float]  # relative squared error on held-out RoIs, if there are any


@dataclass(frozen=True)
class Report:
    """What became of a network."""

    ranks: Ranks
    method: Method
    layers: list[LayerReport]  # the output layers included
    divergence: dict[Method, float]  # of the answers, on held-out RoIs, if there are any


def check(model: RegionNetwork, header: WeightsHeader, config: CompressConfig | None) -> None:
    """Find out what needs no calibration to be known to fail.

    Raises:
        WeightsError: compressed already, or no layer would shrink. ConfigError: a layer is
            unknown, or a rank out of range.
    """
    if header.ranks:
        ranks = ", ".join(f"{name} rank {rank}" for name, rank in header.ranks.items())
        raise WeightsError(
            f"these weights are compressed already ({ranks})", "start from the full ones"
        )
    if config is not None and (config.rank is not None or config.ranks is not None):
        shapes = [
            (name, *layer.weight.shape) for name, layer in model.compressible_layers().items()
        ]
        spectra = [Spectrum(name, u, v, np.zeros(min(u, v))) for name, u, v in shapes]
        choose(config, spectra, 0, lambda ranks: 0.0)


class Compressor:
    """The ways to compress one network.

    Args:
        calibration: None leaves the plain SVD alone.
    Raises:
        WeightsError: compressed already, or damaged weights.
    """

    def __init__(
        self, model: RegionNetwork, header: WeightsHeader, calibration: Calibration | None
    ) -> None:
        check(model, header, None)
        model.prefilter.clear()  # low-rank copies of these layers
        self.model, self.header, self.calibration = (
            model,
            replace(header, prefilter={}),
            calibration,
        )
        self.layers = model.compressible_layers()
        self.whole: Ranks = dict.fromkeys(self.layers)
        self.bases: dict[Method, dict[str, Basis]] = {
            "plain": {name: singular_basis(layer) for name, layer in self.layers.items()}
        }
        self._distilled: dict[tuple[int | None, ...], RegionNetwork] = {}
        if calibration is not None:
            self.bases["aware"] = {
                name: output_basis(layer, calibration.moments[name])
                for name, layer in self.layers.items()
            }
            whole = self.head("plain", self.whole)
            self._wanted = head_outputs(whole, calibration.rois)
            self._wanted_held_out = head_outputs(whole, calibration.held_out)

    @property
    def best_method(self) -> Method:
        """What the ranks are chosen by."""
        return "plain" if self.calibration is None else "aware"

    @property
    def other_weights(self) -> int:
        """Of the two output layers, which stay whole."""
        return sum(layer.weight.numel() for layer in self.model.output_layers().values())

    def spectra(self) -> list[Spectrum]:
        """What the directions of each layer are worth."""
        bases = self.bases[self.best_method]
        return [
            Spectrum(name, layer.out_features, layer.in_features, bases[name].energy.numpy())
            for name, layer in self.layers.items()
        ]

    def choose(self, config: CompressConfig) -> Ranks:
        """The ranks that a configuration asks for; for errors see `ranks.choose`."""
        timer = HeadTimer(self.model, self.model.device)
        return choose(config, self.spectra(), self.other_weights, timer)

    def head(
        self, method: Method, ranks: Ranks, on_step: Callable[[], None] = lambda: None
    ) -> RegionNetwork:
        """The compressed network without its features.

        Its `heads` takes the outputs of the first layer, [R, u] with the bias: truncating that
        layer is a map of them, so what they cost is paid once however many ranks are compared.

        Args:
            on_step: called `distil.STEPS` times where the head is distilled. That is done once.
        """
        if method == "plain" or ranks == self.whole:
            return self._truncated(self.bases["plain"], ranks)
        key = tuple(ranks[name] for name in self.layers)
        if key not in self._distilled:
            assert self.calibration is not None
            start = self._truncated(self.bases["aware"], ranks)
            head = self._truncated(self.bases["aware"], ranks)
            distil(head, self.calibration.rois, self._wanted, on_step)
            # with very few images it may learn these by heart
            better = self._divergence(head) < self._divergence(start)
            self._distilled[key] = head if better else start
        return self._distilled[key]

    def _truncated(self, bases: dict[str, Basis], ranks: Ranks) -> RegionNetwork:
        layers: dict[str, nn.Module] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            rank, basis = ranks[name], bases[name]
            if rank is None:
                layers[name] = layer if index else nn.Identity()
            else:
                layers[name] = (truncate if index else truncate_outputs)(layer, basis, rank)
        return self.model.with_fc_layers(layers)

    def _divergence(self, head: RegionNetwork) -> float:
        assert self.calibration is not None
        return divergence(head, self.calibration.held_out, self._wanted_held_out)

    def report(self, ranks: Ranks, method: Method | None = None) -> Report:
        """What would become of the network.

        Args:
            method: None for the one whose answers to the RoIs held out are nearer to the whole
                network's; the plain one where there are none.
        """
        heads = {each: self.head(each, ranks) for each in self.bases}
        diverged: dict[Method, float] = {}
        errors: dict[Method, dict[str, float]] = {}
        if self.calibration is not None:
            diverged = {each: self._divergence(head) for each, head in heads.items()}
            errors = {each: self._output_errors(head) for each, head in heads.items()}
        nearest: Method = min(diverged, key=lambda each: diverged[each]) if diverged else "plain"
        taken = method or nearest
        layers = []
        for spectrum in self.spectra():
            name, rank = spectrum.name, ranks[spectrum.name]
            layers.append(
                LayerReport(
                    name,
                    (spectrum.outputs, spectrum.inputs),
                    spectrum.break_even,
                    rank,
                    spectrum.weights,
                    spectrum.weights_at(rank),
                    None if rank is None else self._weight_error(heads[taken], name),
                    {each: found[name] for each, found in errors.items() if name in found},
                )
            )
        for name, layer in self.model.output_layers().items():
            u, v = layer.weight.shape
            layers.append(LayerReport(name, (u, v), u * v / (u + v), None, u * v, u * v, None, {}))
        return Report(ranks, taken, layers, diverged)

    def _pair(self, head: RegionNetwork, name: str) -> nn.Sequential:
        """A small layer of a head, as it is applied to the inputs of the whole one."""
        pair = head.fc_layers[name]
        assert isinstance(pair, nn.Sequential)
        return onto_inputs(self.layers[name], pair) if name == next(iter(self.layers)) else pair

    @torch.no_grad()
    def _weight_error(self, head: RegionNetwork, name: str) -> float:
        """‖W − W'‖² / ‖W‖²."""
        first, second, _ = (each.double().cpu() for each in self._pair(head, name).parameters())
        weight = self.layers[name].weight.double().cpu()
        size = weight.square().sum().clamp(min=1e-300)
        return float((weight - second @ first).square().sum() / size)

    @torch.no_grad()
    def _output_errors(self, head: RegionNetwork) -> dict[str, float]:
        """E‖y − y'‖² over the variance of y of each small layer, those before it being whole."""
        assert self.calibration is not None
        x = y = self.calibration.held_out.to(self.model.device).float()
        errors = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            if index:
                x = y.relu()
                y = layer(x)
            small = head.fc_layers[name]
            if isinstance(small, nn.Sequential):
                variance = (y - y.mean(dim=0)).square().sum().clamp(min=1e-30)
                errors[name] = float((y - small(x)).square().sum() / variance)
        return errors

    def apply(self, report: Report, keep_full: bool = False) -> WeightsHeader:
        """Replace the layers in the network; the header that tells of it.

        Args:
            keep_full: leave them, and put the small ones beside them, to choose the RoIs that the
                full ones score.
        """
        target = self.model.prefilter if keep_full else self.model.fc_layers
        head = self.head(report.method, report.ranks)
        for layer in report.layers:
            if layer.rank is not None:
                pair = self._pair(head, layer.name)
                target[layer.name] = pair.to(self.model.device)
        history: dict[str, object] = {
            "method": METHODS[report.method],
            "layers": {each.name: asdict(each) for each in report.layers if each.rank is not None},
        }
        if self.calibration is not None:
            history["divergence"] = report.divergence
            history["calibration"] = (
                f"{self.calibration.images} images of {self.calibration.source}"
            )
        provenance = {**self.header.provenance, "compression": history}
        kept = {name: rank for name, rank in report.ranks.items() if rank is not None}
        whole, prefilter = (self.header.ranks, kept) if keep_full else (kept, {})
        return replace(self.header, ranks=whole, prefilter=prefilter, provenance=provenance)


def with_costs(header: WeightsHeader, before: Cost, after: Cost) -> WeightsHeader:
    """The header that also tells what was measured."""
    history = header.provenance["compression"]
    assert isinstance(history, dict)
    history = {**history, "before": asdict(before), "after": asdict(after)}
    return replace(header, provenance={**header.provenance, "compression": history})
