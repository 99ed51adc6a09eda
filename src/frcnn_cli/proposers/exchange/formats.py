"""Reading and writing proposals in the file formats of other programs.

    .mat   Girshick's: `boxes`, an M×4 array of one image, or a cell of them with a cell `images`;
           maybe with `scores` or `boxScores`
    .pkl   detectron2's dict of `ids`, `boxes`, `objectness_logits`; Detectron's of `indexes`,
           `boxes`, `scores`; mmdetection's list of arrays
    .npz   `image_ids`, `counts`, and `boxes` of all images in one array
    .json  {"images": [{"image": "000004", "boxes": [[x1, y1, x2, y2], …]}, …]}; Segment Anything's
           masks; a list of COCO's results
    folder of Segment Anything's output for several images, or of a .mat for each, as MCG has them

Boxes come best first; where a file has scores, they give the order and are then dropped. Files
are not trusted: no code in them is run, what they may expand to is bounded by their size, and every
array is checked.
"""

from __future__ import annotations

import csv
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ConfigError, DataError, reason, short_list
from ...runtime.safe_read import MAX_JSON_BYTES, read_bytes
from . import matlab, numpy_archive
from .box_file import Boxes, BoxFile, as_boxes, box_file, image_number, ranked
from .json_boxes import amg_files, read_amg_folder, read_json_boxes
from .layouts import LAYOUTS
from .unpickle import load

MAX_BYTES = 2**32  # of a file
# What a file may expand to, by its size. Boxes in MATLAB's and numpy's archives take a tenth to a
# third of their expanded size, and an image has a few boxes of some bytes each.
_FREE_BYTES, _BYTES_PER_BYTE = 2**25, 32
_FREE_IMAGES, _BYTES_PER_IMAGE = 1000, 16
MAT_LAYOUT = LAYOUTS["yxyx1"]  # of the files that Girshick published
_MAT_SCORES = ("scores", "boxScores")  # of MCG; of the Edge Boxes for WSDDN
DETECTRON_LAYOUT = LAYOUTS["xyxy0"]  # of Detectron and of what is built on it: PCL, wetectron

# What the parsers raise for files that are damaged or give false sizes.
_DAMAGE = (
    OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, RuntimeError,
    NotImplementedError, ArithmeticError, AttributeError, struct.error, zlib.error,
    zipfile.BadZipFile, csv.Error, matlab.MatlabError, numpy_archive.ArchiveError,
)  # fmt: skip


def read_boxes(path: Path) -> BoxFile:
    """Read a file of proposals, in the format that its suffix names.

    Raises:
        ConfigError: unknown suffix. DataError: the file is missing, damaged, or of another format.
    """
    suffix = path.suffix.lower()
    if suffix not in READERS and not path.is_dir():
        raise ConfigError(f"{path}: unknown file format", f"expected {', '.join(READERS)}")
    try:
        file = _read_folder(path) if path.is_dir() else _read_file(path, READERS[suffix])
    except DataError:
        raise
    except _DAMAGE as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else reason(error)
        raise DataError(f"cannot read the proposals in {path}: {what}", "check the file") from None
    if file.names is not None and len(file.names) != len(file.boxes):
        raise DataError(
            f"{path}: {len(file.names)} names of images, {len(file.boxes)} sets of boxes",
            "check the file",
        )
    if not file.boxes:
        raise DataError(f"{path} holds no images", "check the file")
    return file


def _read_file(path: Path, reader: Callable[[Path, bytes], BoxFile]) -> BoxFile:
    most = MAX_JSON_BYTES if reader is read_json_boxes else MAX_BYTES
    return reader(path, read_bytes(path, "check the path", most))


def folder_files(folder: Path) -> list[Path]:
    """The files of a folder that `read_boxes` reads, sorted."""
    return _matlab_files(folder) or amg_files(folder)


def _matlab_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.mat"))


