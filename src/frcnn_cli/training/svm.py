"""Linear SVMs on the features of regions, trained by hard negative mining (R-CNN, section 2.3).

Positive examples of a class are its objects alone; negative ones are regions whose IoU with every
object of the class is below 0.3. Of the negatives only hard ones are kept, those on the wrong side
of the margin, which is all that the solution of an SVM depends on.

N: regions of an image, K: classes, U: outputs of the last hidden layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError, DataError
from ..models.region_network import SVM, RegionNetwork
from ..ops import boxes as box_ops
from ..structures import GroundTruth
from .region_store import RegionStore
from .roi_sampling import in_crowd

FEATURE_NORM = 20.0  # the mean norm that features are scaled to, as in R-CNN's code
NORM_ROWS = 10_000  # from which the mean norm is taken
NO_OBJECTS_BIAS = -10.0  # margin of a class without objects: it is never detected


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Settings of R-CNN: those of section 2.3 and of its code, rcnn_train.m."""

    c: float = 0.001  # penalty of an example on the wrong side of the margin
    positive_weight: float = 2.0  # factor of it for positive examples
    bias_scale: float = 10.0  # of the constant feature, so that the bias is hardly regularised
    negative_iou: float = 0.3  # below which a region is negative
    hard_margin: float = -1.0  # negatives above it join the examples
    easy_margin: float = -1.2  # those below it leave them after a training
    retrain_after: int = 2000  # new negatives of a class
    passes: int = 2  # over all images, at most; R-CNN makes one after a first image
    tolerance: float = 1e-4  # of liblinear
    iterations: int = 10_000  # of liblinear
    seed: int = 3


@dataclass(frozen=True, kw_only=True)
class LinearSVMs:
    """One linear SVM for each class: margins = features @ weights.T + biases."""

    weights: NDArray[np.float32]  # [K, U], for unscaled features
    biases: NDArray[np.float32]  # [K]
    negatives: tuple[int, ...]  # number of hard negatives of each class at the end


