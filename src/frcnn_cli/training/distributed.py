"""Several processes that train one network, as PyTorch's launcher starts them.

torchrun --nproc-per-node=2 -m frcnn_cli train ...
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import ConfigError

# While the first process judges the network on the validation images, the others wait.
PATIENCE = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """Which process this is, and of how many."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """This process's part of `count` images.

        Raises:
            ConfigError: they cannot be shared out evenly.
        """
        if count % self.size:
            raise ConfigError(
                f"{count} images in a batch cannot be shared among {self.size} processes",
                "give --images-per-batch a multiple of the number of processes",
            )
        own = count // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def add(self, values: Tensor) -> Tensor:
        """The sums over all processes."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is set in any of the processes."""
        if self.size == 1:
            return flag
        place = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
        return self.add(torch.tensor([float(flag)], device=place)).item() > 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network, with gradients averaged over the processes in its backward pass."""
        if self.size == 1:
            return network
        return DistributedDataParallel(
            network, broadcast_buffers=False, gradient_as_bucket_view=True
        )


@contextmanager
def world(device: str) -> Iterator[tuple[World, str]]:
    """Join the other processes, if the launcher started any.

    Args:
        device: auto, cpu, cuda or cuda:N.
    Yields:
        The world, and the device of this process.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield World(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()
