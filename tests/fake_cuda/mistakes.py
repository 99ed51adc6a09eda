"""Mistakes that the CPU forgives: each does the right thing in the wrong way for a GPU.

The device refuses the wrong function, or makes the host wait in it; it does neither in the right
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

CUDA = torch.device("cuda")


@dataclass(frozen=True)
class Mistake:
    """Two ways to do the same thing."""

    wrong: Callable[[], object]
    right: Callable[[], object]


def features() -> Tensor:
    """Made on the device, without an upload."""
    return torch.arange(12.0, device=CUDA).reshape(4, 3)


def drop(mask_device: str) -> Tensor:
    return features() * torch.ones((4, 3), device=mask_device)


def draw(generator_device: str) -> Tensor:
    generator = torch.Generator(generator_device).manual_seed(1)
    return torch.empty(4, device=CUDA).bernoulli_(0.5, generator=generator)


def choose(index_device: str) -> Tensor:
    return features()[torch.arange(2, device=index_device)]


def choose_from_the_host(values_device: str) -> Tensor:
    return torch.zeros(4, device=values_device)[torch.arange(2, device=CUDA)]


def fetch() -> Tensor:
    loss = features().sum()
    fetched = torch.empty((), pin_memory=True)
    fetched.copy_(loss, non_blocking=True)
    return fetched


def read_at_once() -> None:
    """Before the copy has arrived: a number that is not the loss."""
    assert fetch().item() == 66


def read_after_its_event() -> None:
    fetched, arrived = fetch(), torch.cuda.Event()
    arrived.record()
    while not arrived.query():
        pass  # training would go on meanwhile
    assert fetched.item() == 66


def refill(wait: bool) -> None:
    """Reuse pinned memory while the device may still read it."""
    batch, uploaded = torch.zeros(4).pin_memory(), torch.cuda.Event()
    batch.to(CUDA, non_blocking=True)
    uploaded.record()
    while wait and not uploaded.query():
        pass
    batch += 1


def upload(*, pinned: bool, non_blocking: bool = True) -> Tensor:
    batch = torch.zeros((2, 3))
    return (batch.pin_memory() if pinned else batch).to(CUDA, non_blocking=non_blocking)


def upload_images(cast_on_the_host: bool) -> Tensor:
    """In channels-last order; a cast of such memory on the way up goes over unpinned memory."""
    images = torch.zeros((1, 3, 4, 4), dtype=torch.uint8)
    pinned = images.contiguous(memory_format=torch.channels_last).pin_memory()
    if cast_on_the_host:
        return pinned.to(CUDA, torch.float32, non_blocking=True)
    return pinned.to(CUDA, non_blocking=True).float()


def measure(wait: bool) -> float:
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begun.record()
    features()
    ended.record()
    while wait and not ended.query():
        pass
    return begun.elapsed_time(ended)


MISTAKES: dict[str, Mistake] = {
    "a mask made on the host": Mistake(lambda: drop("cpu"), lambda: drop("cuda")),
    "a generator of the host": Mistake(lambda: draw("cpu"), lambda: draw("cuda")),
    "an index left on the host": Mistake(lambda: choose("cpu"), lambda: choose("cuda")),
    "values left on the host": Mistake(
        lambda: choose_from_the_host("cpu"), lambda: choose_from_the_host("cuda")
    ),
    "a loss asked for at once": Mistake(lambda: features().sum().item(), fetch),
    "a loss read too early": Mistake(read_at_once, read_after_its_event),
    "a pageable upload": Mistake(lambda: upload(pinned=False), lambda: upload(pinned=True)),
    "an upload that blocks": Mistake(
        lambda: upload(pinned=True, non_blocking=False), lambda: upload(pinned=True)
    ),
    "an upload with a cast": Mistake(lambda: upload_images(True), lambda: upload_images(False)),
    "pinned memory refilled early": Mistake(lambda: refill(wait=False), lambda: refill(wait=True)),
    "time asked for too early": Mistake(lambda: measure(wait=False), lambda: measure(wait=True)),
    "values from a list": Mistake(
        lambda: torch.tensor([1.0, 2.0], device=CUDA), lambda: torch.ones(2, device=CUDA)
    ),
    "rows chosen by a mask": Mistake(
        lambda: features()[features()[:, 0] > 3],
        lambda: features() * (features()[:, :1] > 3),
    ),
}
