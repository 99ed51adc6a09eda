import numpy as np
import pytest
import torch
import torchvision

import reference
from frcnn_cli.ops.block_roi_pool import BlockMaxima
from frcnn_cli.ops.roi_cells import bin_limits, distinct_cells
from frcnn_cli.ops.roi_pool import roi_pool

DTYPES = [torch.float32, torch.float64]
LAYOUTS = [torch.contiguous_format, torch.channels_last]
BATCH, CHANNELS, HEIGHT, WIDTH = 3, 5, 11, 14


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def distinct_features(dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    shape = (BATCH, CHANNELS, HEIGHT, WIDTH)
    count = BATCH * CHANNELS * HEIGHT * WIDTH
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    values = (order.to(dtype) - count / 2) / 64
    return values.view(shape).contiguous(memory_format=layout)


def random_rois(count, scale, seed=0, dtype=torch.float32):
    """RoIs inside, over the border, outside, without area, inverted, and at half cells."""
    rng = np.random.default_rng(seed)
    limit = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]) / scale
    boxes = rng.uniform(-0.4, 1.4, (count, 4)) * limit
    tidy = rng.random(count) < 0.7
    boxes[tidy] = np.concatenate(
        [
            np.minimum(boxes[tidy, :2], boxes[tidy, 2:]),
            np.maximum(boxes[tidy, :2], boxes[tidy, 2:]),
        ],
        axis=1,
    )
    empty = rng.random(count) < 0.1
    boxes[empty, 2:] = boxes[empty, :2]
    halves = rng.random(count) < 0.3
    boxes[halves] = (boxes[halves] * scale).round() / scale + 0.5 / scale
    boxes[0] = [0, 0, *limit[2:]]
    images = rng.integers(0, BATCH, (count, 1))
    return torch.tensor(np.concatenate([images, boxes], axis=1), dtype=dtype)


def one_roi(*box):
    return torch.tensor([[0, *box]], dtype=torch.float32)


def ramp(height, width):
    return torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 6)])
