"""Giving a trained detector the classes of another data set.

U: outputs of the box head, K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    width, count = network.cls_score.in_features, len(classes) + 1
    cls_score, bbox_pred = nn.Linear(width, count), nn.Linear(width, 4 * count)
    nn.init.normal_(cls_score.weight, std=0.01)
    nn.init.normal_(bbox_pred.weight, std=0.001)
    nn.init.zeros_(cls_score.bias)
    nn.init.zeros_(bbox_pred.bias)
    labels, sources = list(kept), list(kept.values())
    with torch.no_grad():
        for new, old in ((cls_score, network.cls_score), (bbox_pred, network.bbox_pred)):
            for name, parameter in new.named_parameters():
                by_class = old.get_parameter(name).view(len(known) + 1, -1)
                parameter.view(count, -1)[labels] = by_class[sources]
    network.cls_score, network.bbox_pred = cls_score, bbox_pred
    return [name for label, name in enumerate(classes, start=1) if label not in kept]
