"""The small data set of strangers.py as annotation tools and well-known data sets store it.

FILES has a function for each key of TOOLS, which gives the files by their path in the data set; the
images are in IMAGES, or in images/.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from strangers import CLASSES, HEIGHT, OBJECTS, WIDTH, Object, Objects, write_images

Contents = dict[str, str]
_VISDRONE_NUMBERS = {"disc": 4, "square": 6}
# Of formats with classes of their own, those that stand for ours.
_OTHER_CLASSES = {
    "wider": {"disc": "face", "square": "face"},
    "visdrone": {"disc": "car", "square": "truck"},
}


def _centre(box: Object) -> dict[str, float]:
    _, x1, y1, x2, y2 = box
    return {"x": (x1 + x2) / 2, "y": (y1 + y2) / 2, "width": x2 - x1, "height": y2 - y1}


def labelme(objects: Objects = OBJECTS) -> Contents:
    def content(name: str, own: list[Object]) -> Any:
        shapes = [
            {"label": c, "points": [[x2, y1], [x1, y2]], "shape_type": "rectangle"}
            for c, x1, y1, x2, y2 in own
        ]
        size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
        return {
            "version": "5.4.1",
            "shapes": shapes,
            "imagePath": f"..\\images\\{name}.png",
            **size,
        }

    return {f"json/{name}.json": json.dumps(content(name, own)) for name, own in objects.items()}


def via(objects: Objects = OBJECTS) -> Contents:
    def region(box: Object) -> Any:
        c, x1, y1, x2, y2 = box
        shape = {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
        return {"shape_attributes": shape, "region_attributes": {"type": c, "note": ""}}

    rows = {
        f"{name}.png123": {
            "filename": f"{name}.png", "size": 123, "regions": list(map(region, own)),
            "file_attributes": {},
        }
        for name, own in objects.items()
    }  # fmt: skip
    return {"via_region_data.json": json.dumps(rows)}


def via_project(objects: Objects = OBJECTS) -> Contents:
    content = {"_via_settings": {}, "_via_img_metadata": json.loads(*via(objects).values())}
    return {"via_project.json": json.dumps(content)}


def via_3(objects: Objects = OBJECTS) -> Contents:
    """A project of version 3, as its editor saves it."""
    names = dict(enumerate(objects, start=1))
    regions = [
        (number, [2, x1, y1, x2 - x1, y2 - y1], {"1": str(CLASSES.index(c)), "2": "clear"})
        for number, name in names.items()
        for c, x1, y1, x2, y2 in objects[name]
    ]
    options = {"0": CLASSES[0], "1": CLASSES[1]}
    content = {
        "project": {
            "pid": "__VIA_PROJECT_ID__", "rev": "__VIA_PROJECT_REV_ID__", "pname": "discs",
            "data_format_version": "3.1.1", "vid_list": [str(number) for number in names],
        },
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}},
        "attribute": {
            "1": {"aname": "Class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "options": options},
            "2": {"aname": "view", "anchor_id": "FILE1_Z0_XY1", "type": 1, "options": {}},
            "3": {"aname": "caption", "anchor_id": "FILE1_Z0_XY0", "type": 1, "options": {}},
        },
        "file": {
            str(number): {"fid": number, "fname": f"{name}.png", "type": 2, "loc": 1, "src": ""}
            for number, name in names.items()
        },
        "metadata": {
            f"{number}_xYz{index}": {"vid": str(number), "flg": 0, "z": [], "xy": xy, "av": av}
            for index, (number, xy, av) in enumerate([(1, [], {"3": "first"}), *regions])
        },
        "view": {str(number): {"fid_list": [number]} for number in names},
    }  # fmt: skip
    return {"via_project_27Nov2026.json": json.dumps(content)}


def _in_percent(box: Object) -> dict[str, Any]:
    c, x1, y1, x2, y2 = box
    return {
        "x": 100 * x1 / WIDTH, "y": 100 * y1 / HEIGHT, "width": 100 * (x2 - x1) / WIDTH,
        "height": 100 * (y2 - y1) / HEIGHT, "rotation": 0, "rectanglelabels": [c],
    }  # fmt: skip


SIDES = {"original_width": WIDTH, "original_height": HEIGHT}


def label_studio(objects: Objects = OBJECTS) -> Contents:
    tasks = [
        {
            "id": number,
            "annotations": [
                {"was_cancelled": True, "result": [{"from_name": "x", "value": {"bad": 1}}]},
                {
                    "result": [
                        {**SIDES, "value": _in_percent(each), "from_name": "label"} for each in own
                    ]
                },
            ],
            "data": {"text": "a note", "image": f"/data/upload/1/{name}.png"},
        }
        for number, (name, own) in enumerate(objects.items())
    ]
    return {"project.json": json.dumps(tasks)}


def label_studio_min(objects: Objects = OBJECTS) -> Contents:
    rows = [
        {"image": f"/data/upload/1/{name}.png", "label": [_in_percent(o) | SIDES for o in own]}
        for name, own in objects.items()
    ]
    return {"project.json": json.dumps(rows)}


def label_studio_csv(objects: Objects = OBJECTS) -> Contents:
    """Its columns are in the order of their names; texts are in quotes, numbers are not."""
    text = StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    rows.writerow(["annotation_id", "annotator", "created_at", "id", "image", "label", "lead_time",
                   "updated_at"])  # fmt: skip
    for number, (name, own) in enumerate(objects.items(), start=1):
        cell = json.dumps([_in_percent(o) | SIDES for o in own]) if own else ""
        image, time = f"/data/upload/1/0a1b2c3d-{name}.png", "2026-11-27T10:00:00.123456Z"
        rows.writerow([number, 1, time, number, image, cell, 8.125, time])
    return {"project-1-at-2026-11-27-10-00-1a2b3c4d.csv": text.getvalue()}


def supervisely(objects: Objects = OBJECTS) -> Contents:
    def content(own: list[Object]) -> Any:
        rows = [
            {
                "classTitle": c, "geometryType": "rectangle", "tags": [],
                "points": {"exterior": [[x1, y1], [x2, y2]], "interior": []},
            }
            for c, x1, y1, x2, y2 in own
        ]  # fmt: skip
        return {"tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": rows}

    return {f"ds/ann/{name}.png.json": json.dumps(content(own)) for name, own in objects.items()}


def createml(objects: Objects = OBJECTS) -> Contents:
    rows = [
        {
            "image": f"{name}.png",
            "annotations": [{"label": each[0], "coordinates": _centre(each)} for each in own],
        }
        for name, own in objects.items()
    ]
    return {"_annotations.createml.json": json.dumps(rows)}


def bdd(objects: Objects = OBJECTS) -> Contents:
    def label(box: Object) -> Any:
        return {"category": box[0], "box2d": dict(zip(("x1", "y1", "x2", "y2"), box[1:]))}  # noqa: B905

    rows = [{"name": f"{n}.png", "labels": list(map(label, own))} for n, own in objects.items()]
    return {"det.json": json.dumps(rows)}


def bdd_image(objects: Objects = OBJECTS) -> Contents:
    """BDD100K's first labels, a file for each image."""
    (rows,) = map(json.loads, bdd(objects).values())
    return {
        f"labels/{Path(row['name']).stem}.json": json.dumps(
            {
                "name": Path(row["name"]).stem,
                "frames": [{"timestamp": 10000, "objects": row["labels"]}],
                "attributes": {"weather": "clear"},
            }
        )
        for row in rows
    }


