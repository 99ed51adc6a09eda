"""A summary of a weights file: its network, its origin and its cost."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from ..config import MIN_SIDE
from .weights import load_weights, stored_types


def describe(path: Path) -> dict[str, Any]:
    """Summarise a weights file, in values that JSON can represent.

    Raises:
        WeightsError: see `load_weights`.
    """
    network, header = load_weights(path)
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    short_side = max(header.scale, MIN_SIDE)
    size = short_side, max(short_side, min(short_side * 4 // 3, header.max_size))
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "dtype": "+".join(sorted(stored_types(path))),
        "sha256": checksum,
        "detector": header.detector,
        "region_operator": header.region_operator,
        "score_function": header.score_function,
        "calibration": None if header.calibration is None else asdict(header.calibration),
        "geometry": header.geometry,
        "backbone": header.backbone,
        "classes": list(header.classes),
        "input": {
            "short_side": header.scale,
            "long_side": header.max_size,
            "views": header.views,
            "mean": header.pixels.mean,
            "std": header.pixels.std,
        },
        "ranks": header.ranks,
        "prefilter": header.prefilter,
        "parameters": {
            "convolutions": _count(network.features),
            **{name: _count(layer) for name, layer in network.fc_layers.items()},
            **{name: _count(layer) for name, layer in network.output_layers().items()},
            **({"prefilter": _count(network.prefilter)} if header.prefilter else {}),
        },
        "flops": {
            "features": network.image_flops(size),
            "roi": network.region_flops() + network.head_flops(),
        },
        "provenance": header.provenance,
    }


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
