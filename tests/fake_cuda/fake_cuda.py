"""A make-believe GPU, to test the CUDA path where there is none.

The runtime of shim.c makes torch believe in a device `cuda:0` whose memory is the host's. A
`TorchDispatchMode` then sees every operator before it runs. It runs the CPU kernel on the same
memory, refuses what the real device refuses (tensors or generators of two devices), and counts, by
place in the code, the kernels, the uploads, and the times that the host waits for the device.

A real device works behind the host's back. So what an asynchronous download will write is a
placeholder until the host has waited for it, and what an asynchronous upload reads must not change
before that.

It knows nothing of cuDNN, cuBLAS, CUDA's own random numbers (a generator gives those of the CPU),
the order of sums in atomics, the order of streams, memory limits, torch.compile and NCCL.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from fake_cuda.ledger import Ledger, place
from fake_cuda.rules import FREE, Call, is_asynchronous

aten = torch.ops.aten


def _cudnn_convolution_relu(
    x: Tensor, weight: Tensor, bias: Tensor | None, *geometry: Any
) -> Tensor:
    stride, padding, dilation, groups = geometry
    convolved = aten.convolution(
        x, weight, bias, stride, padding, dilation, False, [0] * len(stride), groups
    )
    return convolved.relu_()


# Operators that only CUDA has, of those of the CPU.
SUBSTITUTES: dict[str, Callable[..., Any]] = {
    "aten.cudnn_convolution_relu": _cudnn_convolution_relu
}


def on_host(tensor: Tensor) -> Tensor:
    """The memory of a cuda tensor, as a tensor of the CPU; one of the CPU is returned as it is."""
    if not tensor.is_cuda:
        return tensor
    storage = tensor.untyped_storage()
    if not storage.nbytes() or not tensor.numel():
        return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype)
    memory = (ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())
    alias = torch.frombuffer(memory, dtype=torch.uint8).untyped_storage()
    empty = torch.empty(0, dtype=tensor.dtype)
    return empty.set_(alias, tensor.storage_offset(), tensor.size(), tensor.stride())


def on_device(tensor: Tensor) -> Tensor:
    """A new cuda tensor with the content and the strides of one of the CPU."""
    made = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device="cuda:0")
    on_host(made).copy_(tensor)
    return made


class Queue:
    """What the device may not have finished yet, as far as the host knows."""

    def __init__(self) -> None:
        self._finish: list[Callable[[], None]] = []
        self.finished = 0

    @property
    def length(self) -> int:
        """How many things were queued so far, the finished ones included."""
        return self.finished + len(self._finish)

    def finish(self, count: int | None = None) -> None:
        """Learn that the first `count` things are finished; None for all."""
        while self._finish and (count is None or self.finished < count):
            self.finished += 1
            self._finish.pop(0)()

    def event(self) -> int:
        """Queue an event, and return its position, counted from 1."""
        self._finish.append(lambda: None)
        return self.length

    def download(self, target: Tensor) -> None:
        """Put a placeholder into `target`, in place of what has arrived in it, until then."""
        value = target.clone()
        target.fill_(torch.nan if target.dtype.is_floating_point else 77)

        def arrive() -> None:
            target.copy_(value)

        self._finish.append(arrive)

    def upload(self, source: Tensor, place: str) -> None:
        """Insist that `source` stays as it is until the host has waited."""
        expected = source.clone()

        def check() -> None:
            same_nan = (source != source) & (expected != expected)
            if not ((source == expected) | same_nan).all():
                raise RuntimeError(f"the pinned memory uploaded at {place} was changed too early")

        self._finish.append(check)


class Generators:
    """For each generator of the device, one of the CPU that gives its numbers."""

    def __init__(self) -> None:
        self._twins: dict[int, tuple[torch.Generator, int, torch.Generator]] = {}

    def twin(self, generator: torch.Generator) -> torch.Generator:
        seed = generator.initial_seed()
        known, known_seed, twin = self._twins.get(id(generator), (None, None, None))
        if known is not generator or known_seed != seed or twin is None:
            twin = torch.Generator().manual_seed(seed)
            self._twins[id(generator)] = generator, seed, twin
        return twin


@dataclass
class Device:
    """The state of the device, which all threads share."""

    ledger: Ledger = field(default_factory=Ledger)
    queue: Queue = field(default_factory=Queue)
    generators: Generators = field(default_factory=Generators)
    guard: Any = field(default_factory=threading.RLock)

    def wait(self, what: str, count: int | None = None) -> None:
        """Let the host wait for the first `count` things in the queue; None for all."""
        with self.guard:
            self.ledger.waits[place(), what] += 1
            self.queue.finish(count)

    def uploaded(self, source: Tensor, name: str) -> None:
        self.ledger.uploads[place(), name] += source.numel() * source.element_size()

    def transfer(self, name: str, source: Tensor, target: Tensor, non_blocking: bool) -> None:
        """Copy between host and device."""
        asynchronous = is_asynchronous(source, target, non_blocking)
        with self.guard:
            if target.is_cuda:
                self.uploaded(source, name)
            if not asynchronous:
                self.wait(f"{name}, {'upload' if target.is_cuda else 'download'}")
            on_host(target).copy_(on_host(source))
            if asynchronous and target.is_cuda:
                self.queue.upload(source, place())
            elif asynchronous:
                self.queue.download(target)


class _Mode(TorchDispatchMode):
    """Runs the operators of one thread."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(operator, args, kwargs or {})
        composite = torch._C.DispatchKey.CompositeImplicitAutograd
        if operator.namespace == "aten" and operator.has_kernel_for_dispatch_key(composite):
            with self:  # its parts may have rules of their own
                result = operator.decompose(*call.args, **call.kwargs)
            if result is not NotImplemented:
                return result
        is_view = operator.is_view and call.name != "aten.lift_fresh"
        if not call.is_on_device or is_view or call.name in FREE:
            return operator(*call.args, **call.kwargs)
        with self._device.guard:
            return self._run(call)

    def _run(self, call: Call) -> Any:
        call.check()
        if call.name == "aten.lift_fresh":  # torch.tensor(values): they are on the device by now
            self._device.uploaded(call.args[0], call.name)
            self._device.wait(f"{call.name}, upload")
            return call.operator(*call.args)
        if call.name == "aten.copy_" and call.args[0].is_cuda != call.args[1].is_cuda:
            return self._copy_into(*call.args, **call.kwargs)
        if call.name == "aten._to_copy" and call.target not in (None, call.args[0].device.type):
            return self._copy_over(*call.args, **call.kwargs)
        if call.waits():
            self._device.wait(call.name)
        if call.name != "aten._local_scalar_dense":  # a copy of one number
            self._device.ledger.kernels[place(), call.name] += 1
        return self._run_on_host(call)

    def _copy_into(self, target: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
        self._device.transfer("aten.copy_", source, target, non_blocking)
        return target

    def _copy_over(
        self, source: Tensor, *, device: Any, non_blocking: bool = False, **options: Any
    ) -> Tensor:
        like = aten._to_copy(on_host(source), **options)  # in its type and order of memory
        pinned = source.is_cuda and non_blocking
        target = torch.empty_strided(
            like.size(), like.stride(), dtype=like.dtype, device=device, pin_memory=pinned
        )
        self._device.transfer("aten._to_copy", source, target, non_blocking)
        return target

    def _run_on_host(self, call: Call) -> Any:
        """Run the CPU kernel on the memory of the device."""
        lent: dict[int, tuple[Tensor, Tensor]] = {}  # by id of the alias, which is kept alive

        def lend(leaf: Any) -> Any:
            if isinstance(leaf, torch.Generator):
                return self._device.generators.twin(leaf)
            if not isinstance(leaf, Tensor) or not leaf.is_cuda:
                return leaf
            alias = on_host(leaf)
            lent[id(alias)] = leaf, alias
            return alias

        def give_back(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor):
                return leaf
            return lent[id(leaf)][0] if id(leaf) in lent else on_device(leaf)

        args, kwargs = tree_map(lend, (call.args, call.kwargs))
        if call.target is not None:
            kwargs["device"] = torch.device("cpu")
        kernel = SUBSTITUTES.get(call.name, call.operator)
        return tree_map(give_back, kernel(*args, **kwargs))


@contextmanager
def fake_cuda() -> Iterator[Ledger]:
    """Run the block, and the threads that it starts, with the device; yields what it counts.

    Raises:
        RuntimeError: the block does what the real device does not allow.
    """
    torch.cuda.init()
    device = Device()

    @contextmanager
    def running() -> Iterator[None]:
        # otherwise torch runs backward passes in a thread of its own, without the mode
        with torch.autograd.set_multithreading_enabled(False), _Mode(device):
            yield

    with ExitStack() as stack:
        for target, name, replacement in _replacements(device, running):
            stack.enter_context(patch.object(target, name, replacement))
        stack.enter_context(running())
        yield device.ledger
        device.queue.finish()


def _replacements(
    device: Device, running: Callable[[], Any]
) -> list[tuple[Any, str, Callable[..., Any]]]:
    """What torch does without any operator, and the start of threads: (owner, name, function)."""
    event = torch.cuda.Event
    record, elapsed_time, run = event.record, event.elapsed_time, threading.Thread.run

    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        self.position, self.asked = device.queue.event(), False
        record(self, *args, **kwargs)

    def position(self: Any) -> int:
        return getattr(self, "position", 0)  # an event that was not recorded is finished

    def queried(self: Any) -> bool:
        """The first answer is no, unless the host has waited meanwhile."""
        if getattr(self, "asked", True):
            device.queue.finish(position(self))
        self.asked = True
        return device.queue.finished >= position(self)

    def elapsed(self: Any, end: Any) -> float:
        if device.queue.finished < max(position(self), position(end)):
            raise RuntimeError(f"CUDA error: device not ready at {place()}")
        return elapsed_time(self, end)

    def ran(self: threading.Thread) -> None:
        with running():
            run(self)

    return [
        (event, "record", recorded),
        (event, "query", queried),
        (event, "elapsed_time", elapsed),
        (event, "synchronize", lambda self: device.wait("event.synchronize", position(self))),
        (torch.cuda.Stream, "synchronize", lambda self: device.wait("stream.synchronize")),
        (torch.cuda, "synchronize", lambda *ignored: device.wait("cuda.synchronize")),
        (threading.Thread, "run", ran),
    ]
