"""Detect in every image of a data set, and store the detections in a log."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checkpoints.weights import IMAGE_SKETCH, WeightsHeader
from ..data.content import ContentSketch, file_hashes
from ..data.dataset import Dataset
from ..data.sources import as_source
from ..inference.batching import ReadFailure
from ..inference.detector import Detector
from ..inference.result import Failure
from ..inference.tiling import detect_tiled
from ..structures import Detections
from .dataset_reference import DatasetReference
from .detection_log import DetectionLog, Header

# Part of the identity of saved detections. Raise it when the same weights, proposals and settings
# would give other detections, so that new ones are not mixed with old ones.
DETECTION_VERSION = 1
LOG_FOLDER = Path("runs/eval")
_OFFICIAL = ("voc2007", "voc2012")  # names that stand for the same images everywhere


def detect_all(
    detector: Detector,
    dataset: Dataset,
    *,
    log: DetectionLog | None = None,
    workers: int | None = None,
    batch: int = 1,
    tile: int | None = None,
    on_image: Callable[[], None] | None = None,
) -> list[Detections]:
    """Detect in every image of a data set.

    Each image is appended to `log` as soon as it is done. An image that is in the log already is
    skipped if its file still has the same size. Missing proposals are computed.

    Args:
        dataset: its labels do not matter; the detections have those of the detector.
        workers: threads that read ahead; None: one for each core.
        batch: the most images in one pass; consecutive images of one scaled size share a pass.
        tile: side of the tiles in which to detect too, pixels; see `tiling`. Then a pass takes
            tiles of one image. None: no tiles.
        on_image: called after each image that is not in `log` yet.
    Returns:
        The detections of each image.
    Raises:
        ImageError: an image is missing or damaged. Leaving it out would change the result.
    """
    known = {} if log is None else known_detections(log, dataset)
    todo = [index for index in range(len(dataset)) if index not in known]
    workers = workers or os.cpu_count() or 1
    if tile is None:
        found = _detected(detector, dataset, todo, workers, batch)
    else:
        found = _detected_in_tiles(detector, dataset, todo, workers, batch, tile)
    for index, file_size, detections in found:
        known[index] = detections
        if log is not None:
            log.add(dataset.image_id(index), file_size, detections)
        if on_image is not None:
            on_image()
    return [known[index] for index in range(len(dataset))]


# index of an image, size of its file in bytes, its detections
_Found = tuple[int, int, Detections]


def _detected(
    detector: Detector, dataset: Dataset, todo: list[int], workers: int, batch: int
) -> Iterator[_Found]:
    for result in detector.detect_each(todo, dataset.read_image, workers=workers, batch=batch):
        if isinstance(result, ReadFailure):
            raise result.error
        yield result.source.item, result.source.file_size, result.detections


def _detected_in_tiles(
    detector: Detector, dataset: Dataset, todo: list[int], workers: int, batch: int, tile: int
) -> Iterator[_Found]:
    sources = (as_source(dataset.paths[index]) for index in todo)
    results = detect_tiled(detector, sources, tile, batch, workers)
    for index, result in zip(todo, results, strict=True):
        if isinstance(result, Failure):
            raise result.error
        yield index, dataset.paths[index].stat().st_size, result.detections


def known_detections(log: DetectionLog, dataset: Dataset) -> dict[int, Detections]:
    """The logged detections by index of their image; without images whose file size has changed."""
    known = {}
    for index, path in enumerate(dataset.paths):
        logged = log.logged.get(dataset.image_id(index))
        if logged is not None and path.exists() and path.stat().st_size == logged.file_size:
            known[index] = logged.detections
    return known


def open_log(
    detector: Detector,
    weights: Path,
    dataset: Dataset,
    reference: DatasetReference,
    path: Path | None = None,
    tile: int | None = None,
) -> DetectionLog:
    """Open the log of a detector's detections in a data set; use it in a `with` block.

    Args:
        weights: the file that the detector was loaded from. reference: of the data set.
        path: None for a file in LOG_FOLDER, named after the data set, the weights and a digest of
            everything that the detections depend on.
        tile: see `detect_all`.
    Raises:
        DataError: the file holds something else, or detections of another detector or data set.
    """
    source = {**reference.describe(dataset), **detector_identity(detector, weights)}
    if tile is not None:
        source["tile"] = tile
    header = Header(detector.classes, source)
    return DetectionLog(path or log_path(dataset, weights, header), header)


def log_path(dataset: Dataset, weights: Path, header: Header) -> Path:
    """The default place of a log with this header."""
    digest = hashlib.sha256(header.line().encode()).hexdigest()[:8]
    name = f"{dataset.name}-{dataset.split}-{weights.stem}-{digest}".replace(":", "-")
    return LOG_FOLDER / f"{name}.jsonl"


def detector_identity(detector: Detector, weights: Path) -> dict[str, Any]:
    """Everything that detections depend on except the image, for a log's header."""
    return {
        "weights": weights.stem,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "proposals": detector.proposals.method.digest,
        "settings": asdict(detector.config) | {"precision": str(detector.dtype)},
        "device": detector.device.type,
        "version": DETECTION_VERSION,
    }


def training_overlap(header: WeightsHeader, dataset: Dataset) -> str | None:
    """Which images of a data set weights were trained on, for people; None if none is known.

    Images are compared by content where the weights tell which they were trained on, and by the
    name of the data set ("voc2007 trainval") in older files.
    """
    sketches: list[ContentSketch] = []
    provenance: object = header.provenance
    while isinstance(provenance, dict):
        sketch = ContentSketch.from_json(provenance.get(IMAGE_SKETCH))
        sketches += [] if sketch is None else [sketch]
        provenance = provenance.get("trained_from")
    if sketches:
        hashes = file_hashes(dataset.paths)
        shared = max(min(sketch.shared(hashes), len(dataset)) for sketch in sketches)
        about = "" if all(sketch.is_complete for sketch in sketches) else "about "
        return f"{about}{shared} of the {len(dataset)} images" if shared else None
    trained_on = str(header.provenance.get("data", "")).partition(",")[0]
    names, _, split = trained_on.rpartition(" ")
    splits = ("train", "val", "trainval") if split == "trainval" else (split,)
    contained = dataset.name in names.split("+") and dataset.split in splits
    return (
        f"{trained_on}, which has these images" if dataset.name in _OFFICIAL and contained else None
    )
