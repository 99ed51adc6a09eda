"""The texts of VisDrone, VOC2006, INRIA Person and Penn-Fudan."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tool_files
from frcnn_cli.data.checks import check_dataset
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.errors import DataError
from strangers import OBJECTS, assert_read, boxes, write_images


def test_what_does_not_count_in_visdrone_is_left_out(tmp_path: Path) -> None:
    contents = tool_files.visdrone()
    contents["annotations/img_0.txt"] += "0,0,9,9,0,4,0,0\n0,0,9,9,0,0,0,0\n0,0,9,9,1,0,0,0\n"
    tool_files.write(tmp_path / "VisDrone2019-DET-train", contents)
    found = open_dataset(str(tmp_path), split="train")
    assert_read(found, tool_files.objects_of("visdrone"), within=1e-3)
    assert any("left out 3 shapes that enclose no object" in note for note in found.notes)


def test_eight_numbers_that_are_corners_are_not_visdrones(tmp_path: Path) -> None:
    tool_files.write(tmp_path, {"gt/img_0.txt": "4,6,28,6,28,26,4,26\n"})
    with pytest.raises(DataError, match="no data set of a known format"):
        open_dataset(str(tmp_path))


PENN_FUDAN = """# Compatible with PASCAL Annotation Version 1.00
Image filename : "PennFudanPed/PNGImages/img_0.png"
Image size (X x Y x C) : 96 x 64 x 3
Database : "The Penn-Fudan-Pedestrian Database"
Objects with ground truth : 2 { "PASpersonWalking" "PASpersonWalking" }
# Note there may be some objects not included in the ground truth list for they are severe-occluded
# or have very small size.
# Top left pixel co-ordinates : (1, 1)
# Details for pedestrian 1 ("PASpersonWalking")
Original label for object 1 "PASpersonWalking" : "PennFudanPed"
Bounding box for object 1 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (5, 7) - (28, 26)
Pixel mask for object 1 "PASpersonWalking" : "PennFudanPed/PedMasks/img_0_mask.png"

# Details for pedestrian 2 ("PASpersonWalking")
Original label for object 2 "PASpersonWalking" : "PennFudanPed"
Bounding box for object 2 "PASpersonWalking" (Xmin, Ymin) - (Xmax, Ymax) : (50, 7) - (70, 30)
Pixel mask for object 2 "PASpersonWalking" : "PennFudanPed/PedMasks/img_0_mask.png"
"""
INRIA = """# PASCAL Annotation Version 1.00

Image filename : "{folder}/pos/{name}.png"
Image size (X x Y x C) : 96 x 64 x 3
Database : "The INRIA Rhône-Alpes Annotated Person Database"
Objects with ground truth : 1 {{ "PASperson" }}

# Top left pixel co-ordinates : (0, 0)

# Details for object 1 ("PASperson")
# Center point -- not available in other PASCAL databases -- refers to person head center
Original label for object 1 "PASperson" : "UprightPerson"
Center point on object 1 "PASperson" (X, Y) : (16, 10)
Bounding box for object 1 "PASperson" (Xmin, Ymin) - (Xmax, Ymax) : (4, 6) - (27, 25)
"""


def test_penn_fudan(tmp_path: Path) -> None:
    folder = tmp_path / "PennFudanPed"
    tool_files.write(folder, {"Annotation/img_0.txt": PENN_FUDAN}, "PNGImages")
    (folder / "PedMasks").mkdir()
    shutil.copy(folder / "PNGImages/img_0.png", folder / "PedMasks/img_0_mask.png")
    found = check_dataset(open_dataset(str(tmp_path)))
    assert found.paths == (folder / "PNGImages" / "img_0.png",)
    assert boxes(found)["img_0"] == [("person", 4, 6, 28, 26), ("person", 49, 6, 70, 30)]


def test_inria_person(tmp_path: Path) -> None:
    for folder, own in {"Train": ["img_0", "img_1"], "Test": ["img_2"]}.items():
        write_images(tmp_path / folder / "pos", own)
        (tmp_path / folder / "annotations").mkdir()
        for name in own:
            text = INRIA.format(folder=folder, name=name)
            (tmp_path / folder / f"annotations/{name}.txt").write_text(text, encoding="latin-1")
    for split, count in (("train", 2), ("test", 1)):
        found = check_dataset(open_dataset(str(tmp_path), split=split))
        assert len(found) == count
        assert set(map(tuple, boxes(found).values())) == {(("person", 4, 6, 28, 26),)}


@pytest.mark.parametrize(
    ("label", "expected", "is_difficult"),
    [
        ("PAScarRearTruncDifficult", "car", True),
        ("PASmotorbikeSide", "motorbike", False),
        ("PASpersonSittingTrunc", "person", False),
        ("PASHorse", "Horse", False),
        ("PASquery_9090", "query_9090", False),
        ("PASarrowLeft", "arrowLeft", False),
        ("carLeft", "carLeft", False),
    ],
)
def test_labels_of_voc2006(tmp_path: Path, label: str, expected: str, is_difficult: bool) -> None:
    def change(text: str) -> str:
        return text.replace("PASdisc", label).replace("PASsquare", label)

    tool_files.write(tmp_path, tool_files.pascal(), "PNGImages", change)
    found = open_dataset(str(tmp_path))
    assert found.classes == (expected,)
    assert {flag for each in found.annotations for flag in each.difficult} == {is_difficult}


def test_an_object_without_a_label_is_refused(tmp_path: Path) -> None:
    contents = tool_files.pascal()
    tool_files.write(tmp_path, contents, "PNGImages", lambda text: text.replace("PASdisc", "PAS"))
    with pytest.raises(DataError, match="an object has no label"):
        open_dataset(str(tmp_path))


def test_a_text_of_voc2006_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    contents = tool_files.pascal()
    file, text = list(contents.items())[1]
    tool_files.write(tmp_path, {**contents, file: text[: text.rindex("Bounding")]}, "PNGImages")
    with pytest.raises(DataError, match="names 2 objects and has 1 bounding boxes"):
        open_dataset(str(tmp_path))


def test_the_folders_of_voc2005_have_images_of_the_same_name(tmp_path: Path) -> None:
    labels = {"Caltech_cars": "car", "TUGraz_person": "person"}
    for folder, label in labels.items():
        write_images(tmp_path / "PNGImages" / folder)
        for file, text in tool_files.pascal().items():
            path = tmp_path / "Annotations" / folder / Path(file).name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = text.replace("VOC2006/PNGImages", f"VOC2005_1/PNGImages/{folder}")
            path.write_text(text.replace("PASdisc", f"PAS{label}"))
    found = open_dataset(str(tmp_path))
    assert len(set(found.paths)) == 2 * len(OBJECTS)
    for path, own in zip(found.paths, found.annotations, strict=True):
        assert own.boxes.tolist() == [list(o[1:]) for o in OBJECTS[path.stem]]
        assert set(own.names) <= {labels[path.parent.name], "square"}