def test_equals_the_reference(dtype, layout, size):
    features = distinct_features(dtype, layout)
    for seed, scale in enumerate((1 / 16, 0.3)):
        rois = random_rois(40, scale, seed)
        expected = reference.roi_max_pool(features.numpy(), rois.numpy(), size, scale)
        pooled = roi_pool(features, rois, size, scale)
        assert pooled.dtype == dtype
        assert torch.equal(pooled, torch.tensor(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("scale", [1 / 16, 1 / 8, 0.3, 1.0])
def test_equals_torchvision(dtype, layout, requires_grad, scale):
    features = distinct_features(dtype, layout).requires_grad_(requires_grad)
    for seed, size in enumerate([(7, 7), (6, 6), (3, 2), (1, 1)]):
        rois = random_rois(400, scale, seed, dtype)
        pooled = roi_pool(features, rois, size, scale)
        assert pooled.isfinite().all()
        assert torch.equal(pooled, torchvision.ops.roi_pool(features, rois, size, scale))


def test_steps_are_rounded_in_the_type_of_the_features():
    rois = torch.tensor([[0, 0, 0, 6, 6], [1, 2, 1, 15, 7]], dtype=torch.float32)
    pooled = []
    for dtype in DTYPES:
        features = distinct_features(dtype)
        pooled.append(roi_pool(features, rois, (13, 13), 1.0))
        expected = torchvision.ops.roi_pool(features, rois.to(dtype), (13, 13), 1.0)
        assert torch.equal(pooled[-1], expected)
    assert not torch.equal(pooled[0].double(), pooled[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradient_equals_torchvisions(dtype, layout):
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    rois = random_rois(300, 1 / 16, 3, dtype)
    weight = torch.randn(300, CHANNELS, 6, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    gradients = []
    for pool in (roi_pool, torchvision.ops.roi_pool):
        features = distinct_features(dtype, layout).requires_grad_()
        (pool(features, rois, (6, 6), 1 / 16) * weight).sum().backward()
        gradients.append(features.grad)
    assert gradients[1].count_nonzero() > 100
    torch.testing.assert_close(*gradients, rtol=tolerance, atol=tolerance)


def test_ties_give_their_gradient_to_the_first_cell():
    features = torch.ones(1, 1, 4, 4, requires_grad=True)
    roi_pool(features, one_roi(1, 1, 3, 3), (1, 1), 1.0).backward()
    assert features.grad.nonzero().tolist() == [[0, 0, 1, 1]]


def test_features_need_not_be_contiguous():
    features = distinct_features()[:, ::2, 1:, :-1]
    rois = random_rois(50, 1 / 16, 4)
    expected = torchvision.ops.roi_pool(features.contiguous(), rois, (4, 4), 1 / 16)
    assert torch.equal(roi_pool(features, rois, (4, 4), 1 / 16), expected)


def test_gradcheck():
    features = distinct_features(torch.float64)[:, :1].contiguous().requires_grad_()
    rois = random_rois(6, 1 / 16, 5, torch.float64)
    assert torch.autograd.gradcheck(lambda x: roi_pool(x, rois, (3, 2), 1 / 16), (features,))


def test_overlapping_rois_sum_their_gradients():
    features = ramp(4, 4).requires_grad_()
    rois = torch.tensor([[0, 0, 0, 3, 3], [0, 1, 1, 3, 3], [0, 0, 0, 1, 1]], dtype=torch.float32)
    pooled = roi_pool(features, rois, (1, 1), 1.0)
    (pooled.flatten() * torch.tensor([1.0, 10.0, 100.0])).sum().backward()
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 3, 3], expected[0, 0, 1, 1] = 11, 100
    assert torch.equal(features.grad, expected)


def test_overlapping_bins_sum_their_gradients():
    features = torch.tensor([[[[1.0, 5.0, 2.0]]]], requires_grad=True)
    pooled = roi_pool(features, one_roi(0, 0, 2, 0), (1, 2), 1.0)
    assert pooled.flatten().tolist() == [5, 5]
    pooled.sum().backward()
    assert features.grad.flatten().tolist() == [0, 2, 0]


def test_images_do_not_mix():
    features = torch.stack([torch.full((1, 3, 3), float(i)) for i in range(3)]).requires_grad_()
    rois = torch.tensor([[2, 0, 0, 2, 2], [0, 0, 0, 2, 2]], dtype=torch.float32)
    pooled = roi_pool(features, rois, (1, 1), 1.0)
    assert pooled.flatten().tolist() == [2, 0]
    pooled.sum().backward()
    assert features.grad.sum(dim=(1, 2, 3)).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 63, 63), [[10, 11], [14, 15]]),
        ((0, 0, 47, 47), [[5, 7], [13, 15]]),
        ((7.9, 0, 7.9, 0), [[0, 0], [0, 0]]),
        ((8, 8, 8, 8), [[5, 5], [5, 5]]),
        ((40, 0, 40, 0), [[3, 3], [3, 3]]),
        ((-8, -8, 0, 0), [[0, 0], [0, 0]]),
        ((64, 64, 90, 90), [[0, 0], [0, 0]]),
        ((32, 32, 95, 95), [[15, 0], [0, 0]]),
        ((48, 48, 16, 16), [[15, 15], [15, 15]]),
    ],
)
def test_by_hand(box, expected):
    assert roi_pool(ramp(4, 4), one_roi(*box), (2, 2), 1 / 16)[0, 0].tolist() == expected


def test_an_empty_bin_is_zero_and_others_may_be_negative():
    features = torch.full((1, 2, 4, 4), -3.0, requires_grad=True)
    pooled = roi_pool(features, one_roi(2, 0, 5, 3), (1, 2), 1.0)
    assert pooled[0, 0].tolist() == [[-3, 0]]
    pooled[..., 1].sum().backward()
    assert features.grad.count_nonzero() == 0


def test_bin_limits_round_half_away_from_zero():
    starts = np.array([-24, -8, 7.5, 8, 24, 40], np.float32)
    limits = bin_limits(starts, starts, 1 / 16, 1, 100)
    assert limits[:, 0].tolist() == [[0, 0], [0, 0], [0, 1], [1, 2], [2, 3], [3, 4]]
    across = bin_limits(starts[:2], np.array([0, 0], np.float32), 1 / 16, 1, 100)
    assert across[:, 0].tolist() == [[0, 1], [0, 1]]
    halves = bin_limits(np.array([-24], np.float32), np.array([24], np.float32), 1 / 16, 5, 100)
    assert halves[0].tolist() == [[0, 0], [0, 0], [0, 1], [1, 2], [2, 3]]


def test_bins_of_a_fractional_size_share_cells():
    limits = bin_limits(np.array([0.0]), np.array([4.0]), 1.0, 3, 9)
    assert limits[0].tolist() == [[0, 2], [1, 4], [3, 5]]


@pytest.mark.parametrize("requires_grad", [False, True])
def test_no_rois(requires_grad):
    features = distinct_features().requires_grad_(requires_grad)
    pooled = roi_pool(features, torch.zeros(0, 5), (7, 6), 1 / 16)
    assert pooled.shape == (0, CHANNELS, 7, 6)
    if requires_grad:
        pooled.sum().backward()
        assert features.grad.shape == features.shape
        assert features.grad.count_nonzero() == 0