def _read_folder(folder: Path) -> BoxFile:
    files = _matlab_files(folder)
    if not files:
        return read_amg_folder(folder)
    each = [_read_file(file, _read_mat) for file in files]
    for file, own in zip(files, each, strict=True):
        if own.names is not None or len(own.boxes) != 1:
            raise DataError(
                f"{file} has the boxes of {len(own.boxes)} images, not of the one it is called by",
                "name the file, not its folder",
            )
    boxes = [own.boxes[0] for own in each]
    return box_file(
        "MATLAB, a file for each image", [file.stem for file in files], boxes, MAT_LAYOUT
    )


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
    return [as_boxes(own, f"{path}, image {i}") for i, own in enumerate(arrays, start=1)]


def _ranked_each(boxes: Sequence[Boxes], scores: Any, path: Path) -> list[Boxes]:
    """The boxes of each image in falling order of their scores, where it has any."""
    if len(scores) != len(boxes):
        raise DataError(
            f"{path}: {len(boxes)} sets of boxes, {len(scores)} of scores", "check the file"
        )
    return [
        own if score is None else ranked(own, score, f"{path}, image {i}")
        for i, (own, score) in enumerate(zip(boxes, scores, strict=True), start=1)
    ]


def _read_mat(path: Path, content: bytes) -> BoxFile:
    variables = matlab.read_variables(
        content, ("boxes", "images", *_MAT_SCORES), _most_bytes(content), _most_images(content)
    )
    boxes, names = variables.get("boxes"), variables.get("images")
    scores = next((variables[key] for key in _MAT_SCORES if key in variables), None)
    if boxes is None:
        held = short_list(variables) or "nothing"
        raise DataError(f"{path} holds no variable `boxes`, but {held}", "check the file")
    if isinstance(boxes, np.ndarray):
        own = _as_each([boxes], path, content)
        own = own if scores is None else _ranked_each(own, [scores], path)
        return box_file("MATLAB, one image", None, own, MAT_LAYOUT)
    if names is not None:
        names = [_only_row(name) for name in names]
    each = _as_each(boxes, path, content)
    each = each if scores is None else _ranked_each(each, scores, path)
    return box_file("MATLAB, a data set", names, each, MAT_LAYOUT)


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
        return box_file("mmdetection", None, boxes)
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
    if "objectness_logits" in value or "bbox_mode" in value:
        return box_file("detectron2", texts, boxes, has_ids=True)
    return box_file("Detectron", texts, boxes, DETECTRON_LAYOUT, has_ids=True)


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
        return box_file("NumPy, one image", None, [boxes])
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
    return box_file("NumPy", _texts(names, _most_bytes(content), path), each)


# By the suffix of the file; a reader takes its path, for messages, and its content.
READERS: dict[str, Callable[[Path, bytes], BoxFile]] = {
    ".mat": _read_mat,
    ".pkl": _read_pickle,
    ".npz": _read_npz,
    ".json": read_json_boxes,
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
    return _pickled(content)


def _write_detectron(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    content = {
        "indexes": [image_number(name) for name in names],
        "boxes": [DETECTRON_LAYOUT.encode(own) for own in boxes],
        "scores": [-np.arange(len(own), dtype=np.float32) for own in boxes],
    }
    return _pickled(content)


def _write_mmdetection(names: Sequence[str], boxes: Sequence[Boxes]) -> bytes:
    return _pickled(list(boxes))


def _pickled(content: Any) -> bytes:
    """A pickle that the programs of other years load: those of Python 2, and those with a numpy
    below 2, which do not have the module in which numpy now looks for its arrays."""
    new, old = (b"cnumpy.%score.multiarray\n_reconstruct\n" % mark for mark in (b"_", b""))
    return pickle.dumps(content, protocol=2).replace(new, old, 1)


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
# suffix or as their data set calls them, and the boxes of each image.
WRITERS: dict[str, Callable[[Sequence[str], Sequence[Boxes]], bytes]] = {
    "mat": _write_mat,
    "detectron2": _write_detectron2,
    "detectron": _write_detectron,
    "mmdetection": _write_mmdetection,
    "npz": _write_npz,
    "json": _write_json,
}
WITH_IDS = ("detectron2", "detectron")  # whose readers look images up by the ids of a data set
IN_ORDER = ("mat", "mmdetection")  # whose readers go by the order of the images
