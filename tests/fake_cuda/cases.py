"""Training, detection and compression on the make-believe GPU, compared with the CPU.

Each case checks its results, and returns what it asked of the device in steady state, for the
budgets. `launch.py` runs this module in a process of its own.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import tiny
from fake_cuda.fake_cuda import fake_cuda
from fake_cuda.ledger import Ledger
from fake_cuda.mistakes import MISTAKES
from frcnn_cli.checkpoints.weights import save_weights
from frcnn_cli.compression import compress as compression
from frcnn_cli.compression import cost, distillation
from frcnn_cli.compression.calibration import calibrate
from frcnn_cli.compression.compressor import Compressor
from frcnn_cli.config import CompressConfig, DetectConfig, TrainRuntimeConfig
from frcnn_cli.data.sources import as_source
from frcnn_cli.data.voc import load_voc
from frcnn_cli.inference import profile
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.result import Result
from frcnn_cli.ops import roi_pool_gpu
from frcnn_cli.ops.depthwise import depthwise_convolution
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.registry import dense
from frcnn_cli.training.metrics import StepMetrics
from frcnn_cli.training.trainer import Trainer
from synthetic import SIZES, write_voc
from tiny_training import CONFIG, assert_same_weights, make_trainer, tensors_of

# Case: (waits, kernels), the most that a training step or an image may need. While the host waits,
# it launches nothing, and the GPU is idle until it has heard of the end and launched more.
BUDGETS: dict[str, tuple[int, int]] = {
    "training": (1, 130),
    "whole": (4, 60),
    "low rank": (4, 70),
    "cascade": (4, 90),
    "batch": (4, 60),
    "scales": (8, 120),  # the network runs at two
    "views": (9, 120),  # the second waits for the RoIs of the first
}
DEVICES = ("cpu", "cuda")
IMAGES = 3
RANK = CompressConfig(rank=8)
DISTILLATION_STEPS = 20  # 300 would take longer


@dataclass(frozen=True)
class Workshop:
    """The device's ledger, and the data of the cases in a folder of their own."""

    ledger: Ledger
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def source(self) -> ProposalSource:
        return ProposalSource(dense(), self.folder / "proposals")

    @property
    def pictures(self) -> list[Path]:
        """Of one size, so that they can share a batch."""
        paths = sorted((self.folder / "voc" / "JPEGImages").glob("*.jpg"))
        return paths[:: len(SIZES)]

    def trainer(
        self,
        name: str,
        device: str,
        *,
        workers: int = 0,
        cached: bool = False,
        settings: Mapping[str, Any] = MappingProxyType({}),
        resume: bool = False,
    ) -> Trainer:
        """Of four steps in bf16 with dropout, in the folder `folder_of(name, device)`."""
        return make_trainer(
            load_voc(self.folder / "voc", "voc", "trainval", ()),
            self.source,
            tiny.add_tiny_backbone(self.patch, self.folder),
            self.folder_of(name, device),
            replace(CONFIG, dropout=0.5, iterations=4, **settings),
            resume=resume,
            runtime=TrainRuntimeConfig(
                device=device, precision="bf16", workers=workers, cache_features=cached
            ),
        )

    def folder_of(self, name: str, device: str) -> Path:
        """The folder of a training run."""
        return self.folder / f"{name}-{device}"

    def detector(self) -> Detector:
        """On the CPU, with the same weights each time."""
        made = tiny.tiny_detector(self.patch, self.folder)
        return Detector(made.network, made.header, self.source, made.config, "cpu")


@dataclass(frozen=True)
class Usage:
    """What the device was asked for, in so many training steps or images."""

    ledger: Ledger
    units: int


Case = Callable[[Workshop], Usage | None]


def training(*, cached: bool = False, **settings: object) -> Case:
    """Training with these settings."""

    def case(shop: Workshop) -> Usage:
        options = {"cached": cached, "settings": settings}
        expected = list(shop.trainer("run", "cpu", **options).steps())
        found, ledgers = [], []
        for metrics in shop.trainer("run", "cuda", **options).steps():
            found.append(metrics)
            ledgers.append(shop.ledger.copy())
        _assert_same_metrics(found, expected)
        weights = (tensors_of(shop.folder_of("run", device)) for device in DEVICES)
        assert_close(*weights, rtol=1e-3, atol=1e-4)
        return Usage(ledgers[1].since(ledgers[0]), units=1)

    return case


