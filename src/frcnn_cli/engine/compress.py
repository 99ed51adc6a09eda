"""Compressing the fully connected layers of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from ..config import CompressConfig
from ..errors import WeightsError
from ..models.fast_rcnn import FastRCNN
from ..models.low_rank import break_even_rank, truncate
from .checkpoint import WeightsHeader


@dataclass(frozen=True)
class LayerReport:
    """What became of one layer."""

    name: str
    shape: tuple[int, int]  # outputs × inputs
    break_even: float  # the rank at which nothing would be saved
    rank: int | None  # None: left whole
    before: int  # weights, without biases
    after: int


def compress(
    model: FastRCNN, header: WeightsHeader, config: CompressConfig
) -> tuple[WeightsHeader, list[LayerReport]]:
    """Replace every fully connected layer by two, where that makes it smaller.

    Args:
        model: changed in place.
    Returns:
        The header with the ranks, and a report on every layer, the two heads included.
    Raises:
        WeightsError: compressed already, or the rank makes no layer smaller.
    """
    if header.ranks:
        ranks = ", ".join(f"{name} rank {rank}" for name, rank in header.ranks.items())
        raise WeightsError(
            f"these weights are compressed already ({ranks})", "start from the full ones"
        )
    layers: dict[str, nn.Module] = {**model.fc_layers}
    layers |= {"cls_score": model.cls_score, "bbox_pred": model.bbox_pred}
    reports, ranks_kept = [], {}
    for name, layer in layers.items():
        assert isinstance(layer, nn.Linear)
        outputs, inputs = layer.weight.shape
        before = outputs * inputs
        shrinks = name in model.fc_layers and config.rank < break_even_rank(layer)
        if shrinks:
            model.fc_layers[name] = truncate(layer, config.rank)
            ranks_kept[name] = config.rank
        reports.append(
            LayerReport(
                name,
                (outputs, inputs),
                break_even_rank(layer),
                config.rank if shrinks else None,
                before,
                config.rank * (outputs + inputs) if shrinks else before,
            )
        )
    if not ranks_kept:
        limits = ", ".join(f"{each.name} {each.break_even:.1f}" for each in reports)
        raise WeightsError(
            f"rank {config.rank} makes no layer smaller", f"it must be below one of: {limits}"
        )
    history = {**header.provenance, "compression": f"truncated SVD, rank {config.rank}"}
    return replace(header, ranks=ranks_kept, provenance=history), reports
