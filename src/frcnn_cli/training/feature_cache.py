"""Features of frozen convolutions on disk, so that an iteration costs only the layers after them.

That makes it practical to train the heads of VGG16, or its last convolutions too, on a CPU.
Features are stored in half precision, which takes half the space at a relative error below 0.001.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..config import MIN_SIDE
from ..data.transforms import Normalizer
from ..models.region_network import RegionNetwork
from ..runtime.files import write_atomically
from ..structures import Batch


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

    def __call__(self, batch: Batch, entries: NDArray[np.intp]) -> Tensor:
        """Features [B, C, H, W] of a batch of B images.

        Smaller images are padded with zeros before the first layer that is trained, not before the
        first convolution.

        Args:
            entries: [B, 2], (image, 1 where mirrored).
        """
        maps = [
            self._frozen_features(batch, slot, f"{image}-{mirrored}-{batch.scales[slot]:.4f}.npy")
            for slot, (image, mirrored) in enumerate(entries.tolist())
        ]
        height, width = (max(each.shape[side] for each in maps) for side in (1, 2))
        padded = [F.pad(m, (0, width - m.shape[2], 0, height - m.shape[1])) for m in maps]
        stacked = torch.stack(padded).to(self.device, memory_format=torch.channels_last)
        features: Tensor = self.trained(stacked)
        return features

    @torch.no_grad()
    def _frozen_features(self, batch: Batch, slot: int, file_name: str) -> Tensor:
        """Features [C, H, W] of one image, from its file or computed and written there."""
        path = self.folder / file_name
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False)).float()
        except (OSError, ValueError, EOFError):
            pass  # not written yet, or damaged
        height, width = (max(side, MIN_SIDE) for side in batch.sizes[slot])
        image = batch.images[slot : slot + 1, :, :height, :width]
        features = self.frozen(self._normalize(image, batch.sizes[slot : slot + 1]))[0]
        array = features.to("cpu", torch.float16).numpy()

        def write(part: Path) -> None:
            with part.open("wb") as file:
                np.save(file, array, allow_pickle=False)

        write_atomically(path, write)
        return torch.from_numpy(array).float()
