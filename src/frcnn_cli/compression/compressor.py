"""Building the compressed variants of one network, comparing them, and applying one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
from torch import nn

from ..checkpoints.weights import WeightsHeader
from ..config import CompressConfig
from ..errors import WeightsError
from ..models.low_rank import (
    Basis,
    break_even_rank,
    onto_inputs,
    output_basis,
    singular_basis,
    truncate,
    truncate_outputs,
)
from ..models.region_network import RegionNetwork
from .calibration import Calibration
from .cost import Cost, HeadTimer
from .distillation import distil, divergence, evaluate_head
from .ranks import Ranks, Spectrum, choose_ranks
from .report import (
    METHODS,
    CompressionReport,
    LayerReport,
    Method,
    output_errors,
    weight_error,
)


def check_compressible(
    network: RegionNetwork, header: WeightsHeader, config: CompressConfig | None = None
) -> None:
    """Raise the errors that can be found before any calibration.

    Args:
        config: None where the ranks are not known yet.
    Raises:
        WeightsError: the weights are compressed already, or no layer would become smaller.
        ConfigError: a layer is unknown, or a rank out of range.
    """
    if header.ranks:
        ranks = ", ".join(f"{name} rank {rank}" for name, rank in header.ranks.items())
        raise WeightsError(
            f"these weights are compressed already ({ranks})", "start from the full ones"
        )
    if config is not None and (config.rank is not None or config.ranks is not None):
        sizes = [
            (name, *layer.weight.shape) for name, layer in network.compressible_layers().items()
        ]
        spectra = [
            Spectrum(name=name, outputs=u, inputs=v, energy=np.zeros(min(u, v)))
            for name, u, v in sizes
        ]
        choose_ranks(config, spectra, 0, lambda ranks: 0.0)


class Compressor:
    """Compresses one network by either of METHODS, at any ranks.

    The heads that it builds are `RegionNetwork`s that begin behind the first fully connected layer:
    their `heads` takes the outputs of that layer, [R, u], with the bias. Truncating the layer only
    maps these outputs to fewer dimensions, so they are computed once, however many ranks are
    compared.

    Args:
        calibration: of the same network; without it "plain" is the only method.
    Raises:
        WeightsError: the weights are compressed already, or not finite.
    """

    def __init__(
        self, network: RegionNetwork, header: WeightsHeader, calibration: Calibration | None
    ) -> None:
        check_compressible(network, header)
        network.prefilter.clear()  # it holds an earlier compression of the same layers
        self.network, self.calibration = network, calibration
        self.header = replace(header, prefilter={})
        self.layers = network.compressible_layers()
        self.full_rank: Ranks = dict.fromkeys(self.layers)
        self.bases: dict[Method, dict[str, Basis]] = {
            "plain": {name: singular_basis(layer) for name, layer in self.layers.items()}
        }
        self._distilled: dict[tuple[int | None, ...], RegionNetwork] = {}
        if calibration is not None:
            self.bases["aware"] = {
                name: output_basis(layer, calibration.moments[name])
                for name, layer in self.layers.items()
            }
            full = self.head("plain", self.full_rank)
            self._teacher = evaluate_head(full, calibration.rois)
            self._teacher_held_out = evaluate_head(full, calibration.held_out)

    @property
    def other_weights(self) -> int:
        """Weights of the two output layers, which are never compressed."""
        return sum(layer.weight.numel() for layer in self.network.output_layers().values())

    def weights_at(self, ranks: Ranks) -> int:
        """Weights of all fully connected layers at these ranks."""
        return self.other_weights + sum(
            each.weights_at(ranks[each.name]) for each in self.spectra()
        )

    def spectra(self) -> list[Spectrum]:
        """The spectrum of each layer, by which ranks are chosen.

        It is that of the layer's outputs on real images if there is a calibration, else that of its
        weights.
        """
        bases = self.bases.get("aware", self.bases["plain"])
        return [
            Spectrum(
                name=name,
                outputs=layer.out_features,
                inputs=layer.in_features,
                energy=bases[name].energy.numpy(),
            )
            for name, layer in self.layers.items()
        ]

    def choose_ranks(self, config: CompressConfig) -> Ranks:
        """The ranks that a configuration asks for; for errors see `ranks.choose_ranks`."""
        timer = HeadTimer(self.network, self.network.device)
        return choose_ranks(config, self.spectra(), self.other_weights, timer)

    def head(
        self, method: Method, ranks: Ranks, on_step: Callable[[], None] = lambda: None
    ) -> RegionNetwork:
        """The head that a method gives at some ranks.

        Args:
            method: "aware" distils the head the first time it is asked for.
            on_step: called after each of the `distillation.STEPS` steps of distilling it.
        """
        if method == "plain" or ranks == self.full_rank:
            return self._truncated_head(self.bases["plain"], ranks)
        key = tuple(ranks[name] for name in self.layers)
        if key not in self._distilled:
            self._distilled[key] = self._distilled_head(ranks, on_step)
        return self._distilled[key]

    def _truncated_head(self, bases: dict[str, Basis], ranks: Ranks) -> RegionNetwork:
        layers: dict[str, nn.Module] = {}
        for index, (name, layer) in enumerate(self.layers.items()):
            rank, basis = ranks[name], bases[name]
            if rank is None:
                layers[name] = layer if index else nn.Identity()
            else:
                layers[name] = (truncate if index else truncate_outputs)(layer, basis, rank)
        return self.network.with_fc_layers(layers)

    def _distilled_head(self, ranks: Ranks, on_step: Callable[[], None]) -> RegionNetwork:
        """The activation-aware head, distilled if that helps.

        With very few images, distillation can overfit and make it worse on the held-out images.
        """
        assert self.calibration is not None
        truncated = self._truncated_head(self.bases["aware"], ranks)
        distilled = self._truncated_head(self.bases["aware"], ranks)
        distil(distilled, self.calibration.rois, self._teacher, on_step)
        better = self._divergence(distilled) < self._divergence(truncated)
        return distilled if better else truncated

    def _divergence(self, head: RegionNetwork) -> float:
        assert self.calibration is not None
        return divergence(head, self.calibration.held_out, self._teacher_held_out)

    def report(self, ranks: Ranks, method: Method | None = None) -> CompressionReport:
        """Describe the network that these ranks give.

        Args:
            method: None for the one with the lower divergence on the held-out RoIs, or "plain"
                without calibration.
        """
        heads = {each: self.head(each, ranks) for each in self.bases}
        divergences: dict[Method, float] = {}
        errors: dict[Method, dict[str, float]] = {}
        if self.calibration is not None:
            held_out = self.calibration.held_out.to(self.network.device).float()
            divergences = {each: self._divergence(head) for each, head in heads.items()}
            errors = {
                each: output_errors(self.layers, head, held_out) for each, head in heads.items()
            }
        nearest: Method = min(divergences, key=lambda each: divergences[each], default="plain")
        used = method or nearest
        layers = [
            self._layer_report(spectrum, ranks[spectrum.name], heads[used], errors)
            for spectrum in self.spectra()
        ]
        layers += [
            _output_layer_report(name, layer)
            for name, layer in self.network.output_layers().items()
        ]
        return CompressionReport(ranks=ranks, method=used, layers=layers, divergence=divergences)

    def _layer_report(
        self,
        spectrum: Spectrum,
        rank: int | None,
        head: RegionNetwork,
        errors: dict[Method, dict[str, float]],
    ) -> LayerReport:
        name = spectrum.name
        error = None if rank is None else weight_error(self.layers[name], self._pair(head, name))
        return LayerReport(
            name=name,
            shape=(spectrum.outputs, spectrum.inputs),
            break_even=spectrum.break_even,
            rank=rank,
            before=spectrum.full_weights,
            after=spectrum.weights_at(rank),
            weight_error=error,
            output_error={
                each: by_layer[name] for each, by_layer in errors.items() if name in by_layer
            },
        )

    def _pair(self, head: RegionNetwork, name: str) -> nn.Sequential:
        """A low-rank layer of a head, for the inputs of the layer that it replaces."""
        pair = head.fc_layers[name]
        assert isinstance(pair, nn.Sequential)
        return onto_inputs(self.layers[name], pair) if name == next(iter(self.layers)) else pair

    def apply(self, report: CompressionReport, keep_full: bool = False) -> WeightsHeader:
        """Put the low-rank layers into the network.

        Args:
            keep_full: keep the full layers; the low-rank layers become the prefilter, which chooses
                the RoIs that the full layers score.
        Returns:
            The header of the compressed network.
        """
        target = self.network.prefilter if keep_full else self.network.fc_layers
        head = self.head(report.method, report.ranks)
        for layer in report.layers:
            if layer.rank is not None:
                pair = self._pair(head, layer.name)
                target[layer.name] = pair.to(self.network.device)
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
        low = {name: rank for name, rank in report.ranks.items() if rank is not None}
        ranks, prefilter = (self.header.ranks, low) if keep_full else (low, {})
        return replace(self.header, ranks=ranks, prefilter=prefilter, provenance=provenance)


def _output_layer_report(name: str, layer: nn.Linear) -> LayerReport:
    u, v = layer.weight.shape
    return LayerReport(
        name=name,
        shape=(u, v),
        break_even=break_even_rank(layer),
        rank=None,
        before=u * v,
        after=u * v,
        weight_error=None,
        output_error={},
    )


def with_costs(header: WeightsHeader, before: Cost, after: Cost) -> WeightsHeader:
    """The header of a compressed network, with its costs and those of the full one added."""
    history = header.provenance["compression"]
    assert isinstance(history, dict)
    history = {**history, "before": asdict(before), "after": asdict(after)}
    return replace(header, provenance={**header.provenance, "compression": history})
