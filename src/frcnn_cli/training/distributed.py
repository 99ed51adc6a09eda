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

# How long a process waits for the others: they wait while the first one validates.
TIMEOUT = timedelta(hours=6)


@dataclass(frozen=True)
class World:
    """The processes that train together, as one of them sees them."""

    rank: int = 0  # number of this process
    size: int = 1  # number of processes

    @property
    def first(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    def slots(self, count: int) -> range:
        """This process's part of the `count` images of a batch.

        Raises:
            ConfigError: they cannot be divided evenly.
        """
        if count % self.size:
            raise ConfigError(
                f"{count} images in a batch cannot be shared among {self.size} processes",
                "give --images-per-batch a multiple of the number of processes",
            )
        own = count // self.size
        return range(self.rank * own, (self.rank + 1) * own)

    def sum(self, values: Tensor) -> Tensor:
        """The sums of `values` over the processes; `values` is overwritten with them."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def total(self, number: float) -> float:
        """The sum of a number over the processes."""
        if self.size == 1:
            return number
        device = torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
        return self.sum(torch.tensor([number], device=device)).item()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any of the processes."""
        return self.total(float(flag)) > 0

    def of_first(self, text: str) -> str:
        """The text that the first process passed."""
        if self.size == 1:
            return text
        texts = [text]
        distributed.broadcast_object_list(texts)
        return texts[0]

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over the processes in its backward pass."""
        if self.size == 1:
            return network
        return DistributedDataParallel(
            network, broadcast_buffers=False, gradient_as_bucket_view=True
        )


@contextmanager
def join_processes(device: str) -> Iterator[tuple[World, str]]:
    """Connect to the other processes while the block runs, if the launcher started any.

    Args:
        device: auto, cpu, cuda or cuda:N.
    Yields:
        The processes, and the device of this one: with several of them a GPU of its own.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(), device
        return
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu:
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=TIMEOUT)
    try:
        yield World(distributed.get_rank(), size), device
    finally:
        distributed.destroy_process_group()