@pytest.mark.parametrize("bad", [-1, BATCH, 1000])
def test_a_bad_image_index_is_an_error(bad):
    rois = torch.tensor([[0, 0, 0, 9, 9], [bad, 0, 0, 9, 9]], dtype=torch.float32)
    with pytest.raises(ValueError, match=r"first column of rois must be in 0\.\.2"):
        roi_pool(distinct_features(), rois, (2, 2), 1 / 16)


@pytest.mark.parametrize("channels", [1, CHANNELS])
def test_the_number_of_threads_changes_no_bit(set_threads, channels):
    rois = random_rois(101, 1 / 16, 6)
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(101, channels, 7, 7, generator=generator)
    results = []
    for threads in (1, 2):
        set_threads(threads)
        features = distinct_features()[:, :channels].clone().requires_grad_()
        pooled = roi_pool(features, rois, (7, 7), 1 / 16)
        (pooled * weight).sum().backward()
        results.append((pooled.detach(), features.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert torch.equal(
        results[0][0], torchvision.ops.roi_pool(features.detach(), rois, (7, 7), 1 / 16)
    )


@pytest.mark.parametrize("count", [0, 1, 300])
def test_rois_on_the_same_cells_have_the_same_features(count):
    rois = random_rois(300, 1 / 16, 7)[:count]
    rois[:, 1:] = (rois[:, 1:] / 32).round() * 32 + rois[:, 1:] % 7
    chosen, inverse = distinct_cells(rois, 1 / 16)
    assert chosen.shape == (count,) if count < 2 else count / 3 < len(chosen) < count
    assert inverse.shape == (count,)
    features = distinct_features()
    some = roi_pool(features, rois[chosen], (3, 3), 1 / 16)
    assert torch.equal(some[inverse], roi_pool(features, rois, (3, 3), 1 / 16))


@pytest.mark.parametrize("count", [0, 1, 60])
@pytest.mark.parametrize("expected_rois", [1, 1000])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.bfloat16])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("size", [(3, 4), (1, 1), (7, 2)])
def test_pooling_from_blocks_of_cells(count, expected_rois, dtype, signed, size):
    features = distinct_features(layout=torch.channels_last).to(dtype)
    if not signed:
        features = features.relu()
    rois = random_rois(60, 1 / 16, 8)[:count]
    out = torch.full((count + 2, *size, CHANNELS), torch.nan, dtype=dtype)
    BlockMaxima(features, expected_rois).pool_into(out[1:-1], rois, 1 / 16)
    expected = reference.roi_max_pool(features.float().numpy(), rois.numpy(), size, 1 / 16)
    assert torch.equal(
        out[1:-1].permute(0, 3, 1, 2),
        torch.tensor(expected, dtype=dtype).view(-1, CHANNELS, *size),
    )
    assert out[0].isnan().all()
    assert out[-1].isnan().all()


def test_every_bin_of_a_map_from_blocks_of_cells():
    # all heights and widths: shorter than, as long as and longer than one and two of the blocks
    features = distinct_features(layout=torch.channels_last)
    ends = [
        (y, x, b, r) for y in (0, 2) for x in (0, 1) for b in range(y, 11) for r in range(x, 14)
    ]
    rois = torch.tensor([[1, x, y, r, b] for y, x, b, r in ends], dtype=torch.float32)
    out = torch.empty((len(rois), 1, 1, CHANNELS))
    BlockMaxima(features, len(rois)).pool_into(out, rois, 1.0)
    for (y, x, b, r), pooled in zip(ends, out, strict=True):
        assert torch.equal(pooled[0, 0], features[1, :, y : b + 1, x : r + 1].amax((1, 2)))


def test_distinct_cells_by_hand():
    boxes = [(0, 0, 0, 40, 40), (1, 0, 0, 40, 40), (0, 7, 0, 47, 40), (0, 8, 0, 40, 40)]
    chosen, inverse = distinct_cells(torch.tensor(boxes, dtype=torch.float32), 1 / 16)
    assert sorted(chosen.tolist()) == [0, 1, 3]
    assert chosen[inverse].tolist() == [0, 1, 0, 3]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_largest_number_below_half_a_cell_is_cell_zero(dtype):
    below = torch.nextafter(torch.tensor(8.0, dtype=dtype), torch.tensor(0.0, dtype=dtype))
    rois = torch.cat([torch.zeros(1, dtype=dtype), below.expand(4)])[None]
    features = torch.arange(16, dtype=dtype).view(1, 1, 4, 4)
    assert roi_pool(features, rois, (1, 1), 1 / 16).item() == 0
    assert torchvision.ops.roi_pool(features, rois, (1, 1), 1 / 16).item() == 0
