"""Train VGG16 for as long as the time allows, compress it, and judge both on val."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from frcnn_cli import compress, train
from frcnn_cli.checkpoints.pretrained import RANDOM
from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import CompressConfig, DetectConfig, TrainRuntimeConfig
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.recipes import recipe
from frcnn_cli.training.initialisation import Initialisation

from .setting import Setting, threads

PART_BYTES = 15 * 2**20  # of the pieces in which a weights file is written
TRIAL = 40  # iterations by which the speed is known
RANK = 256


def train_and_judge(
    setting: Setting, recipe_name: str, split: str, seconds: float
) -> dict[str, object]:
    """Train with the schedule scaled to the time, and evaluate before and after compression.

    A run that was stopped is resumed.

    Args:
        seconds: for the training.
    """
    folder = setting.work / f"{recipe_name}-{split}"
    runtime = TrainRuntimeConfig(device=str(setting.device))
    dataset = setting.dataset(split, 8 if setting.tiny else 10**6)
    config = replace(recipe(recipe_name), backbone=setting.backbone)
    if setting.tiny:
        config = replace(config, scales=(128,), max_size=213)
    init = Initialisation(imagenet_weights=(None if setting.tiny else setting.init) or RANDOM)
    found: dict[str, object] = {}
    resume = folder if (folder / "state.pt").is_file() else None
    if resume is None:
        config = replace(config, iterations=2 * TRIAL if not setting.tiny else 6)
        per_iteration = _seconds_per_iteration(config, dataset, setting, init, runtime)
        config = replace(config, iterations=max(6, int(seconds / per_iteration)))
        found["seconds an iteration, in a trial"] = per_iteration
    begun = time.monotonic()
    result = train(
        config,
        dataset,
        folder=folder,
        resume=resume,
        initialisation=init,
        proposals=setting.source(),
        runtime=runtime,
        threads=threads(),
    )
    assert result is not None
    found |= {
        "iterations": result.iterations,
        "seconds": time.monotonic() - begun,
        "loss": (result.cls or 0) + (result.loc or 0),
        "waited for batches": result.waited,
    }
    judged = setting.dataset("val", setting.images)
    found[f"mAP, {len(judged)} images of val"] = _mean_ap(setting, result.weights, judged)
    small = setting.out / f"{recipe_name}-{split}-r{RANK}.safetensors"
    compress(
        result.weights,
        CompressConfig(rank=RANK),
        calibrate=dataset,
        images=4 if setting.tiny else 200,
        out=small,
        proposals=setting.source(),
        device=str(setting.device),
        workers=threads(),
    )
    found[f"mAP at rank {RANK}"] = _mean_ap(setting, small, judged)
    found["parts"] = split_file(small)
    return found


def _seconds_per_iteration(config, dataset: Dataset, setting: Setting, init, runtime) -> float:  # type: ignore[no-untyped-def]
    """The time of an iteration in the second half of a short run that is thrown away."""
    times: list[float] = []
    train(
        config,
        dataset,
        folder=setting.work / "trial",
        initialisation=init,
        proposals=setting.source(),
        runtime=runtime,
        threads=threads(),
        on_step=lambda metrics: times.append(time.monotonic()),
    )
    half = len(times) // 2
    return (times[-1] - times[half - 1]) / (len(times) - half)


def _mean_ap(setting: Setting, weights: Path, dataset: Dataset) -> float:
    network, header = load_weights(weights)
    config = DetectConfig(precision="auto")
    detector = Detector(network, header, setting.source(), config, str(setting.device))
    return 100 * evaluate(detector, dataset, metric="voc07", workers=threads(), batch=8).mean_ap


def split_file(path: Path) -> list[str]:
    """Write a file in parts; returns their names."""
    content, names = path.read_bytes(), []
    for number, first in enumerate(range(0, len(content), PART_BYTES)):
        part = path.with_name(f"{path.name}.part{number}")
        part.write_bytes(content[first : first + PART_BYTES])
        names.append(part.name)
    return names


def join_parts(first: Path) -> Path:
    """Join the parts of a file, of which `first` ends in .part0."""
    target = first.with_suffix("")
    parts = sorted(first.parent.glob(f"{target.name}.part*"), key=lambda p: int(p.suffix[5:]))
    target.write_bytes(b"".join(part.read_bytes() for part in parts))
    return target
