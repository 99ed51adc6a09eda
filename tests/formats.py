"""The synthetic data set in other formats than VOC's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from frcnn_cli.data.voc import load_voc


def write_coco(source: Path, folder: Path) -> Path:
    """COCO's form of a folder in VOC layout; category ids are 10, 20, …, image ids 1, 2, …"""
    dataset = load_voc(source, "x", "trainval", ())
    categories = [
        {"id": 10 * number, "name": name, "supercategory": "round" if name == "ball" else "square"}
        for number, name in enumerate(dataset.classes, start=1)
    ]
    images, annotations = [], []
    (folder / "annotations").mkdir(parents=True)
    (folder / "val").mkdir()
    for index, path in enumerate(dataset.paths):
        shutil.copy(path, folder / "val")
        truth = dataset.ground_truth(index)
        height, width = dataset.annotations[index].size
        images.append({"id": index + 1, "file_name": path.name, "height": height, "width": width})
        for box, label, difficult in zip(truth.boxes, truth.labels, truth.difficult, strict=True):
            x1, y1, x2, y2 = box.tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": 10 * int(label),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1) / 2,
                    "iscrowd": int(difficult),
                }
            )
    content = {"images": images, "categories": categories, "annotations": annotations}
    path = folder / "annotations" / "instances_val.json"
    path.write_text(json.dumps(content))
    return path


def write_yolo(source: Path, folder: Path) -> Path:
    """YOLO's form of a folder in VOC layout; there is no sign for difficult objects."""
    for split in ("train", "val"):
        dataset = load_voc(source, "x", split, ())
        for part in ("images", "labels"):
            (folder / part / split).mkdir(parents=True)
        for index, path in enumerate(dataset.paths):
            shutil.copy(path, folder / "images" / split)
            truth = dataset.ground_truth(index)
            height, width = dataset.annotations[index].size
            rows = []
            for (x1, y1, x2, y2), label in zip(truth.boxes, truth.labels, strict=True):
                x, y, w, h = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
                rows.append(f"{label - 1} {x / width} {y / height} {w / width} {h / height}\n")
            (folder / "labels" / split / f"{path.stem}.txt").write_text("".join(rows))
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(dataset.classes))
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames:\n{names}")
    return folder
