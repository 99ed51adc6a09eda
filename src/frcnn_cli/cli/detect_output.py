"""The results that `frcnn detect` prints."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .console import ProgressLine, dumps, raise_failures

if TYPE_CHECKING:
    from ..inference.profile import Profile
    from ..inference.result import Result

_NAME_COLUMNS = 40  # largest width of the image names, in characters
_FRAME = len("#000000")  # what follows the name of a video


class JsonLines:
    """Prints one JSON list with a line for each image, while images are processed."""

    def __init__(self) -> None:
        self._before = "["

    def add(self, result: Result, progress: ProgressLine) -> None:
        """Print the result of an image."""
        print(self._before + dumps(result.to_dict()), flush=True)
        self._before = ","

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *rest: object) -> None:
        if error_type is None or issubclass(error_type, KeyboardInterrupt):
            print("[]" if self._before == "[" else "]")


class Table:
    """Prints a table with a line for each detection, while images are processed."""

    def __init__(self, names: list[str], classes: tuple[str, ...]) -> None:
        from ..data.sources import is_video

        longest = max(len(Path(name).name) + (_FRAME if is_video(name) else 0) for name in names)
        self._image_width = min(max(longest, len("image")), _NAME_COLUMNS)
        self._label_width = max(len("nothing found"), *(len(name) for name in classes))
        self._has_header = False

    def add(self, result: Result, progress: ProgressLine) -> None:
        """Print the result of an image."""
        if not self._has_header:
            self._has_header = True
            progress.result(self._line("image", "class", "score", "x1", "y1", "x2", "y2"))
        name = "".join(c if c.isprintable() else "?" for c in Path(result.name).name)
        if len(name) > self._image_width:  # its end tells frames of a video apart
            name = f"…{name[1 - self._image_width :]}"
        if not len(result):
            progress.result(self._line(name, "nothing found").rstrip())
        for label, score, box in result:
            numbers = (f"{value:.0f}" for value in box)
            progress.result(self._line(name, label, f"{score:.2f}", *numbers))
            name = ""

    def _line(self, name: str, label: str, *numbers: str) -> str:
        columns = "".join(f"{number:>7}" for number in numbers)
        return f"{name:<{self._image_width}}  {label:<{self._label_width}}{columns}"

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *exception: object) -> None:
        """The table has no last line to print."""


def show_profile(profile: Profile, device: str, json: bool) -> None:
    """Print the times of the stages of detection.

    Args:
        device: name of the device, to be printed.
    Raises:
        DataError: an image could not be measured.
    """
    if json:
        print(dumps(asdict(profile)))
    else:
        _print_profile(profile, device)
    raise_failures(profile.failures, profile.pictures + len(profile.failures))


def _print_profile(profile: Profile, device: str) -> None:
    total = sum(stage.milliseconds for stage in profile.stages)
    print(f"{'stage':<10}{'ms':>9}{'share':>8}{'floor ms':>10}{'of floor':>10}")
    for stage in profile.stages:
        floor = "" if stage.floor is None else f"{stage.floor:>10.1f}"
        if stage.floor is not None and stage.milliseconds:
            floor += f"{stage.floor / stage.milliseconds:>10.0%}"
        share = stage.milliseconds / total
        print(f"{stage.name:<10}{stage.milliseconds:>9.1f}{share:>8.0%}{floor}")
    print(f"{'all':<10}{total:>9.1f}")
    print(
        f"medians of {profile.pictures} images, {profile.rois:.0f} RoIs each, "
        f"{profile.distinct:.0f} of them distinct; floor at {profile.gemm_flops / 1e9:.0f} GFLOP/s "
        f"and {profile.copy_bytes / 1e9:.1f} GB/s, measured just now on {device}"
    )
