from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError, ImageError
from frcnn_cli.structures import Proposals
from frcnn_cli.training.statistics import DatasetStatistics, compute_statistics, read_sample
from synthetic import CLASSES, write_annotation


class StubSource:
    method = "stub"

    def __init__(self, propose: Callable[[np.ndarray], np.ndarray]) -> None:
        self.propose = propose
        self.contents: list[bytes] = []

    def __call__(self, content: bytes, image: np.ndarray) -> Proposals:
        self.contents.append(content)
        return Proposals(self.propose(image), image.shape[:2])


def grid(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    boxes = [
        (x, y, x + w, y + h)
        for w in (25, 45, 70)
        for h in (30, 55, 80)
        for y in range(0, height - h, 12)
        for x in range(0, width - w, 12)
    ]
    return np.array(boxes, np.float32)


def nothing(image: np.ndarray) -> np.ndarray:
    return np.zeros((0, 4), np.float32)


def measure(
    dataset: Dataset,
    propose: Callable[[np.ndarray], np.ndarray],
    max_proposals: int = 5000,
    threads: int = 2,
    bg_thresholds: tuple[float, float] = (0.1, 0.5),
    on_image: Callable[[], None] = lambda: None,
) -> DatasetStatistics:
    source = StubSource(propose)
    return compute_statistics(
        dataset,
        source,
        max_proposals=max_proposals,
        fg_threshold=0.5,
        bg_thresholds=bg_thresholds,
        threads=threads,
        on_image=on_image,
    )


@pytest.fixture
def dataset(voc_folder: Path) -> Dataset:
    return load_voc(voc_folder, "mine", "trainval", ())


def overlap(a: tuple, b: tuple) -> float:
    w = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    h = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return w * h / (sum(areas) - w * h)


def slow_deltas(dataset: Dataset, proposals: Callable[[np.ndarray], np.ndarray]) -> list[list]:
    """Regression targets by class, one RoI at a time, mirror images included."""
    by_class: list[list] = [[] for _ in range(len(dataset.classes) + 1)]
    for index in range(len(dataset)):
        _, image, truth = dataset.read(index)
        easy = [
            (tuple(map(float, box)), int(label))
            for box, label, hard in zip(truth.boxes, truth.labels, truth.difficult, strict=True)
            if not hard
        ]
        rois = [box for box, _ in easy] + [tuple(map(float, box)) for box in proposals(image)]
        for p in rois:
            overlaps = [overlap(p, box) for box, _ in easy]
            if not overlaps or max(overlaps) < 0.5:
                continue
            g, label = easy[int(np.argmax(overlaps))]
            pw, ph, gw, gh = p[2] - p[0], p[3] - p[1], g[2] - g[0], g[3] - g[1]
            tx = (g[0] + gw / 2 - p[0] - pw / 2) / pw
            ty = (g[1] + gh / 2 - p[1] - ph / 2) / ph
            for sign in (1, -1):
                by_class[label].append((sign * tx, ty, np.log(gw / pw), np.log(gh / ph)))
    return by_class


def test_read_sample_joins_image_objects_and_the_best_proposals(dataset: Dataset) -> None:
    source = StubSource(grid)
    sample = read_sample(dataset, source, 1, 7)
    content, image, truth = dataset.read(1)
    assert source.contents == [content]
    assert sample.image_id == "000002"
    np.testing.assert_array_equal(sample.image, image)
    np.testing.assert_array_equal(sample.proposals.boxes, grid(image)[:7])
    np.testing.assert_array_equal(sample.ground_truth.boxes, truth.boxes)


def test_statistics_equal_those_of_a_loop(dataset: Dataset) -> None:
    deltas = measure(dataset, grid).deltas
    slow = slow_deltas(dataset, grid)
    assert min(len(own) for own in slow[1:]) > 10
    for label in range(1, len(dataset.classes) + 1):
        np.testing.assert_allclose(deltas.mean[label], np.mean(slow[label], axis=0), atol=1e-5)
        np.testing.assert_allclose(deltas.std[label], np.std(slow[label], axis=0), atol=1e-5)
    assert deltas.mean.shape == deltas.std.shape == (len(CLASSES) + 1, 4)


def test_shift_across_has_mean_zero_since_mirrors_count(dataset: Dataset) -> None:
    deltas = measure(dataset, grid).deltas
    np.testing.assert_allclose(deltas.mean[:, 0], 0, atol=1e-7)
    assert np.abs(deltas.mean[1:, 1:]).max() > 1e-3
    assert (deltas.std[1:] > 1e-3).all()


def test_background_row_changes_nothing(dataset: Dataset) -> None:
    deltas = measure(dataset, grid).deltas
    assert deltas.mean[0].tolist() == [0, 0, 0, 0]
    assert deltas.std[0].tolist() == [1, 1, 1, 1]


def test_class_without_foreground_changes_nothing(dataset: Dataset) -> None:
    deltas = measure(dataset.with_classes(["ball", "unseen"]), grid).deltas
    assert deltas.mean[2].tolist() == [0, 0, 0, 0]
    assert deltas.std[2].tolist() == [1, 1, 1, 1]
    assert deltas.std[1].tolist() != [1, 1, 1, 1]


def test_equal_targets_do_not_give_a_spread_of_zero(dataset: Dataset) -> None:
    statistics = measure(dataset, nothing)
    assert (statistics.deltas.mean == 0).all()
    assert (statistics.deltas.std == 1).all()


def test_counts_equal_those_of_a_loop(dataset: Dataset) -> None:
    statistics = measure(dataset, grid)
    slow = slow_deltas(dataset, grid)
    assert statistics.foreground_per_image == pytest.approx(sum(map(len, slow)) / 2 / len(dataset))
    truths = [dataset.ground_truth(index) for index in range(len(dataset))]
    easy = [(i, box) for i, t in enumerate(truths) for box in t.boxes[~t.difficult]]
    assert statistics.object_counts.sum() == len(easy) == 11
    labels = [label for t in truths for label in t.labels[~t.difficult]]
    assert statistics.object_counts.tolist() == [labels.count(label) for label in (1, 2, 3)]
    best = []
    for index, box in easy:
        _, image, _ = dataset.read(index)
        best.append(max(overlap(tuple(box), tuple(p)) for p in grid(image)))
    for iou, fraction in statistics.recall.items():
        assert fraction == pytest.approx(sum(each >= iou for each in best) / len(easy))
    assert statistics.recall[0.5] > 0.5


def test_recall_is_of_the_proposals_alone(dataset: Dataset) -> None:
    assert measure(dataset, nothing).recall == {0.5: 0.0, 0.7: 0.0}


def test_only_the_best_proposals_count(dataset: Dataset) -> None:
    few, many = measure(dataset, grid, max_proposals=5), measure(dataset, grid)
    assert few.foreground_per_image < many.foreground_per_image
    assert few.recall[0.5] < many.recall[0.5]


def test_image_of_difficult_objects_is_not_usable(dataset: Dataset) -> None:
    assert dataset.ground_truth(4).difficult.all()
    statistics = measure(dataset, grid)
    assert statistics.usable.tolist() == [0, 1, 2, 3, 5, 6, 7]


def test_orientation_of_the_usable_images(dataset: Dataset) -> None:
    statistics = measure(dataset, grid)
    sizes = [dataset.read(int(index))[1].shape for index in statistics.usable]
    assert statistics.landscape.tolist() == [width >= height for height, width, _ in sizes]
    assert 0 < statistics.landscape.sum() < len(sizes)


def test_image_without_objects_is_not_usable(voc_folder: Path) -> None:
    write_annotation(voc_folder / "Annotations" / "000003.xml", (100, 140), [])
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    assert measure(dataset, grid).usable.tolist() == [0, 1, 3, 5, 6, 7]


def test_every_image_is_counted_once(dataset: Dataset) -> None:
    calls: list[int] = []
    source = StubSource(grid)
    compute_statistics(
        dataset,
        source,
        max_proposals=100,
        fg_threshold=0.5,
        bg_thresholds=(0.1, 0.5),
        threads=3,
        on_image=lambda: calls.append(1),
    )
    assert len(calls) == 8
    assert sorted(source.contents) == sorted(path.read_bytes() for path in dataset.paths)


def test_result_does_not_depend_on_the_threads(dataset: Dataset) -> None:
    one, many = measure(dataset, grid, threads=1), measure(dataset, grid, threads=4)
    np.testing.assert_array_equal(one.deltas.mean, many.deltas.mean)
    np.testing.assert_array_equal(one.deltas.std, many.deltas.std)
    assert one.usable.tolist() == many.usable.tolist()


@pytest.mark.parametrize("propose", [grid, nothing])
def test_no_usable_image(voc_folder: Path, propose: Callable) -> None:
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    for index, path in enumerate(dataset.paths):
        size = dataset.read(index)[1].shape[:2]
        hard = [("box", (5, 5, 60, 60), True)]
        write_annotation(voc_folder / "Annotations" / f"{path.stem}.xml", size, hard)
    dataset = load_voc(voc_folder, "mine", "trainval", ())
    with pytest.raises(DataError, match="mine trainval: no image has a proposal"):
        measure(dataset, propose)


def test_damaged_image_stops_the_statistics(dataset: Dataset) -> None:
    dataset.paths[3].write_bytes(b"no picture")
    with pytest.raises(ImageError, match="000004"):
        measure(dataset, grid)


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        ([10, 10], [1, 1]),
        ([30, 10], [2 / 3, 2]),
        ([30, 0, 10], [2 / 3, 1, 2]),
        ([1000, 1], [1001 / 2000, 10]),
        ([0, 0], [1, 1]),
    ],
)
def test_balanced_weights(dataset: Dataset, counts: list[int], weights: list[float]) -> None:
    found = replace(measure(dataset, grid), object_counts=np.array(counts)).balanced_weights
    np.testing.assert_allclose(found, [1, *weights], rtol=1e-6)
