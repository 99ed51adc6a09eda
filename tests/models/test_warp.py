from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from frcnn_cli.models.backbones import BACKBONES, backbone_spec
from frcnn_cli.models.detectors import build_network
from frcnn_cli.models.region_operators import RoIMaxPool
from frcnn_cli.models.warp import Warp, stack_maps, whole_maps


@pytest.mark.parametrize(("cells", "side", "window", "stride"), [(13, 6, 3, 2), (14, 7, 2, 2)])
def test_pooling_of_a_whole_map_is_the_backbones_last_pooling(cells, side, window, stride) -> None:
    """So that fc6 sees what it saw on ImageNet: AlexNet pools 13 cells to 6, VGG16 14 to 7."""
    maps = torch.randn(4, 8, cells, cells)
    pooled = RoIMaxPool(side, 16)(maps, whole_maps(maps, 16))
    expected = F.max_pool2d(maps, window, stride).permute(0, 2, 3, 1).flatten(1)
    assert torch.equal(pooled, expected)


@pytest.mark.parametrize("backbone", ["alexnet", "vgg16"])
def test_the_square_gives_the_cells_that_the_backbone_was_trained_with(backbone: str) -> None:
    spec = backbone_spec(backbone)
    with torch.device("meta"):
        maps = spec.features()(torch.zeros(1, 3, Warp().side, Warp().side))
    assert maps.shape[2:] == ({"alexnet": 13, "vgg16": 14}[backbone],) * 2


def test_maps_below_each_other_are_pooled_like_maps_of_their_own() -> None:
    maps, pool = torch.randn(5, 4, 13, 11), RoIMaxPool(3, 16)
    stacked, boxes = stack_maps(maps, 16)
    rois = F.pad(boxes, (1, 0))
    assert torch.equal(pool(stacked, rois), pool(maps, whole_maps(maps, 16)))


def test_only_equal_regions_have_equal_features() -> None:
    rois = torch.tensor([[0.0, 1, 2, 30, 40], [0, 1, 2, 30.01, 40], [0, 1, 2, 30, 40]])
    chosen, inverse = Warp().distinct(rois)
    assert len(chosen) == 2
    assert torch.equal(rois[chosen][inverse], rois)


@pytest.mark.parametrize("warp", [Warp(31), Warp(224, 112), Warp(224, -1), Warp(2000), Warp(99.5)])
def test_warps_that_no_network_can_use(warp: Warp) -> None:
    assert not warp.is_valid
    assert Warp().is_valid


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "resnet50"])
def test_the_work_for_a_region_is_that_of_the_classifier(name: str) -> None:
    with torch.device("meta"):
        network = build_network(name, 4, "rcnn")
        shared = build_network(name, 4)
        assert network.image_flops((600, 800)) == 0
        assert network.region_flops() == shared.image_flops((224, 224))
        assert shared.region_flops() == 0
