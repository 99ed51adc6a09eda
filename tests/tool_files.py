"""The small data set of strangers.py as annotation tools and well-known data sets store it.

FILES has a function for each key of TOOLS, which gives the files by their path in the data set; the
images are in IMAGES, or in images/.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from strangers import HEIGHT, OBJECTS, WIDTH, Object, Objects, write_images

Contents = dict[str, str]


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


FILES: dict[str, Callable[[], Contents]] = {
    "labelme": labelme, "via": via, "via project": via_project, "labelstudio": label_studio,
    "labelstudio min": label_studio_min, "supervisely": supervisely, "createml": createml,
    "bdd": bdd, "cvat": cvat, "kitti": kitti, "dota": dota, "wider": wider,
}  # fmt: skip
IMAGES = {"supervisely": "ds/img", "kitti": "image_2", "wider": "WIDER/images/0--Parade"}


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