def cvat(objects: Objects = OBJECTS) -> Contents:
    images = [
        f'<image id="{number}" name="{name}.png" width="{WIDTH}" height="{HEIGHT}">'
        + "".join(
            f'<box label="{c}" xtl="{x1}.00" ytl="{y1}.0" xbr="{x2}" ybr="{y2}" z_order="0"></box>'
            for c, x1, y1, x2, y2 in own
        )
        + "</image>"
        for number, (name, own) in enumerate(objects.items())
    ]
    meta = f"<meta><task>{'<label></label>' * 9000}</task></meta>"
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>{meta}'
    return {"annotations.xml": f"{head}{''.join(images)}</annotations>"}


def kitti(objects: Objects = OBJECTS) -> Contents:
    def line(box: Object) -> str:
        c, x1, y1, x2, y2 = box
        return f"{c} 0.00 0 -1.57 {x1}.00 {y1}.00 {x2}.00 {y2}.00 1.6 1.7 3.6 -0.6 1.7 46.7 -1.59\n"

    return {f"label_2/{name}.txt": "".join(map(line, own)) for name, own in objects.items()}


def dota(objects: Objects = OBJECTS) -> Contents:
    def line(box: Object) -> str:
        c, x1, y1, x2, y2 = box
        return f"{x1}.0 {y1}.0 {x2}.0 {y1}.0 {x2}.0 {y2}.0 {x1}.0 {y2}.0 {c} 0\n"

    head = "imagesource:GoogleEarth\ngsd:0.146\n"
    return {f"labelTxt/{name}.txt": head + "".join(map(line, own)) for name, own in objects.items()}


