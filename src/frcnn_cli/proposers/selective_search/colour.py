"""Colour planes for the segmentation and the region statistics.

H, W: height and width in pixels. Planes are [3, H, W] float32 in 0..255.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...ops.kernels import njit

Planes = NDArray[np.float32]

SMOOTHING_RADIUS = 3  # taps on each side; at sigma 0.8 the Gaussian is below 0.1 % there
_STEPS = 4096  # length of the table of the Lab curve


def _srgb_to_linear() -> NDArray[np.float32]:
    """Linear light of each 8-bit level, [256], in steps of the table of the Lab curve."""
    value = np.arange(256) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (_STEPS * linear).astype(np.float32)


def _lab_curve() -> NDArray[np.float32]:
    """The function f of CIE L*a*b*, [_STEPS + 1], over linear light from 0 to 1."""
    t = np.arange(_STEPS + 1) / _STEPS
    curve = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return curve.astype(np.float32)


# Tables instead of powers: they are faster, and give the same bits on every processor.
_LINEAR = _srgb_to_linear()
_LAB_CURVE = _lab_curve()


@njit(cache=True, nogil=True, error_model="numpy")
def _hsv(image):
    height, width = image.shape[:2]
    planes = np.empty((3, height, width), np.float32)
    sixth = np.float32(255.0 / 6.0)
    zero, one, full = np.float32(0), np.float32(1), np.float32(255)
    red, green, blue = np.empty((3, width), np.float32)
    for y in range(height):
        # channels are separated first: the next loop, free of branches, compiles to vector code
        row = image[y]
        for x in range(width):
            red[x], green[x], blue[x] = row[x, 0], row[x, 1], row[x, 2]
        hues, saturations, values = planes[0, y], planes[1, y], planes[2, y]
        for x in range(width):
            r, g, b = red[x], green[x], blue[x]
            value = max(r, max(g, b))
            chroma = value - min(r, min(g, b))
            is_r, is_g = value == r, value == g
            change = (g - b) if is_r else ((b - r) if is_g else (r - g))
            start = zero if is_r else (np.float32(2) if is_g else np.float32(4))
            hue = change * (one / max(chroma, one)) + start
            hues[x] = (hue + (np.float32(6) if hue < zero else zero)) * sixth
            saturations[x] = full * chroma / max(value, one)
            values[x] = value
    return planes


@njit(cache=True, nogil=True)
def _lab(image, linear, curve):
    height, width = image.shape[:2]
    planes = np.empty((3, height, width), np.float32)
    half = np.float32(0.5)
    red, green, blue = np.empty((3, width), np.float32)
    steps_x, steps_y, steps_z = np.empty((3, width), np.uint16)
    for y in range(height):
        # lookups and arithmetic in separate loops: the arithmetic compiles to vector code
        row = image[y]
        for x in range(width):
            red[x], green[x], blue[x] = linear[row[x, 0]], linear[row[x, 1]], linear[row[x, 2]]
        for x in range(width):
            r, g, b = red[x], green[x], blue[x]
            # sRGB primaries, divided by the D65 white point, so that white is (1, 1, 1)
            fx = np.float32(0.433953) * r + np.float32(0.376219) * g + np.float32(0.189828) * b
            fy = np.float32(0.212671) * r + np.float32(0.715160) * g + np.float32(0.072169) * b
            fz = np.float32(0.017758) * r + np.float32(0.109477) * g + np.float32(0.872766) * b
            steps_x[x] = np.int32(fx + half)
            steps_y[x] = np.int32(fy + half)
            steps_z[x] = np.int32(fz + half)
        for x in range(width):
            red[x], green[x], blue[x] = curve[steps_x[x]], curve[steps_y[x]], curve[steps_z[x]]
        lightness, green_red, blue_yellow = planes[0, y], planes[1, y], planes[2, y]
        for x in range(width):
            cx, cy, cz = red[x], green[x], blue[x]
            level = (np.float32(116) * cy - np.float32(16)) * np.float32(2.55)
            lightness[x] = max(np.float32(0), level)
            green_red[x] = np.float32(500) * (cx - cy) + np.float32(128)
            blue_yellow[x] = np.float32(200) * (cy - cz) + np.float32(128)
    return planes


def hsv(image: NDArray[np.uint8]) -> Planes:
    """Hue, saturation and value of an [H, W, 3] RGB image, [3, H, W], each in 0..255."""
    return _hsv(image)


def lab(image: NDArray[np.uint8]) -> Planes:
    """CIE L*a*b* (D65) of an [H, W, 3] RGB image, [3, H, W]: 2.55 L, a + 128, b + 128."""
    return _lab(image, _LINEAR, _LAB_CURVE)


@njit(cache=True, nogil=True, error_model="numpy")
def _rgi(image):
    height, width = image.shape[:2]
    planes = np.empty((3, height, width), np.float32)
    for y in range(height):
        for x in range(width):
            r, g, b = np.int32(image[y, x, 0]), np.int32(image[y, x, 1]), np.int32(image[y, x, 2])
            total = np.float32(r + g + b)
            scale = np.float32(255) / max(total, np.float32(1))
            planes[0, y, x] = np.float32(r) * scale
            planes[1, y, x] = np.float32(g) * scale
            planes[2, y, x] = total / np.float32(3)
    return planes


def rgi(image: NDArray[np.uint8]) -> Planes:
    """Normalised red and green, R and G over R + G + B scaled to 0..255, and the mean intensity.

    From an [H, W, 3] RGB image to [3, H, W].
    """
    return _rgi(image)


def gaussian_taps(sigma: float) -> NDArray[np.float32]:
    """A Gaussian in one dimension, [2 * SMOOTHING_RADIUS + 1]; taps sum to 1, sigma in pixels."""
    offsets = np.arange(-SMOOTHING_RADIUS, SMOOTHING_RADIUS + 1)
    taps = np.exp(-0.5 * (offsets / sigma) ** 2)
    return (taps / taps.sum()).astype(np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _smooth(planes, taps):
    channels, height, width = planes.shape
    out = np.empty_like(planes)
    row = np.empty(width + 6, np.float32)
    t0, t1, t2, t3 = taps[3], taps[4], taps[5], taps[6]
    for c in range(channels):
        plane = planes[c]
        for y in range(height):
            # first down the columns, then along the row; edge pixels are repeated
            here = plane[y]
            up1, down1 = plane[max(y - 1, 0)], plane[min(y + 1, height - 1)]
            up2, down2 = plane[max(y - 2, 0)], plane[min(y + 2, height - 1)]
            up3, down3 = plane[max(y - 3, 0)], plane[min(y + 3, height - 1)]
            for x in range(width):
                near = t0 * here[x] + t1 * (up1[x] + down1[x])
                row[x + 3] = near + t2 * (up2[x] + down2[x]) + t3 * (up3[x] + down3[x])
            row[:3] = row[3]
            row[width + 3 :] = row[width + 2]
            target = out[c, y]
            for x in range(width):
                near = t0 * row[x + 3] + t1 * (row[x + 2] + row[x + 4])
                target[x] = near + t2 * (row[x + 1] + row[x + 5]) + t3 * (row[x] + row[x + 6])
    return out


def smooth(planes: Planes, sigma: float) -> Planes:
    """Gaussian smoothing of [C, H, W] planes; edge pixels are repeated outwards.

    Args:
        sigma: in pixels.
    """
    return _smooth(planes, gaussian_taps(sigma))
