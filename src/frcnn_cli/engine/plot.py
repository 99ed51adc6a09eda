"""The curve of recall over the number of proposals, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

_FINE = 2  # drawn so many times as large and scaled down, for smooth lines
_SIZE = (900 * _FINE, 560 * _FINE)
_LEFT, _TOP, _RIGHT, _BOTTOM = (_FINE * side for side in (80, 50, 720, 490))  # of the axes
_CURVES = {
    "0.5": ("recall at IoU 0.5", (31, 119, 180)),
    "0.7": ("recall at IoU 0.7", (214, 90, 30)),
    "mabo": ("MABO", (44, 140, 60)),
}


def plot_recall(table: Mapping[str, Mapping[str, float]], title: str) -> Image.Image:
    """Draw what `evaluation.recall.recall_table` gives; proposals on a logarithmic axis."""
    picture = Image.new("RGB", _SIZE, "white")
    canvas = ImageDraw.Draw(picture)
    font, large = ImageFont.load_default(size=15 * _FINE), ImageFont.load_default(size=18 * _FINE)
    counts = [int(count) for count in table]
    low, high = math.log10(counts[0]), math.log10(counts[-1])

    def place(count: float, value: float) -> tuple[float, float]:
        share = (math.log10(count) - low) / (high - low)
        return _LEFT + share * (_RIGHT - _LEFT), _BOTTOM - value * (_BOTTOM - _TOP)

    for step in range(11):
        _, y = place(counts[0], step / 10)
        canvas.line((_LEFT, y, _RIGHT, y), fill=(225, 225, 225), width=_FINE)
        canvas.text(
            (_LEFT - 10 * _FINE, y), f"{step / 10:.1f}", fill="black", font=font, anchor="rm"
        )
    for count in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        if counts[0] <= count <= counts[-1]:
            x, _ = place(count, 0)
            canvas.line((x, _TOP, x, _BOTTOM), fill=(225, 225, 225), width=_FINE)
            canvas.text((x, _BOTTOM + 10 * _FINE), f"{count}", fill="black", font=font, anchor="mt")
    canvas.rectangle((_LEFT, _TOP, _RIGHT, _BOTTOM), outline="black", width=_FINE)
    canvas.text((_LEFT, _TOP - 30 * _FINE), title, fill="black", font=large)
    middle = ((_LEFT + _RIGHT) / 2, _BOTTOM + 40 * _FINE)
    canvas.text(middle, "proposals an image", fill="black", font=font, anchor="mt")
    last = table[str(counts[-1])]
    ends = sorted(_CURVES, key=lambda key: -last[key])
    free = float(_TOP)  # names of curves that end close together stand one below the other
    for key in ends:
        name, colour = _CURVES[key]
        points = [place(int(count), row[key]) for count, row in table.items()]
        canvas.line(points, fill=colour, width=3 * _FINE, joint="curve")
        free = max(free, points[-1][1])
        canvas.text((_RIGHT + 12 * _FINE, free), name, fill=colour, font=font, anchor="lm")
        free += 20 * _FINE
    return picture.resize((_SIZE[0] // _FINE, _SIZE[1] // _FINE), Image.Resampling.LANCZOS)
