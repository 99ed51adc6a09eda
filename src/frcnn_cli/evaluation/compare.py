"""Whether one detector is better than another, or the difference may be chance.

Paired bootstrap over images (Efron and Tibshirani 1993, chapter 13): images are drawn with
replacement, the same ones for both detectors, and the difference is measured in each resample.
K: classes, I: images, R: resamples, T: true positives of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .matching import Floats, MatchedDetections, ObjectTable
from .voc import RECALL_POINTS, Ranking, Rule, average_precision, rank_by_class

CONFIDENCE = 0.95
_RESAMPLES_AT_ONCE = 100  # bounds the memory


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """AP of detectors A and B and the difference B - A, of the K classes and then of their mean."""

    a: Floats  # K+1, AP; NaN for a class without objects
    b: Floats  # K+1
    low: Floats  # K+1, lower end of the confidence interval of the difference
    high: Floats  # K+1, upper end

    @property
    def difference(self) -> Floats:
        """AP of B less AP of A, [K+1]."""
        return self.b - self.a

    @property
    def certain(self) -> NDArray[np.bool_]:
        """Whether the confidence interval leaves out zero, [K+1]."""
        return (self.low > 0) | (self.high < 0)


def compare(
    a: MatchedDetections, b: MatchedDetections, rule: Rule, resamples: int, seed: int = 0
) -> Comparison:
    """Compare two detectors on the same images and objects.

    Args:
        resamples: R. seed: of the random numbers that draw the images.
    """
    rng = np.random.default_rng(seed)
    images = a.image_count
    object_counts = _counts_by_image(a.objects, images, a.class_count)
    rankings = rank_by_class(a), rank_by_class(b)
    differences = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        count = min(_RESAMPLES_AT_ONCE, resamples - start)
        drawn = rng.integers(images, size=(count, images))
        weights = np.stack([np.bincount(row, minlength=images) for row in drawn], axis=1)
        first, second = (
            _append_mean(resampled_ap(each, weights, object_counts, rule)) for each in rankings
        )
        differences.append(second - first)
    low, high = _interval(np.concatenate(differences))
    ap_a, ap_b = (_append_mean(average_precision(each, rule).ap[None])[0] for each in rankings)
    return Comparison(a=ap_a, b=ap_b, low=low, high=high)


def _counts_by_image(objects: ObjectTable, image_count: int, class_count: int) -> Floats:
    """Objects of each class in each image that are not difficult, [I, K]."""
    counts = np.zeros((image_count, class_count + 1))
    counted = ~objects.difficult
    np.add.at(counts, (objects.image[counted], objects.labels[counted]), 1)
    return counts[:, 1:]


def _interval(differences: Floats) -> Floats:
    """Ends of the confidence interval of each column of [R, K+1], [2, K+1]; NaN if all are NaN."""
    tail = 100 * (1 - CONFIDENCE) / 2
    ends = np.full((2, differences.shape[1]), np.nan)
    usable = ~np.isnan(differences).all(axis=0)  # numpy would warn about the other columns
    ends[:, usable] = np.nanpercentile(differences[:, usable], (tail, 100 - tail), axis=0)
    return ends


def _append_mean(ap: Floats) -> Floats:
    """Append to [R, K] the mean over the classes that have objects, as one more column."""
    present = ~np.isnan(ap)
    total, count = np.where(present, ap, 0).sum(axis=1), present.sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(ap), np.nan), where=count > 0)
    return np.concatenate([ap, mean[:, None]], axis=1)


def resampled_ap(
    rankings: Sequence[Ranking], weights: NDArray[np.int64], object_counts: Floats, rule: Rule
) -> Floats:
    """AP in each resample, where an image counts as often as it was drawn, [R, K].

    A class without objects in a resample has NaN there.

    Args:
        rankings: of the K classes.
        weights: [I, R], how often each image was drawn.
        object_counts: [I, K], objects that are not difficult.
    """
    # float32 is exact here: all sums are whole numbers below 2**24
    float_weights = weights.astype(np.float32)
    totals = weights.T @ object_counts  # [R, K]
    ap = np.full(totals.shape, np.nan)
    for index, ranking in enumerate(rankings):
        present = totals[:, index] > 0
        ap[present, index] = _class_ap(
            ranking, float_weights[:, present], totals[present, index], rule
        )
    return ap


def _class_ap(ranking: Ranking, weights: NDArray[np.float32], totals: Floats, rule: Rule) -> Floats:
    """AP of one class in R resamples, from the precision at its true positives, [T, R]."""
    ranks = np.flatnonzero(ranking.true_positive)
    if not len(ranks) or not len(totals):
        return np.zeros(len(totals))
    starts = np.concatenate([[0], ranks[:-1] + 1])
    # the number of detections from each true positive to the next
    between = np.add.reduceat(weights[ranking.image[: ranks[-1] + 1]], starts, axis=0)
    detected = np.cumsum(between, axis=0, dtype=np.float64)
    correct = np.cumsum(weights[ranking.image[ranks]], axis=0, dtype=np.float64)
    precision = np.divide(correct, detected, out=np.zeros_like(correct), where=detected > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    recall = correct / totals
    if rule == "voc":
        return (np.diff(recall, axis=0, prepend=0) * best).sum(axis=0)
    best = np.concatenate([best, np.zeros((1, len(totals)))])
    columns = np.arange(len(totals))
    points = (best[(recall < point).sum(axis=0), columns] for point in RECALL_POINTS)
    return sum(points, np.zeros(len(totals))) / len(RECALL_POINTS)
