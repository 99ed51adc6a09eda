"""Caffe's geometry: boxes that end with their last pixel, and max pooling that rounds up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.config import DetectConfig
from frcnn_cli.data.collate import collate, preprocess
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.models.backbones import BACKBONES
from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.models.postprocess import postprocess
from frcnn_cli.ops import boxes as box_ops
from frcnn_cli.ops.roi_cells import bin_limits
from frcnn_cli.proposers.registry import selective_search
from frcnn_cli.recipes import recipe
from frcnn_cli.structures import GroundTruth, HeadOutput, Proposals, Sample
from frcnn_cli.training.roi_sampling import SamplingConfig, sample_targets
from frcnn_cli.training.target_normalization import DeltaStatistics

CAFFE = replace(DETECTORS["fast_rcnn"], geometry="caffe")
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "VOCdevkit"
STRIDE, BINS = 16, 7


def caffe_cells(size: int) -> int:
    """The cells of VGG16's maps along a side: four poolings of 2, each rounded up."""
    for _ in range(4):
        size = math.ceil((size - 2) / 2) + 1
    return size


def caffe_bins(first_pixel: float, last_pixel: float, factor: float, cells: int):
    """The bins of a RoI along an axis, line by line as in roi_pooling_layer.cpp.

    first_pixel, last_pixel: 0-based, both in the box, at the original size of the image.
    """
    real = np.float32
    start = reference.round_half_away(real(first_pixel) * real(factor) * real(1 / STRIDE))
    end = reference.round_half_away(real(last_pixel) * real(factor) * real(1 / STRIDE))
    length = max(end - start + 1, 1)
    step = real(length) / real(BINS)
    bins = []
    for p in range(BINS):
        low = start + math.floor(real(p) * step)
        high = start + math.ceil(real(p + 1) * step)
        bins.append([min(max(low, 0), cells), min(max(high, 0), cells)])
    return bins


def cells_of(image: np.ndarray, rois: np.ndarray, side: int, most: int):
    """Our bins in an image of half-open RoIs, [R, P, 2] for y and x, and the factor of its size."""
    own = preprocess(image, box_ops.to_last_pixel(rois), side, most)
    batch = collate([own])
    sizes = [caffe_cells(each) for each in batch.images.shape[2:]]
    pixels = batch.rois.numpy()
    ys = bin_limits(pixels[:, 2], pixels[:, 4], 1 / STRIDE, BINS, sizes[0])
    xs = bin_limits(pixels[:, 1], pixels[:, 3], 1 / STRIDE, BINS, sizes[1])
    return ys, xs, own.scale, sizes


@pytest.mark.parametrize("size", [(333, 500), (500, 375), (97, 640)])
def test_rois_fall_on_caffes_cells(size) -> None:
    rng = np.random.default_rng(size[0])
    corners = np.sort(rng.integers(0, [size[1], size[0]], (200, 2, 2)), axis=1)
    last = corners.reshape(200, 4)  # both ends in the box
    rois = (last + np.array([0, 0, 1, 1])).astype(np.float32)
    rois = rois[(rois[:, 2:] - rois[:, :2] > 1).all(axis=1)]
    image = np.zeros((*size, 3), np.uint8)
    ys, xs, factor, sizes = cells_of(image, rois, 600, 1000)
    for roi, y, x in zip(rois, ys, xs, strict=True):
        assert y.tolist() == caffe_bins(roi[1], roi[3] - 1, factor, sizes[0])
        assert x.tolist() == caffe_bins(roi[0], roi[2] - 1, factor, sizes[1])


@pytest.mark.parametrize("size", [(600, 800), (601, 905), (33, 47)])
def test_max_pooling_rounds_up(size) -> None:
    with torch.device("meta"):  # shapes alone
        image = torch.zeros(1, 3, *size)
        found = [
            build_network("vgg16", 1, spec).features(image).shape[2:]
            for spec in (CAFFE, "fast_rcnn")
        ]
    assert list(found[0]) == [caffe_cells(each) for each in size]
    assert list(found[1]) == [each // 16 for each in size]


def test_deltas_are_of_boxes_without_their_last_pixel() -> None:
    """fast_rcnn/lib/utils/bbox.py: ex_widths = ex_rois[:, 2] - ex_rois[:, 0]."""
    objects = np.array([[10, 20, 51, 81]], np.float32)  # pixels 10..50, 20..80
    proposals = np.array([[12, 20, 43, 71]], np.float32)
    truth = GroundTruth(
        boxes=objects, labels=np.array([1], np.int64), difficult=np.zeros(1, np.bool_)
    )
    sample = Sample(
        image_id="one",
        image=np.zeros((100, 100, 3), np.uint8),
        proposals=Proposals(proposals, (100, 100)),
        ground_truth=truth,
    )
    sampling = SamplingConfig(
        rois_per_image=2,
        fg_fraction=1.0,
        fg_threshold=0.5,
        bg_thresholds=(0.1, 0.5),
        ends_are_inside=True,
    )
    plain = DeltaStatistics(np.zeros((2, 4), np.float32), np.ones((2, 4), np.float32))
    rois, _, deltas = sample_targets(sample, sampling, plain, np.random.default_rng(0))
    order = np.argsort(rois[:, 0])
    assert rois[order].tolist() == [[10, 20, 50, 80], [12, 20, 42, 70]]
    expected = [(30 - 27) / 30, (50 - 45) / 50, math.log(40 / 30), math.log(60 / 50)]
    np.testing.assert_allclose(deltas[order[1]], expected, rtol=1e-6)
    output = HeadOutput(
        torch.tensor([[0.0, 9.0]]), torch.from_numpy(deltas[order[1:]]).repeat(1, 2).view(1, 2, 4)
    )
    found = postprocess(
        output,
        rois[order[1:]],
        (100, 100),
        labels=[1],
        score_function=lambda logits: logits.softmax(1),
        ends_are_inside=True,
        config=DetectConfig(),
    )
    np.testing.assert_allclose(found.boxes, objects, atol=1e-4)


def test_a_box_of_one_pixel_keeps_a_width() -> None:
    boxes = np.array([[3, 4, 4, 9]], np.float32)
    assert box_ops.to_last_pixel(boxes).tolist() == [[3, 4, 3.5, 8]]
    assert box_ops.to_last_pixel(boxes, False) is boxes


def test_the_papers_recipe_has_caffes_geometry() -> None:
    assert recipe("paper").geometry == "caffe"
    assert {recipe(name).geometry for name in ("modern", "auto")} == {"torch"}
    assert recipe("paper", detector="rcnn").geometry == "torch"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs VOC2007 in ../shared")
@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_the_rois_of_photographs_fall_on_caffes_cells_and_few_bins_are_empty(count) -> None:
    assert BACKBONES["vgg16"].pooled_size == BINS
    photographs = open_dataset("voc2007", SHARED, "val").limited(count)
    empty, total = 0, 0
    for index in range(len(photographs)):
        _, image = photographs.read_image(index)
        rois = selective_search().propose(image).top(2000).boxes
        ys, xs, factor, sizes = cells_of(image, rois, 600, 1000)
        for (left, top, right, bottom), y, x in zip(rois.tolist(), ys, xs, strict=True):
            assert y.tolist() == caffe_bins(top, bottom - 1, factor, sizes[0])
            assert x.tolist() == caffe_bins(left, right - 1, factor, sizes[1])
        hollow = [(limits[:, :, 1] <= limits[:, :, 0]).any(axis=1) for limits in (ys, xs)]
        empty += int((hollow[0] | hollow[1]).sum())
        total += len(rois)
    assert total > 1500 * count
    assert empty <= 0.02 * total
