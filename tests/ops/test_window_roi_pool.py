import pytest
import torch

from frcnn_cli.ops.roi_pool import roi_pool
from frcnn_cli.ops.window_roi_pool import levels_for, window_roi_pool


@pytest.mark.parametrize("bins", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (10, 13), (40, 25)])
def test_equals_roi_pooling(bins, size):
    rng = torch.Generator().manual_seed(bins)
    features = torch.randn((1, 5, *size), generator=rng)
    limit = torch.tensor([size[1], size[0]]) * 16.0
    corners = (torch.rand((200, 2, 2), generator=rng) * 1.4 - 0.2) * limit
    corners[:100] = corners[:100].sort(dim=1).values  # the others may be inside out
    corners[50:100] = (corners[50:100] / 8).round() * 8  # at the half of a cell
    rois = corners.reshape(-1, 4)
    numbered = torch.cat([torch.zeros((200, 1)), rois], dim=1)
    expected = roi_pool(features, numbered, (bins, bins), 1 / 16).permute(0, 2, 3, 1)
    assert (expected == 0).any()
    levels = 6 if bins == 1 else 5
    torch.testing.assert_close(
        window_roi_pool(features, rois, bins, 1 / 16, levels), expected, rtol=0, atol=0
    )


def test_no_rois():
    assert window_roi_pool(torch.ones(1, 5, 4, 4), torch.zeros(0, 4), 3, 1, 2).shape == (0, 3, 3, 5)


@pytest.mark.parametrize("max_side", [16, 100, 1000])
@pytest.mark.parametrize("bins", [1, 3, 7])
def test_levels_for_an_image_are_enough_for_its_largest_rois(max_side, bins):
    generator = torch.Generator().manual_seed(0)
    cells = -(-max_side // 16)
    features = torch.randn((1, 3, cells, cells), generator=generator)
    rois = torch.tensor([[0.0, 0.0, max_side, max_side], [0.0, 0.0, 8.0, max_side]])
    numbered = torch.cat([torch.zeros((2, 1)), rois], dim=1)
    expected = roi_pool(features, numbered, (bins, bins), 1 / 16).permute(0, 2, 3, 1)
    pooled = window_roi_pool(features, rois, bins, 1 / 16, levels_for(max_side, bins, 16))
    assert torch.equal(pooled, expected)