def wider(objects: Objects = OBJECTS) -> Contents:
    """All objects are faces."""
    lines = []
    for name, own in objects.items():
        rows = [f"{x1} {y1} {x2 - x1} {y2 - y1} 0 0 0 0 0 0 " for _, x1, y1, x2, y2 in own]
        lines += [f"0--Parade/{name}.png", str(len(own)), *(rows or ["0 0 0 0 0 0 0 0 0 0 "])]
    return {"wider_face_bbx_gt.txt": "\n".join(lines)}


def visdrone(objects: Objects = OBJECTS) -> Contents:
    """The classes are VisDrone's cars, trucks and so on."""

    def line(box: Object) -> str:
        c, x1, y1, x2, y2 = box
        return f"{x1},{y1},{x2 - x1},{y2 - y1},1,{_VISDRONE_NUMBERS[c]},0,2,\n"

    return {f"annotations/{name}.txt": "".join(map(line, own)) for name, own in objects.items()}


def pascal(objects: Objects = OBJECTS) -> Contents:
    def text(name: str, own: Sequence[Object]) -> str:
        labels = "".join(f' "PAS{c}"' for c, *_ in own)
        head = (
            f'# PASCAL Annotation Version 1.00\n\nImage filename : "VOC2006/PNGImages/{name}.png"\n'
            f'Image size (X x Y x C) : {WIDTH} x {HEIGHT} x 3\nDatabase : "The VOC2006 Database"\n'
            f"Objects with ground truth : {len(own)} {{{labels} }}\n\n"
            "# Top left pixel co-ordinates : (1, 1)\n"
        )
        return head + "".join(
            f'\n# Details for object {i} ("PAS{c}")\n'
            f'Original label for object {i} "PAS{c}" : "{c}"\n'
            f'Bounding box for object {i} "PAS{c}" (Xmin, Ymin) - (Xmax, Ymax) : '
            f"({x1 + 1}, {y1 + 1}) - ({x2}, {y2})\n"
            for i, (c, x1, y1, x2, y2) in enumerate(own, start=1)
        )

    return {f"Annotations/{name}.txt": text(name, own) for name, own in objects.items()}


FILES: dict[str, Callable[[], Contents]] = {
    "labelme": labelme, "via": via, "via project": via_project, "via 3": via_3,
    "labelstudio": label_studio, "labelstudio min": label_studio_min,
    "labelstudio csv": label_studio_csv, "supervisely": supervisely, "createml": createml,
    "bdd": bdd, "bdd image": bdd_image, "cvat": cvat, "kitti": kitti, "dota": dota, "wider": wider,
    "visdrone": visdrone, "pascal": pascal,
}  # fmt: skip
IMAGES = {
    "supervisely": "ds/img", "kitti": "image_2", "wider": "WIDER/images/0--Parade",
    "pascal": "PNGImages",
}  # fmt: skip


def objects_of(key: str) -> Objects:
    """OBJECTS with the classes that a format gives them."""
    names = _OTHER_CLASSES.get(key, {})
    return {
        name: [(names.get(each[0], each[0]), *each[1:]) for each in own]
        for name, own in OBJECTS.items()
    }


def with_shape(key: str, shape: object) -> Contents:
    """The first image with one shape more."""
    contents = FILES[key]()
    name, text = next(iter(contents.items()))
    if key == "cvat":
        return {name: text.replace("</image>", f"{shape}</image>", 1)}
    if isinstance(shape, str):
        return {**contents, name: f"{text}{shape}\n"}
    content = json.loads(text)
    if key == "via 3":
        content["metadata"]["new"] = {"vid": "1", "z": [], "xy": shape, "av": {"1": "x"}}
        return {**contents, name: json.dumps(content)}
    assert isinstance(shape, dict)
    if key == "labelme":
        content["shapes"].append({"label": "x", **shape})
    elif key == "via":
        region = {"shape_attributes": shape, "region_attributes": {"type": "x"}}
        next(iter(content.values()))["regions"].append(region)
    elif key == "supervisely":
        content["objects"].append({"classTitle": "x", "tags": [], **shape})
    else:
        content[0]["annotations"][1]["result"].append({**SIDES, "value": shape})
    return {**contents, name: json.dumps(content)}


def write(
    folder: Path,
    contents: Contents,
    images: str = "images",
    change: Callable[[str], str] = lambda text: text,
) -> None:
    """Write the images and the files; `change` gets the text of each before."""
    write_images(folder / images)
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(change(text))
