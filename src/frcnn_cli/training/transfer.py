"""Giving a trained detector the classes of another data set.

U: outputs of the box head, K: classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..data.dataset import match_classes
from ..models.region_network import RegionNetwork


def has_new_classes(classes: Sequence[str], known: Sequence[str]) -> bool:
    """Whether some of the classes are not among those that a detector knows."""
    return bool(match_classes(classes, known).unmatched)


def replace_classes(
    network: RegionNetwork, known: Sequence[str], classes: Sequence[str]
) -> list[str]:
    """Make the two output layers of a network predict other classes, in place.

    Classes that the network knows keep their outputs, and so does the background. The others start
    from random, as in a new network (Fast R-CNN, section 2.3).

    Args:
        known: names of the network's classes. classes: K names of the new ones.
    Returns:
        The classes whose outputs are new.
    """
    mapping = match_classes(classes, known).mapping
    kept = {0: 0} | {
        label: known.index(mapping[name]) + 1
        for label, name in enumerate(classes, start=1)
        if name in mapping
    }
    class_agnostic = network.bbox_pred.out_features == 4
    network.cls_score = _rows_replaced(network.cls_score, kept, len(known), len(classes), 0.01)
    if not class_agnostic:  # else the layer is for any class
        network.bbox_pred = _rows_replaced(network.bbox_pred, kept, len(known), len(classes), 0.001)
    return [name for label, name in enumerate(classes, start=1) if label not in kept]


def _rows_replaced(
    old: nn.Linear, kept: Mapping[int, int], known: int, count: int, deviation: float
) -> nn.Linear:
    """A layer with outputs for other classes.

    Args:
        old: the layer with outputs for the background and `known` classes.
        kept: new label -> old label, of the classes whose outputs stay.
        count: K. deviation: of the random weights of the other classes.
    """
    outputs = old.out_features // (known + 1)  # of a class
    new = nn.Linear(old.in_features, outputs * (count + 1))
    nn.init.normal_(new.weight, std=deviation)
    nn.init.zeros_(new.bias)
    labels, sources = list(kept), list(kept.values())
    with torch.no_grad():
        for name, parameter in new.named_parameters():
            by_class = old.get_parameter(name).view(known + 1, -1)
            parameter.view(count + 1, -1)[labels] = by_class[sources]
    return new
