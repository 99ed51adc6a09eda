from __future__ import annotations

import io
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data import images, pixels
from frcnn_cli.data.jpeg_scans import count_scans
from frcnn_cli.errors import ImageError
from synthetic import STORED

ORIENTATION = 0x0112


def encode(picture: Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_name, **options)
    return buffer.getvalue()


def colours(height: int = 9, width: int = 14) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height: int = 24, width: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 6, y * 10, 120 + x * 2 - y], axis=2).astype(np.uint8)


def with_orientation(value: object) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = value
    return exif


def one_line(error: pytest.ExceptionInfo[ImageError]) -> str:
    assert error.value.message
    assert "\n" not in error.value.message
    assert error.value.hint
    return error.value.message


@pytest.mark.parametrize("format_name", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_pictures_come_back_as_they_were(format_name: str) -> None:
    decoded = images.decode(encode(Image.fromarray(colours()), format_name), "a")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, colours())


@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 95, "progressive": True}])
def test_jpeg(options: dict) -> None:
    decoded = images.decode(encode(Image.fromarray(smooth()), "JPEG", **options), "a")
    assert decoded.shape == (24, 40, 3)
    assert np.abs(decoded.astype(int) - smooth()).max() < 16


def test_lossless_webp() -> None:
    decoded = images.decode(encode(Image.fromarray(colours()), "WEBP", lossless=True), "a")
    np.testing.assert_array_equal(decoded, colours())


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_grey_becomes_three_equal_channels(format_name: str) -> None:
    grey = colours()[..., 0]
    decoded = images.decode(encode(Image.fromarray(grey), format_name), "a")
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))


def test_two_colours_become_black_and_white() -> None:
    bits = np.array([[True, False, True]])
    decoded = images.decode(encode(Image.fromarray(bits), "PNG"), "a")
    assert decoded[..., 1].tolist() == [[255, 0, 255]]


def test_sixteen_bit_grey_png_is_scaled_and_not_cut() -> None:
    values = np.array([[0, 257, 128 * 257], [1000, 65279, 65535]], dtype=np.uint16)
    decoded = images.decode(encode(Image.fromarray(values), "PNG"), "a")
    assert decoded.shape == (2, 3, 3)
    expected = values.astype(float) / 257
    assert np.abs(decoded.astype(float) - expected[..., None]).max() <= 1
    assert decoded[0, 0, 0] == 0
    assert decoded[1, 2, 0] == 255


