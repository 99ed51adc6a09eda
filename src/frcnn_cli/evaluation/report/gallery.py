"""Pictures of the worst errors, with boxes drawn."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...data import images as image_files
from ...data.dataset import Dataset
from ...errors import ImageError
from ..diagnosis import KINDS, MISSED, Diagnosis
from ..voc import MatchedDetections
from .page import Picture

LONG_SIDE = 420  # pixels of a picture on the page
FOUND, OBJECT = (255, 122, 0), (0, 194, 255)  # RGB; page.css has them too
Box = NDArray[np.float64]


def pictures(
    judged: MatchedDetections,
    diagnosis: Diagnosis,
    dataset: Dataset,
    per_kind: int,
) -> list[Picture]:
    """The false positives of the highest scores and the largest objects missed.

    At most one of a kind in an image; images whose file cannot be read are left out.

    Args:
        per_kind: how many of each of KINDS.
    """
    made = []
    for kind in range(len(KINDS)):
        rows = _worst_missed if kind == MISSED else _worst_false
        seen: set[int] = set()
        for image, caption, label, found, target in rows(judged, diagnosis, kind, dataset.classes):
            if len(seen) == per_kind:
                break
            if image in seen:
                continue
            path = dataset.paths[image]
            try:
                pixels = image_files.decode(image_files.read_bytes(path), str(path))
            except ImageError:
                continue
            seen.add(image)
            data, size = _draw(pixels, found, target)
            text = f"{caption} · {dataset.image_id(image)}"
            made.append(Picture(KINDS[kind], dataset.classes[label - 1], text, data, size))
    return made


_Row = tuple[int, str, int, Box | None, Box | None]  # image, caption, label, found, object


def _worst_false(
    judged: MatchedDetections, diagnosis: Diagnosis, kind: int, classes: tuple[str, ...]
) -> list[_Row]:
    detections, objects = judged.detections, judged.objects
    rows = np.flatnonzero(diagnosis.kind == kind)
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
    result: list[_Row] = []
    for row in rows[:1000]:
        target = diagnosis.target[row]
        label = int(detections.labels[row])
        caption = f"{classes[label - 1]} {detections.scores[row]:.2f}"
        if target >= 0 and objects.labels[target] != label:
            caption += f" on {classes[objects.labels[target] - 1]}"
        elif target >= 0:
            caption += f", IoU {judged.matches.overlap[row]:.2f}"
        box = objects.boxes[target] if target >= 0 else None
        result.append((int(detections.image[row]), caption, label, detections.boxes[row], box))
    return result


def _worst_missed(
    judged: MatchedDetections, diagnosis: Diagnosis, kind: int, classes: tuple[str, ...]
) -> list[_Row]:
    objects = judged.objects
    rows = np.flatnonzero(diagnosis.missed)
    rows = rows[np.argsort(-objects.areas[rows], kind="stable")]
    return [
        (
            int(objects.image[row]),
            classes[objects.labels[row] - 1],
            int(objects.labels[row]),
            None,
            objects.boxes[row],
        )
        for row in rows[:1000]
    ]


def _draw(
    pixels: NDArray[np.uint8], found: Box | None, target: Box | None
) -> tuple[str, tuple[int, int]]:
    """Base64 of a small JPEG with the two boxes, and its (height, width)."""
    picture = Image.fromarray(pixels)
    factor = min(LONG_SIDE / max(picture.size), 1.0)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(picture)
    for box, colour in ((target, OBJECT), (found, FOUND)):
        if box is not None:
            x1, y1, x2, y2 = (float(value) * factor for value in box)
            corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
            pen.rectangle(corners, outline=(0, 0, 0), width=5)  # an edge on any background
            pen.rectangle(corners, outline=colour, width=3)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode(), (picture.height, picture.width)
