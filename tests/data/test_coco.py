from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from formats import write_coco
from frcnn_cli.data.coco import load_coco, load_coco_folder
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError
from strangers import OBJECTS, TRAIN, VAL, assert_read, coco, each_row, opened


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


def test_small_objects_stay_and_empty_ones_are_dropped(coco_file: Path) -> None:
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
        (set_in(["images", 0, "file_name"], None), "has no file name"),
        (set_in(["images", 1, "id"], 1), "image id 1 is not unique"),
        (set_in(["images", 1, "id"], [1]), "image id .1. is no number or text"),
        (set_in(["images", 1, "id"], True), "image id True is no number or text"),
        (
            set_in(["images", 1, "id"], "1" * 5000),
            "image id '1+ is no number or text of up to 1000",
        ),
        (set_in(["categories", 1, "id"], "1" * 5000), "a category has no id or no name"),
        (set_in(["annotations", 0, "image_id"], "1" * 5000), "names an unknown image '1+"),
        (set_in(["images", 1, "id"], "x"), "names an unknown image 2"),
        (set_in(["images", 1, "file_name"], "000001.jpg"), "000001.jpg is listed twice"),
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
        (set_in(["images", 0, "file_name"], "../.."), "has no file name"),
        (set_in(["annotations", 0, "bbox"], ["1", "2", "wide", "4"]), "annotation 1 has no box"),
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
    "before", ["../../", "/etc/../", "a/../../", "C:\\x\\", "..\\..\\", "//host/"]
)
def test_names_of_images_stay_below_the_folders(coco_file: Path, before: str) -> None:
    (coco_file.parents[2] / "secret.jpg").touch()
    content = json.loads(coco_file.read_text())
    content["images"][0]["file_name"] = f"{before}secret.jpg"
    coco_file.write_text(json.dumps(content))
    path = load_coco(coco_file, None).paths[0]
    assert path.is_relative_to(coco_file.parent.parent)
    assert not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert load_coco(coco_file, None).paths[0].name == "secret.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [{"id": 1, "file', "is cut off"),
        (b"", "is not JSON"),
        (b"{]", "is not JSON"),
        (b"[" * 100_000, "nested too deeply|is cut off"),
        (b"\xff\xfe\x00", "cannot read"),
        (b"\x80", "cannot read"),
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


def changed(path: Path, change) -> Dataset:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return load_coco(path, None)


def same_objects(a: Dataset, b: Dataset) -> bool:
    pairs = zip(a.ground_truths(), b.ground_truths(), strict=True)
    return all(
        np.array_equal(x.boxes, y.boxes) and np.array_equal(x.labels, y.labels) for x, y in pairs
    )


@pytest.mark.parametrize(
    ("images", "references", "categories", "used"),
    [
        (str, str, str, str),
        (float, float, int, float),
        (str, int, str, int),
        (int, str, int, str),
        (lambda n: f"{n:06d}", int, int, int),
        (lambda n: f"frame{n}", lambda n: f"frame{n}", lambda n: f"c{n}", lambda n: f"c{n}"),
    ],
)
def test_ids_of_any_type(coco_file: Path, images, references, categories, used) -> None:
    expected = load_coco(coco_file, None)

    def change(content) -> None:
        for row in content["images"]:
            row["id"] = images(row["id"])
        for row in content["categories"]:
            row["id"] = categories(row["id"])
        for row in content["annotations"]:
            row["image_id"] = references(row["image_id"])
            row["category_id"] = used(row["category_id"])

    found = changed(coco_file, change)
    assert same_objects(found, expected)
    assert found.ids == tuple(str(images(n) if images is not float else n) for n in range(1, 9))


def test_annotations_without_a_box_are_counted(coco_file: Path) -> None:
    before = sum(len(each.labels) for each in load_coco(coco_file, None).ground_truths())

    def change(content) -> None:
        content["annotations"][0].pop("bbox")
        content["annotations"][1]["bbox"] = None
        content["annotations"][2]["bbox"] = []

    found = changed(coco_file, change)
    assert sum(len(each.labels) for each in found.ground_truths()) == before - 3
    assert found.notes == ("instances_val.json: left out 3 annotations without a box",)


def test_outlines_without_a_box_and_crowds(coco_file: Path) -> None:
    rle = {"size": [120, 160], "counts": [120 * 3 + 5, 10, 110, 10, 120 * 155 - 15]}

    def change(content) -> None:
        content["annotations"] = [
            {"image_id": 1, "category_id": 10, "segmentation": [[5, 6, 25, 6, 25, 36]]},
            {"image_id": 1, "category_id": 20, "segmentation": rle, "iscrowd": 1},
            {"image_id": 1, "category_id": 20, "bbox": [1, 1, 9, 9], "iscrowd": "0"},
            {"image_id": 2, "category_id": 20, "bbox": [1, 1, 9, 0]},
        ]

    truth = (found := changed(coco_file, change)).ground_truth(0)
    assert truth.boxes.tolist() == [[5, 6, 25, 36], [3, 5, 5, 15], [1, 1, 10, 10]]
    assert truth.difficult.tolist() == truth.crowds.tolist() == [False, True, False]
    assert [note.partition(": ")[2] for note in found.notes] == [
        "took the box around the outline of 2 annotations",
        "left out 1 box of no width or height",
    ]


