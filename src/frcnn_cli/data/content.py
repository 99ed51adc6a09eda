"""Recognising images by the content of their files, whatever they are called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ImageError
from . import images

SKETCH_SIZE = 1000  # hashes, 15 KB in the header of a weights file
_DIGITS = 12  # of a hash: among a million images two agree by chance once in 500 times


def content_hash(content: bytes) -> str:
    """A short hash of the content of an image file, hexadecimal."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def file_hashes(paths: Iterable[Path]) -> list[str]:
    """The hashes of image files; files that cannot be read are left out."""
    hashes = []
    for path in paths:
        try:
            hashes.append(content_hash(images.read_bytes(path)))
        except ImageError:
            continue
    return hashes


def shared_files(paths: Sequence[Path], others: Sequence[Path]) -> int:
    """How many of `paths` have the content of one of `others`; only equal sizes are read."""
    sizes = [{_size(path): path for path in each} for each in (paths, others)]
    common = (sizes[0].keys() & sizes[1].keys()) - {-1}
    known = set(file_hashes(path for path in others if _size(path) in common))
    return sum(each in known for each in file_hashes(p for p in paths if _size(p) in common))


def _size(path: Path) -> int:
    """Bytes of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except (OSError, ValueError):  # a name may hold a NUL
        return -1


@dataclass(frozen=True)
class ContentSketch:
    """Which images a data set has, in bounded space: the SKETCH_SIZE smallest of their hashes.

    Which hashes are the smallest is random, so the fraction of them that another data set has
    estimates the fraction of the images that it has (Broder 1997). With at most SKETCH_SIZE images
    nothing is estimated.
    """

    count: int  # different images
    smallest: tuple[str, ...]  # ascending

    @classmethod
    def of(cls, hashes: Iterable[str]) -> ContentSketch:
        """The sketch of images with these hashes."""
        different = sorted(set(hashes))
        return cls(len(different), tuple(different[:SKETCH_SIZE]))

    @property
    def is_complete(self) -> bool:
        """Whether it holds every image."""
        return self.count == len(self.smallest)

    def shared(self, hashes: Iterable[str]) -> int:
        """How many of the sketched images have one of these hashes: a number, or an estimate."""
        found = len(set(self.smallest) & set(hashes))
        return round(found * self.count / max(len(self.smallest), 1))

    def to_json(self) -> dict[str, Any]:
        """For the provenance in a weights file."""
        return {"count": self.count, "hashes": list(self.smallest)}

    @classmethod
    def from_json(cls, value: object) -> ContentSketch | None:
        """The sketch in a provenance; None where there is none that can be used."""
        if not isinstance(value, Mapping):
            return None
        count, hashes = value.get("count"), value.get("hashes")
        if not isinstance(count, int) or not isinstance(hashes, list) or count < len(hashes):
            return None
        return cls(count, tuple(each for each in hashes if isinstance(each, str)))
