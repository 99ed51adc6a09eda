"""Features of frozen convolutions on disk, so that an iteration costs only the layers after them.

That makes it practical to train the heads of VGG16, or its last convolutions too, on a CPU.
Features are stored in half precision, which takes half the space at a relative error below 0.001.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import MIN_SIDE
from ..data.transforms import Normalizer
from ..errors import DataError, FrcnnError
from ..models.region_network import RegionNetwork
from ..proposers.exchange.numpy_archive import ArchiveError, read_npy
from ..runtime.files import write_atomically
from ..runtime.safe_read import read_bytes
from ..structures import Batch

_PROBES = 128, 384  # pixels; sides of images that tell the channels and the stride of the features
_MORE_CELLS = 3  # that padding may add to a side
_HEADER_BYTES = 2**12  # of a file


class FeatureCache:
    """Computes the features of batches; those of the frozen convolutions are stored on disk.

    A file holds the features of an image, mirrored or not, at one scale.

    Args:
        folder: of this run alone, since the names of the files do not depend on the weights.
        normalize: the images of a batch.
    """

    def __init__(self, folder: Path, network: RegionNetwork, normalize: Normalizer) -> None:
        self.folder, self.device, self._normalize = folder, network.device, normalize
        self.frozen, self.trained = network.split_features()
        with torch.no_grad():
            small, large = (
                self.frozen(torch.zeros(1, 3, side, side, device=self.device)) for side in _PROBES
            )
        self._channels = small.shape[1]
        # of the difference, since padding and rounding give maps of any size a cell more or less
        self._stride = round((_PROBES[1] - _PROBES[0]) / (large.shape[2] - small.shape[2]))

    def __call__(self, batch: Batch, entries: NDArray[np.intp]) -> Tensor:
        """Features [B, C, H, W] of a batch of B images.

        Smaller images are padded with zeros before the first layer that is trained, not before the
        first convolution.

        Args:
            entries: [B, 2], (image, 1 where mirrored).
        Raises:
            FrcnnError: a feature is too large for half precision, or cannot be written.
        """
        maps = [
            self._frozen_features(batch, slot, f"{image}-{mirrored}-{batch.scales[slot]:.4f}.npy")
            for slot, (image, mirrored) in enumerate(entries.tolist())
        ]
        height, width = (max(each.shape[side] for each in maps) for side in (1, 2))
        stacked = torch.zeros((len(maps), self._channels, height, width))
        stacked = stacked.to(memory_format=torch.channels_last)
        for image, own in zip(stacked, maps, strict=True):
            image[:, : own.shape[1], : own.shape[2]] = own
        features: Tensor = self.trained(stacked.to(self.device))
        return features

    @torch.no_grad()
    def _frozen_features(self, batch: Batch, slot: int, file_name: str) -> Tensor:
        """Features [C, H, W] of one image, from its file or computed and written there."""
        path = self.folder / file_name
        height, width = (max(side, MIN_SIDE) for side in batch.sizes[slot])
        stored = self._stored(path, (height, width))
        if stored is not None:
            return torch.from_numpy(stored.astype(np.float32))
        image = batch.images[slot : slot + 1, :, :height, :width]
        features = self.frozen(self._normalize(image, batch.sizes[slot : slot + 1]))[0]
        array = features.to("cpu", torch.float16).numpy()
        if not np.isfinite(array).all():
            raise FrcnnError(
                "the features of the frozen convolutions are too large for half precision",
                "leave out --cache-features",
            )

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)

        write_atomically(path, write)
        return torch.from_numpy(array).float()

    def _stored(self, path: Path, size: tuple[int, int]) -> NDArray[np.float16] | None:
        """The features in a file; None if it is not written yet, or cannot be those of an image.

        Args:
            size: (height, width) of the image.
        """
        cells = self._channels, *(side // self._stride + _MORE_CELLS for side in size)
        try:
            content = read_bytes(path, "", _HEADER_BYTES + 2 * math.prod(cells))
            array: NDArray[np.float16] = read_npy(content)
        except (DataError, ArchiveError):
            return None
        fits = array.dtype == np.float16 and array.ndim == 3 and array.shape[0] == self._channels
        if not fits or not np.isfinite(array).all():
            return None
        off = (abs(n - s / self._stride) for n, s in zip(array.shape[1:], size, strict=True))
        return array if max(off) <= _MORE_CELLS else None
