"""Where the network runs, and in what precision."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import torch

from ..config import PRECISIONS
from ..errors import ConfigError, unknown_name

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA where there is a GPU and the CPU elsewhere.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(
            f"unknown device {name!r}", "expected auto, cpu, cuda or cuda:N"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device {name!r} is not supported", "expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not 0 <= (device.index or 0) < torch.cuda.device_count():
        raise ConfigError(f"there is no {name!r} here", "use --device cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The type in which convolutions and fully connected layers compute.

    "auto" is bfloat16 where the device multiplies matrices of it faster than of float32: on
    processors with AVX512_BF16 or AMX, and on GPUs from Ampere on; elsewhere float32.

    Raises:
        ConfigError: no such precision, or float16 on the CPU.
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
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("avx512_bf16") or able.get("amx_bf16"))
    return torch.bfloat16 if fast else torch.float32


def keep_freed_memory() -> None:
    """Let this process keep what it frees, where it runs on glibc.

    By default the maps of a step, each larger than 32 MB, are given back to the system and asked
    for again in the next one, which then clears every page of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)  # everything comes from the heap
        mallopt(_M_TRIM_THRESHOLD, -1)  # which never shrinks


def peak_bytes(device: torch.device) -> int:
    """Most memory that this process has held: on a GPU what torch took there, else resident
    memory; 0 on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would tell of the parent: Linux hands it on over exec
        peak = status.read_text().partition("VmHWM:")[2].split()
        if peak:
            return 1024 * int(peak[0])
    try:
        import resource
    except ImportError:
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
