"""Detections drawn on their picture."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..structures import Detections

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
        x1, y1, x2, y2 = (float(value) for value in detections.boxes[index])
        canvas.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=line)
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
