from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from formats import write_yolo
from frcnn_cli.data.voc import load_voc
from frcnn_cli.data.yolo import load_yolo
from frcnn_cli.errors import DataError, ImageError


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
        ("0 0.5 0.5 0 0.1", "as fractions of the image"),
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
        ("names: {0: a, 2: b}", "names no classes"),
        ("names: [a, a]", "named twice"),
        ("names: [a, [b]]", "has no name"),
        ("names: !!python/object/apply:os.system ['touch x']", "is not YAML"),
        (f"{LAUGHS}names: *i", "has no name"),
        (f"{LAUGHS}names: [a]\nval: *i", "val is not a path"),
        ("names: [a]\npath: 7", "path is not a path"),
        ("x" * (2**20 + 1), "expected at most"),
    ],
)
def test_bad_settings(folder: Path, settings: str, message: str) -> None:
    (folder / "data.yaml").write_text(settings)
    with pytest.raises(DataError, match=message) as error:
        load_yolo(folder, "x", "val", ())
    assert len(error.value.message) < 1000


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


def test_a_picture_that_is_none(folder: Path) -> None:
    next((folder / "images" / "val").iterdir()).write_text("no picture")
    with pytest.raises(ImageError, match="not a picture"):
        load_yolo(folder, "x", "val", ())
