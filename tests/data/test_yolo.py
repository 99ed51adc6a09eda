from __future__ import annotations

import builtins
import contextlib
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from formats import write_yolo
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.dataset import Dataset
from frcnn_cli.data.images import read_bytes
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.data.voc import load_voc
from frcnn_cli.data.yolo import load_yolo
from frcnn_cli.errors import DataError, ImageError
from strangers import OBJECTS, TRAIN, VAL, assert_read, named, opened, write_images, yolo


@pytest.fixture
def folder(voc_folder: Path, tmp_path: Path) -> Path:
    return write_yolo(voc_folder, tmp_path / "yolo")


@pytest.mark.parametrize("split", ["train", "val"])
def test_equals_the_same_data_in_voc_layout(folder: Path, voc_folder: Path, split: str) -> None:
    found = load_yolo(folder, "mine", split, ())
    expected = load_voc(voc_folder, "x", split, ())
    assert (found.name, found.split, found.classes) == ("mine", split, expected.classes)
    assert found.ids == expected.ids
    for index in range(len(expected)):
        content, _, truth = found.read(index)
        same = expected.read(index)
        assert content == same[0]
        np.testing.assert_allclose(truth.boxes, same[2].boxes, atol=1e-4)
        assert truth.labels.tolist() == same[2].labels.tolist()
        assert not truth.difficult.any()


def test_the_file_of_settings_may_be_named(folder: Path) -> None:
    (folder / "data.yaml").rename(folder / "mine.yaml")
    assert len(load_yolo(folder / "mine.yaml", "x", "val", ())) == 4
    assert len(load_yolo(folder, "x", "val", ())) == 4  # the only one


@pytest.mark.parametrize(
    "settings",
    [
        "names: [ball, box, tile]",
        "train: ../train/images\nval: ../valid/images\nnames: {0: ball, 1: box, 2: tile}",
        "path: nowhere\nval: images/val\nnames: [ball, box, tile]",
        "val: [images/val]\nnames: [ball, box, tile]",
        "val: val.txt\nnames: [ball, box, tile]",
    ],
)
def test_forms_of_the_settings(folder: Path, settings: str) -> None:
    (folder / "data.yaml").write_text(settings)
    if "valid" in settings:
        (folder / "valid").mkdir()
        for part in ("images", "labels"):
            (folder / part / "val").rename(folder / "valid" / part)
    pictures = sorted((folder / "images").glob("val/*.jpg"))
    (folder / "val.txt").write_text("".join(f"{p.relative_to(folder)}\n" for p in pictures))
    found = load_yolo(folder, "x", None, ("test", "val"))
    assert (found.split, len(found)) == ("val", 4)
    assert sum(len(found.ground_truth(index).labels) for index in range(4)) > 4


def test_a_flat_folder_with_a_list_of_names(folder: Path) -> None:
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("ball\nbox\ntile\n")
    for part in ("images", "labels"):
        for split in ("train", "val"):
            for path in (folder / part / split).iterdir():
                path.rename(folder / part / path.name)
            (folder / part / split).rmdir()
    found = load_yolo(folder, "x", None, ("train",))
    assert (found.split, len(found)) == ("all", 8)


