"""The boxes around the shapes that annotation tools store."""

from __future__ import annotations

import base64
import json
import zlib
from io import BytesIO
from math import cos, pi, sin
from pathlib import Path

import pytest
from PIL import Image

import tool_files
from frcnn_cli.data.registry import open_dataset
from frcnn_cli.errors import DataError
from strangers import boxes


def mask(width: int, height: int) -> str:
    """A mask as Supervisely packs it."""
    png = BytesIO()
    Image.new("1", (width, height), 1).save(png, format="PNG")
    return base64.b64encode(zlib.compress(png.getvalue())).decode()


MASK = mask(30, 20)
ACROSS, DOWN = 10 * cos(pi / 6) + 5 * sin(pi / 6), 10 * sin(pi / 6) + 5 * cos(pi / 6)
SHAPES = {
    "labelme": [
        ({"shape_type": "polygon", "points": [[9, 5], [1, 2], [3, 8]]}, (1, 2, 9, 8)),
        ({"shape_type": "circle", "points": [[20, 20], [23, 24]]}, (15, 15, 25, 25)),
        ({"shape_type": "point", "points": [[9, 5]]}, None),
        ({"shape_type": "linestrip", "points": [[9, 5], [1, 2], [3, 4]]}, None),
        ({"shape_type": "quadrilateral", "points": [[9, 5], [1, 2], [3, 8], [8, 8]]}, (1, 2, 9, 8)),
        ({"shape_type": "rectangle", "points": [["1", "2.5"], ["9", "8"]]}, (1, 2.5, 9, 8)),
        ({"shape_type": "mask", "points": [[1, 2], [9, 8]], "mask": ""}, (1, 2, 10, 9)),
    ],
    "via": [
        ({"name": "polygon", "all_points_x": [9, 1, 3], "all_points_y": [5, 2, 8]}, (1, 2, 9, 8)),
        ({"name": "circle", "cx": 20, "cy": 20, "r": 5}, (15, 15, 25, 25)),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 2}, (15, 18, 25, 22)),
        ({"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 2, "theta": pi / 2},
         (18, 15, 22, 25)),
        ({"name": "polyline", "all_points_x": [9, 1], "all_points_y": [5, 2]}, None),
    ],
    "labelstudio": [
        ({"polygonlabels": ["x"], "points": [[50, 50], [25, 75], [50, 100]]}, (24, 32, 48, 64)),
        ({"rectanglelabels": ["x"], "x": 50, "y": 50, "width": 12.5, "height": 25, "rotation": 90},
         (32, 32, 48, 44)),
        ({"ellipselabels": ["x"], "x": 50, "y": 50, "radiusX": 12.5, "radiusY": 25},
         (36, 16, 60, 48)),
        ({"labels": ["x"], "x": 50, "y": 50, "radiusX": 12.5, "radiusY": 25, "rotation": 90},
         (32, 20, 64, 44)),
        ({"labels": ["x"], "x": 50, "y": 50, "width": 12.5, "height": 25}, (48, 32, 60, 48)),
        ({"labels": ["x"], "points": [[50, 50], [25, 75], [50, 100]]}, (24, 32, 48, 64)),
        ({"keypointlabels": ["x"], "x": 50, "y": 50, "width": 1}, None),
    ],
    "supervisely": [
        ({"geometryType": "bitmap", "bitmap": {"data": MASK, "origin": [5, 7]}}, (5, 7, 35, 27)),
        ({"geometryType": "line", "points": {"exterior": [[1, 2], [3, 4]]}}, None),
        ({"geometryType": "oriented_bbox", "points": [[30, 25], [50, 35]], "angle": pi / 6},
         (40 - ACROSS, 30 - DOWN, 40 + ACROSS, 30 + DOWN)),
        ({"geometryType": "oriented_bbox", "points": {"exterior": [[50, 25], [30, 35]]},
          "angle": None}, (30, 25, 50, 35)),
    ],
    "via 3": [
        ([7, 9, 5, 1, 2, 3, 8], (1, 2, 9, 8)),
        ([3, 20, 20, 5], (15, 15, 25, 25)),
        ([4, 20, 20, 5, 2], (15, 18, 25, 22)),
        ([8, 1, 5, 4, 2, 9, 6, 5, 8], (1, 2, 9, 8)),  # four points on the sides of a rectangle
        ([9, 15, 20, 20, 15, 23, 24], (15, 15, 25, 25)),  # three points on a circle
        ([1, 20, 20], None),
        ([5, 1, 2, 9, 8], None),
    ],
    "cvat": [
        ('<polygon label="x" points="9.00,5.00;1,2;3,8"/>', (1, 2, 9, 8)),
        ('<box label="x" xtl="30" ytl="25" xbr="50" ybr="35" rotation="30"/>', 
         (40 - ACROSS, 30 - DOWN, 40 + ACROSS, 30 + DOWN)),
        ('<ellipse label="x" cx="20" cy="20" rx="5" ry="2"/>', (15, 18, 25, 22)),
        ('<ellipse label="x" cx="20" cy="20" rx="5" ry="2" rotation="90.0"/>', (18, 15, 22, 25)),
        ('<mask label="x" left="3" top="4" width="10" height="20" rle="1"/>', (3, 4, 13, 24)),
        ('<points label="x" points="1,2"/>', None),
        ('<box label="x" xtl="50" ytl="25" xbr="30" ybr="35"/>', (30, 25, 50, 35)),
    ],
    "kitti": [
        ("x 0 0 0 30 20 10 5 1 1 1 1 1 1 1", (10, 5, 30, 20)),
        ("DontCare -1 -1 -10 5 5 9 9 -1 -1 -1 -1000 -1000 -1000 -10", None),
    ],
    "dota": [("10 20 20 10 30 20 20 30 x 1", (10, 10, 30, 30))],
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "shape", "box"), [(key, *each) for key, own in SHAPES.items() for each in own]
)
def test_the_box_around_a_shape(tmp_path: Path, key: str, shape: object, box: object) -> None:
    tool_files.write(
        tmp_path, tool_files.with_shape(key, shape), tool_files.IMAGES.get(key, "images")
    )
    found = open_dataset(str(tmp_path))
    (first,) = [own for name, own in boxes(found).items() if name == "img_0"]
    added = [each[1:] for each in first if each[0] == "x"]
    if box is None:
        assert added == []
        assert any("left out 1 shape that encloses no object" in note for note in found.notes)
    else:
        assert added == [pytest.approx(box, abs=1e-3)]


