from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.errors import DataError
from frcnn_cli.proposers.exchange.formats import read_boxes
from frcnn_cli.proposers.exchange.importer import import_boxes
from frcnn_cli.proposers.registry import from_file, proposal_source

SIZE = (50, 80)  # (height, width)
BOXES = [(3, 4, 20, 30), (0, 0, 80, 50), (60, 40, 61, 41)]  # half-open


def mask(box: tuple[int, int, int, int], quality: float) -> dict:
    """An entry of SAM for a mask that fills a box; the last pixels give its bbox, as in SAM."""
    drawn = np.zeros(SIZE, bool)
    drawn[box[1] : box[3], box[0] : box[2]] = True
    ys, xs = np.nonzero(drawn)
    x, y = int(xs.min()), int(ys.min())
    return {
        "segmentation": {"size": list(SIZE), "counts": "x"},
        "bbox": [x, y, int(xs.max()) - x, int(ys.max()) - y],
        "area": int(drawn.sum()),
        "predicted_iou": quality,
    }


MASKS = [mask(box, quality) for box, quality in zip(BOXES, (0.8, 0.9, 0.7), strict=True)]
BEST_FIRST = [list(BOXES[index]) for index in (1, 0, 2)]


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_masks_of_an_image(tmp_path: Path) -> None:
    file = read_boxes(write(tmp_path / "photo.json", MASKS))
    assert (file.format, file.names) == ("Segment Anything", ("photo",))
    assert file.boxes[0].tolist() == BEST_FIRST


def test_a_file_of_sa_1b(tmp_path: Path) -> None:
    content = {"image": {"file_name": "sa_7.jpg", "width": 80}, "annotations": MASKS}
    file = read_boxes(write(tmp_path / "x.json", content))
    assert (file.format, file.names) == ("SA-1B", ("sa_7",))
    assert file.boxes[0].tolist() == BEST_FIRST


def test_coco_results(tmp_path: Path) -> None:
    entries = [
        {"image_id": 9, "category_id": 1, "bbox": [3, 4, 17, 26], "score": 0.2},
        {"image_id": 12, "category_id": 1, "bbox": [0, 0, 80, 50], "score": 0.5},
        {"image_id": 9, "category_id": 2, "bbox": [0, 0, 80, 50], "score": 0.9},
    ]
    file = read_boxes(write(tmp_path / "x.json", entries))
    assert file.names == ("9", "12")
    assert [each.tolist() for each in file.boxes] == [
        [[0, 0, 80, 50], [3, 4, 20, 30]],
        [[0, 0, 80, 50]],
    ]


@pytest.mark.parametrize("layout", ["json", "csv"])
def test_a_folder_is_imported_for_its_images(tmp_path: Path, layout: str) -> None:
    images = []
    for name in ("a", "b"):
        images.append(tmp_path / "photos" / f"{name}.png")
        images[-1].parent.mkdir(exist_ok=True)
        pixels = np.full((*SIZE, 3), ord(name), np.uint8)
        Image.fromarray(pixels).save(images[-1])
        if layout == "json":
            write(tmp_path / "out" / f"{name}.json", MASKS)
            continue
        folder = tmp_path / "out" / name
        folder.mkdir(parents=True)
        with (folder / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "area", "bbox_x0", "bbox_y0", "bbox_w", "bbox_h",
                             "point_input_x", "point_input_y", "predicted_iou"])  # fmt: skip
            for number, each in enumerate(MASKS):
                writer.writerow([number, each["area"], *each["bbox"], 1, 1, each["predicted_iou"]])
    source = proposal_source(str(tmp_path / "out"), cache=tmp_path / "cache")
    result = import_boxes(tmp_path / "out", images, source)
    assert (result.format, result.images, str(result.layout)) == (
        "Segment Anything", 2, "columns x1 y1 x2 y2, 0-based, half-open",
    )  # fmt: skip
    pixels = np.full((*SIZE, 3), ord("b"), np.uint8)
    assert source(images[1].read_bytes(), pixels).boxes.tolist() == BEST_FIRST
    before = from_file(tmp_path / "out").digest
    write(tmp_path / "out" / "c.json", MASKS)
    assert from_file(tmp_path / "out").digest != before


@pytest.mark.parametrize(
    "content",
    [[{"area": 3}], [{"bbox": [1, 2, 3]}], [{"bbox": [1, 2, 3, float("nan")]}], 7, {"image": 3},
     {"image": {}, "annotations": []}, [{"image_id": 3}], [3], ["a"]],
)  # fmt: skip
def test_damaged_files_are_one_line(tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError) as error:
        read_boxes(write(tmp_path / "x.json", content))
    assert error.value.hint


def test_a_folder_without_boxes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no files of boxes"):
        read_boxes(tmp_path)
