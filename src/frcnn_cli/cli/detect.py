"""frcnn detect"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ..config import DetectConfig
from ..errors import DataError, FrcnnError
from ..paths import DEFAULT_WEIGHTS, find_weights
from .console import ProgressLine, err, out
from .options import Config, Device, Json, Quiet, Weights, image_files, proposal_source

if TYPE_CHECKING:
    from PIL import Image

    from ..engine.detect import Found

DEFAULTS = DetectConfig()


def detect(
    sources: Annotated[list[str], typer.Argument(help="Images, folders or glob patterns.")],
    weights: Weights = DEFAULT_WEIGHTS,
    out_dir: Annotated[
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
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Detect objects in images.

    Example: frcnn detect photo.jpg --out found
    """
    paths = image_files(sources)
    settings = DetectConfig(score, nms, top, max_proposals)
    file = find_weights(weights)
    from ..engine.detect import Detector
    from ..engine.draw import draw

    detector = Detector.load(file, proposal_source(), settings, device)
    target = _Folder(out_dir) if out_dir is not None else None
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
    if as_json:
        print(json.dumps(results))
    else:
        out.print(_table(results))
        for path in drawn:
            out.print(f"wrote {path}", soft_wrap=True)
        if not quiet:
            seconds = time.perf_counter() - begun
            err.print(
                f"{len(results)} images in {seconds:.2f} s with {file.stem} on {detector.device}"
            )
    for found in failed:
        assert found.error is not None
        if len(paths) == 1:
            raise found.error
        err.print(f"  {found.error.message}")
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} images failed", "they are named above")


class _Folder:
    """Where pictures go; made with the first one, so that a failure leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def save(self, picture: Image.Image, source: Path) -> Path:
        """Write one picture under the name of its source, numbered if two sources share it."""
        name, number = source.stem, 1
        while name in self._used:
            number += 1
            name = f"{source.stem}-{number}"
        self._used.add(name)
        path = self.folder / f"{name}.jpg"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            picture.save(path, quality=92)
        except OSError as error:
            raise FrcnnError(f"cannot write {path}: {error}", "choose another --out") from None
        return path


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