def resume(shop: Workshop) -> None:
    """A run that was stopped and continued, with batches from another process then."""
    expected = list(shop.trainer("through", "cuda").steps())
    stopped = shop.trainer("stopped", "cuda")
    first = list(islice(stopped.steps(), 2))
    stopped.save()
    done = stopped.learner.iteration
    rest = list(shop.trainer("stopped", "cuda", resume=True, workers=1).steps())
    assert [each.iteration for each in rest] == list(range(done + 1, len(expected) + 1))
    _assert_same_metrics(first, expected[: len(first)])
    _assert_same_metrics(rest, expected[done:])
    assert_same_weights(shop.folder_of("through", "cuda"), shop.folder_of("stopped", "cuda"))


def _assert_same_metrics(found: list[StepMetrics], expected: list[StepMetrics]) -> None:
    def values(steps: list[StepMetrics]) -> list[tuple[float, ...]]:
        return [(each.cls, each.loc, each.foreground, each.background) for each in steps]

    assert all(each.foreground for each in found)
    np.testing.assert_allclose(values(found), values(expected), rtol=1e-4, atol=1e-4)


def detection(
    *, rank: int | None = None, cascade: bool = False, batch: int = 1, **settings: object
) -> Case:
    """Detection with these settings."""

    def case(shop: Workshop) -> Usage:
        made = shop.detector()
        header = made.header
        if rank is not None:
            compressor = Compressor(made.network, header, None)
            report = compressor.report(compressor.choose_ranks(CompressConfig(rank=rank)))
            header = compressor.apply(report, keep_full=cascade)
        config = replace(made.config, **settings)
        results = {}
        for device in DEVICES:
            network = copy.deepcopy(made.network)
            detector = Detector(network, header, shop.source, config, device)
            list(detector.run(shop.pictures, batch))  # which fills caches
            before = shop.ledger.copy()
            results[device] = list(detector.run(shop.pictures, batch))
        assert detector.cascade == cascade
        _assert_same_detections(results["cuda"], results["cpu"])
        return Usage(shop.ledger.since(before), units=len(shop.pictures))

    return case


def _assert_same_detections(found: list[Any], expected: list[Any]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, Result)
        assert isinstance(other, Result)
        ours, theirs = one.detections, other.detections
        assert len(ours) > 3
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)


def profiling(shop: Workshop) -> None:
    """The times of the stages, which are the device's own."""
    for size in ("_MATRIX_SIDE", "_COPY_SIZE"):
        shop.patch.setattr(profile, size, 256)  # of what a GPU does in no time
    made, found = shop.detector(), {}
    for device in DEVICES:
        network = copy.deepcopy(made.network)
        detector = Detector(network, made.header, shop.source, made.config, device)
        found[device] = profile.profile(detector, map(as_source, shop.pictures[:1]))
    ours, theirs = (
        {stage.name: stage.floor is None for stage in found[device].stages} for device in DEVICES
    )
    assert ours == theirs
    assert all(stage.milliseconds > 0 for stage in found["cuda"].stages)
    assert (found["cuda"].rois, found["cuda"].distinct) == (
        found["cpu"].rois,
        found["cpu"].distinct,
    )


def calibration(shop: Workshop) -> None:
    """The statistics of the layers' outputs."""
    made = shop.detector()
    on = {}
    for device in DEVICES:
        network = copy.deepcopy(made.network)
        detector = Detector(network, made.header, shop.source, DetectConfig(), device)
        on[device] = calibrate(
            detector, shop.pictures, source="pictures", workers=1, on_image=lambda: None
        )
    found, expected = on["cuda"], on["cpu"]
    assert_close(found.rois, expected.rois)
    assert_close(found.held_out, expected.held_out)
    for name, moments in expected.moments.items():
        ours = found.moments[name]
        assert ours.count == moments.count > 0
        assert_close(ours.mean.cpu(), moments.mean.cpu(), rtol=1e-4, atol=1e-5)
        centre = torch.zeros_like(moments.mean)
        second = ours.about(centre.to(ours.mean.device)).cpu()
        assert_close(second, moments.about(centre).cpu(), rtol=1e-4, atol=1e-5)


