from __future__ import annotations

import importlib.util
import io

import pytest
from PIL import Image, features

from frcnn_cli.data import file_types, images
from frcnn_cli.data.file_types import SUFFIXES, describe_other, formats_for, install_hint
from frcnn_cli.errors import ImageError


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><title>404</title>", "is a web page"),
        (b"\xef\xbb\xbf\n<HTML><body>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (b'<?xml version="1.0"?><svg width="3">', "is a drawing"),
        (b"\x00\x05\x16\x07\x00\x02", "holds metadata of macOS"),
        (b"\0" * 128 + b"DICM", "is DICOM"),
        (b"%PDF-1.7", "is PDF"),
        (b'{"error": "not found"}\n', "is text"),
        ("größer, größer: é".encode()[:-1], "is text"),
        (bytes(range(256)), "is not a picture that can be read"),
    ],
)
def test_what_a_file_is_instead_of_an_image(head: bytes, problem: str) -> None:
    message, hint = describe_other(head)
    assert message.startswith(problem)
    assert hint
    with pytest.raises(ImageError, match=f"x.jpg {problem}"):
        images.decode(head, "x.jpg")


@pytest.mark.parametrize("brand", [b"heic", b"avif"])
@pytest.mark.parametrize("readable", [True, False])
def test_formats_that_need_a_library(
    monkeypatch: pytest.MonkeyPatch, brand: bytes, readable: bool
) -> None:
    monkeypatch.setattr(file_types, f"_HAS_{'HEIF' if brand == b'heic' else 'AVIF'}", readable)
    message, hint = describe_other(b"\0\0\0\x18ftyp" + brand + b"\0" * 20)
    assert brand.decode().upper() in message
    assert ("pip install" in hint) != readable


def test_endings_follow_what_can_be_read() -> None:
    assert {".jpg", ".jpe", ".jfif", ".mpo", ".pgm", ".pbm", ".pnm", ".tiff"} <= SUFFIXES
    assert (".avif" in SUFFIXES) == bool(features.check("avif"))
    assert (".heic" in SUFFIXES) == (importlib.util.find_spec("pillow_heif") is not None)
    assert install_hint(".HEIC") == "pip install pillow-heif"
    assert install_hint(".tga") == ""
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (200, 30, 30)).save(buffer, "AVIF", quality=95)
    assert "AVIF" in formats_for(buffer.getvalue())
    assert images.decode(buffer.getvalue(), "a").shape == (8, 16, 3)
