"""Fetching PASCAL VOC, by torchvision's downloader, which checks the MD5 sums."""

from __future__ import annotations

import contextlib
import sys
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError

from ..errors import DataError, reason


def download_voc(folder: Path, year: str, image_set: str) -> None:
    """Download and unpack VOC<year> below `folder`/VOCdevkit.

    Args:
        image_set: "trainval", or "test" (2007 only).
    Raises:
        DataError: no connection, or the archive is not the right one.
    """
    from torchvision.datasets import VOCDetection

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # results alone go to stdout
            VOCDetection(str(folder), year=year, image_set=image_set, download=True)
    except (OSError, RuntimeError, ValueError, HTTPException, TarError) as error:
        raise DataError(
            f"cannot download VOC{year} {image_set}: {reason(error)}",
            "download it by hand and give the folder with --data",
        ) from None
