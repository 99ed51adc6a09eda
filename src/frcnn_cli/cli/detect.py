"""frcnn detect"""

from __future__ import annotations

import os
import time
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..config import DetectConfig
from ..errors import DataError, FrcnnError
from ..paths import DEFAULT_WEIGHTS, find_weights
from .console import ProgressLine, stderr, stdout
from .options import Config, Device, Json, Quiet, Source, Weights, image_files, proposal_source

if TYPE_CHECKING:
    from PIL import Image

    from ..engine.detect import Found

DEFAULTS = DetectConfig()


def detect(
    sources: Annotated[list[str], typer.Argument(help="Images, folders or glob patterns.")],
    weights: Weights = DEFAULT_WEIGHTS,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the pictures with boxes drawn.")
    ] = None,
    score: Annotated[float, typer.Option(min=0, max=1, help="Show detections above it.")] = 0.5,
    nms: Annotated[
        float, typer.Option(min=0, max=1, help="IoU above which the weaker of two boxes goes.")
    ] = DEFAULTS.nms_threshold,
    top: Annotated[
        int, typer.Option(min=1, help="At most so many detections an image.")
    ] = DEFAULTS.max_detections,
    max_proposals: Annotated[
        int, typer.Option(min=1, help="Proposals used in each image.")
    ] = DEFAULTS.max_proposals,
    classes: Annotated[
        str, typer.Option(help="Only these, by name: cat,dog [default: all].", show_default=False)
    ] = "",
    proposals: Source = "fast",
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Detect objects in images.

    Example: frcnn detect photo.jpg --out found
    """
    paths = image_files(sources)
    names = tuple(name.strip() for name in classes.split(",") if name.strip())
    settings = DetectConfig(score, nms, top, max_proposals, names)
    file = find_weights(weights)
    from ..engine.detect import Detector
    from ..engine.draw import draw

    target = _Folder(out, paths) if out is not None else None
    threads = os.cpu_count() or 1 if len(paths) == 1 else 1
    source = proposal_source(quiet, proposals, threads)
    detector = Detector.load(file, source, settings, device)
    begun = time.perf_counter()
    results, failed, drawn = [], [], []
    with ProgressLine("detecting", len(paths), "images", quiet) as progress:
        for found in detector.run(paths):
            progress.advance()
            if found.error is not None or found.detections is None or found.image is None:
                failed.append(found)
                continue
            results.append(_as_json(found, detector.classes))
            if target is not None:
                picture = draw(found.image, found.detections, detector.classes)
                drawn.append(target.save(picture, found.path))
    if json:
        print(dumps(results))
    else:
        stdout.print(_table(results))
        for path in drawn:
            stdout.print(f"wrote {path}", soft_wrap=True)
        if not quiet:
            seconds = time.perf_counter() - begun
            stderr.print(
                f"{len(results)} of {len(paths)} pictures in {seconds:.2f} s "
                f"with {file.stem} on {detector.device}"
            )
    for found in failed:
        assert found.error is not None
        if len(paths) == 1:
            raise found.error
        stderr.print(f"  {found.error.message}")
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} images failed", "they are named above")


class _Folder:
    """Where pictures go; made with the first one, so that a failure leaves nothing behind.

    A picture takes the name of its source, numbered where two sources share it.
    """

    def __init__(self, folder: Path, sources: list[Path]) -> None:
        self._targets: dict[Path, Path] = {}
        taken: set[Path] = set()
        originals = {path.resolve() for path in sources}
        for source in sources:
            target, number = folder / f"{source.stem}.jpg", 1
            while target in taken:
                number += 1
                target = folder / f"{source.stem}-{number}.jpg"
            if target.resolve() in originals:
                hint = "choose another --out"
                raise FrcnnError(f"{target} is one of the pictures to detect in", hint)
            taken.add(target)
            self._targets[source] = target

    def save(self, picture: Image.Image, source: Path) -> Path:
        """Write the picture of a source, whole or not at all."""
        from ..engine.checkpoint import write_atomically

        target = self._targets[source]
        write_atomically(target, lambda part: picture.save(part, format="JPEG", quality=92))
        return target


def _as_json(found: Found, classes: tuple[str, ...]) -> dict[str, object]:
    assert found.detections is not None
    height, width = found.detections.image_size
    rows = zip(
        found.detections.labels.tolist(),
        found.detections.scores.tolist(),
        found.detections.boxes.tolist(),
        strict=True,
    )
    return {
        "image": str(found.path),
        "width": width,
        "height": height,
        "proposals": found.proposals,
        "seconds": round(found.seconds, 4),
        "detections": [
            {
                "label": classes[label - 1],
                "score": round(score, 4),
                "box": [round(v, 1) for v in box],
            }
            for label, score, box in rows
        ],
    }


def _table(results: list[dict[str, object]]) -> Table:
    table = Table("image", "class", "score", "x1", "y1", "x2", "y2")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        name = Path(str(result["image"])).name
        detections = result["detections"]
        assert isinstance(detections, list)
        if not detections:
            table.add_row(name, "nothing found", *[""] * 5, style="dim")
        for each in detections:
            box = (f"{value:.0f}" for value in each["box"])
            table.add_row(name, each["label"], f"{each['score']:.2f}", *box)
            name = ""
        table.add_section()
    return table