@pytest.mark.parametrize(
    ("key", "shape", "message"),
    [
        ("labelstudio", {"brushlabels": ["x"], "format": "rle", "rle": [0, 1]}, "mask of a brush"),
        ("supervisely", {"geometryType": "bitmap", "bitmap": {"data": "eJwBAAD//wAAAAE=",
                         "origin": [1, 1]}}, "a bitmap is no PNG"),
        ("supervisely", {"geometryType": "bitmap", "bitmap": {"data": "QUJD", "origin": [1, 1]}},
         "a bitmap is no PNG"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be_read_are_refused(
    tmp_path: Path, key: str, shape: object, message: str
) -> None:
    tool_files.write(
        tmp_path, tool_files.with_shape(key, shape), tool_files.IMAGES.get(key, "images")
    )
    with pytest.raises(DataError, match=message):
        open_dataset(str(tmp_path))


def test_cuboids_count_as_the_boxes_around_them(tmp_path: Path) -> None:
    points = "".join(
        f'{axis}{corner}{end}="{value + end}" '
        for end in (1, 2)
        for corner, x, y in (("tl", 4, 6), ("bl", 4, 26), ("tr", 27, 6), ("br", 27, 26))
        for axis, value in (("x", x), ("y", y))
    )
    cuboid = f'<cuboid label="disc" {points}/>'
    text = f'<annotations><image name="img_0.png" width="96" height="64">{cuboid}</image>'
    tool_files.write(tmp_path, {"annotations.xml": f"{text}</annotations>"})
    assert boxes(open_dataset(str(tmp_path))) == {"img_0": [("disc", 5, 7, 29, 28)]}


def test_the_parts_of_an_object_of_labelme_are_one_box(tmp_path: Path) -> None:
    def part(x: int, group: int | None, label: str = "disc", kind: str = "polygon") -> object:
        points = [[x, 5], [x + 4, 5], [x + 4, 9]]
        return {"label": label, "points": points, "shape_type": kind, "group_id": group}

    shapes = [
        part(1, 1),
        part(11, 2),
        part(21, 1),
        part(31, None),
        part(41, None),
        part(51, 1, "cow"),
        part(61, 3, kind="rectangle"),
        part(71, 3, kind="rectangle"),
    ]
    content = {"shapes": shapes, "imagePath": "../images/img_0.png"}
    tool_files.write(tmp_path, {"json/img_0.json": json.dumps(content)})
    read = boxes(open_dataset(str(tmp_path)))["img_0"]
    assert sorted((name, x1, x2) for name, x1, _, x2, _ in read) == [
        ("cow", 51, 55), ("disc", 1, 25), ("disc", 11, 15), ("disc", 31, 35), ("disc", 41, 45),
        ("disc", 61, 65), ("disc", 71, 75),
    ]  # fmt: skip
