from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("ball", "box", "tile")
SIZES = ((120, 160), (160, 120), (100, 140))  # (height, width)
SPLITS = ("train", "val", "trainval", "test")
# EXIF orientation -> what a camera stores of an upright image [H, W, 3]
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


def write_annotation(path: Path, size: tuple[int, int], objects: list[tuple]) -> None:
    """Objects are (name, (x1, y1, x2, y2), difficult) with half-open boxes."""
    height, width = size
    parts = [f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
    for name, (x1, y1, x2, y2), difficult in objects:
        corners = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        parts.append(
            f"<object><name>{name}</name><difficult>{int(difficult)}</difficult>"
            f"<bndbox>{corners}</bndbox></object>"
        )
    path.write_text(f"<annotation>{''.join(parts)}</annotation>")


def draw_picture(
    rng: np.random.Generator, size: tuple[int, int], names: list[str]
) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    """A noisy background with one shape for each name: "ball" is round, the others are not."""
    height, width = size
    noise = rng.integers(90, 150, (height, width, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    pen = ImageDraw.Draw(picture)
    objects = []
    slot = width // len(names)
    for index, name in enumerate(names):
        w = int(rng.integers(slot // 2, slot - 4))
        h = int(rng.integers(height // 3, height * 2 // 3))
        x1 = index * slot + int(rng.integers(1, slot - w))
        y1 = int(rng.integers(1, height - h))
        corners = (x1, y1, x1 + w - 1, y1 + h - 1)
        if name == "ball":
            pen.ellipse(corners, fill=(230, 40, 40))
        else:
            pen.rectangle(corners, fill=(40, 220, 60) if name == "box" else (30, 50, 235))
        objects.append((name, (x1, y1, x1 + w, y1 + h)))
    return picture, objects


def write_voc(folder: Path, count: int, seed: int) -> Path:
    """A data set in VOC layout: `train` holds the even images, `val` and `test` the odd ones."""
    for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    ids = [f"{index:06d}" for index in range(1, count + 1)]
    for index, image_id in enumerate(ids):
        size = SIZES[index % len(SIZES)]
        names = [CLASSES[(index + step) % len(CLASSES)] for step in range(1 + index % 2)]
        picture, objects = draw_picture(rng, size, names)
        picture.save(folder / "JPEGImages" / f"{image_id}.jpg", quality=95)
        marked = [(name, box, index % 5 == 4) for name, box in objects]
        write_annotation(folder / "Annotations" / f"{image_id}.xml", size, marked)
    members = {"train": ids[::2], "val": ids[1::2], "trainval": ids, "test": ids[1::2]}
    for split in SPLITS:
        lines = "".join(f"{image_id}\n" for image_id in members[split])
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(lines)
    return folder
