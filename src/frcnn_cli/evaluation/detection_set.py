"""The detections of a data set together with where they come from: a file or a network."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import Dataset
from ..errors import DataError, unknown_name
from ..inference.detector import Detector
from ..proposers.cache import METHOD_FILE, ProposalSource
from ..proposers.method import Method
from ..proposers.registry import PROPOSERS
from ..runtime.paths import WEIGHTS_SUFFIX, proposals_dir
from ..runtime.safe_read import read_json
from ..structures import Detections, Proposals
from .compare import Comparison, compare
from .detect_dataset import detect_all, known_detections
from .detection_files import load_detections
from .detection_log import DetectionLog, read_header
from .matching import match_detections
from .metrics import Evaluation, Metric, evaluate_detections, select_classes
from .protocol import select_over_images
from .voc import Rule


@dataclass(frozen=True, kw_only=True)
class DetectionSet:
    """Detections of the images of a data set."""

    dataset: Dataset  # its classes number the labels of the detections
    detections: list[Detections]  # one for each image
    file: Path | None = None  # that holds the detections
    weights: str | None = None  # name or path; None if it is not known
    # used for the detections; None if they are not known or no longer in the cache
    proposals: ProposalSource | None = None
    new_images: int = 0  # that were not in the log before
    seconds: float = 0.0  # that detection in the new images took
    full_images: int = 0  # in which the limit on detections may have cut objects off

    @property
    def title(self) -> str:
        """Name of the weights, else of the file."""
        if self.weights:
            return Path(self.weights).name.removesuffix(WEIGHTS_SUFFIX)
        return Path(self.file or "detections").stem

    def select_classes(self, names: Sequence[str]) -> DetectionSet:
        """Keep these classes only, numbered in this order; all of them if `names` is empty.

        Raises:
            ConfigError: the data set has no such class.
        """
        if not names:
            return self
        labels = class_labels(names, self.dataset.classes)
        return replace(
            self,
            dataset=self.dataset.with_classes(names),
            detections=select_classes(self.detections, labels),
        )

    def selected_over_images(self) -> DetectionSet:
        """The detections by the paper's code; see `protocol.select_over_images`."""
        return replace(self, detections=select_over_images(self.detections))

    def evaluate(self, metric: Metric, score: float = 0.5) -> Evaluation:
        """Measure the detections; for the arguments and errors see `evaluate_detections`."""
        truths = self.dataset.ground_truths()
        return evaluate_detections(self.detections, truths, self.dataset.classes, metric, score)


def count_full(dataset: Dataset, detections: Sequence[Detections], most: object) -> int:
    """In how many images objects may have been lost because `most` detections are allowed.

    They have so many detections, and objects for at least half of them: a detector that is not sure
    gives many detections of any image, of which the last ones are worth little.
    """
    full = [index for index, each in enumerate(detections) if len(each) == most]
    return sum(
        2 * len(dataset.ground_truth(index).labels) >= len(detections[index]) for index in full
    )


def class_labels(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The labels of some classes, numbered from 1 in the order of `classes`.

    Raises:
        ConfigError: one of them is unknown.
    """
    for name in names:
        if name not in classes:
            raise unknown_name("class", name, classes)
    return [classes.index(name) + 1 for name in names]


def load_detection_set(
    path: Path,
    dataset: Dataset,
    limit: int | None = None,
    on_message: Callable[[str], None] = lambda message: None,
) -> DetectionSet:
    """Read the detections of the first `limit` images from a file or folder of any format.

    Args:
        dataset: the unlimited data set. on_message: see `load_detections`.
    Raises:
        DataError: see `load_detections`.
    """
    header = None if path.is_dir() else read_header(path)
    source = {} if header is None else header.source
    weights, settings = source.get("weights"), source.get("settings")
    detections = load_detections(path, dataset, limit, on_message)
    most = settings.get("max_detections") if isinstance(settings, dict) else None
    return DetectionSet(
        dataset=dataset.limited(limit),
        detections=detections,
        full_images=count_full(dataset, detections, most),
        file=path,
        weights=weights if isinstance(weights, str) else None,
        proposals=proposals_by_digest(source.get("proposals")),
    )


def detect_set(
    detector: Detector,
    dataset: Dataset,
    *,
    weights: Path | None = None,
    log: DetectionLog | None = None,
    workers: int | None = None,
    batch: int = 1,
    tile: int | None = None,
    on_image: Callable[[], None] | None = None,
) -> DetectionSet:
    """Detect in every image of a data set that is not in `log` yet.

    Args:
        weights: the file that the detector was loaded from. For the others see `detect_all`.
    Raises:
        DataError: the data set has none of the detector's classes. ImageError: see `detect_all`.
    """
    dataset = dataset.with_classes(detector.classes)
    known = 0 if log is None else len(known_detections(log, dataset))
    start = time.perf_counter()
    detections = detect_all(
        detector, dataset, log=log, workers=workers, batch=batch, tile=tile, on_image=on_image
    )
    return DetectionSet(
        dataset=dataset,
        detections=detections,
        file=None if log is None else log.path,
        weights=None if weights is None else str(weights),
        proposals=detector.proposals,
        new_images=len(dataset) - known,
        seconds=time.perf_counter() - start,
        full_images=count_full(dataset, detections, detector.config.max_detections),
    )


def compare_detection_sets(
    a: DetectionSet, b: DetectionSet, rule: Rule, resamples: int = 1000
) -> Comparison:
    """Compare the detections of two detectors in the same images; see `compare`."""
    truths, count = a.dataset.ground_truths(), len(a.dataset.classes)
    matched = [match_detections(each.detections, truths, count) for each in (a, b)]
    return compare(matched[0], matched[1], rule, resamples)


def proposals_by_digest(digest: object) -> ProposalSource | None:
    """The cached proposals of the method that has this digest in a log's header.

    Returns:
        None if the method is neither a row of PROPOSERS nor in the cache.
    """
    if not isinstance(digest, str) or not re.fullmatch(r"\w+-[0-9a-f]{12}", digest):
        return None
    methods = [build(1) for build in PROPOSERS.values()]
    method = next((each for each in methods if each.digest == digest), None)
    method = method or _cached_method(proposals_dir() / digest)
    if method is None or method.digest != digest:
        return None
    return ProposalSource(method, proposals_dir())


def _cached_method(folder: Path) -> Method | None:
    """The method of a folder of the cache; it cannot compute further proposals."""
    try:
        content = read_json(folder / METHOD_FILE, "remove the folder")
        name, settings = str(content["name"]), dict(content["settings"])
    except (DataError, ValueError, KeyError, TypeError):
        return None

    def propose(image: NDArray[np.uint8]) -> Proposals:
        raise DataError(
            f"{folder.name} is no method of this version", "choose another method of proposals"
        )

    return Method(name, propose, settings)
