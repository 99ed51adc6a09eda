"""Examples of the worst errors: small images with the boxes drawn in them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ...data import images as image_files
from ...data.dataset import Dataset
from ...errors import ImageError
from ..diagnosis import ERROR_TYPES, MISSED, Diagnosis
from ..matching import MatchedDetections
from .page import ErrorExample

LONG_SIDE = 420  # pixels of an image on the page
DETECTED_COLOUR, ANNOTATED_COLOUR = (255, 122, 0), (0, 194, 255)  # RGB; the same as in page.css
_MOST_CANDIDATES = 1000  # for each type of error
Box = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Error:
    """One error that could be shown."""

    image: int  # index in the data set
    label: int
    caption: str
    detected: Box | None
    annotated: Box | None


def error_examples(
    matched: MatchedDetections, diagnosis: Diagnosis, dataset: Dataset, count: int
) -> list[ErrorExample]:
    """The false positives with the highest scores and the largest objects missed.

    An image appears at most once for each type of error; unreadable images are left out.

    Args:
        count: the most examples of each of ERROR_TYPES.
    """
    examples = []
    for number, error_type in enumerate(ERROR_TYPES):
        if number == MISSED:
            errors = _largest_missed(matched, diagnosis, dataset.classes)
        else:
            errors = _best_false_positives(matched, diagnosis, number, dataset.classes)
        shown: set[int] = set()
        for error in errors:
            if len(shown) == count:
                break
            if error.image in shown:
                continue
            path = dataset.paths[error.image]
            try:
                pixels = image_files.decode(image_files.read_bytes(path), str(path))
            except ImageError:
                continue
            shown.add(error.image)
            jpeg, size = _draw(pixels, error.detected, error.annotated)
            examples.append(
                ErrorExample(
                    error_type=error_type,
                    class_name=dataset.classes[error.label - 1],
                    caption=f"{error.caption} · {dataset.image_id(error.image)}",
                    jpeg=jpeg,
                    size=size,
                )
            )
    return examples


def _best_false_positives(
    matched: MatchedDetections, diagnosis: Diagnosis, error_type: int, classes: tuple[str, ...]
) -> Iterator[_Error]:
    """False positives of one type, best score first."""
    detections, objects = matched.detections, matched.objects
    rows = np.flatnonzero(diagnosis.error_type == error_type)
    rows = rows[np.argsort(-detections.scores[rows], kind="stable")]
    for row in rows[:_MOST_CANDIDATES]:
        target = diagnosis.target[row]
        label = int(detections.labels[row])
        caption = f"{classes[label - 1]} {detections.scores[row]:.2f}"
        if target >= 0 and objects.labels[target] != label:
            caption += f" on {classes[objects.labels[target] - 1]}"
        elif target >= 0:
            caption += f", IoU {matched.matches.iou[row]:.2f}"
        yield _Error(
            image=int(detections.image[row]),
            label=label,
            caption=caption,
            detected=detections.boxes[row],
            annotated=objects.boxes[target] if target >= 0 else None,
        )


def _largest_missed(
    matched: MatchedDetections, diagnosis: Diagnosis, classes: tuple[str, ...]
) -> Iterator[_Error]:
    """Missed objects, largest first."""
    objects = matched.objects
    rows = np.flatnonzero(diagnosis.missed)
    rows = rows[np.argsort(-objects.areas[rows], kind="stable")]
    for row in rows[:_MOST_CANDIDATES]:
        label = int(objects.labels[row])
        yield _Error(
            image=int(objects.image[row]),
            label=label,
            caption=classes[label - 1],
            detected=None,
            annotated=objects.boxes[row],
        )


def _draw(
    pixels: NDArray[np.uint8], detected: Box | None, annotated: Box | None
) -> tuple[str, tuple[int, int]]:
    """Base64 of a small JPEG with the two boxes, and its (height, width)."""
    image = Image.fromarray(pixels)
    factor = min(LONG_SIDE / max(image.size), 1.0)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    image = image.resize(size, Image.Resampling.LANCZOS)
    canvas = ImageDraw.Draw(image)
    for box, colour in ((annotated, ANNOTATED_COLOUR), (detected, DETECTED_COLOUR)):
        if box is not None:
            x1, y1, x2, y2 = (float(value) * factor for value in box)
            corners = (x1, y1, max(x1, x2 - 1), max(y1, y2 - 1))
            canvas.rectangle(corners, outline=(0, 0, 0), width=5)  # visible on any background
            canvas.rectangle(corners, outline=colour, width=3)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=82)
    return base64.b64encode(buffer.getvalue()).decode(), (image.height, image.width)
