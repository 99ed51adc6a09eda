"""Proposals on disk, one small file for each image and method.

The key is the content of the image file and the settings of the method, so an entry is right on
any machine and whatever the file is called. An entry is a header and the boxes:

    magic, CRC-32 of the rest, number of boxes, height, width, type of a coordinate (int16 where it
    fits, else int32; float32 for methods with fractions), then N×4 coordinates.

It is written beside its place and renamed, so it is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import SelectiveSearchConfig
from ..errors import DataError
from ..structures import Proposals
from . import selective_search as search

MAGIC = b"FRCNNP1\n"
_HEADER = struct.Struct("<8sIIIIc3x")
_TYPES: dict[bytes, np.dtype[Any]] = {
    b"h": np.dtype("<i2"),
    b"i": np.dtype("<i4"),
    b"f": np.dtype("<f4"),
}


@dataclass(frozen=True)
class Method:
    """A way to propose regions: the function and everything its result depends on."""

    name: str
    propose: Callable[[NDArray[np.uint8]], Proposals]
    settings: dict[str, object]

    @property
    def digest(self) -> str:
        """Names the method with its settings, in a folder name."""
        text = json.dumps([self.name, self.settings], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def selective_search(config: SelectiveSearchConfig | None = None) -> Method:
    """Selective search with these settings (the default ones for None)."""
    settings = config or SelectiveSearchConfig()
    return Method(
        "selective_search",
        lambda image: search.selective_search(image, settings),
        {"version": search.VERSION, **asdict(settings)},
    )


PROPOSERS: dict[str, Callable[[], Method]] = {"selective_search": selective_search}


def encode(proposals: Proposals) -> bytes:
    """The content of an entry. Scores are not kept: the order says it all."""
    boxes = proposals.boxes
    code = b"f"
    if (boxes == np.rint(boxes)).all():
        code = b"h" if np.abs(boxes).max(initial=0) < 2**15 else b"i"
    payload = boxes.astype(_TYPES[code]).tobytes()
    rest = struct.pack("<IIIc3x", len(boxes), *proposals.image_size, code) + payload
    return MAGIC + struct.pack("<I", zlib.crc32(rest)) + rest


def decode(content: bytes) -> Proposals | None:
    """The proposals of an entry, or None if it is damaged."""
    if len(content) < _HEADER.size:
        return None
    magic, checksum, count, height, width, code = _HEADER.unpack_from(content)
    rest = content[len(MAGIC) + 4 :]
    if magic != MAGIC or zlib.crc32(rest) != checksum or code not in _TYPES:
        return None
    values = np.frombuffer(content, _TYPES[code], offset=_HEADER.size)
    if len(values) != 4 * count:
        return None
    return Proposals(values.reshape(count, 4).astype(np.float32), None, (height, width))


class ProposalSource:
    """Proposals of any image: from the cache, or made and put there."""

    def __init__(self, method: Method, folder: Path) -> None:
        self.method = method
        self.folder = folder / method.digest

    def path(self, content: bytes) -> Path:
        """Where the entry of an image file with this content is or would be."""
        key = hashlib.sha256(content).hexdigest()
        return self.folder / key[:2] / f"{key[2:40]}.boxes"

    def cached(self, content: bytes) -> Proposals | None:
        """The entry of an image file; None where there is none or it is damaged."""
        try:
            return decode(self.path(content).read_bytes())
        except OSError:
            return None

    def __call__(self, content: bytes, image: NDArray[np.uint8]) -> Proposals:
        """The proposals of an image file, whose decoded form is `image` [H, W, 3].

        Raises:
            DataError: the cache cannot be written to.
        """
        found = self.cached(content)
        if found is None or found.image_size != image.shape[:2]:
            found = self.method.propose(image)
            self._store(content, found)
        return found

    def _store(self, content: bytes, proposals: Proposals) -> None:
        path = self.path(content)
        part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(encode(proposals))
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DataError(
                f"cannot keep proposals in {self.folder}: {error.strerror}",
                "make room, or name another folder in FRCNN_HOME",
            ) from None
