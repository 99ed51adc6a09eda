"""Finds images in files, folders, patterns, lists, web addresses, videos and memory.

Only the names are listed first; each image is read when its turn comes.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DataError, FrcnnError, ImageError
from . import images, video, web
from .file_types import install_hint
from .folders import count_endings, hidden_note, walk_files

Pixels = NDArray[np.uint8]
# Returns the bytes of an image file (None where there is no file), and the image, RGB [H, W, 3].
Read = Callable[[], tuple[bytes | None, Pixels]]


@dataclass(frozen=True)
class Source:
    """One image that is still to be read."""

    name: str  # a path, an address or a frame of a video, for messages
    stem: str  # file name without ending, for files that are made from the image
    read: Read


def as_source(image: str | Path | Image.Image | Pixels | Source) -> Source:
    """The source for a path, an address (which begins with http:// or https://), or an image.

    Args:
        image: an array is uint8 [H, W], [H, W, 3] (RGB) or [H, W, 4] (RGBA). A source is returned
            as it is.
    """
    if isinstance(image, Source):
        return image
    if isinstance(image, str) and web.is_url(image):
        return Source(image, web.file_stem(image), _decoding(image, lambda: web.fetch(image)))
    if isinstance(image, str | Path):
        path = Path(os.path.expanduser(image))
        return Source(str(path), path.stem, _decoding(str(path), lambda: images.read_bytes(path)))
    name = "the picture"
    # the owner of an array may fill it with the next picture before this one is read
    picture = image.copy() if isinstance(image, np.ndarray) else image
    return Source(name, "picture", lambda: (None, images.from_memory(picture, name)))


def _decoding(name: str, load: Callable[[], bytes]) -> Read:
    def read() -> tuple[bytes | None, Pixels]:
        content = load()
        return content, images.decode(content, name)

    return read


def find_files(
    arguments: Iterable[str],
    suffixes: Set[str],
    recursive: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[Path]:
    """List the files that paths, folders and glob patterns stand for, in order, each once.

    Hidden files in folders are left out; see `is_hidden`.

    Args:
        suffixes: endings of the files that are taken from folders, in small letters.
        recursive: look in the folders inside folders too.
        on_note: called with a sentence on the files of a folder that are not taken.
    Raises:
        ImageError: a file does not exist. DataError: a folder or pattern gives no files.
    """
    files: dict[Path, None] = {}  # an ordered set
    for argument in arguments:
        path = Path(os.path.expanduser(argument))
        if path.is_dir():
            matches = _list_folder(path, suffixes, recursive, on_note)
        elif path.exists():
            matches = [path]
        elif glob.has_magic(argument):
            paths = map(Path, glob.glob(str(path), recursive=True))
            matches = sorted(each for each in paths if each.is_file())
            if not matches:
                raise DataError(f"no files match {argument}", "check the pattern")
        else:
            raise ImageError(f"no such file or folder: {argument}", "check the path")
        files |= dict.fromkeys(matches)
    return list(files)


def _list_folder(
    folder: Path, suffixes: Set[str], recursive: bool, on_note: Callable[[str], None]
) -> list[Path]:
    everything, hidden = walk_files(folder, recursive, on_note=on_note)
    files = [path for path in everything if path.suffix.lower() in suffixes]
    others = [path for path in everything if path.suffix.lower() not in suffixes]
    skipped = _skipped(others)
    if not files:
        holds = f"; it holds {skipped}" if others else ""
        below = "" if recursive else f"; '{folder / '**' / '*.jpg'}' means those in its folders too"
        raise DataError(
            f"no images in the folder {folder}{holds}", f"expected .jpg, .png, …{below}"
        )
    if others:
        on_note(f"{folder}: {len(others)} of {len(everything)} files are skipped: {skipped}")
    if hidden:
        on_note(f"{folder}: {hidden_note(hidden)}")
    return files


def _skipped(paths: Sequence[Path]) -> str:
    """How many files have which ending, and how those that are images can be read."""
    hints = dict.fromkeys(filter(None, (install_hint(path.suffix) for path in paths)))
    return count_endings(paths) + (f" (to read them: {', '.join(hints)})" if hints else "")


def list_sources(
    arguments: Iterable[str],
    stdin: Iterable[str],
    recursive: bool,
    on_note: Callable[[str], None] = lambda note: None,
) -> list[str]:
    """List the paths and addresses that the arguments of `frcnn detect` stand for, each once.

    Args:
        stdin: the lines that the argument "-" stands for, each a path or an address; whether they
            exist is not checked yet.
        recursive, on_note: see `find_files`.
    Raises:
        ImageError: see `find_files`. DataError: see `find_files`; or there are no names at all.
    """
    sources: dict[str, None] = {}  # an ordered set
    for argument in arguments:
        if argument == "-":
            lines = [line.rstrip("\r\n") for line in stdin]
            if any("\0" in line for line in lines):
                raise DataError("a name in the list holds a NUL", "give a path a line, no -print0")
            names = (line for line in lines if line.strip())
            sources |= dict.fromkeys(
                name if web.is_url(name) else str(Path(name)) for name in names
            )
        elif web.is_url(argument):
            sources[argument] = None
        else:
            suffixes = images.SUFFIXES | video.SUFFIXES
            sources |= dict.fromkeys(map(str, find_files([argument], suffixes, recursive, on_note)))
    if not sources:
        raise DataError("nothing to detect in: the list is empty", "give a path or address a line")
    return list(sources)


def is_video(name: str) -> bool:
    """Whether a name is that of a video file, by its ending."""
    return not web.is_url(name) and Path(name).suffix.lower() in video.SUFFIXES


def open_sources(names: Iterable[str], stride: video.FrameStride) -> Iterator[Source]:
    """Yield a source for each name; for a video, one for each frame that `stride` selects.

    Where a video is damaged, its last source is one whose `read` raises the error.
    """
    for name in names:
        if is_video(name):
            yield from _open_video(Path(os.path.expanduser(name)), stride)
        else:
            yield as_source(name)


def _open_video(path: Path, stride: video.FrameStride) -> Iterator[Source]:
    try:
        for index, pixels in video.read_frames(path, stride):
            yield Source(f"{path}#{index}", f"{path.stem}-{index:06d}", _returning(pixels))
    except FrcnnError as error:
        yield Source(str(path), path.stem, _raising(error))


def _returning(pixels: Pixels) -> Read:
    return lambda: (None, pixels)


def _raising(error: FrcnnError) -> Read:
    def read() -> tuple[bytes | None, Pixels]:
        raise error

    return read