def test_dark_sixteen_bit_picture_stays_dark() -> None:
    values = np.full((2, 2), 2570, dtype=np.uint16)
    values[0, 0] = 65535
    decoded = images.decode(encode(Image.fromarray(values), "PNG"), "a")
    assert np.abs(decoded[1].astype(int) - 10).max() <= 1


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_values_are_stretched_by_the_bits_in_use(bits: int, format_name: str) -> None:
    top = 2**bits - 1
    values = np.array([[0, top // 2, top]], dtype=np.uint16)
    decoded = images.decode(encode(Image.fromarray(values), format_name), "a")
    assert np.abs(decoded[0, :, 1].astype(int) - [0, 127, 255]).max() <= 1
    # images of one scanner are stretched alike, though not each reaches its maximum
    dimmer = np.array([[0, top // 2, top * 3 // 4]], dtype=np.uint16)
    decoded = images.decode(encode(Image.fromarray(dimmer), format_name), "a")
    assert np.abs(decoded[0, :, 1].astype(int) - [0, 127, 191]).max() <= 1


@pytest.mark.parametrize(
    "values",
    [np.array([[-864.0, 0, 296]], np.float32), np.array([[-1000, 0, 3000]], np.int32)],
)
def test_hounsfield_units_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ImageError, match="a has negative values") as error:
        images.decode(encode(Image.fromarray(values), "TIFF"), "a")
    assert "window" in error.value.hint


def test_an_image_without_light_is_black() -> None:
    for values in (np.zeros((2, 3), np.uint16), np.zeros((2, 3), np.float32)):
        assert not images.decode(encode(Image.fromarray(values), "TIFF"), "a").any()


def colours_of_sixteen_bits(top: int) -> bytes:
    """A PNG of 2×1 pixels with 16 bits for each colour, which Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    row = b"\0" + struct.pack(">6H", 0, 0, 0, top, top, top)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_colours_of_sixteen_bits() -> None:
    decoded = images.decode(colours_of_sixteen_bits(65535), "a")
    assert decoded[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    decoded = images.decode(colours_of_sixteen_bits(2**14 - 1), "a")  # as one channel is stretched
    assert np.abs(decoded[0, 1].astype(int) - 255).max() <= 3
    decoded = images.decode(colours_of_sixteen_bits(2**14), "a")
    assert decoded[0, 1].tolist() == [64, 64, 64]
    with pytest.raises(ImageError, match="uses 12 or fewer"):
        images.decode(colours_of_sixteen_bits(4095), "a")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.5, 1]], np.float32), [0, 127, 255]),
        (np.array([[0, 100, 200]], np.float32), [0, 127, 255]),
        (np.array([[-5, 0, 1000]], np.int32), [0, 0, 255]),
    ],
)
def test_deep_tiffs_are_stretched_to_their_maximum(values: np.ndarray, expected: list) -> None:
    decoded = images.decode(encode(Image.fromarray(values), "TIFF"), "a")
    assert np.abs(decoded[0, :, 0].astype(int) - expected).max() <= 1


def test_big_endian_sixteen_bit_tiff() -> None:
    values = np.array([[0, 32768, 65535]], dtype=">u2")
    picture = Image.frombytes("I;16B", (3, 1), values.tobytes())
    decoded = images.decode(encode(picture, "TIFF"), "a")
    assert np.abs(decoded[0, :, 0].astype(int) - [0, 127, 255]).max() <= 1


def test_alpha_is_laid_over_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 200, 128]]], dtype=np.uint8)
    decoded = images.decode(encode(Image.fromarray(rgba, "RGBA"), "PNG"), "a")
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[0, 1].tolist() == [255, 255, 255]
    expected = 255 + (np.array([0, 100, 200]) - 255) * 128 / 255
    assert np.abs(decoded[0, 2] - expected).max() <= 1


def test_grey_with_alpha_is_laid_over_white() -> None:
    picture = Image.fromarray(np.array([[[40, 255], [40, 0]]], dtype=np.uint8), "LA")
    decoded = images.decode(encode(picture, "PNG"), "a")
    assert decoded[0].tolist() == [[40, 40, 40], [255, 255, 255]]


def test_transparent_palette_entry_is_white() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 50])
    picture.putdata([0, 1])
    decoded = images.decode(encode(picture, "PNG", transparency=0), "a")
    assert decoded[0].tolist() == [[255, 255, 255], [30, 40, 50]]


def test_palette_without_transparency() -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([200, 10, 20, 30, 40, 50])
    picture.putdata([0, 1])
    decoded = images.decode(encode(picture, "PNG"), "a")
    assert decoded[0].tolist() == [[200, 10, 20], [30, 40, 50]]


def test_transparent_colour_key_is_white() -> None:
    rgb = np.array([[[7, 8, 9], [90, 80, 70]]], dtype=np.uint8)
    decoded = images.decode(encode(Image.fromarray(rgb), "PNG", transparency=(7, 8, 9)), "a")
    assert decoded[0].tolist() == [[255, 255, 255], [90, 80, 70]]


def test_cmyk_jpeg() -> None:
    picture = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    decoded = images.decode(encode(picture, "JPEG", quality=95), "a")
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - [255, 0, 0]).max() < 12


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF"])
def test_single_pixel(format_name: str) -> None:
    decoded = images.decode(encode(Image.new("RGB", (1, 1), (200, 200, 200)), format_name), "a")
    assert decoded.shape == (1, 1, 3)
    assert np.abs(decoded.astype(int) - 200).max() < 4


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue")]
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    with Image.open(io.BytesIO(content)) as file:
        assert file.n_frames == 3
    decoded = images.decode(content, "a")
    assert decoded.shape == (4, 6, 3)
    assert (decoded == [255, 0, 0]).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_exif_orientation_is_undone(format_name: str, orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](colours()))
    content = encode(Image.fromarray(stored), format_name, exif=with_orientation(orientation))
    np.testing.assert_array_equal(images.decode(content, "a"), colours())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_jpeg_is_undone(orientation: int) -> None:
    stored = np.ascontiguousarray(STORED[orientation](smooth()))
    exif = with_orientation(orientation)
    content = encode(Image.fromarray(stored), "JPEG", quality=95, subsampling=0, exif=exif)
    decoded = images.decode(content, "a")
    assert decoded.shape == smooth().shape
    assert np.abs(decoded.astype(int) - smooth()).max() < 16


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"these are words, no picture\n" * 20,
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        bytes(range(256)),
        encode(Image.fromarray(colours(64, 64)), "JPEG")[:900],
        encode(Image.fromarray(colours(64, 64)), "PNG")[:900],
        encode(Image.fromarray(colours(64, 64)), "TIFF")[:900],
        encode(Image.fromarray(colours(64, 64)), "WEBP")[:900],
    ],
    ids=["empty", "text", "jpeg-start", "png-start", "bytes", "jpeg", "png", "tiff", "webp"],
)
def test_incomplete_images_are_image_errors(content: bytes) -> None:
    with pytest.raises(ImageError) as error:
        images.decode(content, "folder/odd.jpg")
    assert "folder/odd.jpg" in one_line(error)


@pytest.mark.parametrize("content", [b"", b"plain words\n"])
def test_layout_of_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError) as error:
        images.read_layout(path)
    assert str(path) in one_line(error)


def test_damaged_checksum_in_png() -> None:
    content = bytearray(encode(Image.fromarray(colours()), "PNG"))
    content[20] ^= 1
    with pytest.raises(ImageError):
        images.decode(bytes(content), "a")


@pytest.mark.parametrize("read", [images.read_bytes, images.read_layout])
def test_missing_file(tmp_path: Path, read) -> None:
    path = tmp_path / "absent.jpg"
    with pytest.raises(ImageError) as error:
        read(path)
    assert str(path) in one_line(error)


def test_folder_instead_of_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        images.read_bytes(tmp_path)
    assert str(tmp_path) in one_line(error)


def test_read_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff12")
    assert images.read_bytes(tmp_path / "a") == b"\0\xff12"


def test_more_pixels_than_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = encode(Image.new("RGB", (60, 50)), "PNG")
    path = tmp_path / "bomb.png"
    path.write_bytes(content)
    monkeypatch.setattr(images, "MAX_PIXELS", 3000)
    assert images.decode(content, "bomb.png").shape == (50, 60, 3)
    monkeypatch.setattr(images, "MAX_PIXELS", 2999)
    with pytest.raises(ImageError) as error:
        images.decode(content, "bomb.png")
    assert "too large: 60×50" in one_line(error)
    for read in (images.read_layout, images.read_depth):
        with pytest.raises(ImageError, match="too large"):
            read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow refuses twice as many
    with pytest.raises(ImageError, match="too large: it has more than 2,999 pixels"):
        images.decode(content, "bomb.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_large_images_are_decoded_as_others(
    monkeypatch: pytest.MonkeyPatch, mode: str, orientation: int
) -> None:
    grey = np.arange(35 * 20, dtype=np.uint16).reshape(35, 20) * 93
    image = Image.fromarray(grey) if mode == "I;16" else Image.fromarray((grey >> 8).astype("u1"))
    if mode != "I;16":
        image = image.convert(mode)
    exif = with_orientation(orientation)
    format_name = {"F": "TIFF", "I": "TIFF", "CMYK": "JPEG"}.get(mode, "PNG")
    content = encode(image, format_name, exif=exif)
    whole = images.decode(content, "a")
    monkeypatch.setattr(pixels, "_STRIP_PIXELS", 60)
    np.testing.assert_array_equal(images.decode(content, "a"), whole)
    monkeypatch.setattr(pixels, "_LARGE_PIXELS", 100)
    np.testing.assert_array_equal(images.decode(content, "a"), whole)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 2}])
def test_a_large_jpeg_is_decoded_as_others(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    content = encode(Image.fromarray(smooth(40, 60)), "JPEG", quality=95, **options)
    contents = [content] if "progressive" in options else [content, content[:-2]]  # a cut one
    whole = [images.decode_cut(each, "a") for each in contents]
    monkeypatch.setattr(pixels, "_LARGE_PIXELS", 100)
    for each, (expected, is_cut) in zip(contents, whole, strict=True):
        decoded, is_cut_again = images.decode_cut(each, "a")
        np.testing.assert_array_equal(decoded, expected)
        assert is_cut_again == is_cut


def test_a_large_image_of_the_caller_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "_LARGE_PIXELS", 100)
    content = encode(Image.fromarray(colours(40, 60)), "PNG")
    with Image.open(io.BytesIO(content)) as image:  # not loaded yet
        for _ in range(2):
            np.testing.assert_array_equal(images.from_memory(image, "a"), colours(40, 60))
        np.testing.assert_array_equal(np.asarray(image), colours(40, 60))


MEASURE = """
import sys
from pathlib import Path
from frcnn_cli.data import images

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

images.decode(Path(sys.argv[1]).read_bytes(), "small")
before = peak()
pixels = images.decode(Path(sys.argv[2]).read_bytes(), "large")
print((peak() - before) / (pixels.size // 3))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured as Linux tells it")
@pytest.mark.parametrize(
    ("format_name", "mode", "orientation"),
    [("JPEG", "RGB", 1), ("JPEG", "CMYK", 6), ("PNG", "RGB", 1), ("PNG", "LA", 1)],
)
def test_the_peak_of_a_large_picture(
    tmp_path: Path, format_name: str, mode: str, orientation: int
) -> None:
    """Four bytes a pixel, and not those of the result beside them."""
    for name, side in (("small", 64), ("large", 4200)):
        exif = with_orientation(orientation)
        image = Image.new(mode, (side, side))
        (tmp_path / name).write_bytes(encode(image, format_name, exif=exif))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "small"), str(tmp_path / "large")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 3 < float(result.stdout) < 6  # strips take some, 7 and more without the trick


def scans_of(content: bytes, count: int) -> bytes:
    """A progressive JPEG with its last scan repeated."""
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * count + content[-2:]


def test_jpegs_of_thousands_of_scans_are_not_decoded() -> None:
    """330 KB of them took more than 30 s."""
    content = encode(Image.new("RGB", (2000, 2000)), "JPEG", progressive=True)
    scans = count_scans(content)
    assert scans == 10
    repeated = scans_of(content, 400)
    with pytest.raises(ImageError, match=r"is stored in 410 scans of 4,000,000 pixels"):
        images.decode(repeated, "a")
    small = scans_of(encode(Image.fromarray(smooth()), "JPEG", progressive=True), 50)
    assert images.decode(small, "a").shape == (24, 40, 3)


def test_scans_are_counted_as_libjpeg_finds_them() -> None:
    content = encode(Image.fromarray(colours(60, 80)), "JPEG", quality=100)
    assert count_scans(content) == 1
    assert count_scans(content + b"\xff\xda" * 9) == 1  # a video behind the image
    thumbnail = b"\xff\xe1\x00\x08\xff\xda\xff\xda\xff\xda"
    assert count_scans(content[:2] + thumbnail + content[2:]) == 1
    garbage = b"\x01\x02\xff\xff"
    at = content.index(b"\xff\xda")
    assert count_scans(content[:at] + garbage + content[at:]) == 1


def test_a_long_row_of_fill_bytes_is_counted_through_once() -> None:
    """200,000 of them took more than 10 minutes."""
    content = encode(Image.fromarray(colours(60, 80)), "JPEG")
    start = content.index(b"\xff\xda")
    at = start + 2 + int.from_bytes(content[start + 2 : start + 4], "big")
    began = time.process_time()
    assert count_scans(content[:at] + b"\xff" * 20_000 + b"\x00" + content[at:]) == 1
    assert time.process_time() - began < 0.5
    assert count_scans(content[:start] + b"\xff" * 99 + content[start:]) == 1


@pytest.mark.parametrize("size", [(2**17 + 1, 1), (1, 2**17 + 1)])
def test_images_with_a_very_long_side(size: tuple[int, int]) -> None:
    """A pixel in a row of its own takes hundreds of bytes."""
    with pytest.raises(ImageError, match="has a side of more than 131,072 pixels"):
        images.decode(encode(Image.new("L", size), "PNG"), "a")


def test_webp_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its decoder takes four times the memory of others."""
    monkeypatch.setattr(images, "MAX_PIXELS_OF", {"WEBP": 2999})
    image = Image.new("RGB", (60, 50))
    assert images.decode(encode(image, "PNG"), "a").shape == (50, 60, 3)
    with pytest.raises(ImageError, match="too large: 60×50 are more than 2,999 pixels as WEBP"):
        images.decode(encode(image, "WEBP"), "a")


@pytest.mark.parametrize(
    ("format_name", "options", "bytes_a_pixel"),
    [
        ("JPEG", {}, 4),
        ("JPEG", {"progressive": True}, 7),
        ("JPEG", {"progressive": True, "subsampling": 0}, 10),
        ("PNG", {}, 4),
        ("TIFF", {"compression": "tiff_deflate"}, 8),
        ("WEBP", {}, 17),
    ],
)
def test_what_takes_far_more_than_its_file_is_not_decoded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    format_name: str,
    options: dict[str, object],
    bytes_a_pixel: int,
) -> None:
    path, needed = tmp_path / "a", bytes_a_pixel * 80 * 160
    path.write_bytes(encode(Image.new("RGB", (80, 160)), format_name, **options))
    monkeypatch.setattr(images, "_BYTES_PER_FILE_BYTE", 1)
    monkeypatch.setattr(images, "_FREE_BYTES", needed)
    assert images.read_layout(path).stored_size == (160, 80)
    assert images.decode(path.read_bytes(), "a").shape == (160, 80, 3)
    monkeypatch.setattr(images, "_FREE_BYTES", needed - 1)
    for read in (images.read_layout, lambda path: images.decode(path.read_bytes(), str(path))):
        with pytest.raises(ImageError, match="too large: decoding 80×160 pixels of a") as error:
            read(path)
        assert "save it as a baseline JPEG" in error.value.hint
    monkeypatch.setattr(images, "_BYTES_PER_FILE_BYTE", 10_000)  # photographs have larger files
    assert images.decode(path.read_bytes(), "a").shape == (160, 80, 3)


@pytest.mark.parametrize("mode", ["P", "LA", "RGB", "I;16"])
def test_memory_of_a_large_picture(mode: str) -> None:
    content = encode(Image.new(mode, (4000, 4000)), "PNG")
    tracemalloc.start()  # of numpy's arrays and Python's strings; Pillow's pixels are not counted
    decoded = images.decode(content, "a")
    assert tracemalloc.get_traced_memory()[1] < 1.5 * decoded.nbytes
    tracemalloc.stop()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
def test_layout_gives_the_stored_size(tmp_path: Path, format_name: str, orientation: int) -> None:
    path = tmp_path / "picture"
    exif = with_orientation(orientation)
    path.write_bytes(encode(Image.fromarray(colours(9, 14)), format_name, exif=exif))
    assert images.read_layout(path) == ((9, 14), orientation)


def test_layout_without_exif_is_upright(tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(encode(Image.fromarray(colours(3, 5)), "PNG"))
    assert images.read_layout(path) == ((3, 5), 1)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_out_of_range_is_upright(tmp_path: Path, orientation: int) -> None:
    content = encode(Image.fromarray(colours()), "PNG", exif=with_orientation(orientation))
    path = tmp_path / "picture"
    path.write_bytes(content)
    assert images.read_layout(path) == ((9, 14), 1)
    np.testing.assert_array_equal(images.decode(content, "a"), colours())


def test_layout_reads_no_pixels(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encode(Image.fromarray(colours(64, 48)), "JPEG")[:700])
    assert images.read_layout(path) == ((64, 48), 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_the_displayed_size_is_that_of_the_decoded_image(
    tmp_path: Path, format_name: str, orientation: int
) -> None:
    path = tmp_path / "picture"
    exif = with_orientation(orientation)
    path.write_bytes(encode(Image.fromarray(colours(9, 14)), format_name, exif=exif))
    layout = images.read_layout(path)
    assert layout.stored_size == (9, 14)
    assert layout.swaps_sides == (layout.displayed_size != layout.stored_size)
    assert layout.displayed_size == images.decode(path.read_bytes(), "a").shape[:2]
