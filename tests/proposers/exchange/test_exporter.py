from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.proposers.exchange.exporter import export_boxes, export_format
from frcnn_cli.proposers.exchange.formats import IN_ORDER, WRITERS, read_boxes

IMAGES = [Path("a/one.jpg"), Path("b/two.png"), Path("three.jpg")]
BOXES = {
    0: np.array([[0, 1, 20, 30], [5, 5, 9, 9]], np.float32),
    2: np.array([[1, 2, 3, 4.5]], np.float32),
}


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("x.pkl", None, "detectron2"),
        ("x.pkl", "mmdetection", "mmdetection"),
        ("x.pkl", "detectron", "detectron"),
        ("x.NPZ", None, "npz"),
        ("x.json", None, "json"),
        ("x.txt", "json", "json"),
    ],
)
def test_format_of_a_file(path: str, name: str | None, expected: str) -> None:
    assert export_format(Path(path), name) == expected


@pytest.mark.parametrize(("path", "name"), [("x.txt", None), ("x", None), ("x.npz", "npy")])
def test_unknown_format(path: str, name: str | None) -> None:
    with pytest.raises(ConfigError, match="unknown format"):
        export_format(Path(path), name)


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in IN_ORDER])
def test_images_without_boxes_are_left_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / {"detectron": "x.pkl", "detectron2": "x.pkl"}.get(name, f"x.{name}")
    export_boxes(path, IMAGES, BOXES, name)
    written = read_boxes(path)
    assert written.names == ("one", "three")
    for boxes, expected in zip(written.boxes, BOXES.values(), strict=True):
        np.testing.assert_array_equal(written.expected.decode(boxes), expected)


def test_two_images_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    images = [*IMAGES[:2], Path("b/one.png")]
    with pytest.raises(DataError, match=r"a/one\.jpg and b/one\.png have the same name"):
        export_boxes(tmp_path / "x.npz", images, BOXES, "npz")
    export_boxes(tmp_path / "x.pkl", images, BOXES, "mmdetection")  # has no names


@pytest.mark.parametrize("name", ["detectron", "detectron2"])
def test_a_pickle_names_images_as_their_data_set_does(tmp_path: Path, name: str) -> None:
    images = [*IMAGES[:2], Path("b/one.png")]  # of which two have the same name
    export_boxes(tmp_path / "x.pkl", images, BOXES, name, ["397133", "37", "42"])
    assert read_boxes(tmp_path / "x.pkl").names == ("397133", "42")


@pytest.mark.parametrize("name", ["mat", "npz", "json"])
def test_other_files_name_images_by_their_files(tmp_path: Path, name: str) -> None:
    export_boxes(tmp_path / f"x.{name}", IMAGES, BOXES, name, ["397133", "37", "42"])
    names = read_boxes(tmp_path / f"x.{name}").names
    assert names == (("one", "two", "three") if name == "mat" else ("one", "three"))


def test_a_mat_file_has_an_entry_for_every_image(tmp_path: Path) -> None:
    export_boxes(tmp_path / "x.mat", IMAGES, BOXES, "mat")
    assert [len(each) for each in read_boxes(tmp_path / "x.mat").boxes] == [2, 0, 1]


def test_mmdetection_has_an_entry_for_every_image(tmp_path: Path) -> None:
    export_boxes(tmp_path / "x.pkl", IMAGES, BOXES, "mmdetection")
    written = pickle.loads((tmp_path / "x.pkl").read_bytes())
    assert [len(each) for each in written] == [2, 0, 1]
