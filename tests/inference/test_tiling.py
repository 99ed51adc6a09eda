from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from frcnn_cli.config import DetectConfig
from frcnn_cli.data.sources import Source, as_source
from frcnn_cli.errors import ImageError
from frcnn_cli.inference.result import Failure, Result
from frcnn_cli.inference.tiling import detect_tiled, merge, tiles
from frcnn_cli.models.score_calibration import ScoreCalibration
from frcnn_cli.structures import Detections


@pytest.mark.parametrize(
    ("size", "side"), [((100, 100), 64), ((1000, 300), 256), ((64, 65), 64), ((50, 900), 100)]
)
def test_tiles_cover_the_image_and_overlap(size: tuple[int, int], side: int) -> None:
    found = tiles(size, side)
    covered = np.zeros(size, int)
    for x1, y1, x2, y2 in found:
        assert (x2 - x1, y2 - y1) == (min(side, size[1]), min(side, size[0]))
        covered[y1:y2, x1:x2] += 1
    assert covered.min() == 1
    for axis in (0, 1):
        starts = sorted({place[axis] for place in found})
        assert all(b - a <= side * 0.75 + 1 for a, b in pairwise(starts))


def test_a_small_image_is_one_tile() -> None:
    assert tiles((60, 64), 64) == [(0, 0, 64, 60)]


class Finder:
    """Finds the red boxes of an image that are large enough in it, as selective search does."""

    def __init__(self, least: float = 0.1, **settings: object) -> None:
        self.config, self.least = DetectConfig(**settings), least
        self.sizes: list[tuple[int, int]] = []
        self.header = SimpleNamespace(calibration=None)

    def run(self, pictures, batch: int = 1, workers: int = 1):
        for picture in pictures:
            source = as_source(picture)
            try:
                _, pixels = source.read()
            except ImageError as error:
                yield Failure(source.name, error)
                continue
            self.sizes.append(pixels.shape[:2])
            yield Result(
                name=source.name,
                stem=source.stem,
                image=pixels,
                detections=self.find(pixels),
                classes=("red", "blue"),
                proposals=5,
                seconds=0.5,
            )

    def find(self, pixels: np.ndarray) -> Detections:
        boxes, labels = [], []
        for label, channel in ((1, 0), (2, 2)):
            for value in np.unique(pixels[..., channel])[1:]:
                ys, xs = np.nonzero(pixels[..., channel] == value)
                box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                if max(box[2] - box[0], box[3] - box[1]) >= self.least * max(pixels.shape):
                    boxes.append(box)
                    labels.append(label)
        return Detections(
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            scores=np.linspace(0.9, 0.8, len(boxes)).astype(np.float32),
            labels=np.array(labels, np.int64),
            image_size=pixels.shape[:2],
        )


def image(*objects: tuple[int, int, int, int], size=(300, 400)) -> np.ndarray:
    pixels = np.zeros((*size, 3), np.uint8)
    for number, (x1, y1, x2, y2) in enumerate(objects, start=1):
        pixels[y1:y2, x1:x2, 0] = 20 * number
    return pixels


SMALL, CUT, LARGE = (10, 10, 25, 25), (90, 200, 115, 225), (150, 20, 390, 280)


def run(detector: Finder, picture: np.ndarray, side: int = 100) -> Result:
    (result,) = detect_tiled(detector, [as_source(picture)], side)
    assert isinstance(result, Result)
    return result


def test_small_objects_are_found_in_tiles_and_large_ones_in_the_whole_image() -> None:
    picture = image(SMALL, CUT, LARGE)
    assert len(Finder().find(picture)) == 1
    detector = Finder()
    result = run(detector, picture)
    assert sorted(map(tuple, result.detections.boxes.tolist())) == sorted([SMALL, CUT, LARGE])
    assert result.image.shape == (300, 400, 3)
    assert result.proposals == 5 * len(detector.sizes)
    assert result.seconds > 0.5
    assert set(detector.sizes) == {(300, 400), (100, 100)}


def test_a_small_image_is_detected_once() -> None:
    detector = Finder()
    assert len(run(detector, image(SMALL, size=(90, 100))).detections) == 1
    assert detector.sizes == [(90, 100)]


