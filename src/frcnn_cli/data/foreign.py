"""Names the format of annotations that are not read, so that they can be exported in another."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ..runtime.safe_read import read_beginning
from .folders import is_hidden

_BEGINNING = 2**14  # bytes
_LOOKED_AT = 20  # files of each ending
# name of a format -> ending of its files, and texts that are all in the beginning of each
_FORMATS = {
    "LabelMe's JSON, a file for each image": (".json", ('"shapes"', '"imagePath"')),
    "the JSON of the VGG Image Annotator": (".json", ('"regions"', '"shape_attributes"')),
    "CreateML's JSON": (".json", ('"annotations"', '"coordinates"')),
    "Label Studio's JSON": (".json", ('"annotations"', '"from_name"')),
    "Supervisely's JSON": (".json", ('"objects"', '"classTitle"')),
    "a list of COCO's results": (".json", ('"image_id"', '"category_id"', '"bbox"')),
    "CVAT's XML for images": (".xml", ("<annotations>", "<image ")),
    "the XML of dlib": (".xml", ("<dataset>", "<image ")),
    "KITTI's texts": (".txt", (" -1 -1 ",)),
}
_HINT = "export it as COCO, VOC or YOLO with the tool that made it"


def describe_foreign(path: Path) -> str:
    """What the annotations in a file or folder seem to be, and what to do; empty if unknown."""
    for file in _files(path):
        beginning = read_beginning(file, _BEGINNING)
        for name, (suffix, texts) in _FORMATS.items():
            if file.suffix.lower() == suffix and all(text in beginning for text in texts):
                return f"{file} looks like {name}, which is not read: {_HINT}"
    return ""


def _files(path: Path) -> Iterator[Path]:
    """The file, or some files in the folder and the folders in it."""
    if not path.is_dir():
        yield path
        return
    for suffix in dict.fromkeys(suffix for suffix, _ in _FORMATS.values()):
        for pattern in (f"*{suffix}", f"*/*{suffix}"):
            found = (each for each in path.glob(pattern) if not is_hidden(each.name))
            yield from islice(found, _LOOKED_AT)
