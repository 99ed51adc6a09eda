"""Slow and obvious versions of what the package computes, in plain loops, to test it against."""

from __future__ import annotations

import colorsys
import heapq
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from frcnn_cli.structures import Detections, GroundTruth

F32 = np.float32
Box = Sequence[float]


def iou(box: Box, other: Box) -> float:
    """Intersection over union of two half-open boxes; 0 where both are empty."""
    width = max(min(box[2], other[2]) - max(box[0], other[0]), 0.0)
    height = max(min(box[3], other[3]) - max(box[1], other[1]), 0.0)
    areas = [max(b[2] - b[0], 0.0) * max(b[3] - b[1], 0.0) for b in (box, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def nms(
    boxes: Sequence[Box], scores: Sequence[float], labels: Sequence[int], threshold: float
) -> list[int]:
    """Take the best box that is left, drop those of its class that overlap it, and repeat."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [
            i for i in left if labels[i] != labels[best] or iou(boxes[i], boxes[best]) <= threshold
        ]
    return kept


def vote(
    boxes: Sequence[Box],
    scores: Sequence[float],
    labels: Sequence[int],
    kept: Sequence[int],
    threshold: float,
) -> list[list[float]]:
    """The mean of all boxes of a class that overlap a kept one, by score."""
    means = []
    for k in kept:
        voters = [
            i
            for i in range(len(boxes))
            if labels[i] == labels[k] and (i == k or iou(boxes[i], boxes[k]) >= threshold)
        ]
        total = sum(scores[i] for i in voters)
        means.append([sum(scores[i] * boxes[i][side] for i in voters) / total for side in range(4)])
    return means


def soft_nms(
    boxes: Sequence[Box],
    scores: Sequence[float],
    labels: Sequence[int],
    threshold: float,
    least: float,
) -> list[tuple[int, float]]:
    """Bodla et al. 2017, algorithm 1 with equation 2."""
    left = list(enumerate(scores))
    taken = []
    while left:
        best, score = max(left, key=lambda each: each[1])
        if score <= least:
            break
        taken.append((best, score))
        overlaps = {
            i: iou(boxes[i], boxes[best]) if labels[i] == labels[best] else 0.0 for i, _ in left
        }
        left = [
            (i, s * (1 - overlaps[i]) if overlaps[i] > threshold else s)
            for i, s in left
            if i != best
        ]
    return taken


def fast_rcnn_selection(
    images: Sequence[Detections], classes: int, per_image: int
) -> list[set[int]]:
    """The loop of the paper's test.py: a heap of scores for each class raises its threshold.

    Returns the indices of the boxes that are left in each image.
    """
    thresholds = [-math.inf] * (classes + 1)
    heaps: list[list[float]] = [[] for _ in range(classes + 1)]
    for image in images:
        for label in range(1, classes + 1):
            for score, own in zip(image.scores, image.labels, strict=True):
                if own == label and score > thresholds[label]:
                    heapq.heappush(heaps[label], float(score))
            if len(heaps[label]) > per_image * len(images):
                while len(heaps[label]) > per_image * len(images):
                    heapq.heappop(heaps[label])
                thresholds[label] = heaps[label][0]
    left = []
    for image in images:
        kept: set[int] = set()
        rows = [i for i in range(len(image)) if image.scores[i] > thresholds[image.labels[i]]]
        for i in sorted(rows, key=lambda i: -image.scores[i]):
            near = (j for j in kept if image.labels[j] == image.labels[i])
            if all(iou(image.boxes[i], image.boxes[j]) < 0.3 for j in near):
                kept.add(i)
        left.append(kept)
    return left


def encode(proposal: Box, target: Box) -> list[float]:
    """R-CNN (Girshick et al. 2014), appendix C, equations 6 to 9."""
    p_w, p_h = proposal[2] - proposal[0], proposal[3] - proposal[1]
    g_w, g_h = target[2] - target[0], target[3] - target[1]
    p_x, p_y = (proposal[0] + proposal[2]) / 2, (proposal[1] + proposal[3]) / 2
    g_x, g_y = (target[0] + target[2]) / 2, (target[1] + target[3]) / 2
    return [(g_x - p_x) / p_w, (g_y - p_y) / p_h, math.log(g_w / p_w), math.log(g_h / p_h)]


def decode(proposal: Box, deltas: Sequence[float]) -> list[float]:
    """R-CNN (Girshick et al. 2014), appendix C, equations 1 to 4."""
    p_w, p_h = proposal[2] - proposal[0], proposal[3] - proposal[1]
    p_x, p_y = (proposal[0] + proposal[2]) / 2, (proposal[1] + proposal[3]) / 2
    x, y = p_w * deltas[0] + p_x, p_h * deltas[1] + p_y
    w, h = p_w * math.exp(deltas[2]), p_h * math.exp(deltas[3])
    return [x - w / 2, y - h / 2, x + w / 2, y + h / 2]


def round_half_away(value: float) -> int:
    """C's round()."""
    size = abs(float(value))
    whole = math.floor(size)
    if size - whole >= 0.5:
        whole += 1
    return whole if value >= 0 else -whole


def roi_max_pool(features: NDArray, rois: NDArray, size: tuple[int, int], scale: float) -> NDArray:
    """Fast R-CNN, section 2.1; the rounding is that of the original's ROIPoolingLayer in Caffe.

    features: [B, C, H, W]. rois: [R, 5]. Every step is rounded in the type of the features.
    """
    real = features.dtype.type
    _, channels, height, width = features.shape
    rows, columns = size
    out = np.zeros((len(rois), channels, rows, columns), features.dtype)
    for r, roi in enumerate(rois.astype(features.dtype)):
        image = features[int(roi[0])]
        x1, y1, x2, y2 = (round_half_away(side * real(scale)) for side in roi[1:])
        bin_height = real(max(y2 - y1 + 1, 1)) / real(rows)
        bin_width = real(max(x2 - x1 + 1, 1)) / real(columns)
        for p in range(rows):
            for q in range(columns):
                top = y1 + math.floor(real(p) * bin_height)
                bottom = y1 + math.ceil(real(p + 1) * bin_height)
                left = x1 + math.floor(real(q) * bin_width)
                right = x1 + math.ceil(real(q + 1) * bin_width)
                cells = [
                    image[:, y, x]
                    for y in range(max(top, 0), min(bottom, height))
                    for x in range(max(left, 0), min(right, width))
                ]
                if cells:
                    out[r, :, p, q] = np.max(cells, axis=0)
    return out


def warp(image: NDArray, roi: Box, side: int, context: int) -> NDArray:
    """R-CNN, appendix A: a RoI of an image [C, H, W], warped to [C, side, side] with context.

    Pixel j covers j to j + 1 and has its colour at j + 0.5; pixels outside of the image are zero.
    """
    channels, height, width = image.shape
    out = np.zeros((channels, side, side))
    for row in range(side):
        for column in range(side):
            x = roi[0] + (column + 0.5 - context) / (side - 2 * context) * (roi[2] - roi[0]) - 0.5
            y = roi[1] + (row + 0.5 - context) / (side - 2 * context) * (roi[3] - roi[1]) - 0.5
            for j in (math.floor(y), math.floor(y) + 1):
                for i in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < width and 0 <= j < height:
                        share = (1 - abs(x - i)) * (1 - abs(y - j))
                        out[:, row, column] += share * image[:, j, i]
    return out


def smooth_l1(x: float) -> float:
    """Fast R-CNN, equation 3."""
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def fast_rcnn_loss(
    logits: NDArray, deltas: NDArray, labels: Sequence[int], targets: NDArray
) -> tuple[float, float]:
    """Fast R-CNN, equations 1 and 2 with lambda = 1: (L_cls, L_loc), each over the number of RoIs.

    logits: [R, K + 1]. deltas: [R, K + 1, 4]. targets: [R, 4].
    """
    cls = loc = 0.0
    for r, u in enumerate(labels):
        exponentials = [math.exp(logit) for logit in logits[r]]
        cls -= math.log(exponentials[u] / sum(exponentials))
        indicator = 1 if u >= 1 else 0
        loc += indicator * sum(smooth_l1(deltas[r][u][i] - targets[r][i]) for i in range(4))
    count = max(len(labels), 1)
    return cls / count, loc / count


def distillation_loss(logits, deltas, teacher_logits, teacher_deltas):
    """(cls, loc) of one network's answers against another's, RoI by RoI; logits [R, K + 1]."""
    cls = loc = 0.0
    for r in range(len(logits)):
        p = np.exp(teacher_logits[r]) / np.exp(teacher_logits[r]).sum()
        q = np.exp(logits[r]) / np.exp(logits[r]).sum()
        cls += sum(p[k] * math.log(p[k] / q[k]) for k in range(len(p)))
        for k in range(1, len(p)):
            off = (deltas[r, k] - teacher_deltas[r, k]) / (0.1, 0.1, 0.2, 0.2)
            loc += p[k] * sum(smooth_l1(each) for each in off)
    return cls / len(logits), loc / len(logits)


def devkit_overlap(box: Box, other: Box) -> float:
    """VOCdevkit, VOCevaldet.m: the IoU of 1-based boxes with both ends included."""
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
    return width * height / (sum(areas) - width * height)


def to_devkit(box: Box) -> list[float]:
    """1-based with both ends included, from 0-based and half-open."""
    return [float(box[0]) + 1, float(box[1]) + 1, float(box[2]), float(box[3])]


def voc_ap(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    label: int,
    rule: str = "voc07",
) -> float:
    """VOCdevkit, VOCevaldet.m, line by line; NaN for a class without objects.

    The AP is that of the VOC2007 kit ("voc07") or of VOCap.m from 2010 on ("voc").
    """
    ranked = [
        (float(score), image, to_devkit(box))
        for image, found in enumerate(detections)
        for box, score, own in zip(found.boxes, found.scores, found.labels, strict=True)
        if own == label
    ]
    ranked.sort(key=lambda row: -row[0])
    truths = [
        [
            (to_devkit(box), bool(difficult))
            for box, own, difficult in zip(t.boxes, t.labels, t.difficult, strict=True)
            if own == label
        ]
        for t in ground_truths
    ]
    positives = sum(not difficult for truth in truths for _, difficult in truth)
    if not positives:
        return math.nan

    claimed = set()
    true, false = 0, 0
    curve = []
    for _, image, box in ranked:
        best, nearest = -math.inf, -1
        for j, (other, _) in enumerate(truths[image]):
            overlap = devkit_overlap(box, other)
            if overlap > best:
                best, nearest = overlap, j
        if best < 0.5:
            false += 1
        elif not truths[image][nearest][1]:
            if (image, nearest) in claimed:
                false += 1
            else:
                true += 1
                claimed.add((image, nearest))
        if true + false:
            curve.append((true / positives, true / (true + false)))

    if rule == "voc":
        recalls = [0.0, *(recall for recall, _ in curve), 1.0]
        precisions = [0.0, *(precision for _, precision in curve), 0.0]
        for i in range(len(precisions) - 2, -1, -1):
            precisions[i] = max(precisions[i], precisions[i + 1])
        return sum((recalls[i] - recalls[i - 1]) * precisions[i] for i in range(1, len(recalls)))
    ap = 0.0
    for point in range(11):
        reached = [precision for recall, precision in curve if recall >= point * 0.1]
        ap += max(reached, default=0.0) / 11
    return ap


def error_kinds(
    detections: Sequence[Detections],
    ground_truths: Sequence[GroundTruth],
    groups: Sequence[Sequence[int]],
) -> tuple[list[str | None], list[bool]]:
    """Hoiem et al. 2012, section 3.1, detection by detection; None for hits and what is ignored.

    The second list says for each object whether it is missed.
    """
    rows = [
        (image, [float(v) for v in box], float(score), int(label))
        for image, found in enumerate(detections)
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]
    kinds: list[str | None] = [None] * len(rows)
    about = set()
    claimed = set()
    for i in sorted(range(len(rows)), key=lambda i: -rows[i][2]):
        image, box, _, label = rows[i]
        truth = ground_truths[image]
        overlaps = [iou(box, [float(v) for v in other]) for other in truth.boxes]

        def best(labels, overlaps=overlaps, truth=truth):
            chosen = [j for j in range(len(overlaps)) if int(truth.labels[j]) in labels]
            return max(chosen, key=lambda j: overlaps[j]) if chosen else None

        similar = {other for group in groups if label in group for other in group} - {label}
        own = best({label})
        if own is not None and overlaps[own] >= 0.5:
            if truth.difficult[own]:
                continue
            if (image, own) in claimed:
                kinds[i] = "duplicate"
            claimed.add((image, own))
            about.add((image, own))
            continue
        kinds[i] = "background"
        # what is about several objects is about the one of its own class, then a similar one
        for labels, kind in (
            (set(map(int, truth.labels)), "other class"),
            (similar, "similar class"),
            ({label}, "localisation"),
        ):
            nearest = best(labels)
            if nearest is not None and overlaps[nearest] >= 0.1:
                kinds[i], target = kind, (image, nearest)
        if kinds[i] != "background":
            about.add(target)
    missed = [
        (image, j) not in about and not difficult
        for image, truth in enumerate(ground_truths)
        for j, difficult in enumerate(truth.difficult)
    ]
    return kinds, missed


def best_overlaps(
    proposals: Sequence[Box], objects: Sequence[Box], counts: Sequence[int]
) -> list[list[float]]:
    """For each object, the largest IoU with any of the first `count` proposals."""
    return [
        [max((iou(box, o) for box in proposals[:count]), default=0.0) for count in counts]
        for o in objects
    ]


def recall_table(
    best: Sequence[Sequence[float]], labels: Sequence[int], counts: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Recall at 0.5 and 0.7, average best overlap, and the mean over classes of theirs."""
    table = {}
    for column, count in enumerate(counts):
        row = {}
        for threshold in (0.5, 0.7):
            found = sum(each[column] >= threshold for each in best)
            row[str(threshold)] = found / len(best)
        row["abo"] = sum(each[column] for each in best) / len(best)
        of_classes = []
        for label in sorted(set(labels)):
            own = [each[column] for each, of in zip(best, labels, strict=True) if of == label]
            of_classes.append(sum(own) / len(own))
        row["mabo"] = sum(of_classes) / len(of_classes)
        table[str(count)] = row
    return table


# Selective search


def hsv_planes(image):
    height, width = image.shape[:2]
    planes = np.empty((3, height, width))
    for y in range(height):
        for x in range(width):
            r, g, b = (int(v) / 255 for v in image[y, x])
            planes[:, y, x] = [255 * v for v in colorsys.rgb_to_hsv(r, g, b)]
    return planes


def lab_planes(image):
    def linear(value):
        value = int(value) / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def curve(t):
        return math.cbrt(t) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    height, width = image.shape[:2]
    planes = np.empty((3, height, width))
    for y in range(height):
        for x in range(width):
            r, g, b = (linear(v) for v in image[y, x])
            fx = curve((0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047)
            fy = curve(0.2126729 * r + 0.7151522 * g + 0.0721750 * b)
            fz = curve((0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883)
            planes[0, y, x] = 2.55 * (116 * fy - 16)
            planes[1, y, x] = 500 * (fx - fy) + 128
            planes[2, y, x] = 200 * (fy - fz) + 128
    return planes


def smoothed(planes, sigma, radius):
    taps = [math.exp(-0.5 * (t / sigma) ** 2) for t in range(-radius, radius + 1)]
    channels, height, width = planes.shape
    out = np.zeros((channels, height, width))
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                total = 0.0
                for i, down in enumerate(taps):
                    for j, across in enumerate(taps):
                        yy = min(max(y + i - radius, 0), height - 1)
                        xx = min(max(x + j - radius, 0), width - 1)
                        total += down * across * float(planes[c, yy, xx])
                out[c, y, x] = total / sum(taps) ** 2
    return out


def edge_ends(edge, width):
    pixel, direction = divmod(edge, 2)
    return pixel, pixel + (width if direction else 1)


def edge_weight_dict(planes, buckets_per_unit):
    _, height, width = planes.shape
    weights = {}
    for y in range(height):
        for x in range(width):
            for direction, (yy, xx) in enumerate([(y, x + 1), (y + 1, x)]):
                if yy == height or xx == width:
                    continue
                total = F32(0)
                for c in range(3):
                    change = F32(planes[c, yy, xx]) - F32(planes[c, y, x])
                    total += change * change
                distance = np.sqrt(total) * F32(buckets_per_unit)
                weights[2 * (y * width + x) + direction] = int(distance)
    return weights


def kept_edges(weights, height, width):
    dropped = set()
    for y in range(height - 1):
        for x in range(width - 1):
            pixel = y * width + x
            square = [2 * pixel, 2 * pixel + 1, 2 * (pixel + 1) + 1, 2 * (pixel + width)]
            dropped.add(max(square, key=lambda edge: (weights[edge], edge)))
    return sorted(set(weights) - dropped, key=lambda edge: (weights[edge], edge))


def spanning_forest(weights, edges, pixels, width):
    member = {pixel: {pixel} for pixel in range(pixels)}
    chosen = []
    for edge in sorted(edges, key=lambda edge: (weights[edge], edge)):
        first, second = (member[end] for end in edge_ends(edge, width))
        if first is not second:
            chosen.append(edge)
            first |= second
            for pixel in second:
                member[pixel] = first
    return chosen


def felzenszwalb(weights, edges, pixels, width, k, min_size, buckets_per_unit):
    component = list(range(pixels))
    members = {pixel: {pixel} for pixel in range(pixels)}
    internal = dict.fromkeys(range(pixels), 0)

    def merge(a, b):
        for pixel in members[b]:
            component[pixel] = a
        members[a] |= members.pop(b)

    for edge in edges:
        a, b = (component[end] for end in edge_ends(edge, width))
        if a == b:
            continue
        limits = [internal[c] + k * buckets_per_unit / len(members[c]) for c in (a, b)]
        if weights[edge] <= min(limits):
            merge(a, b)
            internal[a] = weights[edge]
    for edge in edges:
        a, b = (component[end] for end in edge_ends(edge, width))
        if a != b and min(len(members[a]), len(members[b])) < min_size:
            merge(a, b)
    names = {}
    labels = [names.setdefault(c, len(names)) for c in component]
    return np.array(labels).reshape(-1, width), len(names)


def region_sizes(labels, n):
    return [int((labels == region).sum()) for region in range(n)]


def region_boxes(labels, n):
    boxes = []
    for region in range(n):
        ys, xs = np.nonzero(labels == region)
        boxes.append([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    return np.array(boxes)


def colour_code(channel, value, bins):
    return channel * bins + min(int(value * bins / 256), bins - 1)


def texture_change(plane, y, x, direction):
    height, width = plane.shape
    (down, right), length = [((0, 1), 1), ((1, 0), 1), ((1, 1), 2**0.5), ((1, -1), 2**0.5)][
        direction
    ]

    def at(sign):
        yy = min(max(y + sign * down, 0), height - 1)
        xx = min(max(x + sign * right, 0), width - 1)
        return float(plane[yy, xx])

    return (at(1) - at(-1)) / length


def pixel_code_list(planes, y, x, colour_bins, texture_bins, bin_width):
    codes = [colour_code(c, float(planes[c, y, x]), colour_bins) for c in range(3)]
    for c in range(3):
        for direction in range(4):
            change = texture_change(planes[c], y, x, direction)
            size = min(int(abs(change) / bin_width), texture_bins - 1)
            slot = (c * 4 + direction) * 2 + (1 if change < 0 else 0)
            codes.append(3 * colour_bins + slot * texture_bins + size)
    return codes


def exact_histograms(labels, n, codes, colour_length, length, one):
    counts = [[0] * length for _ in range(n)]
    for y, x in np.ndindex(labels.shape):
        for code in codes[y, x]:
            counts[labels[y, x]][code] += 1
    sizes = region_sizes(labels, n)
    return [
        [
            Fraction(one * count, (3 if i < colour_length else 12) * sizes[region])
            for i, count in enumerate(counts[region])
        ]
        for region in range(n)
    ]


def touching_pairs(labels):
    height, width = labels.shape
    pairs = []
    for y in range(height):
        for x in range(width):
            for yy, xx in [(y, x + 1), (y + 1, x)]:
                if yy < height and xx < width and labels[y, x] != labels[yy, xx]:
                    pair = sorted([int(labels[y, x]), int(labels[yy, xx])])
                    if pair not in pairs:
                        pairs.append(pair)
    return pairs


def union_box(first, second):
    return [
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    ]


def region_similarity(first, second, pixels, letters, colour_length, one):
    (size_a, box_a, histogram_a), (size_b, box_b, histogram_b) = first, second
    shared = np.minimum(histogram_a, histogram_b).astype(int)
    x1, y1, x2, y2 = union_box(box_a, box_b)
    gap = (x2 - x1) * (y2 - y1) - size_a - size_b
    terms = {
        "C": shared[:colour_length].sum() / one,
        "T": shared[colour_length:].sum() / one,
        "S": 1 - (size_a + size_b) / pixels,
        "F": 1 - gap / pixels,
    }
    return sum(terms[letter] for letter in letters) / len(letters)


def merged_region(first, second):
    (size_a, box_a, histogram_a), (size_b, box_b, histogram_b) = first, second
    size = size_a + size_b
    share_a = F32(size_a) / F32(size)
    share_b = F32(1) - share_a
    mean = histogram_a.astype(F32) * share_a + histogram_b.astype(F32) * share_b
    return size, union_box(box_a, box_b), mean.astype(np.uint16)


def naive_grouping(sizes, boxes, histograms, pairs, pixels, letters, colour_length, one):
    regions = {
        i: (int(size), [int(v) for v in box], histogram)
        for i, (size, box, histogram) in enumerate(zip(sizes, boxes, histograms, strict=True))
    }
    pairs = {frozenset(int(end) for end in pair) for pair in pairs}
    sequence = [regions[i][1] for i in range(len(sizes))]
    smallest_lead = math.inf
    while len(regions) > 1:
        ranked = []
        for pair in pairs:
            first, second = (regions[i] for i in sorted(pair))
            value = region_similarity(first, second, pixels, letters, colour_length, one)
            ranked.append((value, sorted(pair)))
        ranked.sort(reverse=True)
        if len(ranked) > 1:
            smallest_lead = min(smallest_lead, ranked[0][0] - ranked[1][0])
        best = set(ranked[0][1])
        new = len(sequence)
        a, b = sorted(best)
        regions[new] = merged_region(regions.pop(a), regions.pop(b))
        sequence.append(regions[new][1])
        pairs = {frozenset(new if end in best else end for end in pair) for pair in pairs}
        pairs = {pair for pair in pairs if len(pair) == 2}
    return np.array(sequence), smallest_lead


def box_iou(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return width * height / (sum(areas) - width * height)


def whitened_low_rank(
    weight: NDArray[np.float64], x: NDArray[np.float64], rank: int
) -> NDArray[np.float64]:
    """The W' of a rank that is best for (W - W') x, by whitening the inputs and truncating.

    weight: [u, v]. x: [N, v]. C = L L^T is the second moment of x, shrunk so that it has a
    Cholesky factor; W' is the truncated SVD of W L, times the inverse of L.
    """
    moment = x.T @ x / len(x)
    moment += 1e-9 * np.trace(moment) / len(moment) * np.eye(len(moment))
    factor = np.linalg.cholesky(moment)
    u, s, vt = np.linalg.svd(weight @ factor, full_matrices=False)
    truncated = u[:, :rank] * s[:rank] @ vt[:rank]
    return truncated @ np.linalg.inv(factor)


def near_duplicates_later(boxes, threshold, factor):
    """Indices by rank; `factor` times it for those that overlap an earlier original by more."""
    originals, ranks = [], []
    for index, box in enumerate(boxes):
        near = any(box_iou(box, boxes[other]) > threshold for other in originals)
        if not near:
            originals.append(index)
        ranks.append((index + 1) * (factor if near else 1))
    return sorted(range(len(boxes)), key=lambda index: ranks[index])


def convolution_weight_gradient(
    x: NDArray[np.float32], gradient: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Of a 3×3 convolution of padding 1: each weight moved each output by the input under it."""
    images, inputs, height, width = x.shape
    padded = np.zeros((images, inputs, height + 2, width + 2))
    padded[:, :, 1:-1, 1:-1] = x
    result = np.zeros((gradient.shape[1], inputs, 3, 3))
    for i in range(3):
        for j in range(3):
            under = padded[:, :, i : i + height, j : j + width]
            result[:, :, i, j] = np.einsum("bohw,bchw->oc", gradient.astype(np.float64), under)
    return result


def depthwise_weight_gradient(x, gradient, kernel, stride, padding):
    """The weights' gradient [C, k, k] of a depthwise convolution of x [B, C, H, W]."""
    result = np.zeros((x.shape[1], kernel, kernel))
    for image, channel, row, column in np.ndindex(gradient.shape):
        for i in range(kernel):
            for j in range(kernel):
                y, z = row * stride + i - padding, column * stride + j - padding
                if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
                    product = gradient[image, channel, row, column] * x[image, channel, y, z]
                    result[channel, i, j] += product
    return result


def hardest(boxes, losses, count):
    """The RoIs of the largest loss; near-duplicates of one with a larger loss come last."""
    order = sorted(range(len(boxes)), key=lambda i: -losses[i])
    distinct, others = [], []
    for i in order:
        again = any(box_iou(boxes[i], boxes[j]) > 0.7 for j in distinct)
        (others if again else distinct).append(i)
    return sorted((distinct + others)[:count])
