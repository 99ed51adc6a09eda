"""Pictures wherever they are: files, folders, patterns, lists, addresses, videos, memory.

Only names are gathered beforehand; a picture is read when its turn comes.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError, FrcnnError, ImageError
from . import images, video, web

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """One picture that is still to be read."""

    name: str  # for people: a path, an address, a frame of a video
    stem: str  # of files that are made from it
    # the content of the image file (None where there is none) and the picture, [H, W, 3]
    read: Callable[[], tuple[bytes | None, Pixels]]


def as_source(picture: str | Path | Image.Image | Pixels | Source) -> Source:
    """What a picture is read from; a name is an address where it begins with http(s)://."""
    if isinstance(picture, Source):
        return picture
    if isinstance(picture, str) and web.is_url(picture):
        return Source(picture, web.stem(picture), _reader(picture, lambda: web.fetch(picture)))
    if isinstance(picture, str | Path):
        path = Path(os.path.expanduser(picture))
        return Source(str(path), path.stem, _reader(str(path), lambda: images.read_bytes(path)))
    name = "the picture"
    return Source(name, "picture", lambda: (None, images.from_memory(picture, name)))


def _reader(name: str, load: Callable[[], bytes]) -> Callable[[], tuple[bytes | None, Pixels]]:
    def read() -> tuple[bytes | None, Pixels]:
        content = load()
        return content, images.decode(content, name)

    return read


def expand(arguments: Iterable[str], suffixes: Set[str], recursive: bool = False) -> list[Path]:
    """The files that files, folders and glob patterns name, in order, without repetition.

    Args:
        suffixes: what counts in a folder. recursive: look in its folders too.
    Raises:
        ImageError: a file does not exist. DataError: a folder or pattern gives nothing.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        path = Path(os.path.expanduser(argument))
        if path.is_dir():
            inside = _folder(path, suffixes, recursive)
            if not inside:
                hint = "" if recursive else "; --recursive looks into its folders too"
                raise DataError(f"no images in the folder {path}", f"expected .jpg, .png, …{hint}")
        elif path.exists():
            inside = [path]
        elif glob.has_magic(argument):
            matches = map(Path, glob.glob(str(path), recursive=True))
            inside = sorted(match for match in matches if match.is_file())
            if not inside:
                raise DataError(f"no files match {argument}", "check the pattern")
        else:
            raise ImageError(f"no such file or folder: {argument}", "check the path")
        found |= dict.fromkeys(inside)
    return list(found)


def _folder(folder: Path, suffixes: Set[str], recursive: bool) -> list[Path]:
    if not recursive:
        inside = (path for path in folder.iterdir() if path.suffix.lower() in suffixes)
        return sorted(path for path in inside if not path.is_dir())
    found = []
    for here, _, names in os.walk(folder):
        found += [Path(here, name) for name in names if Path(name).suffix.lower() in suffixes]
    return sorted(found)


def names(arguments: Iterable[str], stdin: Iterable[str], recursive: bool) -> list[str]:
    """Paths and addresses that the arguments of `frcnn detect` stand for, without repetition.

    Args:
        stdin: where the argument "-" takes them from, one a line.
    Raises:
        ImageError, DataError: see `expand`. What stands in a list is not looked at yet.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        if argument == "-":
            lines = [line.rstrip("\r\n") for line in stdin]
            if any("\0" in line for line in lines):
                raise DataError("a name in the list holds a NUL", "give a path a line, no -print0")
            given = (line for line in lines if line.strip())
            found |= dict.fromkeys(line if web.is_url(line) else str(Path(line)) for line in given)
        elif web.is_url(argument):
            found[argument] = None
        else:
            suffixes = images.SUFFIXES | video.SUFFIXES
            found |= dict.fromkeys(map(str, expand([argument], suffixes, recursive)))
    if not found:
        raise DataError("nothing to detect in: the list is empty", "give a path or address a line")
    return list(found)


def is_video(name: str) -> bool:
    """Whether a name is a video's, by its ending."""
    return not web.is_url(name) and Path(name).suffix.lower() in video.SUFFIXES


def open_sources(found: Iterable[str], every: video.FrameStride) -> Iterator[Source]:
    """The pictures behind the names: one each, but for videos, whose frames come one by one.

    A video that cannot be read (any further) gives a source that raises.
    """
    for name in found:
        if is_video(name):
            yield from _frames(Path(os.path.expanduser(name)), every)
        else:
            yield as_source(name)


def _frames(path: Path, every: video.FrameStride) -> Iterator[Source]:
    try:
        for index, pixels in video.frames(path, every):
            yield Source(f"{path}#{index}", f"{path.stem}-{index:06d}", _given(pixels))
    except FrcnnError as error:
        yield Source(str(path), path.stem, _raising(error))


def _given(pixels: Pixels) -> Callable[[], tuple[bytes | None, Pixels]]:
    return lambda: (None, pixels)


def _raising(error: FrcnnError) -> Callable[[], tuple[bytes | None, Pixels]]:
    def read() -> tuple[bytes | None, Pixels]:
        raise error

    return read
