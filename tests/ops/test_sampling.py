import numpy as np
import pytest

from frcnn_cli.ops.sampling import sample_rois


def sample(overlaps, rng=None, rois_per_image=64, fg_fraction=0.25):
    overlaps = np.array(overlaps, np.float32)
    rng = rng or np.random.default_rng(0)
    return sample_rois(overlaps, rois_per_image, fg_fraction, 0.5, (0.1, 0.5), rng)


def test_a_thousand_draws():
    rng = np.random.default_rng(1)
    times = np.zeros(400, np.int64)
    overlaps = rng.uniform(0, 1, 400).astype(np.float32)
    foreground, background = overlaps >= 0.5, (overlaps >= 0.1) & (overlaps < 0.5)
    for _ in range(1000):
        chosen, fg_count = sample(overlaps, rng)
        assert len(chosen) == 64
        assert fg_count == 16
        assert len(set(chosen.tolist())) == 64
        assert foreground[chosen[:fg_count]].all()
        assert background[chosen[fg_count:]].all()
        times[chosen] += 1
    for group, count in ((foreground, 16), (background, 48)):
        mean = 1000 * count / group.sum()
        assert times[group].min() > mean - 6 * np.sqrt(mean)
        assert times[group].max() < mean + 6 * np.sqrt(mean)


@pytest.mark.parametrize("rois_per_image", [4, 8, 16, 60, 64])
def test_foreground_is_at_most_a_quarter(rois_per_image):
    rng = np.random.default_rng(2)
    for _ in range(50):
        overlaps = rng.uniform(0.1, 1, 500)
        chosen, fg_count = sample(overlaps, rng, rois_per_image)
        assert len(chosen) == rois_per_image
        assert fg_count == rois_per_image // 4


@pytest.mark.parametrize(("rois_per_image", "fraction"), [(1, 0.25), (2, 0.25), (5, 0.3), (7, 0.5)])
def test_foreground_is_right_on_average_where_it_is_not_whole(rois_per_image, fraction):
    rng = np.random.default_rng(3)
    overlaps = rng.uniform(0.1, 1, 500)
    counts = [sample(overlaps, rng, rois_per_image, fraction)[1] for _ in range(4000)]
    expected = rois_per_image * fraction
    assert set(counts) == {int(expected), int(expected) + 1}
    assert np.mean(counts) == pytest.approx(expected, abs=0.04)  # five standard errors


@pytest.mark.parametrize(("rois_per_image", "fraction", "count"), [(100, 0.29, 29), (30, 0.1, 3)])
def test_nothing_is_drawn_where_the_foreground_is_whole(rois_per_image, fraction, count):
    """In floating point these products are a little below and above the whole numbers."""
    overlaps = np.linspace(0.1, 1, 500)
    chosen, fg_count = sample(overlaps, np.random.default_rng(4), rois_per_image, fraction)
    foreground = np.flatnonzero(overlaps.astype(np.float32) >= 0.5)
    first = np.random.default_rng(4).choice(foreground, count, replace=False)
    assert chosen[:fg_count].tolist() == first.tolist()


@pytest.mark.parametrize(
    ("overlap", "foreground", "background"),
    [
        (1.0, True, False),
        (0.5, True, False),
        (np.nextafter(np.float32(0.5), np.float32(0)), False, True),
        (0.1, False, True),
        (np.nextafter(np.float32(0.1), np.float32(0)), False, False),
        (0.0, False, False),
    ],
)
def test_thresholds(overlap, foreground, background):
    chosen, fg_count = sample([overlap])
    assert fg_count == foreground
    assert len(chosen) == foreground + background


def test_background_fills_up_for_missing_foreground():
    chosen, fg_count = sample([0.9, 0.6] + [0.3] * 100)
    assert fg_count == 2
    assert sorted(chosen[:2].tolist()) == [0, 1]
    assert len(chosen) == 64


def test_foreground_does_not_fill_up_for_missing_background():
    chosen, fg_count = sample([0.9] * 100 + [0.3] * 5 + [0.0] * 100)
    assert fg_count == 16
    assert len(chosen) == 21
    assert sorted(chosen[16:].tolist()) == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("overlaps", [[], [0.0] * 9])
def test_nothing_to_choose_from(overlaps):
    chosen, fg_count = sample(overlaps)
    assert fg_count == 0
    assert chosen.shape == (0,)
    assert chosen.dtype == np.intp


def test_the_generator_decides():
    overlaps = np.random.default_rng(3).uniform(0, 1, 300)
    first, again, other = (
        sample(overlaps, np.random.default_rng(seed))[0].tolist() for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
