"""Proposals in the files of other programs: read and written here, by format.

    .mat   Girshick's: `boxes`, an M×4 array of one image, or a cell of them with a cell `images`
    .pkl   detectron2's dict of `ids`, `boxes`, `objectness_logits`; mmdetection's list of arrays
    .npz   `image_ids`, `counts`, `boxes` one behind the other, perhaps `scores`
    .json  {"images": [{"image": "000004", "boxes": [[x1, y1, x2, y2], …]}, …]}

A file is never believed: nothing in it is run, sizes are looked at before anything is expanded,
and every array is checked.
"""

from __future__ import annotations

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, reason
from .layouts import HALF_OPEN, LAYOUTS, Layout
from .unpickle import load

Boxes = NDArray[np.float32]
MAX_BYTES = 8 * 2**30  # of a file once expanded
MAT_LAYOUT = LAYOUTS["yxyx1"]  # what Girshick's data-set files hold


# What numpy, SciPy, zipfile and zlib raise for files that are damaged or lie about their sizes.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, RuntimeError, zlib.error,
    zipfile.BadZipFile,
)  # fmt: skip


@dataclass(frozen=True)
class BoxFile:
    """The boxes of some images as a file has them, best first."""

    format: str  # in words
    names: tuple[str, ...] | None  # of the images, without ending; None where only the order counts
    boxes: tuple[Boxes, ...]  # for each image N×4, columns as written
    expected: Layout  # what the format usually means by the columns


