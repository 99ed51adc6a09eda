"""One step of training: the network, its optimiser and its batches (Fast R-CNN, section 2.3).

Everything random is a function of the seed, the iteration and the image's slot in the batch. So a
run that is resumed ends with the same bits as one that was not stopped (on the CPU, with as many
threads), and several processes that share the batches train as one would.

R: RoIs of a batch, or of this process's part of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ..checkpoints.weights import WeightsHeader
from ..config import TrainRuntimeConfig
from ..data.transforms import Normalizer
from ..errors import ConfigError, FrcnnError, out_of_memory
from ..models.losses import fast_rcnn_loss
from ..models.region_network import RegionNetwork
from ..runtime.device import Download, peak_bytes, pick_device, pick_precision, upload
from ..structures import Batch, HeadOutput, Losses, RoiTargets
from .averaging import WeightAverage
from .batches import BatchMaker
from .distributed import World
from .feature_cache import FeatureCache
from .hard_examples import HardExampleMiner
from .metrics import StepMetrics
from .optimizers import learning_rate, make_optimizer
from .target_normalization import denormalised


def pick_hardware(runtime: TrainRuntimeConfig) -> tuple[torch.device, torch.dtype]:
    """The device to train on, and the type in which the network computes there.

    Raises:
        ConfigError: there is no such device or precision, or training does not support it.
    """
    device = pick_device(runtime.device)
    precision = pick_precision(runtime.precision, device)
    if precision == torch.float16:  # its small gradients would need the loss to be scaled
        raise ConfigError("--precision fp16 is for detection alone", "train with bf16 or fp32")
    return device, precision


class Learner:
    """A network with all that a training step needs.

    The network's bbox_pred predicts normalised deltas (see `target_normalization`).

    Args:
        network: its frozen layers are not trained.
        header: of the weights files, without the history of this run.
        batch_workers: processes that make batches ahead of time; with 0 they are made when needed.
    Attributes:
        iteration: number of iterations done.
        average: of the weights, with `config.ema`.
    Raises:
        ConfigError: see `pick_hardware`.
    """

    def __init__(
        self,
        network: RegionNetwork,
        batches: BatchMaker,
        header: WeightsHeader,
        *,
        runtime: TrainRuntimeConfig,
        world: World,
        batch_workers: int,
    ) -> None:
        self.config = batches.config
        self.device, self.precision = pick_hardware(runtime)
        self.network = network.to(self.device).to(memory_format=torch.channels_last).train()
        self.network.dropout.p = self.config.dropout
        self.normalize = Normalizer(batches.pixels, self.device)
        self.batches, self.header = batches, header
        self.runtime, self.world, self.batch_workers = runtime, world, batch_workers
        self.optimizer = make_optimizer(self.network, self.config)
        self._class_weights: Tensor | None = None
        if self.config.class_weights == "balanced":
            weights = torch.from_numpy(batches.statistics.balanced_weights)
            self._class_weights = weights.to(self.device)
        ema = self.config.ema
        self.average = WeightAverage(self.network, ema) if ema else None
        if runtime.compiled:
            self.network.features.compile()
        self._parallel_network = world.wrap(self.network)
        self.iteration = 0

    @contextmanager
    def saved_form(self) -> Iterator[None]:
        """A context in which the network is what weights files hold.

        It has the averages of its weights if there are any, and predicts true deltas. Afterwards it
        has the same bits as before.
        """
        average = nullcontext() if self.average is None else self.average.in_network()
        with average, denormalised(self.network, self.batches.statistics.deltas):
            yield

    @property
    def iterations_left(self) -> int:
        """How many iterations remain to be done."""
        return self.config.iterations - self.iteration

    def loader(self) -> DataLoader[Batch | FrcnnError]:
        """The batches of the iterations that are left; an error where one cannot be made."""
        return self.batches.loader(
            self.iteration, self.batch_workers, pin_memory=self.device.type == "cuda"
        )

    def step(
        self, batch: Batch, *, waited: float = 0.0, cache: FeatureCache | None = None
    ) -> StepMetrics:
        """Do the next iteration.

        Args:
            batch: `batches(iteration)`. waited: seconds spent waiting for it, for the metrics.
            cache: reads the features of frozen convolutions instead of computing them.
        Raises:
            FrcnnError: the loss is not finite, or the memory is full.
        """
        config, begun = self.config, time.monotonic() - waited
        lr = learning_rate(config, self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        with self._explain_out_of_memory():
            output, targets, losses = self.forward(batch, cache)
            sums = Download(self._sums(output, targets, losses))
            self.optimizer.zero_grad()
            torch.autograd.backward(losses.total(config.trained_loc_weight))
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.clip_norm)
            self.optimizer.step()
            if self.average is not None:
                self.average.update()
            # The only wait for a GPU in a step: until its forward pass is done. So the next step
            # is queued while the backward pass still runs.
            cls, loc, correct, fg, bg = sums.wait().tolist()
        if not math.isfinite(cls + loc):
            raise FrcnnError(
                f"the loss is not finite in iteration {self.iteration + 1}, images "
                f"{', '.join(self.batches.image_ids(self.iteration))}",
                "try a smaller --lr; an earlier checkpoint in the run's folder is intact",
            )
        self.iteration += 1
        seconds = time.monotonic() - begun
        return StepMetrics(
            iteration=self.iteration,
            cls=cls,
            loc=loc,
            lr=lr,
            foreground=int(fg),
            background=int(bg),
            fg_accuracy=correct / max(fg, 1),
            images_per_second=config.images_per_batch / seconds,
            waited=waited,
            seconds=seconds,
        )

    def forward(
        self, batch: Batch, cache: FeatureCache | None = None
    ) -> tuple[HeadOutput, RoiTargets, Losses]:
        """Run the network on the next iteration's batch, or on this process's part of it.

        Returns:
            The output for the R RoIs that are trained on, their targets, and losses whose mean over
            the processes is the loss of the whole batch.
        """
        rois = upload(batch.rois, self.device)
        counts = self._trained_rois(batch)
        self._reseed_dropout(counts)
        roi_count = self.world.total(sum(counts))
        miner = None
        if self.config.mined_rois:
            miner = HardExampleMiner(self.network, batch, counts, self.config, self._class_weights)
        low_precision = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=low_precision):
            if cache is not None:
                maps = cache(batch, self.batches.entries(self.iteration))
                maps = self.network.scale_features(maps)
                output = self.network.score_regions(maps, rois, miner)
            else:
                images = self.normalize(batch.images, batch.sizes)
                output = self._parallel_network(images, rois, miner)
        targets = batch.targets if miner is None else miner.targets
        assert targets is not None
        targets = targets.to(self.device)
        divisor = max(roi_count, 1) / self.world.size
        losses = fast_rcnn_loss(output, targets, divisor, self.config.loc_loss, self._class_weights)
        return output, targets, losses

    def _trained_rois(self, batch: Batch) -> list[int]:
        """The number of RoIs of each image that are trained on."""
        per_image, more = divmod(self.config.rois_per_batch, self.config.images_per_batch)
        return [
            min(count, per_image + int(slot < more))
            for slot, count in zip(self.batches.slots, batch.roi_counts, strict=True)
        ]

    def _reseed_dropout(self, counts: Sequence[int]) -> None:
        """Give every image's dropout mask a seed made of the run's seed, iteration and slot."""
        slot_0 = (self.config.seed * 1_000_003 + self.iteration) * self.config.images_per_batch
        seeds = [slot_0 + slot for slot in self.batches.slots]
        self.network.dropout.reseed(seeds, counts, self.device)

    def _sums(self, output: HeadOutput, targets: RoiTargets, losses: Losses) -> Tensor:
        """Five sums over the batch of all processes, [5].

        They are cls, loc, and the numbers of foreground RoIs that are classified correctly, of
        foreground RoIs and of background RoIs.
        """
        foreground = targets.labels > 0
        correct = (output.class_logits.argmax(dim=1) == targets.labels) & foreground
        return self.world.sum(
            torch.stack(
                [
                    losses.cls.detach() / self.world.size,
                    losses.loc.detach() / self.world.size,
                    correct.sum().float(),
                    foreground.sum().float(),
                    (~foreground).sum().float(),
                ]
            )
        )

    @contextmanager
    def _explain_out_of_memory(self) -> Iterator[None]:
        """Turn an out-of-memory error of the block into one that names the settings to lower."""
        try:
            yield
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            config = self.config
            raise FrcnnError(
                f"out of memory in iteration {self.iteration + 1}: {config.images_per_batch} "
                f"images, scale {max(config.scales)}, {config.rois_per_batch} RoIs",
                "lower --scales, --rois-per-batch or --images-per-batch; the last checkpoint is "
                "intact",
            ) from None

    def trial(self) -> tuple[float, int]:
        """Time the next iteration without changing any weight.

        Returns:
            Seconds of the forward and backward pass, with features from a cache if the run has one;
            and the most memory that the process has used so far, in bytes (on a GPU, its memory).
        Raises:
            FrcnnError: the memory is full.
        """
        batch = self.batches(self.iteration)
        seconds = []
        with TemporaryDirectory() as folder:
            cached = self.runtime.cache_features
            cache = FeatureCache(Path(folder), self.network, self.normalize) if cached else None
            for _ in range(2):  # the first pass allocates buffers and compiles kernels
                begun = time.monotonic()
                with self._explain_out_of_memory():
                    losses = self.forward(batch, cache)[2]
                    torch.autograd.backward(losses.total(self.config.trained_loc_weight))
                    if self.device.type == "cuda":
                        torch.cuda.synchronize(self.device)
                seconds.append(time.monotonic() - begun)
        self.optimizer.zero_grad()
        return seconds[-1], peak_bytes(self.device)
