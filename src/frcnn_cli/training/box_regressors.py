"""Ridge regression of boxes on the features of regions (R-CNN, Girshick et al. 2014, appendix C).

N: regions, K: classes, U: outputs of the last hidden layer, T: targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.region_network import RegionNetwork
from ..ops import box_coder
from ..ops import boxes as box_ops
from ..structures import GroundTruth
from .region_store import RegionStore
from .svm import feature_scale

PENALTY = 1000.0  # lambda, for features of mean norm svm.FEATURE_NORM
MIN_IOU = 0.6  # least IoU of a region with its object


@dataclass(frozen=True)
class BoxRegressors:
    """A linear regressor of the four deltas for each class; zeros where it has no examples."""

    weights: NDArray[np.float32]  # [K, 4, U], for unscaled features
    biases: NDArray[np.float32]  # [K, 4]


def ridge(
    parts: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ridge regression: the w and b that minimise |x w + b - y|² + penalty |w|².

    Args:
        parts: examples x [N, U] with their targets y [N, T], in one or more parts.
    Returns:
        w [U, T] and b [T].
    """
    zz, zy = np.zeros(()), np.zeros(())  # moments of z = (x, 1)
    for part_x, part_y in parts:
        z = np.pad(part_x.astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
        zz, zy = zz + z.T @ z, zy + z.T @ part_y.astype(np.float64)
    count = zz[-1, -1]
    mean_x, mean_y = zz[-1, :-1] / count, zy[-1] / count
    covariance = zz[:-1, :-1] - count * np.outer(mean_x, mean_x)
    regularised = covariance + penalty * np.eye(len(mean_x))
    w = np.linalg.solve(regularised, zy[:-1] - count * np.outer(mean_x, mean_y))
    return w, mean_y - mean_x @ w


def train_box_regressors(
    store: RegionStore,
    truths: Sequence[GroundTruth],
    class_count: int,
    *,
    ends_are_inside: bool = False,
    on_class: Callable[[], None] = lambda: None,
) -> BoxRegressors:
    """Fit the regressors of every class to the regions near its objects.

    Args:
        truths: the objects of each image of the store; difficult ones are left out.
        class_count: K. ends_are_inside: the network's boxes end with their last pixel.
        on_class: called after each class.
    """
    rows, labels, deltas = _pairs(store, truths, ends_are_inside)
    scale = feature_scale(store)
    weights = np.zeros((class_count, 4, store.width), np.float32)
    biases = np.zeros((class_count, 4), np.float32)
    for index in range(class_count):
        own = np.flatnonzero(labels == index + 1)
        if len(own):
            parts = (
                (scale * store.features(rows[part]), deltas[part]) for part in store.chunks(own)
            )
            w, biases[index] = ridge(parts, PENALTY)
            weights[index] = scale * w.T
        on_class()
    return BoxRegressors(weights, biases)


def _pairs(
    store: RegionStore, truths: Sequence[GroundTruth], ends_are_inside: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The regions of IoU >= MIN_IOU with an object.

    Returns:
        rows: [N]. labels: [N], of the object that the region overlaps most. deltas: [N, 4], to it.
    """
    rows, labels, deltas = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [_no_deltas()]
    for image, truth in enumerate(truths):
        objects, boxes = truth[~truth.difficult], store.boxes(image)
        if not len(objects.boxes) or not len(boxes):
            continue
        iou = box_ops.iou(boxes, objects.boxes)
        near = np.flatnonzero(iou.max(axis=1) >= MIN_IOU)
        nearest = iou[near].argmax(axis=1)
        rows.append(store.slice_of(image).start + near)
        labels.append(objects.labels[nearest])
        deltas.append(
            box_coder.encode(
                box_ops.to_last_pixel(boxes[near], ends_are_inside),
                box_ops.to_last_pixel(objects.boxes[nearest], ends_are_inside),
            )
        )
    return np.concatenate(rows), np.concatenate(labels), np.concatenate(deltas)


def _no_deltas() -> NDArray[np.float32]:
    return np.zeros((0, 4), np.float32)


@torch.no_grad()
def fold_box_regressors(network: RegionNetwork, regressors: BoxRegressors) -> None:
    """Make the regressors the box layer of a network."""
    layer = network.bbox_pred
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[4:] = torch.from_numpy(regressors.weights).flatten(0, 1)
    layer.bias[4:] = torch.from_numpy(regressors.biases).flatten()
