"""Frames of a video, through PyAV (the extra `video`)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, ImageError, reason
from ..runtime.safe_read import open_regular

SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"})
MAX_PIXELS = 2**25  # of a frame: 8K has 33.2 million; a decoder keeps several of them
_TOLERANCE = 1e-6  # seconds, for times that rounding put just before a multiple of the stride
# FFmpeg reads the file that is open already, and gets no name and no protocol to open another with.
# Playlists and lists of files, which name others, are no formats here.
_OPTIONS = {
    "protocol_whitelist": "none",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf",
    "max_pixels": str(MAX_PIXELS),
    "max_streams": "100",
}


class _Nameless:
    """An open file without its name, from which FFmpeg would guess the format."""

    name = ""

    def __init__(self, file: BufferedReader) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


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
        with (
            open_regular(path) as file,
            av.open(_Nameless(file), "r", options=_OPTIONS) as container,
        ):
            if not container.streams.video:
                raise ImageError(f"{path} has no video stream", "expected a video")
            stream = container.streams.video[0]
            if getattr(stream, "codec_context", None) is None:  # whatever its type says
                raise ImageError(f"{path} is compressed in an unknown way", "save it as H.264")
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
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
                pixels = frame.to_ndarray(format="rgb24")
                yield index, np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))
            if start is None:
                raise ImageError(f"{path} has no frames", "expected a video")
    except (av.FFmpegError, OSError, ValueError, ArithmeticError) as error:
        said = reason(error).removesuffix(": ''")  # the name that FFmpeg does not know
        raise ImageError(
            f"{path} cannot be read as a video: {said}",
            "expected MP4, MOV, MKV, WebM, AVI, MPEG or WMV with frames of at most "
            f"{MAX_PIXELS:,} pixels",
        ) from None