def test_repeated_images_count_once(coco_file: Path) -> None:
    expected = load_coco(coco_file, None)
    found = changed(coco_file, lambda content: content["images"].append(content["images"][0]))
    assert same_objects(found, expected)
    assert "1 image that is listed again" in found.notes[0]


@pytest.mark.parametrize(
    "spell",
    ["val\\{}", "./val/{}", "elsewhere/val/{}", "D\\work\\val\\{}"],
)
def test_names_of_files_of_other_machines(coco_file: Path, spell: str) -> None:
    expected = load_coco(coco_file, None)

    def change(content) -> None:
        for row in content["images"]:
            row["file_name"] = spell.format(row["file_name"])

    assert changed(coco_file, change).paths == expected.paths


def test_endings_in_capitals_and_addresses_alone(coco_file: Path) -> None:
    for path in (coco_file.parent.parent / "val").iterdir():
        path.rename(path.with_suffix(".JPG"))

    def change(content) -> None:
        for row in content["images"]:
            row["coco_url"] = f"http://images/val2017/{row.pop('file_name')}"

    found = changed(coco_file, change)
    assert all(path.suffix == ".JPG" and path.is_file() for path in found.paths)
    assert "is not here" in found.notes[0]


@pytest.mark.parametrize("name", ["shapes", "ball"])
def test_a_root_category_without_objects_is_no_class(coco_file: Path, name: str) -> None:
    expected = load_coco(coco_file, None)

    def change(content) -> None:
        for row in content["categories"]:
            row["supercategory"] = name
        content["categories"].append({"id": 0, "name": name, "supercategory": "none"})

    found = changed(coco_file, change)
    assert found.classes == expected.classes
    assert same_objects(found, expected)
    assert f"left out the category {name!r}" in found.notes[0]


def test_a_class_without_objects_stays(coco_file: Path) -> None:
    row = {"id": 5, "name": "zebra", "supercategory": "animal"}
    assert "zebra" in changed(coco_file, lambda content: content["categories"].append(row)).classes


def roboflow(coco_file: Path) -> Path:
    root = coco_file.parent.parent
    for split in ("train", "valid"):
        shutil.copytree(root / "val", root / split)
        shutil.copy(coco_file, root / split / "_annotations.coco.json")
    shutil.rmtree(root / "val")
    shutil.rmtree(root / "annotations")
    return root


def test_roboflows_folders(coco_file: Path) -> None:
    expected, root = load_coco(coco_file, None), roboflow(coco_file)
    for split, own, folder in (("val", "val", "valid"), ("valid", "val", "valid"), (None,) * 3):
        found = load_coco_folder(root, None, split, ("trainval", "train"))
        assert (found.name, found.split) == (f"coco:{root.name}", own or "train")
        assert {path.parent.name for path in found.paths} == {folder or "train"}
        assert len(found) == len(expected)
    with pytest.raises(DataError, match="no split test") as error:
        load_coco_folder(root, None, "test", ())
    assert "train, val" in error.value.hint
    assert load_coco(root / "valid" / "_annotations.coco.json", None).split == "val"


def test_images_of_train_do_not_stand_for_those_of_val(coco_file: Path) -> None:
    root = coco_file.parent.parent
    train = root / "pictures" / "train"
    train.parent.mkdir()
    (root / "val").rename(train)
    with pytest.raises(DataError, match=r"of split val, is only in .*train, of split train"):
        load_coco(coco_file, None, root)
    assert load_coco(coco_file, train, root).paths[0].is_file()


def test_sizes_as_texts_tell_of_resized_images(tmp_path: Path) -> None:
    coco(tmp_path, change=each_row("images", lambda r: r.update(width="192", height="128")))
    half = {
        name: [(c, *(side / 2 for side in box)) for c, *box in own] for name, own in OBJECTS.items()
    }
    assert_read(opened(tmp_path), half)


def test_ignored_objects_count_as_difficult(tmp_path: Path) -> None:
    coco(tmp_path, change=lambda content: content["annotations"][0].update(ignore=1))
    assert [truth.difficult.sum() for truth in opened(tmp_path).ground_truths()][:2] == [1, 0]


@pytest.mark.parametrize(
    "file",
    [
        "{}.json",
        "{}_coco.json",
        "annotations/{}_annotations.json",
        "annotations/{}/boxes.json",
    ],
)
@pytest.mark.parametrize("images", ["{}", "data/{}", "{}_images", "images/{}2017", "{}/images"])
def test_images_of_equal_names_in_each_split(tmp_path: Path, file: str, images: str) -> None:
    coco(tmp_path, file, images, file_name="{}.png")
    for split, names in (("train", TRAIN), ("val", VAL)):
        path = tmp_path / file.format(split)
        text = path.read_text()
        for index, name in enumerate(names):
            picture = tmp_path / images.format(split) / f"{name}.png"
            picture.rename(picture.with_stem(f"{index}"))
            text = text.replace(f"{name}.png", f"{index}.png")
        path.write_text(text)
    found = opened(tmp_path, "val")
    assert {path.parent for path in found.paths} == {tmp_path / images.format("val")}
    assert_read(found, {"0": VAL["img_6"], "1": VAL["img_7"]})


def test_the_results_of_coco_are_named(tmp_path: Path) -> None:
    rows = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    with pytest.raises(DataError) as error:
        open_dataset(str(tmp_path / "results.json"))
    assert "a list of COCO's results" in error.value.hint
