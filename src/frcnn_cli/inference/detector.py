"""The pipeline from images to detections, for all commands that detect."""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..checkpoints.weights import WeightsHeader, check_input_size, load_weights
from ..config import LEAST_SCORE, SHOWN_SCORE, DetectConfig
from ..data.collate import PreprocessedImage, collate, preprocess_scales, preprocess_views
from ..data.sources import Source, as_source
from ..data.transforms import Normalizer
from ..errors import FrcnnError, unknown_name
from ..models.postprocess import least_score, postprocess
from ..models.region_network import RegionNetwork
from ..ops import boxes as box_ops
from ..ops.threads import single_threaded
from ..proposers.cache import ProposalSource
from ..proposers.registry import selective_search
from ..runtime.device import Download, pick_device, pick_precision, upload
from ..runtime.executor import prefetch
from ..runtime.paths import DEFAULT_WEIGHTS, find_weights, proposals_dir
from ..runtime.timing import StageHook, Work, untimed
from ..settings import check
from ..structures import Detections, HeadOutput
from .batching import Group, Item, ReadFailure, ReadImage, group_by_shape, in_order
from .passes import PendingPass, RoiPredictions
from .result import Failure, Result
from .scoring import score_rois

Picture = str | Path | Image.Image | NDArray[np.uint8]
# Reads the image of an item: the bytes of its file (None where it has none) and pixels [H, W, 3].
Read = Callable[[Item], tuple[bytes | None, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Detected(Generic[Item]):
    """An image with the detections in it."""

    source: ReadImage[Item]
    detections: Detections
    seconds: float  # for the network and postprocessing


class Detector:
    """A network with its weights, its source of proposals and its settings.

    The pipeline is `preprocess` -> `extract_features` -> `score_rois` -> `postprocess`. Calling the
    detector runs it on one image, `run` on many images, `detect_each` on items whose images are
    read ahead, and `detect_batch` on preprocessed images.

    Args:
        device: auto, cpu, cuda or cuda:N.
    Raises:
        ConfigError: a setting is out of range, this machine has no such device, or the weights have
            no class of `config.classes`.
    """

    def __init__(
        self,
        network: RegionNetwork,
        header: WeightsHeader,
        proposals: ProposalSource,
        config: DetectConfig,
        device: str,
    ) -> None:
        check(config)
        self.device = pick_device(device)
        self.dtype = pick_precision(config.precision, self.device)
        self.network = network.to(self.device).eval().to_precision(self.dtype)
        if self.device.type != "cpu":  # on the CPU, NNPACK needs contiguous weights
            self.network.to(memory_format=torch.channels_last)
        self.header, self.proposals, self.config = header, proposals, config
        self._views = config.views or (() if config.scales else header.views)
        self._averages = len(self._views) > 1
        self._least_score = least_score(config, header.calibration)
        if self._averages:  # the mean over the views may be above it where the first one is not
            self._least_score = min(self._least_score, LEAST_SCORE)
        self.cascade = config.cascade and len(network.prefilter) > 0
        for name in config.classes:
            if name not in header.classes:
                raise unknown_name("class", name, header.classes)
        self._labels = [header.classes.index(name) + 1 for name in config.classes or header.classes]
        self._wanted = torch.zeros(len(header.classes) + 1, dtype=torch.bool, device=self.device)
        self._wanted[self._labels] = True
        self._normalize = Normalizer(header.pixels, self.device)
        self._stage: StageHook = untimed

    @classmethod
    def load(
        cls,
        weights: str | Path = DEFAULT_WEIGHTS,
        proposals: ProposalSource | None = None,
        config: DetectConfig | None = None,
        device: str = "auto",
    ) -> Detector:
        """Read a weights file.

        Args:
            weights: name or path.
            proposals: None for selective search with the usual cache.
            config: None for the settings of `frcnn detect`: the defaults, with a score threshold of
                SHOWN_SCORE and the fastest precision of the device.
            device: auto, cpu, cuda or cuda:N.
        Raises:
            WeightsError: see `find_weights`, `load_weights` and `check_input_size`.
            ConfigError: see `find_weights` and `Detector`.
        """
        network, header = load_weights(find_weights(str(weights)))
        proposals = proposals or ProposalSource(selective_search(), proposals_dir())
        config = config or DetectConfig(score_threshold=SHOWN_SCORE, precision="auto")
        check_input_size(header, config)
        return cls(network, header, proposals, config, device)

    def timed_by(self, hook: StageHook) -> Detector:
        """A copy of the detector that calls a hook around every stage of its pipeline."""
        timed = copy.copy(self)
        timed._stage = hook
        return timed

    def __call__(self, picture: Picture) -> Result:
        """Detect the objects in one image.

        Args:
            picture: a path, an http(s) address, a Pillow image, or a uint8 array [H, W, 3], RGB.
        Raises:
            ImageError: the image cannot be read.
        """
        (outcome,) = self.run([picture])
        if isinstance(outcome, Failure):
            raise outcome.error
        return outcome

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names of the labels 1..K."""
        return self.header.classes

    def run(
        self, pictures: Iterable[Picture | Source], batch: int = 1, workers: int = 1
    ) -> Iterator[Result | Failure]:
        """Detect the objects in each image; an image that cannot be read does not stop the others.

        The next images are read while the network runs; memory does not grow with their number.

        Args:
            pictures: see `Detector.__call__`; or sources.
            batch: largest number of images, successive ones of the same resized shape, that go
                through the network together. workers: number of threads that read ahead.
        Yields:
            A result or a failure for each image, in order.
        """
        for outcome in self.detect_each(
            map(as_source, pictures), lambda source: source.read(), workers=workers, batch=batch
        ):
            if isinstance(outcome, ReadFailure):
                yield Failure(outcome.item.name, outcome.error)
                continue
            source, image = outcome.source.item, outcome.source
            yield Result(
                name=source.name,
                stem=source.stem,
                image=image.pixels,
                detections=outcome.detections,
                classes=self.classes,
                proposals=image.preprocessed.roi_count,
                seconds=outcome.seconds,
            )

    def detect_each(
        self, items: Iterable[Item], read: Read[Item], *, workers: int = 1, batch: int = 1
    ) -> Iterator[Detected[Item] | ReadFailure[Item]]:
        """Detect the objects in the image that `read` returns for each item, in order.

        Args:
            workers: number of threads that read ahead. batch: see `run`.
        """
        with single_threaded(self.device.type != "cpu"):
            yield from in_order(self._detect_groups(self.read_each(items, read, workers), batch))

    def _detect_groups(
        self, images: Iterable[ReadImage[Item] | ReadFailure[Item]], batch: int
    ) -> Iterator[tuple[int, Detected[Item] | ReadFailure[Item]]]:
        """Detect in groups of images; a GPU computes the next group while one is postprocessed."""
        running: deque[tuple[Group[Item], list[PendingPass], float]] = deque()
        ahead = 0 if self.device.type == "cpu" else 1
        for group in group_by_shape(images, batch):
            if isinstance(group, tuple):
                yield group
                continue
            start = time.perf_counter()
            passes = self.launch([image.preprocessed for _, image in group])
            running.append((group, passes, time.perf_counter() - start))
            if len(running) > ahead:
                yield from self._finish_group(*running.popleft())
        while running:
            yield from self._finish_group(*running.popleft())

    def _finish_group(
        self, group: Group[Item], passes: list[PendingPass], seconds: float
    ) -> Iterator[tuple[int, Detected[Item]]]:
        start = time.perf_counter()
        group_detections = self.finish(passes)
        seconds = (seconds + time.perf_counter() - start) / len(group)
        for (number, image), detections in zip(group, group_detections, strict=True):
            yield number, Detected(image, detections, seconds)

    def read_each(
        self, items: Iterable[Item], read: Read[Item], workers: int
    ) -> Iterator[ReadImage[Item] | ReadFailure[Item]]:
        """Read, propose for and resize the image of each item, in order, ahead of the caller.

        Args:
            workers: number of threads.
        """

        def make_ready(item: Item) -> ReadImage[Item]:
            content, pixels = read(item)
            return ReadImage(
                item=item,
                file_size=0 if content is None else len(content),
                pixels=pixels,
                preprocessed=self.preprocess(content, pixels),
            )

        for item, future in prefetch(make_ready, items, workers):
            try:
                yield future.result()
            except FrcnnError as error:
                yield ReadFailure(item, error)

    def preprocess(self, content: bytes | None, image: NDArray[np.uint8]) -> PreprocessedImage:
        """Propose regions of an image and resize it.

        Args:
            content: the bytes of the image file, the key to its proposals in the cache. None: the
                proposals are computed without the cache.
            image: the decoded image, uint8 [H, W, 3].
        """
        with self._stage("propose"):
            if content is None:
                proposals = self.proposals.method.propose(image)
            else:
                proposals = self.proposals(content, image)
        rois = box_ops.to_last_pixel(
            proposals.top(self.config.max_proposals).boxes, self.network.ends_are_inside
        )
        max_size = self.config.max_size or self.header.max_size
        with self._stage("scale"):
            if self._averages:
                inside = self.network.ends_are_inside
                return preprocess_views(image, rois, self._views, max_size, inside)
            scales = self.config.scales or self._views or (self.header.scale,)
            return preprocess_scales(image, rois, scales, max_size)

    def detect(self, image: PreprocessedImage) -> Detections:
        """Detections of one preprocessed image."""
        return self.detect_batch([image])[0]

    def detect_batch(self, images: Sequence[PreprocessedImage]) -> list[Detections]:
        """Detections of preprocessed images of one resized shape, in one pass of the network."""
        return self.finish(self.launch(images))

    @torch.inference_mode()
    def launch(self, images: Sequence[PreprocessedImage]) -> list[PendingPass]:
        """Begin to detect in images of one resized shape, in one pass for each scale or view.

        On a GPU the passes are queued, and this returns before they are computed; of several views
        the last ones, since their RoIs are those that the first one does not take for background.

        Returns:
            The passes, for `finish`.
        """
        first, *others = zip(*(image.passes for image in images), strict=True)
        begun = self._launch_pass(first)
        if not self._averages:
            return [begun, *map(self._launch_pass, others)]
        kept = begun.passing(self.network.scores, self._wanted, self._least_score)
        return [
            begun.narrowed(kept),
            *(
                self._launch_pass(
                    [image.narrowed(own) for image, own in zip(view, kept, strict=True)],
                    scores_all=True,
                )
                for view in others
            ),
        ]

    @torch.inference_mode()
    def finish(self, passes: Sequence[PendingPass]) -> list[Detections]:
        """Wait for the passes of `launch`, and make the detections of each image."""
        predictions = zip(*(each.predictions() for each in passes), strict=True)
        join = RoiPredictions.mean if self._averages else RoiPredictions.concatenate
        return [
            self._postprocess(join(own), image)
            for own, image in zip(predictions, passes[0].images, strict=True)
        ]

    def _launch_pass(
        self, images: Sequence[PreprocessedImage], scores_all: bool = False
    ) -> PendingPass:
        """Begin a pass over images at one scale or in one view.

        Args:
            scores_all: every RoI, also those with low scores.
        """
        maps, rois, inverse = self.extract_features(*images)
        candidates = score_rois(
            self.network,
            maps,
            rois,
            self._wanted,
            -1.0 if scores_all else self._least_score,
            self.cascade and not scores_all,
            self._stage,
        )
        return PendingPass(images, inverse, len(rois), Download(candidates.pack()))

    @torch.inference_mode()
    def extract_features(self, *images: PreprocessedImage) -> tuple[Tensor, Tensor, Tensor]:
        """The feature maps of images, and their RoIs without those of equal features.

        Returns:
            maps: [B, C, H, W]. rois: [U, 5], RoIs with different features.
            inverse: [R], for each of the R RoIs of all images, the row in `rois` of its features;
                on the CPU.
        """
        with self._stage("scale"):
            batch = collate(images)
            pixels = self._normalize(batch.images, batch.sizes).to(self.dtype)
        size = (batch.images.shape[2], batch.images.shape[3])
        with self._stage("conv", lambda: Work(self.network.image_flops(size) * len(images))):
            maps = self.network.image_features(pixels)
        with self._stage("RoI pool"):
            chosen, inverse = self.network.distinct(batch.rois)
            return maps, upload(batch.rois[chosen], self.device), inverse

    @torch.inference_mode()
    def region_features(self, *images: PreprocessedImage) -> tuple[Tensor, Tensor]:
        """The features of the RoIs of images.

        Returns:
            features: [U, D], of RoIs with different features.
            inverse: [R], for each of the R RoIs of all images, the row in `features` of its own.
        """
        maps, rois, inverse = self.extract_features(*images)
        return self.network.region_features(maps, rois), inverse

    def postprocess(
        self, output: HeadOutput, inverse: Tensor, image: PreprocessedImage
    ) -> Detections:
        """Detections of an image, from the output of the network for RoIs with different features.

        Args:
            inverse: [R], the row in `output` of each RoI of the image; -1 for a RoI without one.
        """
        output = HeadOutput(output.class_logits.cpu(), output.box_deltas.cpu())
        return self._postprocess(RoiPredictions.of(output, inverse, image.rois), image)

    def _postprocess(self, predictions: RoiPredictions, image: PreprocessedImage) -> Detections:
        with self._stage("NMS"):
            return postprocess(
                predictions.output,
                predictions.rois,
                image.original_size,
                labels=self._labels,
                score_function=self.network.scores,
                ends_are_inside=self.network.ends_are_inside,
                calibration=self.header.calibration,
                config=self.config,
            )
