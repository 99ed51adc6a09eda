"""Compressing a weights file: choosing ranks, calibrating, distilling, measuring, saving.

from frcnn_cli import CompressConfig, compress
result = compress("last.safetensors", CompressConfig(rank=256), out="small.safetensors")
print(result.after.milliseconds / result.before.milliseconds)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..checkpoints.weights import WeightsHeader, load_weights, save_weights, stored_types
from ..config import COMPRESSION_RANK, CompressConfig, DetectConfig
from ..data.dataset import Dataset
from ..data.registry import SPECS
from ..errors import ConfigError
from ..inference.detector import Detector
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..proposers.registry import proposal_source
from ..runtime.files import check_writable
from ..runtime.paths import WEIGHTS_SUFFIX, find_weights
from ..runtime.progress import Progress, silent
from . import cost
from .calibration import Calibration, calibrate
from .calibration_data import (
    AUTO,
    NONE,
    CalibrationImages,
    default_calibration,
    folder_of,
    is_data,
    open_calibration_images,
)
from .compressor import Compressor, check_compressible, with_costs
from .cost import Cost
from .curve import Candidate, Point, candidates, measure_curve, smallest_within, write_curve
from .distillation import STEPS
from .finetune import finetune_network, open_training_data
from .ranks import Ranks
from .report import CompressionReport, Method


@dataclass(frozen=True, kw_only=True)
class CompressResult:
    """A compressed network, and what compressing it changed."""

    network: RegionNetwork
    header: WeightsHeader
    report: CompressionReport  # before finetuning
    before: Cost
    after: Cost
    curve: list[Point]  # the full network first; empty if none was measured
    path: Path | None  # of the weights file; None if nothing was written
    curve_files: list[Path]  # the table and the chart


def compress(
    weights: str | Path,
    config: CompressConfig | None = None,
    *,
    calibrate: str | Dataset | Sequence[Path] | None = AUTO,
    images: int = 200,
    curve: Dataset | None = None,
    finetune: int = 0,
    keep_full: bool = False,
    out: str | Path | None = None,
    data: Path | None = None,
    renamed: Mapping[str, str] | None = None,
    proposals: ProposalSource | str = "fast",
    device: str = "auto",
    workers: int | None = None,
    progress: Progress = silent,
    on_message: Callable[[str], None] = lambda message: None,
) -> CompressResult:
    """Give the fully connected layers of a network a low rank.

    Args:
        weights: name or path of a weights file.
        config: how small the layers become; None for rank COMPRESSION_RANK.
        calibrate: what to calibrate on: a data set or its name; or photographs, as paths or as
            a file, folder or pattern. AUTO: the data set that the weights were trained on, if it
            is on this machine. None: plain truncated SVD.
        images: the most images to calibrate on.
        curve: data set on which many ranks are compared; `config.map_drop` needs one.
        finetune: iterations for which the result is trained further, on `calibrate`, which must
            then be the name of a data set.
        keep_full: keep the full layers; the low-rank layers become the prefilter.
        out: file to write, with the curve beside it; None writes nothing.
        data: folder of data sets that are given by name; None for FRCNN_DATA.
        renamed: with `finetune`, class of the data set -> its name in the network.
        proposals: a row of PROPOSERS, the path of a file of boxes, or a source.
        device: auto, cpu, cuda or cuda:N. workers: threads; None for one for each core.
        on_message: called with a line for each download and each file beside the weights.
    Raises:
        WeightsError: the weights cannot be read, are compressed already, or would not shrink.
        ConfigError: settings that exclude each other, or out of range; or the data set to
            finetune on has classes that the weights lack.
        DataError: images or data set cannot be used.
        FrcnnError: no candidate is within `config.map_drop`, or `out` cannot be written.
        InterruptedRun: finetuning was stopped; the hint says how to continue it.
    """
    config = config or CompressConfig(rank=COMPRESSION_RANK)
    out = None if out is None else Path(out)
    check_options(
        config, calibrate=calibrate, curve=curve, finetune=finetune, keep_full=keep_full, out=out
    )
    source = find_weights(str(weights))
    check_target(source, out)
    workers = workers or os.cpu_count() or 1
    network, header = load_weights(source)
    check_compressible(network, header, config)
    if curve is not None:
        curve = curve.with_classes(header.classes)
        curve.require_objects()
    if not isinstance(proposals, ProposalSource):
        proposals = proposal_source(proposals)
    one_view = DetectConfig(scales=(header.scale,))  # also of weights that have several
    detector = Detector(network, header, proposals, one_view, device)
    if calibrate == AUTO:
        calibrate = default_calibration(header, curve, data)
    folder = folder_of(calibrate, curve, data) if isinstance(calibrate, str) else None
    calibration, trained_on = None, None
    if finetune:
        assert isinstance(calibrate, str)
        trained_on = open_training_data(header, calibrate, folder, renamed or {}, on_message)
    if calibrate is not None and calibrate != NONE:
        chosen = open_calibration_images(
            calibrate if trained_on is None else trained_on,
            folder,
            on_message,
            header.val_share,
        ).spread(images)
        calibration = _calibrate(detector, chosen, workers, progress)
    compressor = Compressor(network, header, calibration)
    half = stored_types(source) == {"F16"}
    ranks, method, points = _choose(detector, compressor, config, curve, half, workers, progress)
    _distil(compressor, [ranks], progress)
    report = compressor.report(ranks, method)
    curve_files = []
    if points and out is not None:
        curve_files = write_curve(out, points, report.method, ranks)
        for path in curve_files:
            on_message(f"curve: {path}")
    header = compressor.apply(report, keep_full)
    if trained_on is not None:
        assert out is not None
        assert isinstance(calibrate, str)
        network, header = finetune_network(
            detector.network,
            header,
            iterations=finetune,
            dataset=trained_on,
            dataset_name=calibrate,
            data=folder,
            renamed=renamed or {},
            proposals=proposals,
            run_name=out.stem,
            device=device,
            workers=workers,
            progress=progress,
            on_message=on_message,
        )
    header, before, after = _save_and_measure(source, network, header, out, device, half)
    return CompressResult(
        network=network,
        header=header,
        report=report,
        before=before,
        after=after,
        curve=points,
        path=out,
        curve_files=curve_files,
    )


def default_target(weights: Path, config: CompressConfig) -> Path:
    """The default file of `frcnn compress`, beside the full weights."""
    ending = "small" if config.rank is None else f"r{config.rank}"
    return weights.with_name(f"{weights.stem}-{ending}{WEIGHTS_SUFFIX}")


def check_target(weights: Path, target: Path | None) -> None:
    """Check that compressed weights can be written to `target`.

    Raises:
        ConfigError: it is no name for them. FrcnnError: see `check_writable`.
    """
    if target is None:
        return
    if target.resolve() == weights.resolve():
        raise ConfigError(f"{target} holds the full weights", "choose another --out")
    if target.suffix != WEIGHTS_SUFFIX or target.is_dir():
        raise ConfigError(f"{target} is no name for weights", f"end it in {WEIGHTS_SUFFIX}")
    check_writable(target)


def check_options(
    config: CompressConfig,
    *,
    calibrate: str | Dataset | Sequence[Path] | None,
    curve: Dataset | str | None,
    finetune: int,
    keep_full: bool,
    out: Path | None,
) -> None:
    """Raise a ConfigError where settings of `compress` do not go together."""
    if config.map_drop is not None and curve is None:
        raise ConfigError("--map-drop needs a data set to measure on", "add --curve voc2007")
    is_dataset = is_data(calibrate)
    if finetune and (not is_dataset or out is None):
        raise ConfigError(
            "--finetune needs a data set to train on, and weights to write",
            f"add --calibrate with one of: {', '.join(SPECS)}; leave out --dry-run",
        )
    if finetune and keep_full:
        raise ConfigError(
            "--finetune and --keep-full exclude each other",
            "the prefilter would no longer agree with the full layers",
        )


def _calibrate(
    detector: Detector, images: CalibrationImages, workers: int, progress: Progress
) -> Calibration:
    with progress("calibrating", len(images.paths), "images") as advance:
        return calibrate(
            detector,
            images.paths,
            source=images.source,
            workers=workers,
            on_image=lambda: advance(""),
        )


def _choose(
    detector: Detector,
    compressor: Compressor,
    config: CompressConfig,
    curve: Dataset | None,
    half: bool,
    workers: int,
    progress: Progress,
) -> tuple[Ranks, Method | None, list[Point]]:
    """The ranks to use, the method if the curve decides it, and the points of the curve."""
    ranks = None if config.map_drop is not None else compressor.choose_ranks(config)
    points: list[Point] = []
    if curve is not None:
        points = _measure_curve(
            detector, compressor, candidates(compressor, ranks), curve, half, workers, progress
        )
    if ranks is not None:
        return ranks, None, points
    assert config.map_drop is not None
    point = smallest_within(points, config.map_drop)
    return point.ranks, point.method, points


def _measure_curve(
    detector: Detector,
    compressor: Compressor,
    compared: Sequence[Candidate],
    curve: Dataset,
    half: bool,
    workers: int,
    progress: Progress,
) -> list[Point]:
    _distil(compressor, [each.ranks for each in compared if each.method == "aware"], progress)
    with progress(f"{len(compared)} candidates", len(curve), "images") as advance:
        return measure_curve(
            detector,
            compressor,
            compared,
            curve,
            half=half,
            workers=workers,
            on_image=lambda: advance(""),
        )


def _distil(compressor: Compressor, choices: Sequence[Ranks], progress: Progress) -> None:
    """Distil the heads of these ranks while progress is shown; the compressor keeps them."""
    if compressor.calibration is None:
        return
    with progress("distilling", STEPS * len(choices), "steps") as advance:
        for ranks in choices:
            compressor.head("aware", ranks, lambda: advance(""))


def _save_and_measure(
    source: Path,
    network: RegionNetwork,
    header: WeightsHeader,
    out: Path | None,
    device: str,
    half: bool,
) -> tuple[WeightsHeader, Cost, Cost]:
    """Write a compressed network, and its costs into its header.

    Returns:
        The header, and the costs of the full and the compressed network.
    """
    if out is None:
        before = cost.measure_weights(source, device)
        after = cost.measure_network(network, header, device, half=half)
        return with_costs(header, before, after), before, after
    save_weights(out, network, header, half)  # kept where measuring fails
    before, after = cost.measure_weights(source, device), cost.measure_weights(out, device)
    header = with_costs(header, before, after)
    save_weights(out, network, header, half)
    return header, before, after
