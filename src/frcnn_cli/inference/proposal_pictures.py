"""Writes images with their first proposals drawn on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..data import images as image_files
from ..errors import ConfigError
from ..runtime.files import check_absent, write_atomically
from ..structures import GroundTruth, Proposals
from .drawing import draw_proposals


class ProposalPictures:
    """A folder with a JPEG drawing for each image, named like the image; equal names get a number.

    Args:
        images: paths of image files. overwrite: files that exist already may be replaced.
    Raises:
        ConfigError: a drawing would replace one of the images. FrcnnError: it would replace another
            file, and may not.
    """

    def __init__(self, folder: Path, images: Sequence[Path], overwrite: bool = False) -> None:
        self._images = images
        sources = set(map(os.path.realpath, images))  # no error for links in circles
        targets: dict[Path, None] = {}
        for path in images:
            target, number = folder / f"{path.stem}.jpg", 1
            while target in targets:
                number += 1
                target = folder / f"{path.stem}-{number}.jpg"
            if os.path.realpath(target) in sources:
                raise ConfigError(f"{target} is one of the images", "choose another --show")
            check_absent(target, overwrite, "--show")
            targets[target] = None
        self._targets = list(targets)

    def write(self, index: int, proposals: Proposals, truth: GroundTruth | None) -> None:
        """Draw the proposals of image number `index`, and its objects where `truth` is given.

        Raises:
            ImageError: the image cannot be read. FrcnnError: the drawing cannot be written.
        """
        path = self._images[index]
        pixels = image_files.decode(image_files.read_bytes(path), str(path))
        drawing = draw_proposals(pixels, proposals, truth)
        write_atomically(
            self._targets[index], lambda part: drawing.save(part, format="JPEG", quality=92)
        )
