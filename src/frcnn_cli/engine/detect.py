"""From image files to detections."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import DetectConfig
from ..data import images
from ..data.batching import PixelStatistics, Prepared, collate, prepare
from ..errors import FrcnnError, unknown_name
from ..models.fast_rcnn import FastRCNN
from ..models.postprocess import postprocess
from ..ops.roi_pool import distinct_cells
from ..proposers.cache import ProposalSource
from ..structures import Detections, HeadOutput
from .checkpoint import WeightsHeader, load_weights
from .device import pick_device
from .prefetch import prefetch


@dataclass(frozen=True)
class Found:
    """What came of one image file: detections, or an error."""

    path: Path
    image: NDArray[np.uint8] | None  # H×W×3
    detections: Detections | None
    proposals: int
    seconds: float  # of the network and the postprocessing
    error: FrcnnError | None = None


class Detector:
    """A network with its weights and its source of proposals.

    Raises:
        ConfigError: the device is not there, or the weights do not know a class asked for.
    """

    def __init__(
        self,
        model: FastRCNN,
        header: WeightsHeader,
        source: ProposalSource,
        config: DetectConfig,
        device: str,
    ) -> None:
        self.device = pick_device(device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last).eval()
        self.header, self.source, self.config = header, source, config
        for name in config.classes:
            if name not in header.classes:
                raise unknown_name("class", name, header.classes)
        wanted = config.classes or header.classes
        self._labels = [header.classes.index(name) + 1 for name in wanted]
        self._pixels = PixelStatistics(header.pixel_mean, header.pixel_std)

    @classmethod
    def load(
        cls, weights: Path, source: ProposalSource, config: DetectConfig, device: str
    ) -> Detector:
        """Read a weights file; for errors see `load_weights`."""
        model, header = load_weights(weights)
        return cls(model, header, source, config, device)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 1..K."""
        return self.header.classes

    def prepare(self, content: bytes, image: NDArray[np.uint8]) -> Prepared:
        """Proposals and scaled image of an image file, whose decoded form is `image`."""
        proposals = self.source(content, image).top(self.config.max_proposals)
        return prepare(image, proposals.boxes, self.header.scale, self.header.max_size)

    @torch.inference_mode()
    def infer(self, prepared: Prepared) -> Detections:
        """One pass of the network over one image."""
        pooled, kind = self.pool(prepared)
        return self.answer(self.model.heads(pooled), kind, prepared)

    @torch.inference_mode()
    def pool(self, prepared: Prepared) -> tuple[Tensor, Tensor]:
        """Pooled features of one image; RoIs on the same cells are pooled once.

        Returns:
            features [U, P * P * C] of the distinct RoIs, and which of them each of the R RoIs has.
        """
        batch = collate([prepared], self._pixels)
        pixels = batch.images.to(self.device, memory_format=torch.channels_last)
        chosen, kind = distinct_cells(batch.rois, 1 / self.model.stride)
        pooled = self.model.pool(self.model.features(pixels), batch.rois[chosen].to(self.device))
        return pooled, kind.to(self.device)

    def answer(self, output: HeadOutput, kind: Tensor, prepared: Prepared) -> Detections:
        """Detections from what the heads said of the distinct RoIs."""
        return postprocess(
            HeadOutput(output.class_logits[kind], output.box_deltas[kind]),
            prepared.rois,
            prepared.original_size,
            self.config.score_threshold,
            self.config.nms_threshold,
            self.config.max_detections,
            self._labels,
        )

    def run(self, paths: Iterable[Path]) -> Iterator[Found]:
        """Detect in each file, in order; a file that cannot be read does not stop the others.

        The next images are decoded and proposed for while the network runs.
        """

        def read(path: Path) -> tuple[NDArray[np.uint8], Prepared]:
            content = images.read_bytes(path)
            image = images.decode(content, str(path))
            return image, self.prepare(content, image)

        for path, future in prefetch(read, paths, workers=1):
            try:
                image, prepared = future.result()
            except FrcnnError as error:
                yield Found(path, None, None, 0, 0.0, error)
                continue
            start = time.perf_counter()
            detections = self.infer(prepared)
            seconds = time.perf_counter() - start
            yield Found(path, image, detections, len(prepared.rois), seconds)
