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
_TOLERANCE = 1e-6  # seconds, for times that rounding put just before a multiple of the stride
# Playlists and lists of files are left out, because they can open other files and addresses.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf",
}


@dataclass(frozen=True)
class FrameStride:
    """The distance between the frames that are read: one of the two fields is set."""

    seconds: float | None = None
    frames: int | None = None


def parse_frame_stride(text: str) -> FrameStride:
    """Parse "2s" or "0.5s" (seconds), or "10" (frames).

    Raises:
        ConfigError: any other text.
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


def read_frames(path: Path, stride: FrameStride) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode the frames of a video that `stride` selects, with one of them in memory at a time.

    Yields:
        The frame's number in the video, from 0, and its pixels, RGB [H, W, 3], rotated as a viewer
        shows them.
    Raises:
        ConfigError: PyAV is not installed.
        ImageError: not a video; or damaged, after the frames before the damage.
    """
    try:
        import av
    except ImportError:
        raise ConfigError(
            f"{path} is a video, and PyAV is not installed", "pip install 'frcnn-cli[video]'"
        ) from None
    next_time = 0.0  # seconds from the first frame
    try:
        with av.open(str(path), options=_OPTIONS) as container:
            if not container.streams.video:
                raise ImageError(f"{path} has no video stream", "expected a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate = float(stream.average_rate or 25)
            start: float | None = None
            for index, frame in enumerate(container.decode(stream)):
                time = float(frame.time) if frame.time is not None else index / rate
                start = time if start is None else start
                if stride.frames is not None and index % stride.frames:
                    continue
                if stride.seconds is not None:
                    if time - start < next_time - _TOLERANCE:
                        continue
                    passed = math.floor((time - start + _TOLERANCE) / stride.seconds)
                    next_time = (passed + 1) * stride.seconds
                if frame.width * frame.height > MAX_PIXELS:
                    raise ImageError(f"{path} is too large", "scale it down first")
                pixels = frame.to_ndarray(format="rgb24")
                yield index, np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ImageError(
            f"{path} cannot be read as a video: {reason(error)}",
            "expected MP4, MOV, MKV, WebM, AVI, MPEG or WMV",
        ) from None
