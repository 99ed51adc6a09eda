"""Reading and writing proposals in the file formats of other programs.

    .mat   Girshick's: `boxes`, an M×4 array of one image, or a cell of them with a cell `images`
    .pkl   detectron2's dict of `ids`, `boxes`, `objectness_logits`; mmdetection's list of arrays
    .npz   `image_ids`, `counts`, and `boxes` of all images in one array
    .json  {"images": [{"image": "000004", "boxes": [[x1, y1, x2, y2], …]}, …]}

Boxes come best first; where a pickle has scores, they give the order and are then dropped. Files
are not trusted: no code in them is run, what they may expand to is bounded by their size, and every
array is checked.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ConfigError, DataError, reason, short_list
from ...runtime.safe_read import MAX_JSON_BYTES, parse_json, read_bytes
from . import matlab, numpy_archive
from .layouts import HALF_OPEN, LAYOUTS, Layout
from .unpickle import load

Boxes = NDArray[np.float32]
MAX_BYTES = 2**32  # of a file
# What a file may expand to, by its size. Boxes in MATLAB's and numpy's archives take a tenth to a
# third of their expanded size, and an image has a few boxes of some bytes each.
_FREE_BYTES, _BYTES_PER_BYTE = 2**25, 32
_FREE_IMAGES, _BYTES_PER_IMAGE = 1000, 16
MAT_LAYOUT = LAYOUTS["yxyx1"]  # of the files that Girshick published

# What the parsers raise for files that are damaged or give false sizes.
_DAMAGE = (
    OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, RuntimeError,
    NotImplementedError, ArithmeticError, AttributeError, struct.error, zlib.error,
    zipfile.BadZipFile, matlab.MatlabError, numpy_archive.ArchiveError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BoxFile:
    """The boxes of some images, best first, with the columns as the file has them."""

    format: str  # for messages
    names: tuple[str, ...] | None  # of the images, without suffix; None if the file has no names
    boxes: tuple[Boxes, ...]  # one N×4 array for each image
    expected: Layout  # the usual layout of the format


def read_boxes(path: Path) -> BoxFile:
    """Read a file of proposals, in the format that its suffix names.

    Raises:
        ConfigError: unknown suffix. DataError: the file is missing, damaged, or of another format.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: unknown file format", f"expected {', '.join(READERS)}")
    content = read_bytes(
        path, "check the path", MAX_JSON_BYTES if reader is _read_json else MAX_BYTES
    )
    try:
        file = reader(path, content)
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
    if not file.boxes:
        raise DataError(f"{path} holds no images", "check the file")
    return file


def _most_bytes(content: bytes) -> int:
    """What the content of a file may expand to, in bytes."""
    return _FREE_BYTES + _BYTES_PER_BYTE * len(content)


def _most_images(content: bytes) -> int:
    return _FREE_IMAGES + len(content) // _BYTES_PER_IMAGE


def _as_each(arrays: Sequence[Any], path: Path, content: bytes) -> list[Boxes]:
    """The boxes of each image, which together are no more than the file can hold."""
    numbers = sum(np.size(own) for own in arrays)
    if len(arrays) > _most_images(content) or 4 * numbers > _most_bytes(content):
        raise DataError(
            f"{path}: {len(arrays)} images with {numbers} numbers are more than a file of "
            f"{len(content)} bytes can hold",
            "check the file",
        )
    return [_as_boxes(own, f"{path}, image {i}") for i, own in enumerate(arrays, start=1)]


def _as_boxes(boxes: Any, where: str) -> Boxes:
    """The boxes of one image as [N, 4] finite numbers; a fifth column is dropped.

    Args:
        where: the place in the file, for messages.
    """
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
    """Boxes in falling order of their scores."""
    values = np.asarray(scores, dtype=np.float32).ravel()
    if len(values) != len(boxes):
        raise DataError(f"{where}: {len(boxes)} boxes, {len(values)} scores", "check the file")
    return boxes[np.argsort(-values, kind="stable")]


def _ranked_each(boxes: Sequence[Boxes], scores: Any, path: Path) -> list[Boxes]:
    """The boxes of each image in falling order of their scores, where it has any."""
    return [
        own if score is None else _ranked(own, score, f"{path}, image {i}")
        for i, (own, score) in enumerate(zip(boxes, scores, strict=True), start=1)
    ]


def _read_mat(path: Path, content: bytes) -> BoxFile:
    variables = matlab.read_variables(
        content, ("boxes", "images"), _most_bytes(content), _most_images(content)
    )
    boxes, names = variables.get("boxes"), variables.get("images")
    if boxes is None:
        held = short_list(variables) or "nothing"
        raise DataError(f"{path} holds no variable `boxes`, but {held}", "check the file")
    if isinstance(boxes, np.ndarray):
        return _box_file("MATLAB, one image", None, _as_each([boxes], path, content), MAT_LAYOUT)
    if names is not None:
        names = [_only_row(name) for name in names]
    return _box_file("MATLAB, a data set", names, _as_each(boxes, path, content), MAT_LAYOUT)


