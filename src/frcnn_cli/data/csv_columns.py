"""Which columns the first line of a CSV file of boxes has, by a header or by what is in it."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

from ..runtime.safe_read import read_beginning
from .file_types import SUFFIXES
from .number_text import parse_number
from .splits import SPLITS, canonical_split

HINT = "expected the columns filename, class, xmin, ymin, xmax, ymax"
# column -> its spellings, without capitals, blanks and _
_SPELLINGS = {
    "image": "filename image path imagepath imagename imgpath imgname file filepath img frame "
    "gcsfilepath imageuri imageindex "
    "imagefile imagefilename imageurl datei dateiname bild fichier imagen archivo imagem arquivo "
    "immagine 文件名 图片 photo picture fname filenames imagelink sourceimage externalid",
    "id": "imageid",
    "class name": "classname labelname categoryname clsname objclass gtclass annotationlabel "
    "regionlabel labeltext findinglabel",
    "label": "class cls label name category klasse kategorie classe "
    "catégorie clase categoría categoria etiqueta 类别 标签 annotationtag objectclass objectname",
    "kind": "labels classes classlabel tag tags type objecttype objectlabel species defect "
    "defecttype target object annotation regionname",
    "number": "classid labelid categoryid classno classindex",
    "x1": "xmin x1 left bboxx1 boxxmin minx bboxxmin x0 xtopleft roix1 bndboxxmin "
    "xtl xstart startx upperleftcornerx tlx topleftx ulx "
    "xleft leftx bbx1 bboxleft bbleft",
    "y1": "ymin y1 top bboxy1 boxymin miny bboxymin y0 ytopleft roiy1 bndboxymin "
    "ytl ystart starty upperleftcornery tly toplefty uly "
    "ytop topy bby1 bboxtop bbtop upper",
    "x2": "xmax x2 right bboxx2 boxxmax maxx bboxxmax xbottomright roix2 bndboxxmax "
    "xbr xend endx lowerrightcornerx brx bottomrightx lrx "
    "xright rightx bbx2 bboxright bbright",
    "y2": "ymax y2 bottom bboxy2 boxymax maxy bboxymax ybottomright roiy2 bndboxymax "
    "ybr yend endy lowerrightcornery bry bottomrighty lry "
    "ybottom bottomy bby2 bboxbottom bbbottom lower",
    **{f"{axis}{number}": f"{axis}{number}" for number in (3, 4) for axis in "xy"},
    "box": "bbox boundingbox boundingboxes",
    "cx": "xcenter xcentre centerx centrex cx xc xmid",
    "cy": "ycenter ycentre centery centrey cy yc ymid",
    "shape": "regionshapeattributes",
    "attributes": "regionattributes",
    "x": "x bboxx boxx rectx roix",
    "y": "y bboxy boxy recty roiy",
    "w": "w bboxw bboxwidth boxwidth boxw bbwidth rectwidth roiw roiwidth",
    "h": "h bboxh bboxheight boxheight boxh bbheight rectheight roih roiheight",
    "width": "imagewidth imgwidth",
    "height": "imageheight imgheight",
    "any width": "width",  # of the box, or of the image
    "any height": "height",
    "difficult": "difficult isgroupof iscrowd",
    "score": "score confidence conf probability",
    "split": "split set subset partition mluse",
}
SECOND = "second label"  # a further column of classes, which may have names where one has numbers
_COLUMNS = {each: key for key, names in _SPELLINGS.items() for each in names.split()}
FORMS = (
    ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"), ("x1", "y1", "x2", "y2"),
    ("x", "y", "w", "h"), ("cx", "cy", "w", "h"), ("box",), ("shape",),
)  # fmt: skip
# Google's AutoML Vision; Vertex AI may leave out the split. Corners may be blank, but for two.
_AUTOML = ("split", "image", "label", *FORMS[0])
_AUTOML_CORNERS = ["x1", "y1", "x2", "y1", "x2", "y2", "x1", "y2"]  # as a header names them
# Columns of files without a header: of keras-retinanet and AutoML Vision, which are known by them;
KNOWN = (("image", *FORMS[1], "label"), _AUTOML, _AUTOML[1:])
# of SKU-110K, TensorFlow's tutorials and makesense.ai; and such as people write
_OTHERS = (
    ("image", *FORMS[1], "label", "width", "height"),
    ("image", "width", "height", "label", *FORMS[1]),
    ("label", *FORMS[2], "image", "width", "height"),
    ("image", "label", *FORMS[1]),
)
_TEXTS = ("split", "image", "label")
_BEGINNING = 2**16  # bytes that hold the header
_MAX_NUMBER = 1e6  # of a coordinate


class Columns(NamedTuple):
    """What the first row of a file says."""

    separator: str
    keys: tuple[str | None, ...]  # None: a column without a meaning
    is_header: bool


def is_csv_of_boxes(path: Path) -> bool:
    """Whether the first line of a file names the columns of boxes, or is a row of one.

    False for files with scores, which may be a detector's, unless they say which objects are
    difficult: OpenImages has the confidence of its annotators.
    """
    lines = re.split(r"[\r\n]+", read_beginning(path, _BEGINNING))
    columns = columns_of(lines[first_row(lines)])
    return columns is not None and ("score" not in columns.keys or "difficult" in columns.keys)


def describe_columns(path: Path) -> str:
    """Why a file is not taken for annotations."""
    lines = re.split(r"[\r\n]+", read_beginning(path, _BEGINNING))
    first = lines[first_row(lines)]
    columns = columns_of(first)
    if columns is not None and "score" in columns.keys:
        return f"{path} has scores, as detections have: csv:{path} takes them for annotations"
    return f"{path} begins with {first[:120]!r}: {HINT}"


def first_row(lines: Sequence[str]) -> int:
    """The index of the first line that is no comment, nor the line for Excel that names the
    separator; where it is no header, that of a comment before it that is one."""
    rows = (i for i, line in enumerate(lines) if not line.lower().startswith(("#", "sep=")))
    first = next(rows, 0)
    named = (i for i in (first, *range(first)) if _is_header(lines[i]))
    return next(named, first)


def _is_header(line: str) -> bool:
    columns = columns_of(line)
    return columns is not None and columns.is_header


def columns_of(first: str) -> Columns | None:
    """The columns of a file, by its first row.

    Returns:
        None if the line is neither a header with all columns nor a row of a form without one.
    """
    first = first.strip()
    separator = max(",;\t|", key=first.count)
    try:
        cells = list(map(str.strip, next(csv.reader([first], delimiter=separator), [])))
    except csv.Error:
        return None
    keys = _keys(cells)
    if "image" in keys and any(set(keys).issuperset(form) for form in FORMS):
        return Columns(separator, keys, is_header=True)
    found = next((form for form in (*KNOWN, *_OTHERS) if _is_row(cells, form)), None)
    return None if found is None else Columns(separator, found, is_header=False)


def _keys(cells: Sequence[str]) -> tuple[str | None, ...]:
    """The columns that a header names."""
    names = ["".join(c for c in each.lower() if c.isalnum()) for each in cells]
    if {"x0", "y0", "x1", "y1"} <= set(names) and not {"x2", "y2"} & set(names):
        from_zero = {"x0": "x1", "y0": "y1", "x1": "x2", "y1": "y2"}
        names = [from_zero.get(each, each) for each in names]
    keys = [_COLUMNS.get(each) for each in names]
    if not {"image", "id"} & set(keys) and keys.count("label") > 1 and "name" in names:
        keys[names.index("name")] = "image"
    renamed = {"any width": "width", "any height": "height"}
    if not {"x2", "box", "shape"} & set(keys):  # then left and top go with the sides of the box
        sides = renamed if "w" in keys else {"any width": "w", "any height": "h"}
        renamed = {"x1": "x", "y1": "y"} | sides
    keys = [renamed.get(key or "", key) for key in keys]
    if "class name" in keys:  # a column `class` beside it has the numbers
        keys = ["label" if key == "class name" else None if key == "label" else key for key in keys]
    for other, usual in (("kind", "label"), ("number", "label"), ("id", "image")):
        if usual not in keys:
            keys = [usual if key == other else key for key in keys]
    if "x1" in keys and keys[(at := keys.index("x1")) :][: len(FORMS[0])] == _AUTOML_CORNERS:
        keys[at : at + len(FORMS[0])] = FORMS[0]
    return tuple(
        key if keys.index(key) == i else SECOND if key == "label" else None
        for i, key in enumerate(keys)
    )


def _is_row(cells: Sequence[str], form: Sequence[str]) -> bool:
    """Whether some cells are a row of a form without a header: an image with an object or, in the
    forms that are KNOWN, without."""
    if len(cells) != len(form):
        return False
    row = dict(zip(form, cells, strict=True))
    is_split = "split" not in row or canonical_split(row["split"]) in {*SPLITS, "UNASSIGNED", ""}
    is_image = bool(row["image"]) and (
        form == KNOWN[0] or Path(row["image"].lower()).suffix in SUFFIXES
    )
    numbers = [value for key, value in row.items() if key not in _TEXTS]
    if "x4" in row:
        numbers = [each for each in numbers if each]
    if form in KNOWN and not row["label"] and not any(numbers):
        return is_image and is_split
    is_object = bool(row["label"]) and not floats([row["label"]])
    return is_image and is_split and is_object and len(numbers) >= 4 and bool(floats(numbers))


def floats(cells: Iterable[str], comma_is_point: bool = False) -> list[float] | None:
    """The numbers in some cells; None if one has none, or one that is too large."""
    values = [parse_number(cell, comma_is_point) for cell in cells]
    return None if any(isnan(each) or abs(each) >= _MAX_NUMBER for each in values) else values
