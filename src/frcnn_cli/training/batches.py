"""The batches of a training run, each a function of the seed and its number."""

from __future__ import annotations

import hashlib
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ..config import TrainConfig
from ..data import transforms
from ..data.collate import MIN_SIDE, collate
from ..data.dataset import Dataset
from ..errors import FrcnnError, reason
from ..proposers.cache import ProposalSource
from ..structures import Batch, PixelStatistics
from .roi_sampling import Sampling, hflip, preprocess_training
from .statistics import DatasetStatistics, read_sample


def epoch_order(
    seed: int, epoch: int, landscape: NDArray[np.bool_], images_per_batch: int
) -> NDArray[np.intp]:
    """The batches of one epoch: every image and its mirror image once.

    Images of one batch have the same orientation, so that little of it is padding, but for the few
    that are left over; the last batch of those is filled up with images drawn again.

    Args:
        landscape: [N], of each image.
    Returns:
        [batches, images_per_batch, 2]: (index in 0..N-1, 1 where mirrored).
    """
    rng = np.random.default_rng([seed, epoch, images_per_batch + 1])  # none of a batch's own
    entries = np.stack(
        [np.repeat(np.arange(len(landscape)), 2), np.tile([0, 1], len(landscape))], axis=1
    )
    batches, left = [], []
    for wide in (True, False):
        group = rng.permutation(entries[landscape[entries[:, 0]] == wide])
        full = len(group) // images_per_batch * images_per_batch
        batches.append(group[:full])
        left.append(group[full:])
    rest = rng.permutation(np.concatenate(left))
    missing = -len(rest) % images_per_batch
    batches += [rest, entries[rng.integers(len(entries), size=missing)]]
    order = np.concatenate(batches).reshape(-1, images_per_batch, 2)
    return rng.permutation(order)


class BatchMaker(TorchDataset[Batch | FrcnnError]):
    """Batch number `iteration` of a run, made from nothing but the seed and the number.

    Args:
        slots: which images of each batch are made here; the others are another process's.
    """

    def __init__(
        self,
        dataset: Dataset,
        source: ProposalSource,
        survey: DatasetStatistics,
        pixels: PixelStatistics,
        config: TrainConfig,
        slots: range,
    ) -> None:
        self.dataset, self.source, self.survey = dataset, source, survey
        self.pixels, self.config, self.slots = pixels, config, slots
        first = epoch_order(config.seed, 0, survey.landscape, config.images_per_batch)
        self._orders = {0: first}

    def entries(self, iteration: int) -> NDArray[np.intp]:
        """(image, mirrored) of each image of the batch, [images_per_batch, 2]."""
        epoch, position = divmod(iteration, len(self._orders[0]))
        if epoch not in self._orders:
            order = epoch_order(
                self.config.seed, epoch, self.survey.landscape, self.config.images_per_batch
            )
            self._orders = {0: self._orders[0], epoch: order}
        batch: NDArray[np.intp] = self._orders[epoch][position]
        return batch

    def names(self, iteration: int) -> list[str]:
        """The images of the batch, for messages."""
        return [
            self.dataset.image_id(int(self.survey.usable[index]))
            for index, _ in self.entries(iteration)
        ]

    def scales(self, iteration: int) -> list[int]:
        """Shorter side of each image of the batch, drawn anew each time it is seen."""
        # the slots have their own streams, numbered from 0
        count = self.config.images_per_batch
        rng = np.random.default_rng([self.config.seed, iteration, count])
        return rng.choice(self.config.scales, self.config.images_per_batch).tolist()

    def padded_size(self, iteration: int) -> tuple[int, int]:
        """(height, width) that holds every image of the batch, whoever makes it."""
        sizes = [
            transforms.resized_size(
                self.survey.sizes[index],
                transforms.resize_factor(self.survey.sizes[index], scale, self.config.max_size),
            )
            for (index, _), scale in zip(
                self.entries(iteration), self.scales(iteration), strict=True
            )
        ]
        height, width = (max(MIN_SIDE, *sides) for sides in zip(*sizes, strict=True))
        return height, width

    @property
    def digest(self) -> str:
        """Of the images and their order, on which everything that is drawn depends."""
        names = "\n".join(self.dataset.image_id(int(index)) for index in self.survey.usable)
        return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()

    def __len__(self) -> int:
        return self.config.iterations

    def __getitem__(self, iteration: int) -> Batch | FrcnnError:
        """The batch, or why there is none: an error that crosses from one process to another.

        Of any kind: the loader would wait for ever for a process that an exception has ended.
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
        """Read the images, draw the RoIs, put them together."""
        config = self.config
        sampling = Sampling(
            config.rois_per_batch // config.images_per_batch,
            config.fg_fraction,
            config.fg_threshold,
            (config.bg_low, config.bg_high),
        )
        entries, scales = self.entries(iteration), self.scales(iteration)
        prepared = []
        for slot in self.slots:
            index, mirrored = entries[slot]
            image_index = int(self.survey.usable[index])
            sample = read_sample(self.dataset, self.source, image_index, config.max_proposals)
            rng = np.random.default_rng([config.seed, iteration, slot])
            prepared.append(
                preprocess_training(
                    hflip(sample) if mirrored else sample,
                    scales[slot],
                    config.max_size,
                    sampling,
                    self.survey.deltas,
                    rng,
                )
            )
        return collate(prepared, self.pixels, self.padded_size(iteration))

    def ahead(self, begin: int, workers: int, pinned: bool) -> DataLoader[Batch | FrcnnError]:
        """The batches from `begin` on, made ahead of time in processes of their own.

        Where there is no fork that is safe, they are made when they are asked for.
        """
        forks = sys.platform == "linux"
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(begin, self.config.iterations),
            num_workers=workers if forks else 0,
            multiprocessing_context="fork" if forks and workers else None,
            pin_memory=pinned,
            worker_init_fn=_ignore_signals,
        )


def _ignore_signals(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal, and SIGTERM often a whole group; only the process
    that trains answers, and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def workers_explained() -> Iterator[None]:
    """Within the block, that a process that makes batches was killed is an error of ours.

    torch raises it wherever the program is at that moment, so nothing can be saved then.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if "DataLoader worker (pid" not in str(error) and not isinstance(error, ConnectionError):
            raise
        raise FrcnnError(
            "a process that makes batches was killed",
            "it needs more memory, or room in /dev/shm; --resume goes on from the last checkpoint",
        ) from None
