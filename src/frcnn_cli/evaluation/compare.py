"""Whether one detector is better than another, or the images happened to suit it.

Paired bootstrap over images (Efron and Tibshirani 1993, chapter 13): the same images are drawn
with replacement for both detectors, and the difference is taken each time. K classes, I images,
R resamples, H hits of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Floats
from .voc import RECALL_POINTS, MatchedDetections, Ranking, Rule, average_precision

CONFIDENCE = 0.95
_AT_ONCE = 100  # resamples; bounds the memory


@dataclass(frozen=True)
class Comparison:
    """Detectors A and B; differences are B - A. The mean stands last, after the K classes."""

    a: Floats  # K+1, AP; NaN for a class without objects
    b: Floats  # K+1
    low: Floats  # K+1, ends of the interval of confidence of the difference
    high: Floats  # K+1

    @property
    def difference(self) -> Floats:
        """[K+1]."""
        return self.b - self.a

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Whether zero lies outside the interval, [K+1]."""
        return (self.low > 0) | (self.high < 0)


def compare(
    a: MatchedDetections, b: MatchedDetections, rule: Rule, resamples: int, seed: int = 0
) -> Comparison:
    """Two detectors on the same images and objects.

    Args:
        resamples: R. seed: of the images drawn.
    """
    rng = np.random.default_rng(seed)
    images = a.images
    objects = np.zeros((images, a.classes + 1))
    counted = ~a.objects.difficult
    np.add.at(objects, (a.objects.image[counted], a.objects.labels[counted]), 1)
    ranked = a.rankings(), b.rankings()
    differences = []
    for start in range(0, resamples, _AT_ONCE):
        count = min(_AT_ONCE, resamples - start)
        drawn = rng.integers(images, size=(count, images))
        weights = np.stack([np.bincount(row, minlength=images) for row in drawn], axis=1)
        first, second = (
            _with_mean(resampled_ap(each, weights, objects[:, 1:], rule)) for each in ranked
        )
        differences.append(second - first)
    tail = 100 * (1 - CONFIDENCE) / 2
    # an interval of nothing but NaN is NaN; numpy would warn
    table = np.concatenate(differences)
    usable = ~np.isnan(table).all(axis=0)
    ends = np.full((2, table.shape[1]), np.nan)
    ends[:, usable] = np.nanpercentile(table[:, usable], (tail, 100 - tail), axis=0)
    one, two = (_with_mean(average_precision(each, rule).ap[None])[0] for each in ranked)
    return Comparison(one, two, ends[0], ends[1])


def _with_mean(ap: Floats) -> Floats:
    """[R, K] with the mean over the classes that have objects as one more column."""
    there = ~np.isnan(ap)
    total, count = np.where(there, ap, 0).sum(axis=1), there.sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(ap), np.nan), where=count > 0)
    return np.concatenate([ap, mean[:, None]], axis=1)


def resampled_ap(
    ranked: Sequence[Ranking], weights: NDArray[np.int64], objects: Floats, rule: Rule
) -> Floats:
    """AP where each image counts as often as it was drawn, [R, K]; NaN without objects.

    Args:
        ranked: of the K classes. weights: [I, R]. objects: [I, K], those not difficult.
    """
    # sums stay whole numbers below 2**24, which float32 holds
    light = weights.astype(np.float32)
    totals = weights.T @ objects  # [R, K]
    ap = np.full(totals.shape, np.nan)
    for index, each in enumerate(ranked):
        present = totals[:, index] > 0
        ap[present, index] = _class_ap(each, light[:, present], totals[present, index], rule)
    return ap


def _class_ap(ranking: Ranking, weights: NDArray[np.float32], totals: Floats, rule: Rule) -> Floats:
    """AP of one class in R resamples: precision matters at the hits alone, [H, R]."""
    at = np.flatnonzero(ranking.hit)
    if not len(at) or not len(totals):
        return np.zeros(len(totals))
    starts = np.concatenate([[0], at[:-1] + 1])
    # how many detections there are from one hit to the next
    between = np.add.reduceat(weights[ranking.image[: at[-1] + 1]], starts, axis=0)
    ranks = np.cumsum(between, axis=0, dtype=np.float64)
    found = np.cumsum(weights[ranking.image[at]], axis=0, dtype=np.float64)
    precision = np.divide(found, ranks, out=np.zeros_like(found), where=ranks > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = found / totals
    if rule == "voc":
        return (np.diff(recall, axis=0, prepend=0) * best).sum(axis=0)
    best = np.concatenate([best, np.zeros((1, len(totals)))])
    columns = np.arange(len(totals))
    points = (best[(recall < point).sum(axis=0), columns] for point in RECALL_POINTS)
    return sum(points, np.zeros(len(totals))) / len(RECALL_POINTS)
