"""Chooses the device and precision of the network, and manages the memory of the process."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch
from torch import Tensor

from ..config import PRECISIONS
from ..errors import ConfigError, unknown_name

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # constants of malloc.h
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device of that name: cpu, cuda, cuda:N, or auto, which is cuda if a GPU is available.

    On a GPU, float32 then means float32 in the whole process: by default torch rounds the inputs of
    convolutions to 10 bits (TF32).

    Raises:
        ConfigError: unknown name, or this machine has no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"unknown device {name!r}", "expected auto, cpu, cuda or cuda:N"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported", "expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not 0 <= (device.index or 0) < torch.cuda.device_count():
            raise ConfigError(f"this machine has no device {name!r}", "use --device cpu")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The data type in which convolutions and fully connected layers compute.

    Args:
        name: one of PRECISIONS; "auto" is bfloat16 where the device multiplies bfloat16 matrices
            faster than float32 ones (processors with AVX512_BF16 or AMX, GPUs from Ampere on), and
            float32 elsewhere.
    Raises:
        ConfigError: unknown name, or float16 on the CPU.
    """
    if name not in PRECISIONS:
        raise unknown_name("precision", name, PRECISIONS)
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("--precision fp16 is for GPUs", "use bf16 or fp32")
    if name != "auto":
        return _DTYPES[name]
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        features = torch.cpu.get_capabilities()
        fast = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device, without waiting for the copy."""
    if device.type == "cuda":  # copies from other than page-locked memory make the program wait
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Download:
    """A copy of a tensor to the CPU that runs while the program goes on.

    Args:
        tensor: on any device; it must not change any more.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._copy, self._done = tensor, None
        if tensor.device.type == "cuda":
            self._copy = torch.empty_like(tensor, device="cpu", pin_memory=True)
            self._copy.copy_(tensor, non_blocking=True)
            self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._done.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """The copy, when it is complete; of a tensor on the CPU the tensor itself."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy


def keep_freed_memory() -> None:
    """Make glibc keep freed memory in this process, for the next allocation.

    By default, glibc returns the feature maps of a training step, each larger than 32 MB, to the
    operating system and allocates them again in the next step, and the system clears every page.
    Does nothing except on Linux with glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)  # all memory comes from the heap
        mallopt(_M_TRIM_THRESHOLD, -1)  # which never shrinks


def peak_bytes(device: torch.device) -> int:
    """The largest amount of memory, in bytes, that this process has used so far.

    On a GPU this is the memory that torch allocated on it; on the CPU it is the resident memory, or
    0 on Windows, which does not report it.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss will not do: on Linux a new program inherits its parent's
        peak = status.read_text().partition("VmHWM:")[2].split()
        if peak:
            return 1024 * int(peak[0])
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