def read_boxes(path: Path) -> BoxFile:
    """Read a file of proposals; its ending says the format.

    Raises:
        ConfigError: unknown ending. DataError: missing, damaged, or not what the ending says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown kind of file", f"expected {', '.join(_READERS)}")
    try:
        found = reader(path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(
            f"cannot read the proposals in {path}: {reason(error)}", "check the file"
        ) from None
    if found.names is not None and len(found.names) != len(found.boxes):
        raise DataError(
            f"{path}: {len(found.names)} names of images, {len(found.boxes)} sets of boxes",
            "check the file",
        )
    return found


def checked(boxes: Any, where: str) -> Boxes:
    """Whatever a file holds for one image, as N×4 finite numbers; further columns are left out."""
    array = np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.float32)
    if array.dtype.kind not in "iuf" or array.ndim != 2 or array.shape[1] not in (4, 5):
        raise DataError(
            f"{where}: expected N×4 numbers, got {array.dtype} {array.shape}", "check the file"
        )
    numbers = array[:, :4].astype(np.float32)
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: expected finite numbers, got NaN or infinity", "check the file")
    return numbers


def _ranked(boxes: Boxes, scores: Any, where: str) -> Boxes:
    """Boxes with the highest score first; as they are where there are no scores."""
    values = np.asarray(scores, dtype=np.float32).ravel()
    if len(values) != len(boxes):
        raise DataError(f"{where}: {len(boxes)} boxes, {len(values)} scores", "check the file")
    return boxes[np.argsort(-values, kind="stable")]


def _read_mat(path: Path) -> BoxFile:
    try:
        from scipy.io import loadmat, matlab, whosmat
    except ImportError:
        raise DataError(f"reading {path} needs SciPy", "pip install scipy") from None
    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        if "boxes" not in shapes:
            held = ", ".join(shapes) or "nothing"
            raise DataError(f"{path} holds no variable `boxes`: {held}", "check the file")
        content = loadmat(path, variable_names=["boxes", "images"])
    except (NotImplementedError, matlab.MatReadError, MemoryError, IndexError) as error:
        raise DataError(
            f"cannot read {path}: {reason(error)}", "expected MATLAB 5 to 7, not 7.3"
        ) from None
    boxes, names = content["boxes"], None
    if boxes.dtype != object:
        return BoxFile("MATLAB, one image", None, (checked(boxes, str(path)),), MAT_LAYOUT)
    if "images" in content:
        names = tuple(_stem(np.asarray(name).item()) for name in content["images"].ravel())
    each = (checked(own, f"{path}, image {i}") for i, own in enumerate(boxes.ravel(), start=1))
    return BoxFile("MATLAB, a data set", names, tuple(each), MAT_LAYOUT)


def _read_pickle(path: Path) -> BoxFile:
    with path.open("rb") as file:
        content = load(file, str(path))
    if isinstance(content, list):
        boxes = []
        for i, own in enumerate(content, start=1):
            where = f"{path}, image {i}"
            plain = checked(own, where)
            scored = np.ndim(own) == 2 and np.shape(own)[1] == 5
            boxes.append(_ranked(plain, own[:, 4], where) if scored and len(plain) else plain)
        return BoxFile("mmdetection", None, tuple(boxes), HALF_OPEN)
    if not isinstance(content, dict) or not {"boxes"} <= content.keys():
        raise DataError(f"{path}: expected a list of arrays or a dict with `boxes`", "see the docs")
    if content.get("bbox_mode", 0) != 0:
        raise DataError(f"{path}: bbox_mode {content['bbox_mode']}", "expected 0, XYXY_ABS")
    names = content.get("ids", content.get("indexes"))
    scores = content.get("objectness_logits", content.get("scores"))
    boxes = [checked(own, f"{path}, image {i}") for i, own in enumerate(content["boxes"], start=1)]
    if scores is not None:
        pairs = zip(boxes, scores, strict=True)
        boxes = [_ranked(own, score, f"{path}, image {i}") for i, (own, score) in enumerate(pairs)]
    ids = None if names is None else tuple(_stem(name) for name in names)
    return BoxFile("detectron2", ids, tuple(boxes), HALF_OPEN)


def _read_npz(path: Path) -> BoxFile:
    with zipfile.ZipFile(path) as archive:
        if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
            raise DataError(f"{path} expands to more than {MAX_BYTES >> 30} GB", "split it")
    with np.load(path, allow_pickle=False) as content:
        boxes = checked(content["boxes"], str(path))
        if "counts" not in content:
            return BoxFile("NumPy, one image", None, (boxes,), HALF_OPEN)
        counts, names = content["counts"].astype(np.int64), content["image_ids"]
    if (counts < 0).any() or counts.sum() != len(boxes):
        raise DataError(f"{path}: {counts.sum()} boxes by `counts`, {len(boxes)} in `boxes`", "")
    each = np.split(boxes, np.cumsum(counts)[:-1]) if len(counts) else []
    return BoxFile("NumPy", tuple(_stem(name) for name in names), tuple(each), HALF_OPEN)


def _read_json(path: Path) -> BoxFile:
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        names = tuple(_stem(image["image"]) for image in images)
        boxes = tuple(checked(image["boxes"], f"{path}, {image['image']}") for image in images)
    except RecursionError as error:
        raise DataError(f"cannot read {path}: {reason(error)}", "check the file") from None
    return BoxFile("JSON", names, boxes, HALF_OPEN)


def _stem(name: object) -> str:
    """The name of an image without folder and ending."""
    text = name.decode("latin1") if isinstance(name, bytes) else str(name)
    return Path(text).stem


_READERS: dict[str, Callable[[Path], BoxFile]] = {
    ".mat": _read_mat,
    ".pkl": _read_pickle,
    ".npz": _read_npz,
    ".json": _read_json,
}


def _write_mat(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    try:
        from scipy.io import savemat
    except ImportError:
        raise DataError("writing .mat needs SciPy", "pip install scipy") from None
    cells = np.empty((1, len(boxes)), object)
    images = np.empty((len(names), 1), object)
    for i, (name, own) in enumerate(zip(names, boxes, strict=True)):
        cells[0, i], images[i, 0] = MAT_LAYOUT.encode(own).astype(np.float64), name
    out = io.BytesIO()
    savemat(out, {"boxes": cells, "images": images}, do_compression=True)
    return out.getvalue()


def _write_detectron2(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    content = {
        "ids": list(names),
        "boxes": list(boxes),
        # falling, so that the order stays as it is
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
        {"image": name, "boxes": [[_short(v) for v in box] for box in own.tolist()]}
        for name, own in zip(names, boxes, strict=True)
    ]
    return json.dumps({"images": rows}).encode()


def _short(value: float) -> float | int:
    return int(value) if value.is_integer() else value


WRITERS: dict[str, Callable[[Sequence[str], Sequence[Boxes]], bytes]] = {
    "mat": _write_mat,
    "detectron2": _write_detectron2,
    "mmdetection": _write_mmdetection,
    "npz": _write_npz,
    "json": _write_json,
}
