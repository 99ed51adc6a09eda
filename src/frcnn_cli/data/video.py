"""Frames of a video, through PyAV (the extra `video`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, ImageError, reason

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"})
MAX_PIXELS = 10_000 * 10_000  # of a frame
# Without playlists and lists of files, which would have other files and addresses opened.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf",
}


@dataclass(frozen=True)
class FrameStride:
    """Which frames are taken: one every so many seconds, or one of so many frames."""

    seconds: float | None = None
    frames: int | None = None


def parse_frame_stride(text: str) -> FrameStride:
    """Read "2s", "0.5s" (seconds) or "10" (frames).

    Raises:
        ConfigError: neither.
    """
    number = text.strip().removesuffix("s")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if 0 < value < 1e9 and text.strip().endswith("s"):
        return FrameStride(seconds=value)
    if number == text.strip() and 1 <= value < 1e9 and value == int(value):
        return FrameStride(frames=int(value))
    raise ConfigError(f"--every {text} is not understood", "expected seconds (0.5s) or frames (10)")


def frames(path: Path, every: FrameStride) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Frames with their number in the video, from 0; turned as a viewer shows them.

    One frame is in memory at a time.

    Raises:
        ConfigError: PyAV is not installed. ImageError: not a video, or damaged from here on.
    """
    try:
        import av
    except ImportError:
        raise ConfigError(
            f"{path} is a video, and PyAV is not installed", "pip install 'frcnn-cli[video]'"
        ) from None
    due = 0.0
    try:
        with av.open(str(path), options=_OPTIONS) as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no pictures in it", "expected a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            start: float | None = None
            for index, frame in enumerate(container.decode(stream)):
                time = float(frame.time) if frame.time is not None else index / rate
                start = time if start is None else start
                if every.frames is not None and index % every.frames:
                    continue
                if every.seconds is not None:
                    if time - start < due - 1e-6:
                        continue
                    due = (math.floor((time - start + 1e-6) / every.seconds) + 1) * every.seconds
                if frame.width * frame.height > MAX_PIXELS:
                    raise ImageError(f"{path} is too large", "scale it down first")
                pixels = frame.to_ndarray(format="rgb24")
                yield index, np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ImageError(
            f"{path} cannot be read as a video: {reason(error)}",
            "expected MP4, MOV, MKV, WebM, AVI, MPEG or WMV",
        ) from None
