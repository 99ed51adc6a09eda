from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from formats import write_coco
from frcnn_cli.data.coco import load_coco
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError


@pytest.fixture
def coco_file(voc_folder: Path, tmp_path: Path) -> Path:
    return write_coco(voc_folder, tmp_path / "coco")


def test_equals_the_same_data_in_voc_layout(coco_file: Path, voc_folder: Path) -> None:
    found = load_coco(coco_file, None)
    expected = load_voc(voc_folder, "x", "trainval", ())
    assert (found.name, found.split, found.classes) == ("coco", "instances_val", expected.classes)
    assert found.ids == tuple(str(number) for number in range(1, 9))
    assert found.category_ids == {"ball": 10, "box": 20, "tile": 30}
    assert found.similar == (("box", "tile"),)
    for index in range(len(expected)):
        content, image, truth = found.read(index)
        same = expected.read(index)
        assert content == same[0]
        np.testing.assert_array_equal(image, same[1])
        np.testing.assert_allclose(truth.boxes, same[2].boxes)
        assert truth.labels.tolist() == same[2].labels.tolist()
        assert truth.difficult.tolist() == same[2].difficult.tolist()
        sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
        np.testing.assert_allclose(truth.areas, sides.prod(axis=1) / 2)


@pytest.mark.parametrize("place", ["val", "images", "images/val", "annotations", "."])
def test_pictures_are_found(coco_file: Path, place: str) -> None:
    root = coco_file.parent.parent
    target = root / place
    if place == "images/val":
        (root / "images").mkdir()
    if place in ("images/val", "images"):
        (root / "val").rename(target)
    elif place != "val":
        for path in (root / "val").iterdir():
            path.rename(target / path.name)
    assert all(path.is_file() for path in load_coco(coco_file, None).paths)


def test_pictures_in_a_folder_that_is_given(coco_file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (coco_file.parent.parent / "val").rename(elsewhere)
    assert load_coco(coco_file, elsewhere).paths[0].parent == elsewhere
    assert load_coco(coco_file, elsewhere).read(0)[1].shape == (120, 160, 3)


def test_small_objects_stay_and_empty_ones_go(coco_file: Path) -> None:
    content = json.loads(coco_file.read_text())
    content["annotations"] = [
        {"id": 1, "image_id": 1, "category_id": 10, "bbox": [5, 5, 0.5, 0.25]},
        {"id": 2, "image_id": 1, "category_id": 10, "bbox": [5, 5, 0, 3]},
    ]
    coco_file.write_text(json.dumps(content))
    truth = load_coco(coco_file, None).ground_truth(0)
    assert truth.boxes.tolist() == [[5, 5, 5.5, 5.25]]
    assert truth.areas.tolist() == [0.125]


def set_in(keys, value):
    def change(content):
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        return content

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [], "no list of images"),
        (set_in(["images"], {}), "no list of images"),
        (set_in(["images"], []), "lists no images"),
        (set_in(["annotations"], []), "has no annotations"),
        (set_in(["categories", 0], 7), "no list of categories"),
        (set_in(["images", 0, "file_name"], "../../secret.jpg"), "no file name inside its folder"),
        (set_in(["images", 0, "file_name"], "/etc/passwd"), "no file name inside its folder"),
        (set_in(["images", 0, "file_name"], "a\\..\\..\\b.jpg"), "no file name inside"),
        (set_in(["images", 0, "file_name"], None), "no file name inside its folder"),
        (set_in(["images", 1, "id"], 1), "image id 1 is not a number or not unique"),
        (set_in(["images", 1, "id"], "x"), "image id 'x' is not a number"),
        (set_in(["categories", 1, "id"], 10), "category 'box' .10. occurs twice"),
        (set_in(["categories", 1, "name"], "ball"), "category 'ball' .20. occurs twice"),
        (set_in(["categories", 1, "name"], None), "a category has no id or no name"),
        (set_in(["annotations", 0, "image_id"], 99), "annotation 1 names an unknown image 99"),
        (set_in(["annotations", 0, "image_id"], [1]), "names an unknown image"),
        (set_in(["annotations", 0, "category_id"], 5), "names an unknown category 5"),
        (set_in(["annotations", 0, "category_id"], {}), "names an unknown category"),
        (set_in(["annotations", 0, "bbox"], [1, 2, 3]), "annotation 1 has no box"),
        (set_in(["annotations", 0, "bbox"], [1, 2, float("nan"), 4]), "annotation 1 has no box"),
        (set_in(["annotations", 0, "bbox"], [1, 2, -3, 4]), "annotation 1 has no box"),
        (set_in(["annotations", 0, "bbox"], [1, 2, "3", 4]), "annotation 1 has no box"),
    ],
)
def test_bad_content_is_one_line(coco_file: Path, change, message: str) -> None:
    coco_file.write_text(json.dumps(change(json.loads(coco_file.read_text()))))
    with pytest.raises(DataError, match=message) as error:
        load_coco(coco_file, None)
    assert str(coco_file) in error.value.message
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [{"id": 1, "file', "is cut off"),
        (b"", "is not JSON"),
        (b"{]", "is not JSON"),
        (b"[" * 100_000, "nested too deeply|is cut off"),
        (b"\xff\xfe\x00", "cannot read"),
    ],
)
def test_no_json(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_coco(tmp_path / "a.json", None)


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("wb") as file:
        file.truncate(2**30 + 1)  # takes no room on the disk
    with pytest.raises(DataError, match="expected at most"):
        load_coco(path, None)
