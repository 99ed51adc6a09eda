"""The endings and formats of images, and what a file holds that is no image."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from PIL import features

from ..runtime.safe_read import LFS_POINTER

HEAD_BYTES = 512
_HAS_AVIF = bool(features.check("avif"))
_HAS_HEIF = find_spec("pillow_heif") is not None
SUFFIXES = (
    frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo", ".png", ".bmp", ".gif"})
    | {".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"}
    | ({".avif"} if _HAS_AVIF else set())
    | ({".heic", ".heif"} if _HAS_HEIF else set())
)
# Formats that may be decoded, recognised by content; Pillow's others are rarely used and tested.
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", *(["AVIF"] if _HAS_AVIF else []))
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# ending -> what lets files of that ending be read
_READABLE_WITH = {
    ".heic": "pip install pillow-heif",
    ".heif": "pip install pillow-heif",
    ".avif": "pip install --upgrade pillow",
}


def formats_for(head: bytes) -> tuple[str, ...]:
    """The formats that Pillow may take a file for that begins with `head`."""
    if _HAS_HEIF and _brand(head) in _HEIF_BRANDS:
        import_module("pillow_heif").register_heif_opener()
        return (*_FORMATS, "HEIF")
    return _FORMATS


def install_hint(suffix: str) -> str:
    """The command that lets files of this ending be read; empty where there is none."""
    return _READABLE_WITH.get(suffix.lower(), "")


def _brand(head: bytes) -> bytes:
    """The first brand of a file of the ISO base media format; empty for other files."""
    return head[8:12] if head[4:8] == b"ftyp" else b""


def describe_other(head: bytes) -> tuple[str, str]:
    """What a file holds that is no image that can be read, and what to do about it.

    Args:
        head: the first HEAD_BYTES of the file.
    """
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty", "copy or download the file again"
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<!-- ")):
        return "is a web page, not an image", "download the image itself"
    if start.startswith(LFS_POINTER.encode()):
        return "is a Git LFS pointer, not an image", "fetch the images with git lfs pull"
    if b"<svg" in start:
        return "is a drawing (SVG), not an image", "export it as PNG"
    for is_brand, readable, name in (
        (_brand(head) in _HEIF_BRANDS, _HAS_HEIF, "heic"),
        (_brand(head) == b"avif", _HAS_AVIF, "avif"),
    ):
        if is_brand and readable:
            return f"is damaged {name.upper()}", "copy or download the file again"
        if is_brand:
            return f"is {name.upper()}, which needs a library", install_hint(f".{name}")
    if head.startswith(b"\x00\x05\x16\x07"):
        return "holds metadata of macOS, not an image", "remove files whose names begin with ._"
    if head[128:132] == b"DICM":
        return "is DICOM, not an image", "window it, and export it as PNG with 8 or 16 bits"
    if head.startswith(b"%PDF"):
        return "is PDF, not an image", "export it as PNG"
    if _is_text(head):
        return "is text, not an image", "copy or download the image itself"
    return "is not a picture that can be read", "expected JPEG, PNG, WebP, TIFF, BMP or GIF"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "ignore")  # the last letter may be cut
    return len(text.encode()) > len(head) - 4 and all(
        letter.isprintable() or letter.isspace() for letter in text
    )