def test_outlines_become_boxes_and_missing_labels_are_background(folder: Path) -> None:
    labels = sorted((folder / "labels" / "val").iterdir())
    labels[0].write_text("1 0.25 0.5 0.5 0.25 0.75 1.0\n\n")
    labels[1].unlink()
    found = load_yolo(folder, "x", "val", ())
    height, width = found.read(0)[1].shape[:2]
    expected = [[0.25 * width, 0.25 * height, 0.75 * width, height]]
    assert found.ground_truth(0).boxes.tolist() == expected
    assert found.ground_truth(0).labels.tolist() == [2]
    assert not len(found.ground_truth(1).labels)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("3 0.5 0.5 0.1 0.1", "expected a class number from 0 to 2, got '3'"),
        ("-1 0.5 0.5 0.1 0.1", "got '-1'"),
        ("0.5 0.5 0.5 0.1 0.1", "expected a class number"),
        ("ball 0.5 0.5 0.1 0.1", "expected a class number"),
        ("0 0.5 0.5 0.1", "expected 5 numbers, got 4"),
        ("0 0.5 0.5 0.1 0.1 0.9", "expected 5 numbers, got 6"),
        ("0 50 50 10 10", "as fractions of the image"),
        ("0 0.5 0.5 -0.1 0.1", "as fractions of the image"),
        ("0 nan 0.5 0.1 0.1", "as fractions of the image"),
        ("0 0.5 0.5 inf 0.1", "as fractions of the image"),
    ],
)
def test_bad_rows_are_named(folder: Path, row: str, message: str) -> None:
    path = sorted((folder / "labels" / "val").iterdir())[0]
    path.write_text(f"0 0.5 0.5 0.1 0.1\n{row}\n")
    with pytest.raises(DataError, match=message) as error:
        load_yolo(folder, "x", "val", ())
    assert f"{path}:2" in error.value.message


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("names: [", "is not YAML"),
        ("- a\n- b", "holds no settings"),
        ("names: []", "names no classes"),
        ("names: {0: a, 2: b}", "classes have the numbers 0, 2"),
        ("names: {a: 0, b: 0}", "classes have the numbers"),
        ("names: [a, a]", "named twice"),
        ("names: [a, [b]]", "has no name"),
        ("names: !!python/object/apply:os.system ['touch x']", "is not YAML"),
        (f"{LAUGHS}names: *i", "stands for a list"),
        ("a: &a {k: 1}\nb: {<<: [*a, *a]}\nnames: [a]", "stands for a list"),
        ("names: !!bool x", "is not YAML"),
        ("names: !!int ''", "is not YAML"),
        ("names: !!timestamp x", "is not YAML"),
        ("names: [a]\nx: " + "1:" * 50_000 + "1", "a number has"),
        ("names: [a]\nx: 0x" + "f" * 5000, "a number has"),
        ("names: " + "[" * 100_000, "brackets"),
        ("names: [" + "a, " * 40_000 + "]", "20,000 lines and commas"),
        ("names: " + "[" * 400, "is not YAML"),
        ("names: [a]\npath: 7", "path is not a path"),
        ("x" * (2**17 + 1), "expected at most"),
    ],
)
def test_bad_settings(folder: Path, settings: str, message: str) -> None:
    (folder / "data.yaml").write_text(settings)
    with pytest.raises(DataError, match=message) as error:
        load_yolo(folder, "x", "val", ())
    assert len(error.value.message) < 1000


