from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

import reference
from frcnn_cli.ops.warp import warp_regions

INSIDE = [[3.0, 4.0, 19.0, 16.0], [0.0, 0.0, 30.0, 20.0], [5.25, 2.5, 6.75, 18.0]]
AT_THE_EDGE = [[-4.0, -2.0, 9.0, 11.0], [22.0, 12.0, 40.0, 25.0], [29.0, 0.0, 30.0, 20.0]]


@pytest.mark.parametrize(("side", "context"), [(12, 0), (16, 2), (9, 3)])
@pytest.mark.parametrize("box", INSIDE + AT_THE_EDGE)
def test_a_region_is_warped_like_a_slow_loop(box: list[float], side: int, context: int) -> None:
    image = torch.randn((1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[0.0, *box]])
    ours = warp_regions(image, rois, side, context)
    expected = torch.from_numpy(reference.warp(image[0].numpy(), box, side, context))
    torch.testing.assert_close(ours[0].double(), expected, atol=1e-4, rtol=0)


def test_context_outside_of_the_image_is_the_mean_colour() -> None:
    image = torch.ones((1, 3, 20, 20))
    crop = warp_regions(image, torch.tensor([[0.0, 0.0, 0.0, 20.0, 20.0]]), 28, 4)[0]
    assert (crop[:, :3] == 0).all()
    assert (crop[:, :, -3:] == 0).all()
    torch.testing.assert_close(crop[:, 5:23, 5:23], torch.ones(3, 18, 18))


def test_a_region_of_the_size_of_the_square_keeps_its_pixels() -> None:
    image = torch.randn(1, 3, 40, 40)
    crop = warp_regions(image, torch.tensor([[0.0, 10.0, 8.0, 26.0, 24.0]]), 24, 4)[0]
    torch.testing.assert_close(crop, image[0, :, 4:28, 6:30], atol=1e-4, rtol=0)


def test_regions_are_cut_from_their_own_images_in_order() -> None:
    images = torch.randn(3, 3, 20, 30)
    boxes = torch.tensor([[1.0, 2, 9, 17], [4, 4, 20, 20], [0, 0, 30, 20], [7, 3, 12, 9]])
    index = torch.tensor([2.0, 0, 2, 1])
    together = warp_regions(images, torch.cat([index[:, None], boxes], dim=1), 16, 2)
    assert together.is_contiguous(memory_format=torch.channels_last)
    for crop, image, box in zip(together, index.int().tolist(), boxes, strict=True):
        alone = warp_regions(
            images[image : image + 1], torch.cat([torch.zeros(1), box])[None], 16, 2
        )
        assert torch.equal(crop, alone[0])
    assert warp_regions(images, torch.zeros(0, 5), 16, 2).shape == (0, 3, 16, 16)


def test_the_gradient_is_that_of_the_numbers() -> None:
    images = torch.randn((2, 1, 6, 7), dtype=torch.double, requires_grad=True)
    rois = torch.tensor([[1, 1.0, 1, 5, 4], [0, -1.0, 2, 3, 6]], dtype=torch.double)
    assert gradcheck(lambda x: warp_regions(x, rois, 5, 1), (images,))
