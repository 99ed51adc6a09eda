"""The batches of a training run, each a function of the run's seed and the batch's number.

N: usable images. A batch has `images_per_batch` slots, one for each of its images.
"""

from __future__ import annotations

import hashlib
import math
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..config import MIN_SIDE, TrainConfig
from ..data import transforms
from ..data.collate import collate
from ..data.dataset import Dataset
from ..errors import FrcnnError, reason
from ..proposers.cache import ProposalSource
from ..runtime.signals import STOPPING
from ..structures import Batch, PixelStatistics
from .roi_sampling import SamplingConfig, hflip, preprocess_training
from .shared_memory import affordable_workers
from .statistics import DatasetStatistics, read_sample

_TIMEOUT = 1800  # seconds; a batch that takes longer is lost, as when others fill /dev/shm


def epoch_order(
    seed: int, epoch: int, landscape: NDArray[np.bool_], images_per_batch: int
) -> NDArray[np.intp]:
    """Draw the batches of one epoch, in which every image and its mirror image appear once.

    The images of a batch have the same orientation, so that little of the batch is padding. The
    left-over images of both orientations are mixed, and the last of their batches is filled up with
    images drawn again.

    Args:
        landscape: [N], whether the image is at least as wide as high.
    Returns:
        [batches, images_per_batch, 2]: (index in 0..N-1, 1 where mirrored).
    """
    # a stream of its own: a batch's slots and scales take those numbered 0..images_per_batch
    rng = np.random.default_rng([seed, epoch, images_per_batch + 1])
    entries = np.stack(
        [np.repeat(np.arange(len(landscape)), 2), np.tile([0, 1], len(landscape))], axis=1
    )
    batches, left_over = [], []
    for wide in (True, False):
        group = rng.permutation(entries[landscape[entries[:, 0]] == wide])
        full = len(group) // images_per_batch * images_per_batch
        batches.append(group[:full])
        left_over.append(group[full:])
    rest = rng.permutation(np.concatenate(left_over))
    missing = -len(rest) % images_per_batch
    batches += [rest, entries[rng.integers(len(entries), size=missing)]]
    order = np.concatenate(batches).reshape(-1, images_per_batch, 2)
    return rng.permutation(order)


