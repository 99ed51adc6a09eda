"""A chart of the shares of the stages, in the style of Figure 2 of the paper."""

from __future__ import annotations

from ..runtime.svg import COLOURS, document, element, text
from .bench import Bench
from .methods import METHODS

# The parts of the figure, and the stages of the pipeline in each; all others are "other".
PARTS: dict[str, tuple[str, ...]] = {
    "conv": ("conv",),
    "fc6": ("fc6",),
    "fc7": ("fc7",),
    "RoI pooling, warping": ("RoI pool", "warp"),
    "other": (),
}
_LEFT, _BAR, _RIGHT, _ROW, _TOP = 210, 520, 190, 34, 64


def shares(stages: dict[str, float]) -> dict[str, float]:
    """The fraction of the time of each of PARTS."""
    total = sum(stages.values()) or 1.0
    known = {part: sum(stages.get(name, 0.0) for name in names) for part, names in PARTS.items()}
    known["other"] = total - sum(known.values())
    return {part: seconds / total for part, seconds in known.items()}


def stage_chart(result: Bench) -> str:
    """A bar for each method, divided by the shares of its stages, as an SVG document."""
    width, height = _LEFT + _BAR + _RIGHT, _TOP + _ROW * len(result.detection) + 16
    colours = dict(zip(PARTS, COLOURS, strict=False))
    title = f"{result.config.backbone}: where the time of an image goes, proposals excluded"
    parts = [
        element("rect", width=width, height=height, fill="white"),
        text(16, 24, title, font_size=15),
    ]
    x = _LEFT
    for part, colour in colours.items():
        parts += [element("rect", x=x, y=36, width=12, height=12, fill=colour)]
        parts += [text(x + 17, 46, part)]
        x += 36 + 7 * len(part)
    for row, (name, time) in enumerate(result.detection.items()):
        y = _TOP + _ROW * row
        parts.append(text(_LEFT - 10, y + 17, METHODS[name].title, text_anchor="end"))
        x_start = float(_LEFT)
        for part, share in shares(time.stages).items():
            size = {"width": share * _BAR, "height": _ROW - 10}
            parts.append(element("rect", x=x_start, y=y, fill=colours[part], **size))
            if share >= 0.05:
                middle = x_start + share * _BAR / 2
                label = {"text_anchor": "middle", "fill": "white"}
                parts.append(text(middle, y + 17, f"{share:.0%}", **label))
            x_start += share * _BAR
        about = "≈ " if time.extrapolated else ""
        label_text = f"{about}{time.seconds:.2f} s, {result.speedup(name):.0f}×"
        parts.append(text(_LEFT + _BAR + 10, y + 17, label_text))
    style = {"font_family": "system-ui, sans-serif", "font_size": 12}
    return document((width, height), parts, **style) + "\n"
