"""Proposals on disk, one small file for each image and method.

The key of an entry is the content of the image file and the settings of the method, so an entry is
right on any machine and whatever the file is called. An entry is a header and the boxes:

    magic, CRC-32 of all that follows, number of boxes, height, width, type of a coordinate (int16
    where it fits, else int32; float32 for boxes with fractions), then N×4 coordinates.

Entries are written atomically: a reader sees a complete entry or none.
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
from ..runtime.files import write_bytes, write_text
from ..runtime.locks import Locks
from ..runtime.safe_read import open_regular
from ..structures import Proposals
from .method import Method

MAGIC = b"FRCNNP1\n"
SUFFIX = ".boxes"
METHOD_FILE = "method.json"  # name and settings of the method, in the folder of its entries
_HEADER = struct.Struct("<8sIIIIc3x")
_TYPES: dict[bytes, np.dtype[Any]] = {
    b"h": np.dtype("<i2"),
    b"i": np.dtype("<i4"),
    b"f": np.dtype("<f4"),
}


def encode(proposals: Proposals) -> bytes:
    """The content of an entry."""
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
    boxes = values.reshape(count, 4).astype(np.float32)
    if not np.isfinite(boxes).all():  # somebody has forged the entry
        return None
    return Proposals(boxes, (height, width))


def content_key(content: bytes) -> str:
    """The key of an image file with this content: 40 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(content).hexdigest()[:40]


def entry_path(folder: Path, key: str) -> Path:
    """The file of an entry in the folder of a method."""
    return folder / key[:2] / f"{key[2:]}{SUFFIX}"


class ProposalSource:
    """The proposals of a method for any image, read from a cache or computed and stored there.

    Threads and processes may share a cache: each entry is computed by one of them. Threads must
    share one ProposalSource; it can be pickled for another process if its method can be pickled.
    """

    def __init__(self, method: Method, cache: Path) -> None:
        self.method = method
        self.folder = cache / method.digest
        self.damaged: list[Path] = []  # damaged entries that were read; they are computed again
        self._locks = Locks(self.folder)

    def path(self, content: bytes) -> Path:
        """The file of the entry for an image file with this content, whether it exists or not."""
        return entry_path(self.folder, content_key(content))

    def cached(self, content: bytes) -> Proposals | None:
        """The entry for an image file with this content; None if it is missing or damaged."""
        path = self.path(content)
        try:
            proposals = decode(_map(path))
        except OSError:
            return None
        if proposals is None:
            self.damaged.append(path)
        return proposals

    def __call__(self, content: bytes, image: NDArray[np.uint8]) -> Proposals:
        """The proposals of an image file, from the cache or computed and stored.

        Args:
            content: of the file. image: [H, W, 3], the file decoded.
        Raises:
            DataError: the cache cannot be written to.
        """
        proposals = self._cached_for(content, image)
        if proposals is not None:
            return proposals
        with self.lock(content, wait=True):
            # the previous holder of the lock may have stored the entry
            return self._cached_for(content, image) or self.compute(content, image)

    @contextlib.contextmanager
    def lock(self, content: bytes, *, wait: bool = False) -> Iterator[bool]:
        """Keep others from computing the entry for an image file until the `with` block ends.

        Args:
            wait: wait until the lock is free.
        Yields:
            Whether the lock is held: False only if another holds it and `wait` is not set.
        Raises:
            DataError: the cache cannot be written to.
        """
        with contextlib.ExitStack() as stack:
            try:
                held = stack.enter_context(self._locks.hold(content_key(content), wait=wait))
            except OSError as error:
                raise self._write_error(error.strerror or "") from None
            yield held

    def compute(self, content: bytes, image: NDArray[np.uint8]) -> Proposals:
        """Compute and store the entry for an image file; the caller holds its lock."""
        proposals = self.method.propose(image)
        self.store(content, proposals)
        return proposals

    def store(self, content: bytes, proposals: Proposals) -> None:
        """Write the entry for an image file, atomically.

        Raises:
            DataError: the cache cannot be written to.
        """
        try:
            method_file = self.folder / METHOD_FILE
            if not method_file.exists():
                method = {"name": self.method.name, "settings": self.method.settings}
                write_text(method_file, json.dumps(method))
            entry = encode(proposals)
            write_bytes(self.path(content), entry)
        except FrcnnError as error:
            raise self._write_error(error.message) from None

    def _cached_for(self, content: bytes, image: NDArray[np.uint8]) -> Proposals | None:
        """The entry for an image file; None also if it is for an image of another size."""
        proposals = self.cached(content)
        fits = proposals is not None and proposals.image_size == image.shape[:2]
        return proposals if fits else None

    def _write_error(self, cause: str) -> DataError:
        return DataError(
            f"cannot keep proposals in {self.folder}: {cause}",
            "make room, or name another folder in FRCNN_HOME",
        )


def _map(path: Path) -> bytes | mmap.mmap:
    """Map the content of a file into memory."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:  # an empty file cannot be mapped
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
