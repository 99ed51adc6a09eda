from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from strangers import (
    FRACTIONS,
    HEADER,
    OBJECTS,
    Write,
    assert_read,
    coco,
    each_box,
    opened,
    table,
    voc,
)


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=each_box(lambda b: [b[0] / 96, b[1] / 64, b[2] / 96, b[3] / 64])),
    lambda f: table(f, HEADER, "{n}.png,{name},{x1},{y1},{x2},{y2}"),
    lambda f: voc(f, form=FRACTIONS),
])  # fmt: skip
def test_fractions_that_reach_out_of_an_image(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    for path in tmp_path.rglob("*.*"):
        if path.suffix in (".json", ".csv", ".xml"):  # the left edge of img_0's object
            old, new = (
                ("0.041666666666666664, ", "-0.2, ")
                if path.suffix == ".json"
                else ("0.041666666666666664", "-0.2")
            )
            path.write_text(path.read_text().replace(old, new, 1))
    found = opened(tmp_path).ground_truth(0).boxes[0]
    right = -0.2 * 96 + 24 if any(tmp_path.rglob("*.json")) else 28
    assert found.tolist() == pytest.approx([0, 6, right, 26], abs=1e-3)


def test_fractions_of_photos_that_are_turned(tmp_path: Path) -> None:
    coco(tmp_path, change=each_box(lambda b: [b[0] / 96, b[1] / 64, b[2] / 96, b[3] / 64]))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter clockwise; the sizes are those before that
    for path in (tmp_path / "images").iterdir():
        with Image.open(path) as picture:
            picture.save(path, exif=exif)
    turned = {
        name: [(c, 64 - y2, x1, 64 - y1, x2) for c, x1, y1, x2, y2 in own]
        for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), turned)


AT_THE_EDGES = {
    f"img_{i}": [("disc", 60, 30, 92, 60), ("square", 4, 4, 20, 10)] for i in range(len(OBJECTS))
}


def centre(box: list) -> list:
    return [box[0] + box[2] / 2, box[1] + box[3] / 2, *box[2:]]


@pytest.mark.parametrize("write", [
    lambda f: coco(f, change=lambda content: content.update(annotations=[
        {"image_id": i, "category_id": c, "bbox": centre([x1, y1, x2 - x1, y2 - y1])}
        for i, own in enumerate(AT_THE_EDGES.values()) for c, (_, x1, y1, x2, y2) in enumerate(own)
    ])),
    lambda f: table(f, "filename,class,x,y,w,h", "", change=lambda text: text.strip() + "".join(
        f"\n{name}.png,{c},{(x1 + x2) / 192},{(y1 + y2) / 128},{(x2 - x1) / 96},{(y2 - y1) / 64}"
        for name, own in AT_THE_EDGES.items() for c, x1, y1, x2, y2 in own)),
])  # fmt: skip
def test_centres_in_the_place_of_corners(tmp_path: Path, write: Write) -> None:
    write(tmp_path)
    found = opened(tmp_path)
    assert_read(found, AT_THE_EDGES)
    assert any("the boxes are centre and sides" in note for note in found.notes)


def test_some_boxes_that_reach_out_are_no_centres(tmp_path: Path) -> None:
    rows = [{"image_id": i, "category_id": 0, "bbox": [50, 30, 40, 30]} for i in range(8)]
    rows[0]["bbox"] = rows[1]["bbox"] = [60, 30, 50, 30]
    coco(tmp_path, change=lambda content: content.update(annotations=rows))
    found = opened(tmp_path)
    assert found.ground_truth(0).boxes.tolist() == [[60, 30, 96, 60]]
    assert found.ground_truth(7).boxes.tolist() == [[50, 30, 90, 60]]


def test_right_boxes_of_coco_are_not_taken_for_corners(tmp_path: Path) -> None:
    rows = [{"image_id": 0, "category_id": 0, "bbox": [2, 2, 90, 60]}]
    coco(tmp_path, change=lambda content: content.update(annotations=rows))
    assert opened(tmp_path).ground_truth(0).boxes.tolist() == [[2, 2, 92, 62]]
