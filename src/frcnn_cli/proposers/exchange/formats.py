"""Reading and writing proposals in the file formats of other programs.

    .mat   Girshick's: `boxes`, an M×4 array of one image, or a cell of them with a cell `images`
    .pkl   detectron2's dict of `ids`, `boxes`, `objectness_logits`; mmdetection's list of arrays
    .npz   `image_ids`, `counts`, and `boxes` of all images in one array
    .json  {"images": [{"image": "000004", "boxes": [[x1, y1, x2, y2], …]}, …]}; Segment Anything's
           masks; a list of COCO's results
    folder of Segment Anything's output for several images

Boxes come best first; where a pickle has scores, they give the order and are then dropped. Files
are not trusted: no code in them is run, the expanded size is checked before anything is expanded,
and every array is checked.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ...errors import ConfigError, DataError, reason
from .box_file import Boxes, BoxFile, as_boxes, box_file, ranked
from .json_boxes import read_folder, read_json_boxes
from .layouts import LAYOUTS
from .unpickle import load

MAX_BYTES = 8 * 2**30  # of an expanded file
MAT_LAYOUT = LAYOUTS["yxyx1"]  # of the files that Girshick published

# What numpy, SciPy, zipfile and zlib raise for files that are damaged or give false sizes.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


def read_boxes(path: Path) -> BoxFile:
    """Read a file of proposals, in the format that its suffix names.

    Raises:
        ConfigError: unknown suffix. DataError: the file is missing, damaged, or of another format.
    """
    reader = read_folder if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown file format", f"expected {', '.join(READERS)}")
    try:
        file = reader(path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"cannot read the proposals in {path}: {reason(error)}", "check the file"
        ) from None
    if file.names is not None and len(file.names) != len(file.boxes):
        raise DataError(
            f"{path}: {len(file.names)} names of images, {len(file.boxes)} sets of boxes",
            "check the file",
        )
    return file


def _read_mat(path: Path) -> BoxFile:
    try:
        from scipy.io import loadmat, matlab, whosmat
    except ImportError:
        raise DataError(f"reading {path} needs SciPy", "pip install scipy") from None
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        if "boxes" not in shapes:
            variables = ", ".join(shapes) or "nothing"
            raise DataError(f"{path} holds no variable `boxes`, but {variables}", "check the file")
        content = loadmat(path, variable_names=["boxes", "images"])
    except (NotImplementedError, matlab.MatReadError, MemoryError, IndexError) as error:
        raise DataError(
            f"cannot read {path}: {reason(error)}", "expected MATLAB 5 to 7, not 7.3"
        ) from None
    boxes, names = content["boxes"], None
    if boxes.dtype != object:
        return box_file("MATLAB, one image", None, [as_boxes(boxes, str(path))], MAT_LAYOUT)
    if "images" in content:
        names = [np.asarray(name).item() for name in content["images"].ravel()]
    each = [as_boxes(own, f"{path}, image {i}") for i, own in enumerate(boxes.ravel(), start=1)]
    return box_file("MATLAB, a data set", names, each, MAT_LAYOUT)


def _read_pickle(path: Path) -> BoxFile:
    with path.open("rb") as file:
        content = load(file, str(path))
    if isinstance(content, list):
        boxes = []
        for i, own in enumerate(content, start=1):
            where = f"{path}, image {i}"
            unscored = as_boxes(own, where)
            scored = len(unscored) and np.ndim(own) == 2 and np.shape(own)[1] == 5
            boxes.append(ranked(unscored, own[:, 4], where) if scored else unscored)
        return box_file("mmdetection", None, boxes)
    if not isinstance(content, dict) or "boxes" not in content:
        raise DataError(
            f"{path}: expected a list of arrays or a dict with `boxes`",
            "docs/proposals.md describes the formats",
        )
    if content.get("bbox_mode", 0) != 0:
        raise DataError(f"{path}: bbox_mode {content['bbox_mode']}", "expected 0, XYXY_ABS")
    names = content.get("ids", content.get("indexes"))
    scores = content.get("objectness_logits", content.get("scores"))
    boxes = [as_boxes(own, f"{path}, image {i}") for i, own in enumerate(content["boxes"], start=1)]
    if scores is not None:
        pairs = zip(boxes, scores, strict=True)
        boxes = [
            ranked(own, score, f"{path}, image {i}")
            for i, (own, score) in enumerate(pairs, start=1)
        ]
    return box_file("detectron2", names, boxes)


def _read_npz(path: Path) -> BoxFile:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise DataError(f"{path} expands to more than {MAX_BYTES >> 30} GB", "split it")
    with np.load(path, allow_pickle=False) as content:
        boxes = as_boxes(content["boxes"], str(path))
        if "counts" not in content:
            return box_file("NumPy, one image", None, [boxes])
        counts, names = content["counts"].astype(np.int64), content["image_ids"]
    if (counts < 0).any() or counts.sum() != len(boxes):
        raise DataError(
            f"{path}: {counts.sum()} boxes by `counts`, {len(boxes)} in `boxes`", "check the file"
        )
    each = np.split(boxes, np.cumsum(counts)[:-1]) if len(counts) else []
    return box_file("NumPy", names, each)


# By the suffix of the file.
READERS: dict[str, Callable[[Path], BoxFile]] = {
    ".mat": _read_mat,
    ".pkl": _read_pickle,
    ".npz": _read_npz,
    ".json": read_json_boxes,
}


def _write_mat(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    try:
        from scipy.io import savemat
    except ImportError:
        raise DataError("writing .mat needs SciPy", "pip install scipy") from None
    cells = np.empty((1, len(boxes)), object)
    images = np.empty((len(names), 1), object)
    for i, (name, own) in enumerate(zip(names, boxes, strict=True)):
        cells[0, i] = MAT_LAYOUT.encode(own).astype(np.float64)
        images[i, 0] = name
    out = io.BytesIO()
    savemat(out, {"boxes": cells, "images": images}, do_compression=True)
    return out.getvalue()


def _write_detectron2(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    content = {
        "ids": list(names),
        "boxes": list(boxes),
        # falling scores, so that readers keep the order of the boxes
        "objectness_logits": [-np.arange(len(own), dtype=np.float32) for own in boxes],
        "bbox_mode": 0,
    }
    return pickle.dumps(content, protocol=4)


def _write_mmdetection(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    return pickle.dumps(list(boxes), protocol=4)


def _write_npz(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(
        out,
        image_ids=np.array(names, dtype=np.str_),
        counts=np.array([len(own) for own in boxes], dtype=np.int64),
        boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
    )
    return out.getvalue()


def _write_json(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    rows = [
        {"image": name, "boxes": [[_json_number(v) for v in box] for box in own.tolist()]}
        for name, own in zip(names, boxes, strict=True)
    ]
    return json.dumps({"images": rows}).encode()


def _json_number(value: float) -> float | int:
    """An int where the value is one, which keeps the file short."""
    return int(value) if value.is_integer() else value


# By name of the format. A writer makes the content of a file from the names of the images, without
# suffix, and the boxes of each image.
WRITERS: dict[str, Callable[[Sequence[str], Sequence[Boxes]], bytes]] = {
    "mat": _write_mat,
    "detectron2": _write_detectron2,
    "mmdetection": _write_mmdetection,
    "npz": _write_npz,
    "json": _write_json,
}
