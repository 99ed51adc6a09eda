"""How good trained weights are, beside what detection with them takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import DetectConfig
from ..data.dataset import Dataset
from ..evaluation.evaluate import evaluate
from ..inference.detector import Detector
from ..proposers.cache import ProposalSource
from ..runtime.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What one weights file reaches on a data set."""

    weights: str  # name of the file, without its ending
    detector: str  # key of DETECTORS
    backbone: str
    mean_ap: float  # 0..1
    seconds: float  # an image, with reading it; proposals come from the cache or are computed


def measure_quality(
    weights: Sequence[Path],
    dataset: Dataset,
    source: ProposalSource,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Quality]:
    """Evaluate weights files, one after the other, with the settings of `frcnn eval`.

    Args:
        dataset: its proposals are cached by the first evaluation.
        progress: shows the progress.
    Raises:
        WeightsError: a file is no weights file. ConfigError, DataError: see `evaluate`.
    """
    detectors = [Detector.load(path, source, DetectConfig(), device) for path in weights]
    results = []
    with progress("evaluating", len(detectors) * len(dataset), "images") as advance:
        for path, detector in zip(weights, detectors, strict=True):
            begun = time.perf_counter()
            mean_ap = evaluate(detector, dataset, on_image=lambda: advance("")).mean_ap
            results.append(
                Quality(
                    weights=path.stem,
                    detector=detector.header.detector,
                    backbone=detector.header.backbone,
                    mean_ap=mean_ap,
                    seconds=(time.perf_counter() - begun) / len(dataset),
                )
            )
    return results
