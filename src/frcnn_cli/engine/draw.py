"""Detections and proposals drawn on their picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..ops import boxes as box_ops
from ..structures import Detections, GroundTruth, Proposals

_GOLDEN = 0.618034  # of the colour circle: neighbouring labels get distant hues


def class_colour(label: int) -> tuple[int, int, int]:
    """The RGB colour of a class, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(image: NDArray[np.uint8], detections: Detections, classes: Sequence[str]) -> Image.Image:
    """Boxes with class name and score on a copy of `image` [H, W, 3]; best ones on top."""
    picture = Image.fromarray(image)
    canvas = ImageDraw.Draw(picture)
    unit = max(picture.size) / 500
    line = max(2, round(2 * unit))
    font = ImageFont.load_default(size=max(11, round(13 * unit)))
    for index in reversed(range(len(detections))):
        colour = class_colour(int(detections.labels[index]))
        x1, y1 = (float(value) for value in detections.boxes[index, :2])
        _outline(canvas, detections.boxes[index], colour, line)
        text = f"{classes[detections.labels[index] - 1]} {detections.scores[index]:.2f}"
        left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
        width, height = right - left + 2 * line, bottom - top + 2 * line
        x = min(max(0.0, x1), max(0.0, picture.width - width))
        y = y1 - height if y1 >= height else y1  # inside the box where there is no room above
        canvas.rectangle((x, y, x + width, y + height), fill=colour)
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        canvas.text(
            (x + line - left, y + line - top), text, font=font, fill="black" if light else "white"
        )
    return picture


_OBJECT, _BEST = (40, 220, 90), (255, 210, 0)


def draw_proposals(
    image: NDArray[np.uint8], proposals: Proposals, truth: GroundTruth | None, top: int = 30
) -> Image.Image:
    """The first `top` proposals on a copy of `image`; with objects, a second copy beside it.

    The second one shows each object in green and the proposal that covers it best in yellow, with
    their IoU.
    """
    first = Image.fromarray(image)
    canvas = ImageDraw.Draw(first)
    line = max(1, round(max(first.size) / 400))
    for rank, box in reversed(list(enumerate(proposals.boxes[:top]))):
        _outline(canvas, box, class_colour(rank + 1), line)
    if truth is None or not len(truth.boxes) or not len(proposals.boxes):
        return first
    second = Image.fromarray(image)
    canvas = ImageDraw.Draw(second)
    font = ImageFont.load_default(size=max(11, round(13 * max(first.size) / 500)))
    overlaps = box_ops.iou(proposals.boxes, truth.boxes)
    for index, box in enumerate(truth.boxes):
        best = int(overlaps[:, index].argmax())
        _outline(canvas, proposals.boxes[best], _BEST, 2 * line)
        _outline(canvas, box, _OBJECT, line)
        corner = (float(box[0]) + 2 * line, float(box[1]) + 2 * line)
        text = f"{overlaps[best, index]:.2f} (no. {best + 1})"
        canvas.text(corner, text, font=font, fill=_BEST, stroke_width=2, stroke_fill="black")
    both = Image.new("RGB", (2 * first.width + 4 * line, first.height), "white")
    both.paste(first, (0, 0))
    both.paste(second, (first.width + 4 * line, 0))
    return both


def _outline(
    canvas: ImageDraw.ImageDraw,
    box: NDArray[np.float32],
    colour: tuple[int, int, int],
    line: int,
) -> None:
    x1, y1, x2, y2 = (float(value) for value in box)
    canvas.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=line)
