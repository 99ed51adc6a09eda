"""Where a detector fails: errors by kind and what each costs, AP by size, scores.

The kinds are those of Hoiem, Chodpathumwan and Dai, "Diagnosing Error in Object Detectors" (ECCV
2012), with duplicates and misses apart; what fixing one kind would give is measured as Bolya et
al. do in "TIDE" (ECCV 2020). K classes, labelled 1..K; M detections, G objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .matching import IOU_THRESHOLD, Flags, Floats, Ints, best_first, nearest_objects
from .voc import MatchedDetections, Rule, average_precision, rankings

LOCALISATION, SIMILAR, OTHER, BACKGROUND, DUPLICATE, MISSED = range(6)
KINDS = ("localisation", "similar class", "other class", "background", "duplicate", "missed")
NO_ERROR = -1
_TOUCHES = 0.1  # IoU from which on a false positive is about an object (Hoiem; TIDE's t_b)
# COCO's sizes: square pixels
SIZES = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf)}


@dataclass(frozen=True)
class Diagnosis:
    """Every error of a detector."""

    kind: Ints  # M, index in KINDS; NO_ERROR for hits and what is ignored
    target: Ints  # M, the object that the detection is about; -1: none
    missed: Flags  # G, not difficult, and no detection is about it
    gain: Floats  # of each kind, the mAP that fixing all its errors alone would add


def diagnose(judged: MatchedDetections, similar: Sequence[Sequence[int]], rule: Rule) -> Diagnosis:
    """The kind of every false positive, and the objects that are missed.

    A false positive is, the first that applies: a duplicate (IoU of IOU_THRESHOLD with an object
    of its class that a better one has found), a localisation error (IoU of 0.1 with an object of
    its class), a confusion with a similar class, with another class (IoU of 0.1 with an object of
    it), or background.

    Args:
        similar: groups of labels that are easily taken for one another.
    """
    detections, objects, matches = judged.detections, judged.objects, judged.matches
    kind = np.full(len(detections), BACKGROUND, np.int64)
    target = np.full(len(detections), -1, np.int64)
    for number, groups in ((OTHER, [range(judged.classes + 1)]), (SIMILAR, similar)):
        closest = np.full(len(detections), _TOUCHES)
        for group in groups:
            nearest, overlap = _nearest_of(judged, np.array(group, np.int64))
            # the first of the objects that overlap equally
            better = (overlap > closest) | ((overlap == closest) & (nearest < target))
            better |= (overlap >= closest) & (kind != number)
            kind[better], target[better] = number, nearest[better]
            closest[better] = overlap[better]
    own = matches.overlap >= _TOUCHES
    kind[own], target[own] = LOCALISATION, matches.nearest[own]
    kind[matches.overlap >= IOU_THRESHOLD] = DUPLICATE
    kind[matches.hit | matches.ignored] = NO_ERROR
    found = np.zeros(len(objects), np.bool_)
    found[matches.nearest[matches.hit]] = True
    about = found.copy()
    about[target[np.isin(kind, (LOCALISATION, SIMILAR, OTHER))]] = True
    missed = ~about & ~objects.difficult
    return Diagnosis(kind, target, missed, _gains(judged, kind, target, found, missed, rule))


def _nearest_of(judged: MatchedDetections, labels: Ints) -> tuple[Ints, Floats]:
    """As `nearest_objects`, by image, between detections and objects of these labels."""
    detections, objects = judged.detections, judged.objects
    rows = np.flatnonzero(np.isin(detections.labels, labels))
    columns = np.flatnonzero(np.isin(objects.labels, labels))
    nearest, overlap = np.full(len(detections), -1, np.int64), np.zeros(len(detections))
    if len(rows) and len(columns):
        index, overlap[rows] = nearest_objects(
            detections.image[rows],
            detections.boxes[rows],
            objects.image[columns],
            objects.boxes[columns],
        )
        nearest[rows] = np.where(index < 0, -1, columns[index])
    return nearest, overlap


def _gains(
    judged: MatchedDetections, kind: Ints, target: Ints, found: Flags, missed: Flags, rule: Rule
) -> Floats:
    """mAP with all errors of a kind fixed, less the mAP as it is, for each kind.

    A wrong place or class becomes right where its object is not found yet, else the detection
    goes; background and duplicates go; missed objects are not counted.
    """
    detections, objects, matches = judged.detections, judged.objects, judged.matches
    counts = objects.counts(judged.classes)
    counted = ~matches.ignored

    def mean_ap(labels: Ints, hit: Flags, counted: Flags, counts_now: Ints) -> float:
        ranked = rankings(replace(detections, labels=labels), hit, counted, counts_now)
        ap = np.nan_to_num(average_precision(ranked, rule).ap[counts > 0])
        return float(ap.mean()) if len(ap) else float("nan")

    before = mean_ap(detections.labels, matches.hit, counted, counts)
    gains = np.zeros(len(KINDS))
    for number in (LOCALISATION, SIMILAR, OTHER, BACKGROUND, DUPLICATE):
        wrong = kind == number
        hit, labels = matches.hit, detections.labels
        if number in (LOCALISATION, SIMILAR, OTHER):
            rows = np.flatnonzero(wrong)
            rows = rows[best_first(detections.scores[rows])]
            rows = rows[~found[target[rows]] & ~objects.difficult[target[rows]]]
            rows = rows[np.unique(target[rows], return_index=True)[1]]
            hit, labels = hit.copy(), labels.copy()
            hit[rows], labels[rows] = True, objects.labels[target[rows]]
        gains[number] = mean_ap(labels, hit, counted & (hit | ~wrong), counts) - before
    left = counts - np.bincount(objects.labels[missed], minlength=judged.classes + 1)[1:]
    gains[MISSED] = mean_ap(detections.labels, matches.hit, counted, left) - before
    return gains


def by_size(judged: MatchedDetections, rule: Rule) -> dict[str, tuple[float, int]]:
    """mAP and number of objects for each of SIZES.

    Objects of other sizes are ignored, and so are false positives of another size, as in COCO.
    """
    detections, objects, matches = judged.detections, judged.objects, judged.matches
    areas = (detections.boxes[:, 2:] - detections.boxes[:, :2]).prod(axis=1)
    result = {}
    for name, (low, high) in SIZES.items():
        of_size = (objects.areas >= low) & (objects.areas < high)
        own = (areas >= low) & (areas < high)
        own[matches.hit] = of_size[matches.nearest[matches.hit]]
        counts = replace(objects, difficult=objects.difficult | ~of_size).counts(judged.classes)
        ranked = rankings(detections, matches.hit, own & ~matches.ignored, counts)
        result[name] = average_precision(ranked, rule).mean_ap, int(counts.sum())
    return result


def score_histogram(judged: MatchedDetections, bins: int) -> tuple[Floats, Ints, Ints]:
    """Edges of the bins [bins + 1], and the numbers of hits and of false positives in each."""
    scores, matches = judged.detections.scores, judged.matches
    low, high = min(0.0, scores.min(initial=0.0)), max(1.0, scores.max(initial=1.0))
    edges = np.linspace(low, high, bins + 1)
    false = ~matches.hit & ~matches.ignored
    hits, wrong = (np.histogram(scores[own], edges)[0] for own in (matches.hit, false))
    return edges, hits, wrong