class BatchMaker(TorchDataset[Batch | FrcnnError]):
    """Makes the batch of any iteration from nothing but the seed and the iteration's number.

    Args:
        slots: the slots of each batch that are made here; other processes make the rest.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: ProposalSource,
        statistics: DatasetStatistics,
        *,
        pixels: PixelStatistics,
        config: TrainConfig,
        slots: range,
    ) -> None:
        self.dataset, self.source, self.statistics = dataset, source, statistics
        self.pixels, self.config, self.slots = pixels, config, slots
        self.sampling = SamplingConfig(
            rois_per_image=config.sampled_rois // config.images_per_batch,
            fg_fraction=config.fg_fraction,
            fg_threshold=config.fg_threshold,
            bg_thresholds=(config.bg_low, config.bg_high),
            ends_are_inside=config.geometry == "caffe",
        )
        first = epoch_order(config.seed, 0, statistics.landscape, config.images_per_batch)
        self._orders = {0: first}  # by epoch: the first and the latest

    def entries(self, iteration: int) -> NDArray[np.intp]:
        """(index of a usable image, 1 where mirrored) of each slot, [images_per_batch, 2]."""
        epoch, position = divmod(iteration, len(self._orders[0]))
        if epoch not in self._orders:
            order = epoch_order(
                self.config.seed, epoch, self.statistics.landscape, self.config.images_per_batch
            )
            self._orders = {0: self._orders[0], epoch: order}
        batch: NDArray[np.intp] = self._orders[epoch][position]
        return batch

    def image_ids(self, iteration: int) -> list[str]:
        """The images of the batch, for messages."""
        return [
            self.dataset.image_id(int(self.statistics.usable[index]))
            for index, _ in self.entries(iteration)
        ]

    def scales(self, iteration: int) -> list[int]:
        """Shorter side in pixels of each slot's image, drawn anew for every batch."""
        count = self.config.images_per_batch
        rng = np.random.default_rng([self.config.seed, iteration, count])  # slots have 0..count-1
        return rng.choice(self.config.scales, count).tolist()

    def padded_size(self, iteration: int) -> tuple[int, int]:
        """(height, width) that holds every image of the batch, in whatever process it is made."""
        sizes = [
            transforms.resized_size(
                self.statistics.sizes[index],
                transforms.resize_factor(self.statistics.sizes[index], scale, self.config.max_size),
            )
            for (index, _), scale in zip(
                self.entries(iteration), self.scales(iteration), strict=True
            )
        ]
        step = self.config.pad_to
        height, width = (
            math.ceil(max(MIN_SIDE, *sides) / step) * step for sides in zip(*sizes, strict=True)
        )
        return height, width

    @property
    def digest(self) -> str:
        """SHA-256 of the usable images' names in order, on which all random draws depend."""
        names = "\n".join(self.dataset.image_id(int(index)) for index in self.statistics.usable)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    def __len__(self) -> int:
        return self.config.iterations

    def __getitem__(self, iteration: int) -> Batch | FrcnnError:
        """The batch, or the reason why it cannot be made.

        Errors are returned, so that they reach the process that trains. If an exception ended a
        worker, that process would wait for it forever.
        """
        try:
            return self(iteration)
        except FrcnnError as error:
            return error
        except MemoryError:
            return FrcnnError(
                "out of memory while a batch was made", "lower --images-per-batch or --scales"
            )
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            return FrcnnError(
                f"batch {iteration + 1} cannot be made: {reason(error)}",
                f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}",
            )

    def __call__(self, iteration: int) -> Batch:
        """Make this process's slots of a batch: read, sample RoIs, resize, collate."""
        config = self.config
        entries, scales = self.entries(iteration), self.scales(iteration)
        prepared = []
        for slot in self.slots:
            more = int(slot < config.sampled_rois % config.images_per_batch)
            sampling = replace(self.sampling, rois_per_image=self.sampling.rois_per_image + more)
            index, mirrored = entries[slot]
            image_index = int(self.statistics.usable[index])
            sample = read_sample(self.dataset, self.source, image_index, config.max_proposals)
            prepared.append(
                preprocess_training(
                    hflip(sample) if mirrored else sample,
                    short_side=scales[slot],
                    max_side=config.max_size,
                    sampling=sampling,
                    statistics=self.statistics.deltas,
                    rng=np.random.default_rng([config.seed, iteration, slot]),
                )
            )
        return collate(prepared, self.padded_size(iteration))

    def loader(
        self, first: int, workers: int, *, pin_memory: bool
    ) -> DataLoader[Batch | FrcnnError]:
        """The batches from iteration `first` on, made ahead of time.

        Args:
            workers: processes that make them. With 0, and where forking is not safe (anywhere but
                on Linux), a batch is made when it is asked for.
            pin_memory: put them where a GPU can copy them from without waiting.
        """
        can_fork = sys.platform == "linux"
        if can_fork and workers:
            workers = affordable_workers(self.config, workers)
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, self.config.iterations),
            num_workers=workers if can_fork else 0,
            multiprocessing_context="fork" if can_fork and workers else None,
            pin_memory=pin_memory,
            timeout=_TIMEOUT if can_fork and workers else 0,
            worker_init_fn=_ignore_stop_signals,
        )


def _ignore_stop_signals(worker: int) -> None:
    """Leave signals that stop a run, which often reach a whole group, to the process that trains.

    That process finishes its iteration, saves, and ends the workers.
    """
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def explain_killed_workers() -> Iterator[None]:
    """Turn torch's error about a killed worker, raised in the block, into a FrcnnError.

    torch raises it wherever the program is at that moment, so nothing can be saved then. Any error
    ends the workers.
    """
    try:
        yield
    except BaseException as error:
        _end_workers(error)
        known = ("DataLoader worker (pid", "DataLoader timed out")
        lost = isinstance(error, OSError | RuntimeError) and any(e in str(error) for e in known)
        if not lost and not isinstance(error, ConnectionError):
            raise
        raise FrcnnError(
            "a process that makes batches was killed, or its batch was lost",
            "it needs more memory, or space in /dev/shm; --resume continues at the last checkpoint",
        ) from None


def _end_workers(error: BaseException) -> None:
    """End the workers of the loader that an error came through.

    The frames of the error hold the loader. As long as it lives, torch raises an error whenever a
    process ends, wherever the program is then; and at its end the program would wait for ever for
    workers that ignore the signal to stop.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if in_main_thread else None
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__context__
    if in_main_thread:
        signal.signal(signal.SIGCHLD, handler)