def test_limit_and_class_agnostic_merging() -> None:
    picture = image(*((x, y, x + 12, y + 12) for x in range(5, 300, 60) for y in (5, 100)))
    assert len(run(Finder(), picture).detections) == 10
    assert len(run(Finder(max_detections=4), picture).detections) == 4
    both = image(SMALL)
    both[..., 2] = both[..., 0]
    assert sorted(run(Finder(), both).detections.labels.tolist()) == [1, 2]
    assert run(Finder(class_agnostic=True), both).detections.labels.tolist() == [1]


def test_a_thin_box_whose_side_is_rounded_away_is_left_out() -> None:
    class Thin(Finder):
        def find(self, pixels: np.ndarray) -> Detections:
            box = np.array([(10, 99.99999, 90, 100)], np.float32)
            return Detections(
                boxes=box,
                scores=np.full(1, 0.9, np.float32),
                labels=np.ones(1, np.int64),
                image_size=pixels.shape[:2],
            )

    boxes = run(Thin(), image(size=(4000, 100))).detections.boxes
    assert len(boxes)
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_parts_of_another_class_stay() -> None:
    detections = Detections(
        boxes=np.array([(0, 0, 100, 100), (10, 10, 30, 30), (10, 10, 30, 30)], np.float32),
        scores=np.array([0.5, 0.9, 0.8], np.float32),
        labels=np.array([1, 1, 2]),
        image_size=(200, 200),
    )
    detector = SimpleNamespace(config=DetectConfig())
    pictures = np.array([0, 1, 1])
    cut = np.array([False, True, True])
    assert merge(detections, cut, pictures, detector).labels.tolist() == [2, 1]
    assert len(merge(detections, np.array([False, False, True]), pictures, detector)) == 3


def test_soft_nms_stays_soft_within_a_picture_and_drops_what_two_have_found() -> None:
    pair = np.array([(0, 0, 100, 100), (0, 30, 100, 130)], np.float32)  # IoU 0.54
    scores = np.array([0.9, 0.4, 0.85, 0.35], np.float32)
    detections = Detections(
        boxes=np.concatenate([pair, pair]),
        scores=scores,
        labels=np.ones(4, np.int64),
        image_size=(200, 200),
    )
    detector = SimpleNamespace(
        config=DetectConfig(soft_nms=True), header=SimpleNamespace(calibration=None)
    )
    merged = merge(detections, np.zeros(4, np.bool_), np.array([0, 0, 1, 1]), detector)
    np.testing.assert_array_equal(merged.boxes, pair)
    np.testing.assert_array_equal(merged.scores, scores[:2])
    (result,) = detect_tiled(Finder(soft_nms=True), [as_source(image(SMALL, CUT, LARGE))], 100)
    assert sorted(map(tuple, result.detections.boxes.tolist())) == sorted([SMALL, CUT, LARGE])


def test_a_calibration_changes_the_scores_alone() -> None:
    generator = np.random.default_rng(0)
    corners = generator.uniform(0, 60, (40, 2))
    found = Detections(
        boxes=np.hstack([corners, corners + generator.uniform(30, 60, (40, 2))]).astype(np.float32),
        scores=generator.uniform(0.06, 0.99, 40).astype(np.float32),
        labels=np.ones(40, np.int64),
        image_size=(200, 200),
    )
    arguments = np.zeros(40, np.bool_), np.arange(40) % 3
    calibration = ScoreCalibration(slope=1.3, offset=-1.5)
    calibrated = calibration.calibrated(torch.from_numpy(found.scores)).numpy()
    for soft_nms in (True, False):
        detector, other = (
            SimpleNamespace(
                config=DetectConfig(soft_nms=soft_nms), header=SimpleNamespace(calibration=each)
            )
            for each in (None, calibration)
        )
        plain = merge(found, *arguments, detector)
        merged = merge(replace(found, scores=calibrated), *arguments, other)
        assert 3 < len(plain) < 40
        np.testing.assert_array_equal(merged.boxes, plain.boxes)
        expected = calibration.calibrated(torch.from_numpy(plain.scores))
        np.testing.assert_allclose(merged.scores, expected, rtol=1e-5)


def test_a_failure_does_not_stop_the_others() -> None:
    def fail():
        raise ImageError("broken", "")

    sources = [Source("a", "a", fail), as_source(image(SMALL))]
    first, second = detect_tiled(Finder(), sources, 100)
    assert isinstance(first, Failure)
    assert len(second.detections) == 1
