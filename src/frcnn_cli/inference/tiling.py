"""Detecting small objects in large images: in overlapping tiles, and in the image as a whole.

Selective search scales an image down, so objects that are small in it get no proposals; in a tile
they are larger. An object that a tile's border cuts is whole in the next tile if it is smaller than
the overlap, else in the image as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.sources import Source
from ..errors import FrcnnError
from ..models.postprocess import least_score
from ..ops import boxes as box_ops
from ..ops.nms import nms, soft_nms
from ..structures import Detections
from .detector import Detector
from .result import Failure, Result

OVERLAP = 0.25  # of a tile's side, between neighbours; at least
_BORDER = 2.0  # pixels within which a box touches the border of its tile
_INSIDE = 0.7  # of the area of a cut box, inside of a whole one that replaces it

Tile = tuple[int, int, int, int]  # x1, y1, x2, y2


def tiles(size: tuple[int, int], side: int) -> list[Tile]:
    """Tiles that cover an image, evenly spaced, which overlap by OVERLAP or more.

    Args:
        size: (height, width) of the image. side: of the tiles, pixels.
    """
    xs, ys = _starts(size[1], side), _starts(size[0], side)
    return [(x, y, min(x + side, size[1]), min(y + side, size[0])) for y in ys for x in xs]


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [0]
    count = 1 + int(np.ceil((length - side) / (side * (1 - OVERLAP))))
    return [round(start) for start in np.linspace(0, length - side, count)]


def detect_tiled(
    detector: Detector, sources: Iterable[Source], side: int, batch: int = 1, workers: int = 1
) -> Iterator[Result | Failure]:
    """`Detector.run` in tiles and in the whole image, merged.

    Args:
        side: of the tiles, pixels; images that are no larger are one tile.
        batch: tiles in a pass of the network.
        workers: threads that read images ahead, and as many that propose for the tiles of one.
    Yields:
        A result or a failure for each image, in order.
    """
    for whole in detector.run(sources, workers=workers):
        if isinstance(whole, Failure):
            yield whole
            continue
        try:
            yield _with_tiles(detector, whole, side, batch, workers)
        except FrcnnError as error:
            yield Failure(whole.name, error)


def _with_tiles(detector: Detector, whole: Result, side: int, batch: int, workers: int) -> Result:
    """The detections in the tiles added to those in the whole image."""
    size = whole.image.shape[0], whole.image.shape[1]
    places = tiles(size, side)
    if len(places) == 1:
        return whole
    begun = time.perf_counter()
    found, cut, proposals = [whole.detections], [np.zeros(len(whole.detections), np.bool_)], 0
    pieces = (whole.image[y1:y2, x1:x2] for x1, y1, x2, y2 in places)
    for place, outcome in zip(places, detector.run(pieces, batch, workers), strict=True):
        if isinstance(outcome, Failure):
            raise outcome.error
        found.append(outcome.detections)
        cut.append(_touches(outcome.detections.boxes, place, size))
        proposals += outcome.proposals
    offsets = [(0, 0), *((x1, y1) for x1, y1, _, _ in places)]
    boxes = [
        each.boxes + np.array(offset * 2, np.float32)
        for each, offset in zip(found, offsets, strict=True)
    ]
    detections = Detections(
        boxes=np.concatenate(boxes),
        scores=np.concatenate([each.scores for each in found]),
        labels=np.concatenate([each.labels for each in found]),
        image_size=size,
    )
    pictures = np.repeat(np.arange(len(found)), [len(each) for each in found])
    return replace(
        whole,
        detections=merge(detections, np.concatenate(cut), pictures, detector),
        proposals=whole.proposals + proposals,
        seconds=whole.seconds + time.perf_counter() - begun,
    )


def _touches(boxes: box_ops.Boxes, place: Tile, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes of a tile touch a border of it that is inside of the image, [M]."""
    x1, y1, x2, y2 = place
    near = np.array([0, 0, x2 - x1, y2 - y1], np.float32)
    inner = np.array([x1 > 0, y1 > 0, x2 < size[1], y2 < size[0]])
    return (inner & (np.abs(boxes - near) <= _BORDER)).any(axis=1)


def merge(
    detections: Detections,
    cut: NDArray[np.bool_],
    pictures: NDArray[np.intp],
    detector: Detector,
) -> Detections:
    """NMS over all tiles, and without the parts of objects that are found whole.

    Args:
        cut: [M], which boxes touch the border of their tile. They are left out where most of their
            area is inside of a box of their class that is not cut.
        pictures: [M], the number of the tile, or of the whole image, in which each box was found.
            With soft-NMS, which has been in each of them, boxes of one do not meet again.
    """
    config, boxes, labels = detector.config, detections.boxes, detections.labels
    kept = ~_parts(boxes, labels, cut)
    kept &= (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # moving a thin box may round its side away
    boxes, labels, scores = boxes[kept], labels[kept], detections.scores[kept].astype(np.float32)
    groups = np.zeros_like(labels) if config.class_agnostic else labels
    if config.soft_nms:
        calibration = detector.header.calibration
        if calibration is not None:  # it is the network's scores that soft-NMS lowers
            scores = calibration.uncalibrated(torch.from_numpy(scores)).float().numpy()
        least = least_score(config, calibration)
        best, lowered = soft_nms(boxes, scores, groups, config.nms_threshold, least, pictures[kept])
        if calibration is not None:
            lowered = calibration.calibrated(torch.from_numpy(lowered)).numpy()
        scores[best] = lowered
    else:
        best = nms(boxes, scores, groups, config.nms_threshold)
    best = best[: config.max_detections]
    return Detections(
        boxes=boxes[best],
        scores=scores[best],
        labels=labels[best],
        image_size=detections.image_size,
    )


def _parts(
    boxes: box_ops.Boxes, labels: NDArray[np.int64], cut: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which cut boxes lie for the most part in a whole one of their class, [M]."""
    parts = np.zeros(len(boxes), np.bool_)
    areas = box_ops.area(boxes)
    for index in np.flatnonzero(cut):
        others = np.flatnonzero(~cut & (labels == labels[index]))
        corners = boxes[others]
        sides = np.minimum(boxes[index, 2:], corners[:, 2:]) - np.maximum(
            boxes[index, :2], corners[:, :2]
        )
        shared = np.maximum(sides, 0).prod(axis=1)
        parts[index] = bool((shared >= _INSIDE * areas[index]).any())
    return parts
