"""From pictures to detections."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..config import SHOWN_SCORE, DetectConfig
from ..data.batching import PixelStatistics, Prepared, collate, prepare_scales
from ..data.sources import Source, as_source
from ..errors import FrcnnError, unknown_name
from ..models.fast_rcnn import FastRCNN
from ..models.postprocess import postprocess
from ..ops.roi_pool import distinct_cells
from ..paths import DEFAULT_WEIGHTS, find_weights, proposals_dir
from ..proposers.cache import ProposalSource
from ..proposers.methods import selective_search
from ..structures import Detections, HeadOutput
from .checkpoint import WeightsHeader, load_weights
from .device import cast, pick_device, pick_precision
from .prefetch import prefetch
from .result import Failure, Result
from .scoring import candidates

Picture = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Scored:
    """RoIs [R, 4] in pixels of the original image, with what the heads said of them."""

    output: HeadOutput
    rois: NDArray[np.float32]

    def joined(self, other: Scored) -> Scored:
        """Both."""
        logits = torch.cat([self.output.class_logits, other.output.class_logits])
        deltas = torch.cat([self.output.box_deltas, other.output.box_deltas])
        return Scored(HeadOutput(logits, deltas), np.concatenate([self.rois, other.rois]))


def _rows(output: HeadOutput, kind: Tensor, rois: NDArray[np.float32]) -> Scored:
    """The RoIs [R, 4] that have a row of `output`; `kind` [R] is which, -1 for none."""
    (scored,) = (kind >= 0).nonzero(as_tuple=True)
    kind = kind[scored]
    return Scored(
        HeadOutput(output.class_logits[kind], output.box_deltas[kind]),
        rois[scored.cpu().numpy()],
    )


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
        self.dtype = pick_precision(config.precision, self.device)
        self.model = cast(model.to(self.device).eval(), self.dtype)
        if self.device.type != "cpu":  # there Winograd's weights are wanted as they come
            self.model.to(memory_format=torch.channels_last)
        self.cascade = config.cascade and len(model.screen) > 0
        self.header, self.source, self.config = header, source, config
        for name in config.classes:
            if name not in header.classes:
                raise unknown_name("class", name, header.classes)
        wanted = config.classes or header.classes
        self._labels = [header.classes.index(name) + 1 for name in wanted]
        self.wanted = torch.zeros(len(header.classes) + 1, dtype=torch.bool, device=self.device)
        self.wanted[self._labels] = True
        self._pixels = PixelStatistics(header.pixel_mean, header.pixel_std)

    @classmethod
    def load(
        cls,
        weights: str | Path = DEFAULT_WEIGHTS,
        source: ProposalSource | None = None,
        config: DetectConfig | None = None,
        device: str = "auto",
    ) -> Detector:
        """Read a weights file.

        Args:
            weights: name or path.
            source: of the proposals; None for selective search with the cache in its usual place.
            config: None for the defaults, with the scores that `frcnn detect` shows and the
                precision that suits the device.
            device: auto, cpu, cuda or cuda:N.
        Raises:
            WeightsError, ConfigError: see `find_weights` and `load_weights`.
        """
        model, header = load_weights(find_weights(str(weights)))
        source = source or ProposalSource(selective_search(), proposals_dir())
        return cls(
            model, header, source, config or DetectConfig(SHOWN_SCORE, precision="auto"), device
        )

    def __call__(self, picture: Picture) -> Result:
        """Detect in one picture: a path, an address, a picture of Pillow, or an array.

        Args:
            picture: an array is uint8 [H, W, 3], RGB.
        Raises:
            ImageError: it cannot be read.
        """
        (found,) = self.run([picture])
        if isinstance(found, Failure):
            raise found.error
        return found

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels 1..K."""
        return self.header.classes

    def prepare(self, content: bytes | None, image: NDArray[np.uint8]) -> Prepared:
        """Proposals and scaled image of a picture.

        Args:
            content: of the image file; its proposals are kept. None: made anew.
            image: its decoded form, [H, W, 3].
        """
        propose = self.source.method.propose
        proposals = propose(image) if content is None else self.source(content, image)
        rois = proposals.top(self.config.max_proposals).boxes
        scales = self.config.scales or (self.header.scale,)
        return prepare_scales(image, rois, scales, self.config.max_size or self.header.max_size)

    def infer(self, prepared: Prepared) -> Detections:
        """One pass of the network over one image."""
        return self.infer_batch([prepared])[0]

    @torch.inference_mode()
    def infer_batch(self, images: Sequence[Prepared]) -> list[Detections]:
        """One pass of the network over images of one scaled size.

        Images of other sizes would be padded, and then what is found in one would depend on the
        others.
        """
        found = self._score(images)
        for index, image in enumerate(images):
            for other in image.others:
                found[index] = found[index].joined(self._score([other])[0])
        return [self._finish(own, each) for own, each in zip(found, images, strict=True)]

    def _score(self, images: Sequence[Prepared]) -> list[Scored]:
        """What the heads say of the RoIs of each image that could be kept, at its first scale."""
        features, rois, kind = self.see(*images)
        found = candidates(
            self.model, features, rois, self.wanted, self.config.score_threshold, self.cascade
        )
        place = torch.full((len(rois),), -1, device=self.device)
        place[found.index] = torch.arange(len(found.index), device=self.device)
        kinds = torch.split(place[kind], [len(each.rois) for each in images])
        return [
            _rows(found.output, own, each.rois) for own, each in zip(kinds, images, strict=True)
        ]

    @torch.inference_mode()
    def see(self, *images: Prepared) -> tuple[Tensor, Tensor, Tensor]:
        """The convolutions over images, and their RoIs, those on the same cells of one once.

        Returns:
            features [B, C, H, W], scaled; the distinct RoIs [U, 5]; and which of them each of the
            R RoIs of all images is.
        """
        batch = collate(images, self._pixels)
        pixels = batch.images.to(self.device, self.dtype, memory_format=torch.channels_last)
        chosen, kind = distinct_cells(batch.rois, 1 / self.model.stride)
        features = self.model.features(pixels).float() * self.model.feature_scale
        return features, batch.rois[chosen].to(self.device), kind.to(self.device)

    @torch.inference_mode()
    def pool(self, *images: Prepared) -> tuple[Tensor, Tensor]:
        """Pooled features [U, P * P * C] of the distinct RoIs of images, and which of them each of
        the R RoIs has."""
        features, rois, kind = self.see(*images)
        return self.model.pool_scaled(features, rois), kind

    def answer(self, output: HeadOutput, kind: Tensor, prepared: Prepared) -> Detections:
        """Detections from what the heads said.

        Args:
            kind: [R], the row of `output` that each RoI has; -1 for one that no class keeps.
        """
        return self._finish(_rows(output, kind, prepared.rois), prepared)

    def _finish(self, scored: Scored, prepared: Prepared) -> Detections:
        logits, deltas = scored.output.class_logits, scored.output.box_deltas
        if not self.config.box_regression:
            deltas = torch.zeros_like(deltas)
        return postprocess(
            HeadOutput(logits, deltas),
            scored.rois,
            prepared.original_size,
            self.config.score_threshold,
            self.config.nms_threshold,
            self.config.max_detections,
            self._labels,
            self.config.soft_nms,
            self.config.vote_threshold if self.config.box_regression else 0.0,
        )

    def run(
        self, pictures: Iterable[Picture | Source], batch: int = 1
    ) -> Iterator[Result | Failure]:
        """Detect in each picture, in order; one that cannot be read does not stop the others.

        The next pictures are read and proposed for while the network runs; memory does not grow
        with their number.

        Args:
            batch: pictures in a pass at most; those that follow each other and have one scaled
                size.
        """

        def read(source: Source) -> tuple[NDArray[np.uint8], Prepared]:
            content, image = source.read()
            return image, self.prepare(content, image)

        waiting: list[tuple[Source, NDArray[np.uint8], Prepared]] = []
        for source, future in prefetch(read, map(as_source, pictures), workers=1):
            try:
                image, prepared = future.result()
            except FrcnnError as error:
                yield from self._results(waiting)
                yield Failure(source.name, error)
                continue
            if waiting and waiting[0][2].image.shape != prepared.image.shape:
                yield from self._results(waiting)
            waiting.append((source, image, prepared))
            if len(waiting) == batch:
                yield from self._results(waiting)
        yield from self._results(waiting)

    def _results(
        self, waiting: list[tuple[Source, NDArray[np.uint8], Prepared]]
    ) -> Iterator[Result]:
        """Detect in the pictures that wait, in one pass; none waits afterwards."""
        if not waiting:
            return
        start = time.perf_counter()
        found = self.infer_batch([prepared for _, _, prepared in waiting])
        seconds = (time.perf_counter() - start) / len(waiting)
        done = list(zip(waiting, found, strict=True))
        waiting.clear()
        for (source, image, prepared), detections in done:
            count = len(prepared.rois)
            yield Result(source.name, source.stem, image, detections, self.classes, count, seconds)