def require_sklearn() -> Any:
    """scikit-learn's linear SVM.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError:
        raise ConfigError(
            "SVMs need scikit-learn, which is not installed",
            "pip install 'frcnn-cli[svm]', or leave the classes to --classifier softmax",
        ) from None
    return LinearSVC


def feature_scale(store: RegionStore) -> float:
    """The factor that brings the mean norm of the features to FEATURE_NORM."""
    rows = np.linspace(0, store.rows - 1, min(store.rows, NORM_ROWS)).astype(np.int64)
    norms = np.concatenate(
        [np.linalg.norm(store.features(part), axis=1) for part in store.chunks(rows)]
    )
    return FEATURE_NORM / max(float(norms.mean()), 1e-6)


class _ClassMiner:
    """The SVM of one class and its examples."""

    def __init__(
        self, store: RegionStore, positives: NDArray[np.int64], scale: float, config: MiningConfig
    ) -> None:
        self._store, self._scale, self._config = store, scale, config
        self._positives = scale * store.features(positives)
        self.negatives = np.zeros(0, np.int64)  # rows
        self.pending = 0  # negatives that the SVM has not seen
        self.is_trained = False
        self.weight, self.bias = np.zeros(store.width, np.float32), NO_OBJECTS_BIAS

    def add(self, rows: NDArray[np.int64]) -> int:
        """Add negatives that are not there yet; returns their number."""
        if not len(self._positives):
            return 0
        new = np.setdiff1d(rows, self.negatives, assume_unique=True)
        self.negatives = np.union1d(self.negatives, new)
        self.pending += len(new)
        return len(new)

    def train(self) -> None:
        """Train on all examples, and drop the negatives that are easy now."""
        config, svc_class = self._config, require_sklearn()
        negatives = self._scale * self._store.features(self.negatives)
        x = np.concatenate([self._positives, negatives])
        y = np.repeat([1, -1], [len(self._positives), len(negatives)])
        svc = svc_class(
            C=config.c,
            loss="hinge",
            class_weight={1: config.positive_weight},
            intercept_scaling=config.bias_scale,
            tol=config.tolerance,
            max_iter=config.iterations,
            random_state=config.seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it stopped a little before the optimum
            svc.fit(x.astype(np.float64), y)
        self.weight = svc.coef_[0].astype(np.float32)
        self.bias = float(svc.intercept_[0])
        margins = negatives @ self.weight + self.bias
        self.negatives = self.negatives[margins >= config.easy_margin]
        self.pending, self.is_trained = 0, True


def train_svms(
    store: RegionStore,
    truths: Sequence[GroundTruth],
    class_count: int,
    config: MiningConfig,
    *,
    ends_are_inside: bool = False,
    on_image: Callable[[str], None] = lambda note: None,
) -> LinearSVMs:
    """Train one SVM for each class.

    Passes over the images end when one finds no new hard negative, or after `config.passes`.

    Args:
        truths: the objects of each image of the store.
        class_count: K. ends_are_inside: the network's boxes end with their last pixel.
        on_image: called after each image of a pass, with the number of examples.
    Raises:
        ConfigError: scikit-learn is not installed. DataError: see `positive_rows`.
    """
    scale = feature_scale(store)
    positives = positive_rows(store, truths, class_count, ends_are_inside)
    miners = [_ClassMiner(store, rows, scale, config) for rows in positives]
    for _ in range(config.passes):
        found = 0
        for image, truth in enumerate(truths):
            found += _mine(miners, store, image, truth, scale, config)
            on_image(f"{sum(len(miner.negatives) for miner in miners):,} negatives")
        for miner in miners:
            if miner.pending:
                miner.train()
        if not found:
            break
    return LinearSVMs(
        weights=np.stack([scale * miner.weight for miner in miners]).astype(np.float32),
        biases=np.array([miner.bias for miner in miners], np.float32),
        negatives=tuple(len(miner.negatives) for miner in miners),
    )


def _mine(
    miners: Sequence[_ClassMiner],
    store: RegionStore,
    image: int,
    truth: GroundTruth,
    scale: float,
    config: MiningConfig,
) -> int:
    """Add the hard negatives of an image, and train the SVMs that have many new ones.

    Returns:
        The number of new negatives.
    """
    rows = store.slice_of(image)
    if rows.start == rows.stop:
        return 0
    features, found = scale * store.features(rows), 0
    boxes = store.boxes(image)
    overlaps = class_overlaps(boxes, truth, len(miners))
    overlaps[in_crowd(boxes, truth)] = 1  # they may be objects of any class
    margins = features @ np.stack([miner.weight for miner in miners]).T
    for index, miner in enumerate(miners):
        hard = margins[:, index] + miner.bias > config.hard_margin
        chosen = (overlaps[:, index] < config.negative_iou) & (hard | (not miner.is_trained))
        found += miner.add(rows.start + np.flatnonzero(chosen))
        first = not miner.is_trained and miner.pending > 0
        if first or miner.pending >= config.retrain_after:
            miner.train()
    return found


def class_overlaps(
    boxes: NDArray[np.float32], truth: GroundTruth, class_count: int
) -> NDArray[np.float32]:
    """The largest IoU of each box with an object of each class, difficult ones included, [N, K]."""
    overlaps = np.zeros((len(boxes), class_count), np.float32)
    iou = box_ops.iou(boxes, truth.boxes)
    for label in np.unique(truth.labels):
        overlaps[:, label - 1] = iou[:, truth.labels == label].max(axis=1)
    return overlaps


def positive_rows(
    store: RegionStore,
    truths: Sequence[GroundTruth],
    class_count: int,
    ends_are_inside: bool = False,
) -> list[NDArray[np.int64]]:
    """The rows of the objects of each class that are not difficult.

    Args:
        ends_are_inside: the network's boxes end with their last pixel, in which objects lower or
            narrower than 1.5 pixels become larger before their features are stored.
    Raises:
        DataError: an object has no region.
    """
    rows: list[list[int]] = [[] for _ in range(class_count)]
    for image, truth in enumerate(truths):
        objects, boxes = truth[~truth.difficult], store.boxes(image)
        stored = box_ops.from_last_pixel(
            box_ops.to_last_pixel(objects.boxes, ends_are_inside), ends_are_inside
        )
        first = store.slice_of(image).start
        for box, label in zip(stored, objects.labels, strict=True):
            found = np.flatnonzero((boxes == box).all(axis=1))
            if not len(found):
                raise DataError(
                    f"{store.folder} lacks the region of an object of image {image + 1}: the "
                    "objects have changed since it was written",
                    "remove the folder, then continue with --resume",
                )
            rows[label - 1].append(first + int(found[0]))
    return [np.array(sorted(set(each)), np.int64) for each in rows]


@torch.no_grad()
def fold_svms(network: RegionNetwork, svms: LinearSVMs) -> None:
    """Make the SVMs the classification layer of a network, whose logits are then margins.

    The background, which has no SVM, has a margin of 0.
    """
    layer = network.cls_score
    layer.weight.zero_()
    layer.bias.zero_()
    layer.weight[1:] = torch.from_numpy(svms.weights)
    layer.bias[1:] = torch.from_numpy(svms.biases)
    network.score_function = SVM
