"""Time of EfficientNet's convolutions in training, with our depthwise gradient or torch's.

    python benchmarks/depthwise.py [--backbone efficientnet_lite2] [--repetitions 5]

Two images of 544×736 pixels, forward and backward, in turns; the layers before stage 3 are frozen,
as in training. Prints the medians in float32, and in bfloat16 where the processor has it; the last
ratio is that of the type in which training computes here.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import nn

from frcnn_cli.models.backbones import backbone_spec
from frcnn_cli.ops import depthwise
from frcnn_cli.runtime.device import keep_freed_memory

ALL_KERNELS = 99  # a limit that leaves every kernel to torch


def one_pass(features: nn.Module, images: torch.Tensor, dtype: torch.dtype) -> float:
    """Seconds of a forward and a backward pass."""
    begun = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        maps = features(images)
    maps.float().mean().backward()
    return time.perf_counter() - begun


def main() -> None:
    """Print a row for each type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="efficientnet_lite2")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    keep_freed_memory()
    spec = backbone_spec(arguments.backbone)
    features = spec.features().train().to(memory_format=torch.channels_last)
    for module in list(features)[: spec.layers[spec.first_trained]]:
        module.requires_grad_(False)
    images = torch.randn(2, 3, 544, 736).to(memory_format=torch.channels_last)
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    limits = {"ours": depthwise._ONEDNN_KERNEL, "torch": ALL_KERNELS}
    for dtype in (torch.float32, *([torch.bfloat16] if has_bfloat16 else [])):
        seconds: dict[str, list[float]] = {name: [] for name in limits}
        for _ in range(arguments.repetitions + 1):
            for name, limit in limits.items():
                depthwise._ONEDNN_KERNEL = limit
                seconds[name].append(one_pass(features, images, dtype))
        ours, torchs = (statistics.median(each[1:]) for each in seconds.values())
        print(
            f"{str(dtype).removeprefix('torch.'):>8}  ours {ours:.2f} s  torch {torchs:.2f} s  "
            f"ratio {torchs / ours:.2f}"
        )


if __name__ == "__main__":
    main()
