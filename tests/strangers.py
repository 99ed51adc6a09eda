"""One small data set in the layouts and spellings of many programs.

Eight pictures of 96×64 pixels with one or two objects each; OBJECTS says which, as (class, x1, y1,
x2, y2). The writers fill `folder`; their arguments are what differs between programs.
`assert_read` compares what is read of it with OBJECTS.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset

WIDTH, HEIGHT = 96, 64
CLASSES = ("disc", "square")
Write = Callable[[Path], object]  # fills a folder
Object = tuple[str, float, float, float, float]
Objects = dict[str, list[Object]]
OBJECTS: Objects = {
    f"img_{i}": [
        (CLASSES[(i + k) % 2], 4 + 46 * k + i, 6 + i, 28 + 46 * k + i, 26 + 2 * i)
        for k in range(1 + i % 2)
    ]
    for i in range(8)
}
TRAIN = dict(list(OBJECTS.items())[:6])
VAL = dict(list(OBJECTS.items())[6:])


def write_images(folder: Path, names: Iterable[str] = OBJECTS, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        index = list(OBJECTS).index(name)
        pixels = np.full((HEIGHT, WIDTH, 3), 20 * index, np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.{ending}", format="PNG")


def xml(name: str, objects: list[Object], form: str, file: str | None = None) -> str:
    """An annotation of VOC; `form` is that of an object, with {name}, {x1} …, 1-based."""
    parts = [
        form.format(name=o[0], x1=o[1] + 1, y1=o[2] + 1, x2=o[3], y2=o[4], fx1=o[1] / WIDTH,
                    fy1=o[2] / HEIGHT, fx2=o[3] / WIDTH, fy2=o[4] / HEIGHT)
        for o in objects
    ]  # fmt: skip
    filename = f"{name}.png" if file is None else file
    return f"<annotation><filename>{filename}</filename>{''.join(parts)}</annotation>"


BOX = "<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>"
OBJECT = f"<object><name>{{name}}</name>{BOX}</object>"
FRACTIONS = (
    "<object><name>{name}</name><bndbox><xmin>{fx1}</xmin><ymin>{fy1}</ymin><xmax>{fx2}</xmax>"
    "<ymax>{fy2}</ymax></bndbox></object>"
)
HEADER = "filename,class,xmin,ymin,xmax,ymax"
CSV = "{n}.png,{name},{X1},{Y1},{X2},{Y2}"


def voc(
    folder: Path,
    annotations: str = "Annotations",
    images: str = "JPEGImages",
    form: str = OBJECT,
    change: Callable[[str], str] = lambda text: text,
    file: str | None = None,
) -> None:
    """{} in the names of the folders is the split; without it there are no splits."""
    for split, part in _parts(annotations + images):
        write_images(folder / images.format(split), part)
        target = folder / annotations.format(split)
        target.mkdir(parents=True, exist_ok=True)
        for name, objects in part.items():
            (target / f"{name}.xml").write_text(change(xml(name, objects, form, file)))


def coco(
    folder: Path,
    file: str = "annotations/instances.json",
    images: str = "images",
    change: Callable[[dict[str, Any]], object] = lambda content: None,
    file_name: str = "{}.png",
    encoding: str = "utf-8",
) -> None:
    """`change` gets the content before it is written."""
    for split, part in _parts(file + images):
        write_images(folder / images.format(split), part)
        rows, boxes = [], []
        for index, (name, objects) in enumerate(part.items()):
            row = {"id": index, "file_name": file_name.format(name)}
            rows.append({**row, "width": WIDTH, "height": HEIGHT})
            for class_name, x1, y1, x2, y2 in objects:
                box = [x1, y1, x2 - x1, y2 - y1]
                number = CLASSES.index(class_name)
                boxes.append({"image_id": index, "category_id": number, "bbox": box})
        categories = [{"id": index, "name": name} for index, name in enumerate(CLASSES)]
        content = {"images": rows, "annotations": boxes, "categories": categories}
        change(content)
        path = folder / file.format(split)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(json.dumps(content).encode(encoding))


def yolo(
    folder: Path,
    images: str = "images",
    labels: str = "labels",
    settings: str = "names: [disc, square]\n",
    row: str = "{c} {x} {y} {w} {h}",
    ending: str = "txt",
) -> None:
    for split, part in _parts(images + labels):
        write_images(folder / images.format(split), part)
        target = folder / labels.format(split)
        target.mkdir(parents=True, exist_ok=True)
        for name, objects in part.items():
            lines = [_fill(row, each) for each in objects]
            (target / f"{name}.{ending}").write_text("\n".join(lines))
    if settings:
        (folder / "data.yaml").write_text(settings)


def table(
    folder: Path,
    header: str,
    row: str,
    file: str = "boxes.csv",
    images: str = "images",
    encoding: str = "utf-8",
    change: Callable[[str], str] = lambda text: text,
) -> None:
    """`change` gets the text before it is written."""
    write_images(folder / images)
    lines = [header] * bool(header)
    lines += [_fill(row, each, name) for name, own in OBJECTS.items() for each in own]
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_bytes(change("\n".join(lines)).encode(encoding))


def _parts(places: str) -> list[tuple[str, Objects]]:
    return [("train", TRAIN), ("val", VAL)] if "{}" in places else [("", OBJECTS)]


def _fill(row: str, box: Object, name: str = "") -> str:
    """A row with the class and its number, and the box in pixels and in fractions."""
    class_name, x1, y1, x2, y2 = box
    return row.format(
        n=name, name=class_name, c=CLASSES.index(class_name), X1=x1, Y1=y1, X2=x2, Y2=y2,
        W=x2 - x1, H=y2 - y1, x1=x1 / WIDTH, y1=y1 / HEIGHT, x2=x2 / WIDTH, y2=y2 / HEIGHT,
        x=(x1 + x2) / 2 / WIDTH, y=(y1 + y2) / 2 / HEIGHT,
        w=(x2 - x1) / WIDTH, h=(y2 - y1) / HEIGHT,
    )  # fmt: skip


def opened(path: Path, split: str | None = None) -> Dataset:
    """The data set with its images read, as before training."""
    return check_dataset(open_dataset(str(path), None, split))


def boxes(dataset: Dataset) -> Objects:
    """The objects of each image, by its name without the ending."""
    return {
        path.stem: [
            (dataset.classes[label - 1], *map(float, box))
            for label, box in zip(truth.labels, truth.boxes, strict=True)
        ]
        for path, truth in zip(dataset.paths, dataset.ground_truths(), strict=True)
    }


def assert_read(found: Dataset, expected: Objects = OBJECTS, within: float = 0.05) -> None:
    """The images and their objects are `expected`, the corners within so many pixels."""
    assert sorted(path.stem for path in found.paths) == sorted(expected)
    for name, own in boxes(found).items():
        for each, other in zip(sorted(own), sorted(expected[name]), strict=True):
            assert each[0] == other[0]
            assert each[1:] == pytest.approx(other[1:], abs=within)


def listed(folder: Path, file: str, text: str) -> None:
    """VOC with a list."""
    voc(folder)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(text)


def named(
    folder: Path, file: str, text: str, images: str = "images", labels: str = "labels"
) -> None:
    """YOLO with a list of the classes."""
    yolo(folder, images, labels, settings="")
    (folder / file).write_text(text)


def each_box(change: Callable[[list], object]) -> Callable[[dict], None]:
    """Changes the box of every annotation of COCO."""

    def changed(content: dict) -> None:
        for row in content["annotations"]:
            row["bbox"] = change(row["bbox"])

    return changed


def each_row(key: str, change: Callable[[dict], object]) -> Callable[[dict], None]:
    """Changes every row of one of the lists of COCO."""

    def changed(content: dict) -> None:
        for row in content[key]:
            change(row)

    return changed
