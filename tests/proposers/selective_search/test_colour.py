import numpy as np
import pytest

from frcnn_cli.proposers.selective_search import colour
from reference import hsv_planes, lab_planes, smoothed

SHAPES = [(12, 17), (1, 1), (1, 9), (9, 1), (2, 2)]

# Half a step of the 4096-step table, times the steepest slope of the Lab curve.
TABLE_ERROR = 0.5 / 4096 * (29 / 6) ** 2 / 3
LAB_TOLERANCE = np.array([2.55 * 116, 2 * 500, 2 * 200]) * TABLE_ERROR * 1.02


def random_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def grid_image():
    levels = np.array([0, 1, 2, 9, 10, 11, 40, 90, 128, 200, 254, 255], np.uint8)
    return np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(36, 48, 3)


def lab_error(image):
    return np.abs(colour.lab(image) - lab_planes(image)).max(axis=(1, 2))


@pytest.mark.parametrize("shape", SHAPES)
def test_hsv_equals_colorsys(shape):
    image = random_image(shape)
    planes = colour.hsv(image)
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes, hsv_planes(image), rtol=0, atol=1e-3)


def test_hsv_equals_colorsys_on_a_grid_of_colours():
    image = grid_image()
    np.testing.assert_allclose(colour.hsv(image), hsv_planes(image), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (0, 0, 255)),
        ((77, 77, 77), (0, 0, 77)),
        ((255, 0, 0), (0, 255, 255)),
        ((0, 255, 0), (85, 255, 255)),
        ((0, 0, 255), (170, 255, 255)),
        ((255, 255, 0), (42.5, 255, 255)),
        ((255, 0, 255), (212.5, 255, 255)),
    ],
)
def test_hsv_of_known_colours(rgb, expected):
    planes = colour.hsv(np.full((2, 3, 3), rgb, np.uint8))
    np.testing.assert_allclose(planes[:, 1, 2], expected, atol=1e-3)
    assert (planes == planes[:, :1, :1]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_lab_equals_the_formula_within_the_table_step(shape):
    image = random_image(shape)
    assert colour.lab(image).dtype == np.float32
    assert (lab_error(image) <= LAB_TOLERANCE).all()


def test_lab_equals_the_formula_on_a_grid_of_colours():
    assert (lab_error(grid_image()) <= LAB_TOLERANCE).all()


def test_lab_of_bright_colours_is_within_a_quarter_of_a_grey_level():
    bright = np.random.default_rng(1).integers(100, 256, (12, 17, 3), dtype=np.uint8)
    assert (lab_error(bright) <= 0.25).all()


@pytest.mark.parametrize("read", [colour.hsv, colour.lab])
def test_planes_lie_in_0_to_255(read):
    planes = read(grid_image())
    assert planes.min() >= 0
    assert planes.max() <= 255.001


def test_greys_have_neutral_lab_and_rising_lightness():
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    lightness, a, b = colour.lab(greys)[:, 0]
    assert np.abs(a - 128).max() <= LAB_TOLERANCE[1]
    assert np.abs(b - 128).max() <= LAB_TOLERANCE[2]
    assert (np.diff(lightness) >= 0).all()
    assert lightness[0] == 0
    assert lightness[255] == pytest.approx(255, abs=0.1)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.0, 2.0])
def test_taps_are_a_normalised_gaussian(sigma):
    taps = colour.gaussian_taps(sigma)
    assert len(taps) == 2 * colour.SMOOTHING_RADIUS + 1
    assert taps.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(taps, taps[::-1])
    centre = colour.SMOOTHING_RADIUS
    for t in range(1, centre + 1):
        expected = np.exp(-(t**2) / (2 * sigma**2))
        assert taps[centre + t] / taps[centre] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sigma", [0.8, 1.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_smoothing_equals_the_direct_sum(shape, sigma):
    planes = np.random.default_rng(2).uniform(0, 255, (3, *shape)).astype(np.float32)
    expected = smoothed(planes, sigma, colour.SMOOTHING_RADIUS)
    np.testing.assert_allclose(colour.smooth(planes, sigma), expected, rtol=0, atol=1e-3)


def test_smoothing_leaves_constant_planes_and_its_input_alone():
    planes = np.stack([np.full((5, 8), v, np.float32) for v in (0, 91, 255)])
    before = planes.copy()
    np.testing.assert_allclose(colour.smooth(planes, 1.0), before, atol=1e-4)
    np.testing.assert_array_equal(planes, before)


def test_smoothing_does_not_mix_channels():
    planes = np.zeros((3, 6, 7), np.float32)
    planes[1] = np.random.default_rng(3).uniform(0, 255, (6, 7))
    out = colour.smooth(planes, 1.0)
    assert (out[[0, 2]] == 0).all()
    assert out[1].max() > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_rgi_is_normalised_red_and_green_and_the_intensity(shape):
    image = random_image(shape)
    image[0, 0] = 0
    planes = colour.rgi(image)
    assert planes.dtype == np.float32
    for y, x in np.ndindex(shape):
        r, g, b = (int(v) for v in image[y, x])
        total = r + g + b
        scale = 255 / total if total else 0
        np.testing.assert_allclose(planes[:, y, x], [r * scale, g * scale, total / 3], rtol=1e-5)
