"""Proposals on disk, one small file for each image and method.

The key is the content of the image file and the settings of the method, so an entry is right on
any machine and whatever the file is called. An entry is a header and the boxes:

    magic, CRC-32 of the rest, number of boxes, height, width, type of a coordinate (int16 where it
    fits, else int32; float32 for methods with fractions), then N×4 coordinates.

It is written beside its place and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, FrcnnError
from ..runtime.files import write_atomically, write_text
from ..runtime.locks import Locks
from ..structures import Proposals
from .registry import Method

MAGIC = b"FRCNNP1\n"
SUFFIX = ".boxes"
ABOUT = "method.json"  # in the folder of a method: its name and settings
_HEADER = struct.Struct("<8sIIIIc3x")
_TYPES: dict[bytes, np.dtype[Any]] = {
    b"h": np.dtype("<i2"),
    b"i": np.dtype("<i4"),
    b"f": np.dtype("<f4"),
}


def encode(proposals: Proposals) -> bytes:
    """The content of an entry. Scores are not kept: the order says it all."""
    boxes = proposals.boxes
    code = b"f"
    if (boxes == np.rint(boxes)).all():
        code = b"h" if np.abs(boxes).max(initial=0) < 2**15 else b"i"
    payload = boxes.astype(_TYPES[code]).tobytes()
    rest = struct.pack("<IIIc3x", len(boxes), *proposals.image_size, code) + payload
    return MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest


def decode(content: bytes | mmap.mmap) -> Proposals | None:
    """The proposals of an entry, or None if it is damaged."""
    if len(content) < _HEADER.size:
        return None
    magic, checksum, count, height, width, code = _HEADER.unpack_from(content)
    rest = memoryview(content)[len(MAGIC) + 4 :]
    if magic != MAGIC or zlib.crc32(rest) != checksum or code not in _TYPES:
        return None
    if len(content) != _HEADER.size + 4 * count * _TYPES[code].itemsize:
        return None
    values = np.frombuffer(content, _TYPES[code], offset=_HEADER.size)
    return Proposals(values.reshape(count, 4).astype(np.float32), None, (height, width))


def key_of(content: bytes) -> str:
    """The name of an image file with this content."""
    return hashlib.sha256(content).hexdigest()[:40]


def path_of(folder: Path, key: str) -> Path:
    """The entry of an image in the folder of a method."""
    return folder / key[:2] / f"{key[2:]}{SUFFIX}"


class ProposalSource:
    """Proposals of any image: from the cache, or made and put there.

    Many threads and processes may share a cache; each entry is made by one of them.
    """

    def __init__(self, method: Method, folder: Path) -> None:
        self.method = method
        self.folder = folder / method.digest
        self.damaged: list[Path] = []  # entries that were found so, and are made again
        self._locks = Locks(self.folder)

    def path(self, content: bytes) -> Path:
        """Where the entry of an image file with this content is or would be."""
        return path_of(self.folder, key_of(content))

    def cached(self, content: bytes) -> Proposals | None:
        """The entry of an image file; None where there is none or it is damaged."""
        path = self.path(content)
        try:
            found = decode(_mapped(path))
        except OSError:
            return None
        if found is None:
            self.damaged.append(path)
        return found

    def __call__(self, content: bytes, image: NDArray[np.uint8]) -> Proposals:
        """The proposals of an image file, whose decoded form is `image` [H, W, 3].

        Raises:
            DataError: the cache cannot be written to.
        """
        found = self._fitting(content, image)
        if found is not None:
            return found
        with self.claim(content, wait=True):
            # another may have made it meanwhile
            return self._fitting(content, image) or self.make(content, image)

    @contextlib.contextmanager
    def claim(self, content: bytes, wait: bool = False) -> Iterator[bool]:
        """Keep others from making the entry of an image file within a `with` block.

        Gives False where another is at it, unless told to wait.

        Raises:
            DataError: the cache cannot be written to.
        """
        with contextlib.ExitStack() as stack:
            try:
                mine = stack.enter_context(self._locks.claim(key_of(content), wait))
            except OSError as error:
                raise self._failure(error.strerror or "") from None
            yield mine

    def make(self, content: bytes, image: NDArray[np.uint8]) -> Proposals:
        """Make and keep the proposals of an image file that this thread has claimed."""
        made = self.method.propose(image)
        self.store(content, made)
        return made

    def store(self, content: bytes, proposals: Proposals) -> None:
        """Put an entry in its place, whole or not at all.

        Raises:
            DataError: the cache cannot be written to.
        """
        try:
            about = self.folder / ABOUT
            if not about.exists():
                settings = {"name": self.method.name, "settings": self.method.settings}
                write_text(about, json.dumps(settings))
            entry = encode(proposals)
            write_atomically(self.path(content), lambda part: part.write_bytes(entry))
        except FrcnnError as error:
            raise self._failure(error.message) from None

    def _fitting(self, content: bytes, image: NDArray[np.uint8]) -> Proposals | None:
        found = self.cached(content)
        return found if found is not None and found.image_size == image.shape[:2] else None

    def _failure(self, why: str) -> DataError:
        return DataError(
            f"cannot keep proposals in {self.folder}: {why}",
            "make room, or name another folder in FRCNN_HOME",
        )


def _mapped(path: Path) -> bytes | mmap.mmap:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
