"""Where a detector fails: types of error and what each costs, AP by object size, scores.

The types of error are those of Hoiem, Chodpathumwan and Dai, "Diagnosing Error in Object
Detectors" (ECCV 2012), with duplicates and missed objects apart. What fixing one type would gain
is measured as by Bolya et al., "TIDE" (ECCV 2020). K: classes, labelled 1..K; M: detections,
G: objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .matching import (
    IOU_THRESHOLD,
    Flags,
    Floats,
    Ints,
    MatchedDetections,
    best_first,
    nearest_objects,
)
from .voc import Rule, average_precision, rank_detections

LOCALISATION, SIMILAR, OTHER, BACKGROUND, DUPLICATE, MISSED = range(6)
ERROR_TYPES = ("localisation", "similar class", "other class", "background", "duplicate", "missed")
NO_ERROR = -1
_WITH_TARGET = (LOCALISATION, SIMILAR, OTHER)  # false positives that are about an object
# The smallest IoU at which a false positive is about an object: Hoiem et al., and t_b of TIDE.
_TARGET_IOU = 0.1
# COCO's classes of object size, areas in square pixels.
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Every error of a detector."""

    error_type: Ints  # M, index in ERROR_TYPES; NO_ERROR for true positives and ignored detections
    target: Ints  # M, index of the object that the detection is about; -1: none
    missed: Flags  # G, objects that are not difficult and that no detection is about
    gain: Floats  # mAP gained by fixing all errors of each type alone, [ERROR_TYPES]


def diagnose(matched: MatchedDetections, similar: Sequence[Sequence[int]], rule: Rule) -> Diagnosis:
    """Find the type of error of every false positive, and the missed objects.

    A false positive has the first type that applies: duplicate (IoU of IOU_THRESHOLD with an
    object of its class that a better detection has found), localisation (IoU of 0.1 with an object
    of its class), similar class or other class (IoU of 0.1 with an object of such a class),
    background.

    Args:
        similar: groups of labels that are easily confused.
    """
    objects, matches = matched.objects, matched.matches
    error_type, target = _confusions(matched, similar)
    near = matches.iou >= _TARGET_IOU
    error_type[near], target[near] = LOCALISATION, matches.nearest[near]
    error_type[matches.iou >= IOU_THRESHOLD] = DUPLICATE
    error_type[~matches.false_positive] = NO_ERROR
    found = np.zeros(len(objects), np.bool_)
    found[matches.nearest[matches.true_positive]] = True
    targeted = found.copy()
    targeted[target[np.isin(error_type, _WITH_TARGET)]] = True
    missed = ~targeted & ~objects.difficult
    gain = _gains(matched, error_type, target, found=found, missed=missed, rule=rule)
    return Diagnosis(error_type=error_type, target=target, missed=missed, gain=gain)