def compress(shop: Workshop) -> None:
    """A weights file, calibrated and distilled, with its costs measured."""
    # new processes would know neither the device nor the backbone
    shop.patch.setattr(
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    shop.patch.setattr(cost, "ROIS", 100)
    shop.patch.setattr(distillation, "STEPS", DISTILLATION_STEPS)
    made, path = shop.detector(), shop.folder / "full.safetensors"
    save_weights(path, made.network, made.header)
    results = [
        compression.compress(
            path, RANK, calibrate=shop.pictures, proposals=shop.source, device=device, workers=1
        )
        for device in DEVICES
    ]
    expected, found = results
    assert found.header.ranks == expected.header.ranks == {"fc6": 8, "fc7": 8}
    assert found.report.method == expected.report.method
    assert found.report.divergence == pytest.approx(expected.report.divergence, rel=1e-4)
    pairs = expected.network.low_rank_layers()
    for name, pair in found.network.low_rank_layers().items():
        ours = (pair[1].weight @ pair[0].weight).cpu()
        assert_close(ours, pairs[name][1].weight @ pairs[name][0].weight, rtol=1e-4, atol=1e-5)


def depthwise(shop: Workshop) -> None:
    """A depthwise convolution without cuDNN, with the gradients of input, weights and bias."""
    results = []
    for device in DEVICES:
        torch.manual_seed(1)
        layer = torch.nn.Conv2d(6, 6, 5, 2, groups=6).to(device)
        x = torch.randn(2, 6, 11, 14).to(device).requires_grad_()
        convolve = functools.partial(depthwise_convolution, layer) if device == "cuda" else layer
        out = convolve(x)
        torch.autograd.backward(out.square().sum())
        results.append([each.detach().cpu() for each in (out, x.grad, *_gradients(layer))])
    for found, expected in zip(*results[::-1], strict=True):
        assert_close(found, expected)


def _gradients(layer: torch.nn.Module) -> list[torch.Tensor]:
    return [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]


CASES: dict[str, Case] = {
    "training": training(),
    "AdamW": training(optimizer="adamw", clip_norm=1.0),
    "cached features": training(cached=True, train_from="fc6"),
    "resume": resume,
    "whole": detection(),
    "low rank": detection(rank=8),
    "cascade": detection(rank=8, cascade=True),
    "batch": detection(batch=IMAGES),
    "scales": detection(scales=(160, 240)),
    "views": detection(views=(160, 240)),
    "bf16": detection(precision="bf16"),
    "profile": profiling,
    "calibration": calibration,
    "compression": compress,
    "depthwise": depthwise,
}


def run_case(case: Case, folder: Path) -> dict[str, Any]:
    """The report of a case.

    Returns:
        `error`, a traceback or None; for a case with a budget also `waits` and `kernels` of a
        training step or an image, and `places`, the counts of all of them by place in the code.
    """
    folder.mkdir()
    write_voc(folder / "voc", IMAGES * len(SIZES), seed=7)
    try:
        with pytest.MonkeyPatch.context() as patch, fake_cuda() as ledger:
            patch.setattr(roi_pool_gpu, "is_available", lambda device: False)  # it compiles code
            usage = case(Workshop(ledger, folder, patch))
    except Exception:
        return {"error": traceback.format_exc()}
    if usage is None:
        return {"error": None}
    return {
        "error": None,
        "waits": usage.ledger.waits.total() / usage.units,
        "kernels": usage.ledger.kernels.total() / usage.units,
        "units": usage.units,
        "places": usage.ledger.by_place(),
    }


def run_mistake(function: Callable[[], object]) -> dict[str, Any]:
    """Whether the device refuses a function (`error`), and how often the host `waits` in it."""
    error = None
    try:
        with fake_cuda() as ledger:
            function()
    except (RuntimeError, AssertionError) as raised:
        error = repr(raised)
    return {"error": error, "waits": ledger.waits.total()}


def main(report: Path, names: list[str]) -> None:
    """Run the cases of these names, or everything, and write what came of it as JSON."""
    with TemporaryDirectory() as folder:
        cases = {name: run_case(CASES[name], Path(folder) / name) for name in names or CASES}
    mistakes = {
        name: {"wrong": run_mistake(each.wrong), "right": run_mistake(each.right)}
        for name, each in MISTAKES.items()
    }
    report.write_text(json.dumps({"cases": cases, "mistakes": mistakes}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