def _only_row(name: Any) -> str:
    """The name of an image: a row of a text, or a cell with one."""
    rows = [name] if isinstance(name, str) else name
    if len(rows) != 1 or not isinstance(rows[0], str):
        raise ValueError("the name of an image is no text")
    return rows[0]


def _read_pickle(path: Path, content: bytes) -> BoxFile:
    value = load(io.BytesIO(content), len(content), str(path))
    if isinstance(value, list):
        _check_arrays(value, path)
        scored = [own.ndim == 2 and own.shape[1:] == (5,) for own in value]
        last = [own[:, 4] if has else None for own, has in zip(value, scored, strict=True)]
        boxes = _ranked_each(_as_each(value, path, content), last, path)
        return _box_file("mmdetection", None, boxes)
    if not isinstance(value, dict) or not isinstance(value.get("boxes"), list | tuple):
        raise DataError(
            f"{path}: expected a list of arrays or a dict with `boxes`",
            "docs/proposals.md describes the formats",
        )
    if value.get("bbox_mode", 0) != 0:
        raise DataError(f"{path}: bbox_mode {value['bbox_mode']!r:.20}", "expected 0, XYXY_ABS")
    _check_arrays(value["boxes"], path)
    boxes = _as_each(value["boxes"], path, content)
    scores = value.get("objectness_logits", value.get("scores"))
    if scores is not None:
        boxes = _ranked_each(boxes, scores, path)
    names = value.get("ids", value.get("indexes"))
    texts = None if names is None else _texts(names, len(content), path)
    return _box_file("detectron2", texts, boxes)


def _check_arrays(arrays: Sequence[Any], path: Path) -> None:
    for i, own in enumerate(arrays, start=1):
        if not isinstance(own, np.ndarray):
            raise DataError(
                f"{path}, image {i}: expected an array of boxes, got {type(own).__name__}",
                "check the file",
            )


def _texts(names: Any, most_letters: int, path: Path) -> list[str | bytes]:
    """The ids in a file as texts, which together have no more letters than they may."""
    texts: list[str | bytes] = []
    letters = 0
    for name in names.ravel() if isinstance(names, np.ndarray) else names:
        if not isinstance(name, str | bytes | int | np.integer):
            raise DataError(f"{path}: an id is no text or whole number", "check the file")
        texts.append(name if isinstance(name, str | bytes) else str(name))
        letters += len(texts[-1])
        if letters > most_letters:
            raise DataError(f"{path} has longer ids than it can hold", "check the file")
    return texts


def _read_npz(path: Path, content: bytes) -> BoxFile:
    arrays = numpy_archive.read_arrays(
        content, ("boxes", "counts", "image_ids"), _most_bytes(content)
    )
    boxes = _as_each([arrays["boxes"]], path, content)[0]
    if "counts" not in arrays:
        return _box_file("NumPy, one image", None, [boxes])
    counts, names = arrays["counts"], arrays["image_ids"]
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or names.dtype.kind not in "iuSU":
        raise DataError(
            f"{path}: `counts` are no whole numbers, or `image_ids` no texts", "check the file"
        )
    if max(counts.size, names.size) > _most_images(content):
        raise DataError(f"{path} names more images than it can hold", "check the file")
    # of Python's whole numbers, since a sum of numpy's may overflow
    each_count = counts.tolist()
    if any(count < 0 for count in each_count) or sum(each_count) != len(boxes):
        raise DataError(
            f"{path}: {sum(each_count)} boxes by `counts`, {len(boxes)} in `boxes`",
            "check the file",
        )
    each = np.split(boxes, np.cumsum(each_count)[:-1]) if each_count else []
    return _box_file("NumPy", _texts(names, _most_bytes(content), path), each)


def _read_json(path: Path, content: bytes) -> BoxFile:
    images = parse_json(path, content, "check the file")["images"]
    names = [image["image"] for image in images]
    if not all(isinstance(name, str | int) for name in names):
        raise DataError(f"{path}: the name of an image is no text", "check the file")
    boxes = [_as_boxes(image["boxes"], f"{path}, {image['image']}") for image in images]
    return _box_file("JSON", names, boxes)


def _box_file(
    format_: str,
    names: Iterable[object] | None,
    boxes: Iterable[Boxes],
    expected: Layout = HALF_OPEN,
) -> BoxFile:
    stems = None if names is None else tuple(_stem(name) for name in names)
    return BoxFile(format=format_, names=stems, boxes=tuple(boxes), expected=expected)


def _stem(name: object) -> str:
    """The name of an image without folder and suffix."""
    text = name.decode("latin1") if isinstance(name, bytes) else str(name)
    return Path(text).stem


# By the suffix of the file; a reader takes its path, for messages, and its content.
READERS: dict[str, Callable[[Path, bytes], BoxFile]] = {
    ".mat": _read_mat,
    ".pkl": _read_pickle,
    ".npz": _read_npz,
    ".json": _read_json,
}


def _write_mat(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    return matlab.write_variables(
        {"boxes": [MAT_LAYOUT.encode(own) for own in boxes], "images": [[name] for name in names]}
    )


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
