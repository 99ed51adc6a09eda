"""Where the network runs."""

from __future__ import annotations

import torch

from ..errors import ConfigError


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
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"there is no {name!r} here", "use --device cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """What the network computes in; its weights and its losses stay in float32.

    Args:
        name: fp32, bf16, or auto: bf16 where the processor has instructions for it.
    Raises:
        ConfigError: no such precision.
    """
    if name not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"unknown precision {name!r}", "expected auto, fp32 or bf16")
    if name == "auto":
        name = "bf16" if _has_bf16(device) else "fp32"
    return torch.bfloat16 if name == "bf16" else torch.float32


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
