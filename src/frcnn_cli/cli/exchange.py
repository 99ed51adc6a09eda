"""Files of boxes of other programs, in and out of `frcnn propose`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import unknown_name
from .console import ProgressLine, stderr

if TYPE_CHECKING:
    from ..proposers.cache import ProposalSource
    from ..proposers.exchange.formats import Boxes

FORMATS = ("mat", "detectron2", "mmdetection", "npz", "json")  # to write


def import_proposals(
    file: Path, paths: list[Path], source: ProposalSource, layout: str | None, quiet: bool
) -> dict[str, Any]:
    """Import a file of boxes; says what it was taken for."""
    from ..proposers.exchange.importer import import_boxes
    from ..proposers.exchange.layouts import LAYOUTS

    if layout is not None and layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    forced = None if layout is None else LAYOUTS[layout]
    with ProgressLine("taking in", len(paths), "images", quiet) as progress:
        found = import_boxes(file, paths, source, forced, progress.advance)
    if not quiet:
        stderr.print(f"{file}: {found.format}; {found.layout}; boxes for {found.images} images")
    if found.unused and not quiet:
        stderr.print(f"  boxes for {found.unused} other images are left out")
    return {"format": found.format, "layout": str(found.layout)}


def exporter(
    export: Path | None, name: str | None
) -> Callable[[list[Path], dict[int, Boxes]], None] | None:
    """What writes the boxes of a run; None where nothing is to be written."""
    if export is None:
        return None
    from ..proposers.exchange.formats import WRITERS

    chosen = name or {".pkl": "detectron2"}.get(export.suffix, export.suffix.lstrip("."))
    if chosen not in WRITERS:
        raise unknown_name("format", chosen, WRITERS)

    def write(paths: list[Path], boxes: dict[int, Boxes]) -> None:
        import numpy as np

        from ..runtime.files import write_atomically

        # mmdetection knows images by their order alone: those that failed have no boxes
        order = range(len(paths)) if chosen == "mmdetection" else sorted(boxes)
        none = np.zeros((0, 4), np.float32)
        content = WRITERS[chosen](
            [paths[i].stem for i in order], [boxes.get(i, none) for i in order]
        )

        def fill(part: Path) -> None:
            part.write_bytes(content)

        write_atomically(export, fill)

    return write