def _confusions(matched: MatchedDetections, similar: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Error type SIMILAR, OTHER or BACKGROUND of each detection, and its target, [M] each."""
    count = len(matched.detections)
    error_type = np.full(count, BACKGROUND, np.int64)
    target = np.full(count, -1, np.int64)
    for number, groups in ((OTHER, [range(matched.class_count + 1)]), (SIMILAR, similar)):
        largest = np.full(count, _TARGET_IOU)
        for group in groups:
            nearest, iou = _nearest_of(matched, np.array(group, np.int64))
            # at equal IoU the first object
            better = (iou > largest) | ((iou == largest) & (nearest < target))
            better |= (iou >= largest) & (error_type != number)
            error_type[better], target[better] = number, nearest[better]
            largest[better] = iou[better]
    return error_type, target


def _nearest_of(matched: MatchedDetections, labels: Ints) -> tuple[Ints, Floats]:
    """As `nearest_objects`, by image, between detections and objects of these labels."""
    detections, objects = matched.detections, matched.objects
    rows = np.flatnonzero(np.isin(detections.labels, labels))
    columns = np.flatnonzero(np.isin(objects.labels, labels))
    nearest, iou = np.full(len(detections), -1, np.int64), np.zeros(len(detections))
    if len(rows) and len(columns):
        index, iou[rows] = nearest_objects(
            detections.image[rows],
            detections.boxes[rows],
            objects.image[columns],
            objects.boxes[columns],
        )
        nearest[rows] = np.where(index < 0, -1, columns[index])
    return nearest, iou


def _gains(
    matched: MatchedDetections,
    error_type: Ints,
    target: Ints,
    *,
    found: Flags,
    missed: Flags,
    rule: Rule,
) -> Floats:
    """mAP with all errors of a type fixed, minus the mAP as it is, for each type.

    A wrong box or class is corrected where no detection has found its target, and otherwise
    removed; background and duplicates are removed; missed objects are not counted.
    """
    detections, objects, matches = matched.detections, matched.objects, matched.matches
    object_counts = objects.counts(matched.class_count)

    def mean_ap(labels: Ints, true_positive: Flags, counted: Flags, counts: Ints) -> float:
        relabelled = replace(detections, labels=labels)
        rankings = rank_detections(relabelled, true_positive, counted, counts)
        ap = np.nan_to_num(average_precision(rankings, rule).ap[object_counts > 0])
        return float(ap.mean()) if len(ap) else float("nan")

    counted = ~matches.ignored
    before = mean_ap(detections.labels, matches.true_positive, counted, object_counts)
    gains = np.zeros(len(ERROR_TYPES))
    for number in (*_WITH_TARGET, BACKGROUND, DUPLICATE):
        wrong = error_type == number
        true_positive, labels = matches.true_positive, detections.labels
        if number in _WITH_TARGET:
            rows = np.flatnonzero(wrong)
            rows = rows[best_first(detections.scores[rows])]
            rows = rows[~found[target[rows]] & ~objects.difficult[target[rows]]]
            rows = rows[np.unique(target[rows], return_index=True)[1]]
            true_positive, labels = true_positive.copy(), labels.copy()
            true_positive[rows], labels[rows] = True, objects.labels[target[rows]]
        kept = counted & (true_positive | ~wrong)
        gains[number] = mean_ap(labels, true_positive, kept, object_counts) - before
    missed_counts = np.bincount(objects.labels[missed], minlength=matched.class_count + 1)[1:]
    gains[MISSED] = (
        mean_ap(detections.labels, matches.true_positive, counted, object_counts - missed_counts)
        - before
    )
    return gains


def by_size(matched: MatchedDetections, rule: Rule) -> dict[str, tuple[float, int]]:
    """mAP and number of objects for each of SIZES.

    Objects of other sizes are ignored, and so are false positives of another size, as in COCO.
    """
    detections, objects, matches = matched.detections, matched.objects, matched.matches
    areas = detections.areas
    result = {}
    for name, (low, high) in SIZES.items():
        of_size = (objects.areas >= low) & (objects.areas < high)
        counted = (areas >= low) & (areas < high)
        counted[matches.true_positive] = of_size[matches.nearest[matches.true_positive]]
        counts = replace(objects, difficult=objects.difficult | ~of_size).counts(
            matched.class_count
        )
        rankings = rank_detections(
            detections, matches.true_positive, counted & ~matches.ignored, counts
        )
        result[name] = average_precision(rankings, rule).mean_ap, int(counts.sum())
    return result


def score_histogram(matched: MatchedDetections, bins: int) -> tuple[Floats, Ints, Ints]:
    """Edges of the bins, [bins + 1], and the true and false positives in each, [bins] each."""
    scores, matches = matched.detections.scores, matched.matches
    low, high = min(0.0, scores.min(initial=0.0)), max(1.0, scores.max(initial=1.0))
    edges = np.linspace(low, high, bins + 1)
    true_positives, false_positives = (
        np.histogram(scores[chosen], edges)[0]
        for chosen in (matches.true_positive, matches.false_positive)
    )
    return edges, true_positives, false_positives
