"""What a weights file holds and what it costs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from ..models.fast_rcnn import FastRCNN
from .checkpoint import load_weights
from .measure import head_flops


def describe(path: Path) -> dict[str, Any]:
    """Everything about a weights file, for people and programs.

    Raises:
        WeightsError: see `load_weights`.
    """
    model, header = load_weights(path)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    with safe_open(path, framework="pt") as tensors:
        kinds = {tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
    size = header.scale, min(header.scale * 4 // 3, header.max_size)
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "dtype": "+".join(sorted(kinds)),
        "sha256": checksum,
        "backbone": header.backbone,
        "classes": list(header.classes),
        "input": {
            "short_side": header.scale,
            "long_side": header.max_size,
            "mean": header.pixel_mean,
            "std": header.pixel_std,
        },
        "ranks": header.ranks,
        "screen": header.screen,
        "parameters": {
            "convolutions": _count(model.features),
            **{name: _count(layer) for name, layer in model.fc_layers.items()},
            "cls_score": _count(model.cls_score),
            "bbox_pred": _count(model.bbox_pred),
            **({"screen": _count(model.screen)} if header.screen else {}),
        },
        "flops": {"features": feature_flops(model, size), "roi": head_flops(model)},
        "provenance": header.provenance,
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def feature_flops(model: FastRCNN, size: tuple[int, int]) -> int:
    """Floating-point operations of the convolutions for an image of (height, width) pixels.

    A multiply-add is two; pooling and activations are not counted.
    """
    total = 0

    def add(layer: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * layer.weight[0].numel() * output.numel()

    layers = [layer for layer in model.features.modules() if isinstance(layer, nn.Conv2d)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    parameter = next(model.features.parameters())
    try:
        with torch.inference_mode():
            image = torch.zeros((1, 3, *size), device=parameter.device, dtype=parameter.dtype)
            model.features(image)
    finally:
        for handle in handles:
            handle.remove()
    return total