def test_a_download_in_the_settings_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other tools run Python code and shell commands from this key where images are missing."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something was run")

    for owner, name in (
        (builtins, "exec"), (os, "system"), (subprocess, "Popen"), (urllib.request, "urlopen"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, refuse)
    before = set(tmp_path.rglob("*"))
    for download in (f"bash touch {tmp_path}/x", "https://a.invalid/x.zip", "|\n  import os"):
        (folder / "data.yaml").write_text(f"names: [a]\ntrain: absent\ndownload: {download}\n")
        with pytest.raises(DataError):
            load_yolo(folder, "x", "train", ())
    assert set(tmp_path.rglob("*")) == before


def test_no_such_split_and_no_labels(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split test") as error:
        load_yolo(folder, "x", "test", ())
    assert "train, val" in error.value.hint
    with pytest.raises(DataError, match="names no classes"):
        load_yolo(tmp_path, "x", None, ("train",))
    for path in (folder / "labels" / "val").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no label files"):
        load_yolo(folder, "x", "val", ())


def test_a_file_that_is_not_an_image_is_named_when_it_is_read(folder: Path) -> None:
    sorted((folder / "images" / "val").iterdir())[0].write_text("no picture")
    found = load_yolo(folder, "x", "val", ())
    for read in (found.read, found.ground_truth):
        with pytest.raises(ImageError):
            read(0)
    assert len(found.ground_truth(1).labels)


def same_objects(a: Dataset, b: Dataset) -> bool:
    pairs = zip(a.ground_truths(), b.ground_truths(), strict=True)
    return all(
        np.allclose(x.boxes, y.boxes) and np.array_equal(x.labels, y.labels) for x, y in pairs
    )


def add_to_rows(folder: Path, text: str) -> None:
    for path in (folder / "labels").rglob("*.txt"):
        rows = [row for row in path.read_text().split("\n") if row]
        path.write_text("".join(f"{row} {text.format(*row.split())}\n" for row in rows))


def set_keypoints(folder: Path, shape: str) -> None:
    with (folder / "data.yaml").open("a") as file:
        file.write(f"kpt_shape: {shape}\n")


@pytest.mark.parametrize(
    ("shape", "points"),
    [
        ("[3, 2]", "{1} {2} {1} {2} 0 0"),
        ("[1, 3]", "{1} {2} 2"),
        ("[2, 3]", "{1} {2} 1 0 0 0"),
        ("[5, 2]", "0 0 0 0 0 0 0 0 0.9 0.9"),
        (None, "{1} {2} 1"),
        (None, "{1} {2} 2 0 0 0"),
        (None, "{1} {2} 1 {1} {2} 1 {1} {2} 0"),
    ],
)
def test_keypoints_leave_the_boxes_alone(folder: Path, shape: str | None, points: str) -> None:
    expected = load_yolo(folder, "x", "val", ())
    add_to_rows(folder, points)
    if shape is not None:
        set_keypoints(folder, shape)
    assert same_objects(load_yolo(folder, "x", "val", ()), expected)


def test_boxes_in_a_data_set_of_keypoints(folder: Path) -> None:
    expected = load_yolo(folder, "x", "val", ())
    set_keypoints(folder, "[3, 2]")
    assert same_objects(load_yolo(folder, "x", "val", ()), expected)
    add_to_rows(folder, "{1} {2}")
    with pytest.raises(DataError, match="expected 5 or 11 numbers, got 7"):
        load_yolo(folder, "x", "val", ())


def test_keypoints_that_may_be_outlines_are_refused(folder: Path) -> None:
    add_to_rows(folder, "{1} {2} {1} {2}")
    with pytest.raises(DataError, match="outlines or boxes with 2 keypoints") as error:
        load_yolo(folder, "x", "val", ())
    assert "kpt_shape: [2, 2]" in error.value.hint
    set_keypoints(folder, "[]")
    assert len(load_yolo(folder, "x", "val", ())) == 4


@pytest.mark.parametrize("shape", ["[3]", "[3, 4]", "x", "[3, '2']"])
def test_bad_shapes_of_keypoints(folder: Path, shape: str) -> None:
    set_keypoints(folder, shape)
    with pytest.raises(DataError, match="kpt_shape is"):
        load_yolo(folder, "x", "val", ())


@pytest.mark.parametrize(
    "path", ["/content/datasets/yolo", "C:\\data\\yolo", "../yolo", "work/yolo"]
)
def test_settings_elsewhere(folder: Path, path: str) -> None:
    expected = load_yolo(folder, "x", "val", ())
    text = (folder / "data.yaml").read_text()
    (folder.parent / "settings").mkdir()
    file = folder.parent / "settings" / "mine.yaml"
    file.write_text(f"path: '{path}'\n{text}")
    found = load_yolo(file, "x", "val", ())
    assert same_objects(found, expected)
    assert found.ids == expected.ids
    assert bool(found.notes) == (path != "../yolo")


def test_lists_with_repeated_lines_of_another_machine(folder: Path) -> None:
    expected = load_yolo(folder, "x", "val", ())
    lines = [f"/content/yolo/images/val/{path.name}\n" for path in expected.paths]
    (folder / "val.txt").write_text("".join(lines + lines[:2]))
    text = (folder / "data.yaml").read_text().replace("val: images/val", "val: val.txt")
    (folder / "data.yaml").write_text(text)
    found = load_yolo(folder, "x", "val", ())
    assert same_objects(found, expected)
    assert any("2 images that are listed again" in note for note in found.notes)


def test_images_of_one_name_in_several_folders_outside(folder: Path) -> None:
    for part, ending in (("images", "jpg"), ("labels", "txt")):
        for number, path in enumerate(sorted((folder / part / "val").iterdir())):
            (folder / part / "val" / f"cam{number}").mkdir()
            path.rename(folder / part / "val" / f"cam{number}" / f"1.{ending}")
    (folder.parent / "settings").mkdir()
    file = folder.parent / "settings" / "data.yaml"
    file.write_text(f"path: {folder}\nval: images/val\nnames: [ball, box, tile]\n")
    found = load_yolo(file, "x", "val", ())
    assert found.ids == tuple(f"cam{number}/1.jpg" for number in range(4))


def test_hidden_files_are_passed_over(folder: Path) -> None:
    expected = load_yolo(folder, "x", "val", ())
    place = folder / "images" / "val"
    (place / ".ipynb_checkpoints").mkdir()
    shutil.copy(expected.paths[0], place / ".ipynb_checkpoints" / "1-checkpoint.jpg")
    (place / f"._{expected.paths[0].name}").write_bytes(b"macOS")
    (folder / "._data.yaml").write_bytes(b"\0\5\26\7")
    found = load_yolo(folder, "x", "val", ())
    assert found.paths == expected.paths
    assert found.notes


def flat(folder: Path) -> Path:
    """labelImg's form: images and texts side by side."""
    target = folder.parent / "flat"
    target.mkdir()
    for path in [*folder.glob("images/*/*"), *folder.glob("labels/*/*")]:
        path.rename(target / path.name)
    (target / "classes.txt").write_text("ball\nbox\ntile\n")
    return target


def test_labelimgs_folder(folder: Path, voc_folder: Path) -> None:
    found = load_yolo(flat(folder), "x", None, ("train",))
    assert (found.split, len(found), found.classes) == ("all", 8, ("ball", "box", "tile"))
    assert same_objects(found, load_voc(voc_folder, "x", "trainval", ()))


@pytest.mark.parametrize("has_list", [True, False])
def test_cvats_folder(folder: Path, voc_folder: Path, has_list: bool) -> None:
    target = flat(folder)
    (target / "classes.txt").unlink()
    names = sorted(path.name for path in target.glob("*.jpg"))
    root = folder.parent / "cvat"
    root.mkdir()
    target.rename(root / "obj_train_data")
    (root / "obj.names").write_text("ball\nbox\ntile\n")
    if has_list:
        (root / "obj.data").write_text(
            "classes = 3\ntrain = data/train.txt\nnames = data/obj.names\n"
        )
        (root / "train.txt").write_text("".join(f"data/obj_train_data/{n}\n" for n in names))
    found = load_yolo(root, "x", None, ("trainval", "train"))
    assert (found.split, found.classes) == ("train", ("ball", "box", "tile"))
    assert same_objects(found, load_voc(voc_folder, "x", "trainval", ()))


def test_cvats_folders_of_tasks_are_recognised(tmp_path: Path) -> None:
    place = "obj_train_data/task_1/a"
    yolo(tmp_path, place, place, "")
    (tmp_path / "obj.names").write_text("disc\nsquare\n")
    (tmp_path / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nnames = data/obj.names"
    )
    names = "".join(f"data/{place}/{name}.png\n" for name in OBJECTS)
    (tmp_path / "train.txt").write_text(names)
    found = open_dataset(str(tmp_path), split="train")
    assert [each.names for each in found.annotations] == [
        tuple(each[0] for each in own) for own in OBJECTS.values()
    ]


def test_images_without_a_text_are_counted(folder: Path) -> None:
    sorted((folder / "labels" / "val").iterdir())[0].unlink()
    (note,) = load_yolo(folder, "x", "val", ()).notes
    assert note == "took 1 image of 4 for background, for want of a label file"


def test_rows_without_an_area_are_no_objects(folder: Path) -> None:
    path = min((folder / "labels" / "val").iterdir())
    path.write_text("0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0 0.1\n1 0 0 0 0\n2 .1 .1 .1 .2 .1 .3 .1 .2\n")
    found = check_dataset(load_yolo(folder, "x", "val", ()))
    assert found.ground_truth(0).labels.tolist() == [1]
    assert any(note.startswith("3 objects lie outside") for note in found.notes)


def test_labels_without_an_image_are_told(folder: Path) -> None:
    labels, pictures = folder / "labels" / "val", folder / "images" / "val"
    (labels / "README.txt").write_text("1 2 many 4 5")
    first, second, *_ = sorted(pictures.iterdir())
    first.rename(first.with_suffix(".jp2"))
    name = labels / f"{first.stem}.txt"
    (note,) = load_yolo(folder, "x", "val", ()).notes
    assert note == (
        f"1 label file has no image and is left out, first {name} ({first.stem}.jp2 is no picture "
        "that is read)"
    )
    first.with_suffix(".jp2").unlink()
    second.unlink()
    (note,) = load_yolo(folder, "x", "val", ()).notes
    assert note == f"2 label files have no image and are left out, first {name}"


def test_pictures_of_a_kind_that_is_not_read_are_told(folder: Path) -> None:
    pictures = list(folder.rglob("*.jpg"))
    for path in pictures:
        path.rename(path.with_suffix(".tga"))
    with pytest.raises(DataError, match="has no split") as error:
        load_yolo(folder, "x", "val", ())
    assert f"{len(pictures)} .tga" in error.value.hint


def test_one_of_several_places_is_not_here(folder: Path) -> None:
    text = (folder / "data.yaml").read_text().replace(": images/val", ": [images/val, images/more]")
    (folder / "data.yaml").write_text(text)
    assert (
        "images/more, which the settings name for val, is not here"
        in load_yolo(folder, "x", "val", ()).notes
    )


def test_some_labels_end_in_capitals(folder: Path) -> None:
    expected = load_yolo(folder, "x", "val", ())
    first, second, *_ = sorted((folder / "labels" / "val").iterdir())
    first.rename(first.with_suffix(".TXT"))
    second.rename(folder / "images" / "val" / second.with_suffix(".TXT").name)
    found = load_yolo(folder, "x", "val", ())
    assert found.notes == ()
    assert [each.names for each in found.annotations] == [
        each.names for each in expected.annotations
    ]


def test_a_label_goes_with_one_of_two_images(folder: Path) -> None:
    image = min((folder / "images" / "val").iterdir())
    other = image.with_name(f"A{image.name}")
    shutil.copy(image, other)
    shutil.copy(image, other.with_name(f"a{image.name}"))
    (folder / "labels" / "val" / f"a{image.stem}.txt").write_text("0 .5 .5 .2 .2\n")
    found = load_yolo(folder, "x", "val", ())
    assert found.annotations[found.paths.index(other)].names == ()


@pytest.mark.parametrize("names", ["!!bool x", "!!timestamp x", "!!int x", "7"])
def test_odd_tags_are_refused(folder: Path, names: str) -> None:
    (folder / "data.yaml").write_text(f"names: {names}\n")
    with pytest.raises(DataError):
        load_yolo(folder, "x", "val", ())


def test_images_of_other_folders_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for suffix in (".jpg", ".txt"):
        source = next((folder / "images" / "val").iterdir())
        label = folder / "labels" / "val" / f"{source.stem}.txt"
        shutil.copy(source if suffix == ".jpg" else label, tmp_path / "outside" / f"z{suffix}")
    names = "names: [ball, box, tile]\nval: list.txt\n"
    (folder / "data.yaml").write_text(names)
    inside = str(source.relative_to(folder))
    (folder / "list.txt").write_text(f"{inside}\n../outside/z.jpg\n")
    found = load_yolo(folder, "x", "val", ())
    assert len(found) == 2
    assert any("name 1 image in other folders, such as " in note for note in found.notes)
    (folder / "list.txt").write_text(f"{inside}\nimages/val/../val/{source.name}\n")
    assert not any("other folders" in note for note in load_yolo(folder, "x", "val", ()).notes)


@pytest.mark.parametrize("line", ["a\0b/c.jpg", f"{'x' * 300}/c.jpg"])
def test_a_list_of_folders_that_cannot_be(folder: Path, line: str) -> None:
    text = (folder / "data.yaml").read_text().replace("val: images/val", "val: val.txt")
    (folder / "data.yaml").write_text(text)
    names = "".join(f"{path}\n" for path in (folder / "images" / "val").iterdir())
    (folder / "val.txt").write_text(f"{names}{line}\n")
    with pytest.raises(DataError, match="1 of 5 images cannot be read"):
        check_dataset(load_yolo(folder, "x", "val", ()))


@pytest.mark.parametrize("line", ["/", "."])
def test_a_list_of_what_has_no_name(folder: Path, line: str) -> None:
    (folder / "data.yaml").write_text("names: [ball, box, tile]\nval: list.txt\n")
    (folder / "list.txt").write_text(f"{line}\n")
    with pytest.raises(DataError):
        load_yolo(folder, "x", "val", ())


def test_pipes_and_devices_in_a_list_are_not_opened(folder: Path) -> None:
    (folder / "data.yaml").write_text("names: [ball, box, tile]\nval: list.txt\n")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "link.jpg").symlink_to("pipe.jpg")
    good = next((folder / "images" / "val").iterdir()).relative_to(folder)
    (folder / "list.txt").write_text(f"{good}\npipe.jpg\nlink.jpg\n/dev/zero\n")
    found = load_yolo(folder, "x", "val", ())
    for path in found.paths[1:]:
        with pytest.raises(ImageError, match="a pipe or a device"):
            read_bytes(path)


@pytest.mark.parametrize("key", ["names", "path", "train", "val"])
def test_paths_of_thousands_of_folders(folder: Path, key: str) -> None:
    """The ends of one took gigabytes."""
    content = {"names": "[a, b, c]", key: "a/" * 20_000 + "b"}
    lines = [f"{name}: {value}" for name, value in content.items()]
    (folder / "data.yaml").write_text("\n".join(lines))
    start = time.process_time()
    with contextlib.suppress(DataError):
        load_yolo(folder, "x", "val", ())
    assert time.process_time() - start < 3


def test_another_number_of_classes_is_told(tmp_path: Path) -> None:
    yolo(tmp_path, settings="nc: 3\nnames: [disc, square]")
    assert any("say 3 classes, but name 2: these" in note for note in opened(tmp_path, "all").notes)


def test_names_in_another_order_are_told(tmp_path: Path) -> None:
    named(tmp_path, "labels/classes.txt", "square\ndisc\n")
    (tmp_path / "data.yaml").write_text("names: [disc, square]")
    found = opened(tmp_path, "all")
    assert_read(found)
    note = "labels/classes.txt names the classes in another order: those of data.yaml count"
    assert any(each.endswith(note) for each in found.notes)


def test_a_long_list_of_names_is_no_path(tmp_path: Path) -> None:
    yolo(tmp_path, settings=f"names: disc, square, {'x' * 250}, {'y' * 250}")
    assert len(opened(tmp_path, "all").classes) == 4


def test_names_of_classes_stay_as_they_are_written(tmp_path: Path) -> None:
    yolo(tmp_path, settings="names: [no, 010]")
    assert opened(tmp_path).classes == ("no", "010")


@pytest.mark.parametrize("row", ["{c} {x1} {y1} {w} {h}", "{c} {x1} {y1} {x2} {y2}"])
def test_the_form_of_rows_is_that_of_all_splits(tmp_path: Path, row: str) -> None:
    yolo(tmp_path, "images/{}", "labels/{}", row=row)
    (tmp_path / "labels/val/img_6.txt").write_text("")
    (tmp_path / "labels/val/img_7.txt").write_text("0 0.4 0.4 0.5 0.5")
    right = [38.4, 25.6, 48, 32] if "x2" in row else [38.4, 25.6, 86.4, 57.6]
    assert opened(tmp_path, "val").ground_truth(1).boxes[0].tolist() == pytest.approx(right)


def test_some_rows_that_reach_out_do_not_begin_at_corners(tmp_path: Path) -> None:
    yolo(tmp_path)
    rows = ["0 0.02 0.5 0.1 0.1", "0 0.5 0.02 0.1 0.1", "1 0.01 0.4 0.1 0.1"]
    for index, row in enumerate([*rows, "1 0.95 0.5 0.1 0.1"]):
        (tmp_path / f"labels/img_{index}.txt").write_text(row)
    found = opened(tmp_path, "all").ground_truth(0).boxes[0]
    assert found.tolist() == pytest.approx([0, 28.8, 6.72, 35.2], abs=0.01)


def test_right_rows_of_yolo_are_not_taken_for_corners(tmp_path: Path) -> None:
    yolo(tmp_path, row="{c} 0.4 0.4 0.7 0.7")
    assert opened(tmp_path).ground_truth(0).boxes[0].tolist() == pytest.approx([4.8, 3.2, 72, 48])


@pytest.mark.parametrize("folders", [("imgs/{}", "txts/{}"), ("{}_images", "{}_labels")])
def test_images_of_equal_names_in_each_split_of_yolo(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    yolo(tmp_path, *folders)
    for names in (TRAIN, VAL):
        for index, name in enumerate(names):
            for path in list(tmp_path.rglob(f"{name}.*")):
                path.rename(path.with_stem(str(index)))
    assert_read(opened(tmp_path, "val"), {"0": VAL["img_6"], "1": VAL["img_7"]})
    assert len(opened(tmp_path, "train")) == len(TRAIN)


def test_images_without_label_files_in_folders_of_any_name(tmp_path: Path) -> None:
    yolo(tmp_path, "pictures", "texts")
    (tmp_path / "texts/img_3.txt").unlink()
    write_images(tmp_path / "more", ["img_3"])
    (tmp_path / "more/img_3.png").rename(tmp_path / "more/a.png")
    found = opened(tmp_path, "all")
    assert_read(found, {**OBJECTS, "img_3": []})
    assert "took 1 image of 8 for background, for want of a label file" in found.notes
    assert any("left out 1 image in folders without any label" in each for each in found.notes)
