"""The features of all regions of a data set on disk, as R-CNN and SPPnet keep them.

Files that grow image by image: the boxes, the outputs of the last hidden layer in half precision,
and an index that says how much of them counts. A stopped computation goes on after the last image
of the index. U: outputs of the last hidden layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, FrcnnError, reason
from ..runtime.files import write_text
from ..runtime.safe_read import read_json

INDEX_FILE, BOXES_FILE, FEATURES_FILE = "index.json", "boxes.f32", "features.f16"
_CHUNK = 8192  # rows that are turned into float32 together


class RegionStore:
    """Boxes and features of the regions of images, in a folder; what is there already is kept.

    Args:
        width: U.
        identity: everything that the features depend on; a folder with those of another identity
            starts again from nothing.
    """

    def __init__(self, folder: Path, width: int, identity: Mapping[str, object]) -> None:
        self.folder, self.width = folder, width
        self._identity = {**identity, "width": width}
        self._is_cut = False  # what was not saved
        self._starts = np.concatenate([[0], np.cumsum(self._known_counts())]).astype(np.int64)

    @property
    def images(self) -> int:
        """The number of images whose regions are stored."""
        return len(self._starts) - 1

    @property
    def rows(self) -> int:
        """The number of regions of all images."""
        return int(self._starts[-1])

    @property
    def bytes(self) -> int:
        """The size of the stored regions on the disk."""
        return self.rows * region_bytes(self.width)

    def add(self, boxes: NDArray[np.float32], features: NDArray[np.float16]) -> None:
        """Append the regions of the next image.

        Args:
            boxes: [R, 4], pixels of the original image. features: [R, U].
        Raises:
            FrcnnError: the disk is full, or a feature is too large for half precision.
        """
        if not np.isfinite(features).all():
            raise FrcnnError(
                "a feature is too large for half precision", "train with a smaller --lr"
            )
        try:
            self._drop_unsaved()
            for name, array in ((BOXES_FILE, boxes), (FEATURES_FILE, features)):
                with (self.folder / name).open("ab") as file:
                    file.write(np.ascontiguousarray(array).tobytes())
        except OSError as error:
            raise FrcnnError(
                f"cannot write {self.folder}: {reason(error)}",
                "make space on the disk, then continue with --resume",
            ) from None
        self._starts = np.append(self._starts, self.rows + len(boxes))

    def save(self) -> None:
        """Make what was added last: from here on it counts, even if the program is killed.

        Raises:
            FrcnnError: the disk is full.
        """
        index = {"identity": self._identity, "regions": np.diff(self._starts).tolist()}
        write_text(self.folder / INDEX_FILE, json.dumps(index))

    def slice_of(self, image: int) -> slice:
        """The rows of an image."""
        return slice(int(self._starts[image]), int(self._starts[image + 1]))

    def boxes(self, image: int) -> NDArray[np.float32]:
        """The boxes [R, 4] of the regions of an image."""
        return np.array(self._map(BOXES_FILE, np.float32, 4)[self.slice_of(image)])

    def features(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """The features [R, U] of some rows."""
        return self._map(FEATURES_FILE, np.float16, self.width)[rows].astype(np.float32)

    def chunks(self, rows: NDArray[np.int64]) -> Sequence[NDArray[np.int64]]:
        """Row numbers in parts whose features fit into memory."""
        return [rows[first : first + _CHUNK] for first in range(0, len(rows), _CHUNK)]

    def _map(self, name: str, dtype: type, columns: int) -> NDArray[Any]:
        if not self.rows:
            raise DataError(
                "no region has features", "the images have neither proposals nor objects"
            )
        return np.memmap(self.folder / name, dtype, mode="r", shape=(self.rows, columns))

    def _sizes(self, rows: int) -> dict[str, int]:
        return {BOXES_FILE: rows * 16, FEATURES_FILE: rows * 2 * self.width}

    def _known_counts(self) -> list[int]:
        """The number of regions of each image of the index; none where it is of other features."""
        try:
            index = read_json(self.folder / INDEX_FILE, "remove the folder")
            counts = [int(count) for count in index["regions"]]
            whole = all(
                (self.folder / name).stat().st_size >= size
                for name, size in self._sizes(sum(counts)).items()
            )
            same = index["identity"] == json.loads(json.dumps(self._identity))
        except (DataError, OSError, ValueError, TypeError, KeyError, OverflowError):
            return []
        return counts if whole and same and min(counts, default=0) >= 0 else []

    def _drop_unsaved(self) -> None:
        """Before the first addition, cut off what was written after the last `save`."""
        if self._is_cut:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.images:  # an index of other features no longer counts
            (self.folder / INDEX_FILE).unlink(missing_ok=True)
        for name, size in self._sizes(self.rows).items():
            with (self.folder / name).open("ab") as file:
                file.truncate(size)
        self._is_cut = True


def region_bytes(width: int) -> int:
    """The bytes that one region takes on the disk. width: U."""
    return 16 + 2 * width
