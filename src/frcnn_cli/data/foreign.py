"""Says what a folder or file holds that is no data set, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ..errors import counted
from ..runtime.safe_read import LFS_POINTER, read_beginning
from .csv_columns import describe_columns, is_csv_of_boxes
from .file_types import SUFFIXES
from .folders import walk_files
from .marks import BEGINNING, NUMBER, Mark, fits, has

_LOOKED_AT = 20  # files of each ending
_ANNOTATIONS = (".json", ".xml", ".csv", ".tsv", ".txt")  # endings of files of annotations
_TRIED = 1000  # of these
_EXPORT = "export it as COCO, VOC or YOLO with the tool that made it"
_WHOLE = "name the folder that holds the images and their annotations"
_UNPACK = "unpack it, and name the folder"
_CONVERT = "convert it to COCO, VOC, or CSV with filename, class, xmin, ymin, xmax, ymax"
_OBJECTS = has("annotations|images|bbox|boxes|objects|points")  # what may be annotations


# name of a format, endings of its files, their mark, and what to do with them
_FORMATS: tuple[tuple[str, tuple[str, ...], Mark, str], ...] = (
    ("a list of COCO's results", (".json",),
     has('"image_id"', '"category_id"', '"bbox"', start="["),
     "these are detections: frcnn eval --from FILE measures them"),
    ("Datumaro's JSON", (".json",), has('"categories"', '"items"'), _EXPORT),
    ("the JSON of VoTT", (".json",), has('"assets"', '"securityToken"|"regions"', start="{"),
     _EXPORT),
    ("Scalabel's JSON of frames", (".json",), has('"frames"', '"box2d"', start="{"),
     "name the list of frames in it, in a file of its own"),
    ("KITTI's results", (".txt",), fits(rf"[a-z][\w-]*( {NUMBER}){{15}}\s"),
     "the last number is a score, so these are detections: without it they are taken for objects"),
    ("the XML of VOC", ("",), has("<annotation>", "<object>"),
     "give such files the ending .xml, as those of Stanford Dogs lack it"),
    ("the XML of dlib", (".xml",), has("<dataset>", "<image"), _EXPORT),
    ("a track of MOT", (".txt",), fits(rf"\d+,-?\d+(,{NUMBER}){{5,8}}\s"), _CONVERT),
    ("the list of YOLO for Keras", (".txt",), fits(rf"\S[^\n]*\.\w+( {NUMBER}(,{NUMBER}){{4}})+\s"),
     _CONVERT),
    ("the texts of CrowdHuman", (".odgt",), has('"gtboxes"'), _CONVERT),
    ("rows of Vertex AI", (".jsonl",), has('"imageGcsUri"'), _CONVERT),
    ("Labelbox's export", (".json", ".ndjson"), has('"data_row"|"DataRow ID"'), _CONVERT),
    ("the rows of Ultralytics' platform", (".ndjson",), has('"class_names"|"annotations"'),
     "export it as YOLO"),
    ("objects of Hugging Face", (".jsonl",), has('"file_name"'), _CONVERT),
    ("texts for a language model", (".jsonl",), has('"prefix"|"messages"'), _EXPORT),
    ("rows of Azure", (".jsonl",), has('"image_url"'), _CONVERT),
    ("the manifest of Ground Truth", (".manifest", ".jsonl", ".json"), has('"source-ref"'),
     _CONVERT),
    ("GeoJSON", (".geojson", ".json"), has('"FeatureCollection"'), _CONVERT),
    ("MegaDetector's results", (".json",), has('"detection_categories"'), _CONVERT),
    ("FiftyOne's JSON", (".json",), has('"bounding_box"', '"labels"|"samples"', start="{"),
     _EXPORT),
    ("Cityscapes' JSON", (".json",), has('"imgHeight"', '"polygon"', start="{"), _CONVERT),
    ("the XML of HRSC2016", (".xml",), has("<HRSC_Image"), _CONVERT),
    ("the XML of UA-DETRAC", (".xml",), has("<sequence", "<target_list"), _CONVERT),
    ("texts that begin with the number of boxes", (".txt",),
     fits(rf"\d+[ \t]*\r?\n\s*{NUMBER}([ \t,]+\S+){{3}}"), _CONVERT),
    ("NWPU VHR-10's texts", (".txt",), fits(r"\(\s*\d+\s*,\s*\d+\s*\)\s*,\s*\("), _CONVERT),
    ("GTSDB's list", (".txt",), fits(r"\S+\.\w+(;\d+){5}\s"),
     "begin it with the line filename;xmin;ymin;xmax;ymax;class, and name it as csv:FILE"),
    ("bbGt's texts", (".txt",), has("bbGt version", start="%"), _CONVERT),
    ("rows of Parquet", (".parquet",), has("PAR1"), _CONVERT),
    ("TensorFlow's records", (".tfrecord", ".record"), lambda beginning: True, _EXPORT),
    ("texts of OIDv4's toolkit", (".txt",), fits(rf"[a-z][a-z ]*( {NUMBER}){{4}}\s*(\n|$)"),
     _CONVERT),
    ("a pointer of Git LFS", (".json", ".csv", ".tsv", ".xml", ".txt"), has(LFS_POINTER),
     "fetch the files with git lfs pull"),
    ("an archive", (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"),
     lambda beginning: True, _UNPACK),
)  # fmt: skip


def describe_foreign(path: Path) -> str:
    """What the annotations in a file or folder seem to be, and what to do; empty if unknown."""
    files = walk_files(path)[0] if path.is_dir() else [path]
    texts = (file for file in files if file.suffix.lower() in _ANNOTATIONS)
    locked = next((each for each in islice(texts, _TRIED) if not os.access(each, os.R_OK)), None)
    if locked is not None:
        return f"{locked} may not be read: mend its permissions"
    for name, suffixes, is_own, advice in _FORMATS:
        own = [file for file in files if file.suffix.lower() in suffixes][:_LOOKED_AT]
        found = next((each for each in own if is_own(read_beginning(each, BEGINNING))), None)
        if found is not None:
            return f"{found} looks like {name}, which is not read: {advice}"
    tables = [file for file in files if file.suffix.lower() in (".csv", ".tsv")]
    lists = [file for file in files if file.suffix.lower() == ".txt"][:_LOOKED_AT]
    found = next(filter(is_csv_of_boxes, (*tables[:_LOOKED_AT], *lists)), None)
    if found is not None:
        return f"{found} has columns of boxes: csv:{found} reads it"
    if tables:
        return describe_columns(tables[0])
    lists = [file for file in files if file.suffix.lower() == ".json"][:_LOOKED_AT]
    other = next((each for each in lists if _OBJECTS(read_beginning(each, BEGINNING))), None)
    if other is not None:
        return f"{other} is in no format that is read: {_EXPORT}"
    return _describe_images(path, files) if path.is_dir() else _WHOLE


def _describe_images(folder: Path, files: Sequence[Path]) -> str:
    """What a folder without annotations holds; empty where it holds other things beside images."""
    if not files:
        return "it holds no files: name the folder with the images and their annotations"
    if not any(file.suffix.lower() in SUFFIXES for file in files):
        return f"it holds no images: {_WHOLE}"
    if any(file.suffix.lower() not in SUFFIXES for file in files):
        return ""
    classes = sorted({file.parent.name for file in files if file.parent != folder})
    images = counted(len(files), "image", "images")
    where = f" in folders ({', '.join(classes[:3])} …)" if classes else ""
    return (
        f"it holds {images}{where} but no annotations: detectors are trained on images with boxes, "
        "which tools such as labelImg or CVAT draw"
    )
