"""The readers of files from elsewhere, and small sound files for each, made here."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

import caffe_format
from frcnn_cli.checkpoints.caffe import read_caffemodel
from frcnn_cli.checkpoints.pretrained import load_state_dict
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.cli.options import read_settings
from frcnn_cli.data import images, yolo_settings
from frcnn_cli.data.coco import load_coco
from frcnn_cli.data.csv_boxes import load_csv
from frcnn_cli.data.tools import TOOLS, load_tool
from frcnn_cli.data.voc_xml import parse_annotation
from frcnn_cli.evaluation.detection_log import DetectionLog, Header, read_log
from frcnn_cli.models.backbones import CAFFE_PIXELS
from frcnn_cli.proposers.cache import decode, encode
from frcnn_cli.proposers.exchange.formats import WRITERS, read_boxes
from frcnn_cli.proposers.exchange.numpy_archive import ArchiveError, read_npy
from frcnn_cli.structures import Detections, Proposals
from frcnn_cli.training.metrics import read_rows
from frcnn_cli.training.state import read_state
from small_network import CLASSES, add_small_backbone, small_network
from tool_files import FILES

add_small_backbone(pytest.MonkeyPatch())

BOXES = [np.array([[0, 0, 40, 30], [1, 2, 3, 4.5]], np.float32), np.zeros((0, 4), np.float32)]
NAMES = ("000004", "a b")
XML = b"""<?xml version="1.0" encoding="utf-8"?><annotation><size><width>60</width>
<height>50</height></size><object><name>ball</name><difficult>0</difficult><bndbox><xmin>1</xmin>
<ymin>2</ymin><xmax>30</xmax><ymax>40.5</ymax></bndbox></object></annotation>"""
YAML = b"""path: .  # a comment
train: images/train
val: [images/val, more.txt]
names: {0: ball, 1: 'a "box"'}
kpt_shape: [17, 3]
other: &a {x: 1e3, y: *b, z: !!str 3, <<: {k: |
  text
}}
"""
TOML = b"""lr = 1e-3
scales = [480, 600] # a comment
name = "run \\u00e9"
when = 1979-05-27T07:32:00Z
[a.b."c"]
x = {y = 'z', w = true}
"""
CSV = b'image,xmin,ymin,xmax,ymax,label\na.png,1,2,30,40,ball\n"b.png",1.5,2,30,40,box\n'
METRICS = b"iteration,cls,loc\n1,0.5,2e-3\n2,0.25,1\n"
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 50, "width": 60}],
    "categories": [{"id": 3, "name": "ball", "supercategory": "x"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4.5], "area": 9, "iscrowd": 0}
    ],
}


class Reader(NamedTuple):
    """A function that reads a file, the file's name, and sound files."""

    file: str
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]


def written(write: Callable[[Path], object]) -> bytes:
    """The content that a function writes to a path."""
    path = Path(tempfile.mkdtemp()) / "file"
    write(path)
    return path.read_bytes()


def pickles() -> list[bytes]:
    content = {"boxes": BOXES, "ids": list(NAMES), "objectness_logits": [np.ones(2), np.ones(0)]}
    return [pickle.dumps(each, protocol) for protocol in range(6) for each in (content, BOXES)]


def matlab_files() -> list[bytes]:
    """Files without compression, whose parts a mutation can reach."""
    content = WRITERS["mat"](NAMES, BOXES)
    parts, at = [content[:128]], 128
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        parts.append(zlib.decompress(content[at + 8 : at + 8 + length]))
        at += 8 + length
    return [b"".join(parts)]


def archives() -> list[bytes]:
    out = io.BytesIO()
    np.savez(out, boxes=BOXES[0])
    return [WRITERS["npz"](NAMES, BOXES), out.getvalue()]


def pictures() -> list[bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    grey = Image.fromarray(noise[..., 0])
    kinds: Iterable[tuple[Image.Image, str]] = [
        *((Image.fromarray(noise), each) for each in ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM")),
        *((grey.convert("P"), each) for each in ("PNG", "GIF")),
        *((grey.convert(mode), "PNG") for mode in ("1", "LA")),
        *((grey.convert(mode), "TIFF") for mode in ("F", "I", "CMYK")),
    ]
    scans = written(lambda path: Image.fromarray(noise).save(path, "JPEG", progressive=True))
    return [scans, *(written(lambda path, i=i, f=f: i.save(path, f)) for i, f in kinds)]  # type: ignore[misc]


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()


def torch_files() -> list[bytes]:
    return [
        written(lambda path: torch.save(tensors(), path)),
        written(lambda path: torch.save(tensors(), path, _use_new_zipfile_serialization=False)),
    ]


def states() -> list[bytes]:
    state = {
        "iteration": 3, "validated": 0, "best": -1.0, "images": "ab", "classes": ["a"],
        "pixels": [(1.0, 2.0, 3.0), (1.0, 1.0, 1.0)], "provenance": {"init": "random"},
        "ranks": {"fc6": 2}, "deltas": torch.zeros(2, 2, 4), "model": tensors(),
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": []},
    }  # fmt: skip
    return [written(lambda path: torch.save(state, path))]


def weights() -> list[bytes]:
    header = WeightsHeader(
        backbone="tiny", classes=CLASSES, pixels=CAFFE_PIXELS, scale=60, max_size=100
    )
    return [written(lambda path: save_weights(path, small_network(), header))]


def caffe_models() -> list[bytes]:
    layers = {"conv1": [np.ones((2, 3, 3, 3), "f4"), np.ones(2, "f4")], "fc": [np.ones((2, 4))]}
    return [caffe_format.network(layers, old) for old in (False, True)]


def read_features(path: Path) -> None:
    with contextlib.suppress(ArchiveError):
        read_npy(path.read_bytes())


def read_picture(path: Path) -> None:
    images.read_header(path)
    images.decode(images.read_bytes(path), "a")


def logs() -> list[bytes]:
    found = Detections(
        boxes=BOXES[0], scores=np.array([0.9, 0.5], np.float32), labels=np.array([1, 2]),
        image_size=(50, 60),
    )  # fmt: skip

    def write(path: Path) -> None:
        with DetectionLog(path, Header(("ball", "box"), {"weights": "w"})) as log:
            for name in NAMES:
                log.add(name, 5, found)

    return [written(write)]


def features() -> list[bytes]:
    out = io.BytesIO()
    np.save(out, np.ones((4, 5, 6), np.float16))
    return [out.getvalue()]


READERS = {
    "detections": Reader("d.jsonl", read_log, logs),
    "npy": Reader("a.npy", read_features, features),
    "metrics": Reader("metrics.csv", read_rows, lambda: [METRICS]),
    "mat": Reader("a.mat", read_boxes, lambda: [WRITERS["mat"](NAMES, BOXES), *matlab_files()]),
    "pickle": Reader("a.pkl", read_boxes, pickles),
    "npz": Reader("a.npz", read_boxes, archives),
    "proposals in JSON": Reader("a.json", read_boxes, lambda: [WRITERS["json"](NAMES, BOXES)]),
    "picture": Reader("a.png", read_picture, pictures),
    "weights": Reader("a.safetensors", load_weights, weights),
    "pth": Reader("a.pth", load_state_dict, torch_files),
    "training state": Reader("state.pt", lambda path: read_state(path.parent), states),
    "caffemodel": Reader("a.caffemodel", read_caffemodel, caffe_models),
    "COCO": Reader(
        "a.json", lambda path: load_coco(path, path.parent), lambda: [json.dumps(COCO).encode()]
    ),
    "CSV": Reader("a.csv", lambda path: load_csv(path, path.parent, None, ()), lambda: [CSV]),
    **{
        name: Reader(
            f"a{Path(next(iter(FILES[name]()))).suffix}",
            lambda path, name=name: load_tool(path, path.parent, None, (), name.partition(" ")[0]),
            lambda name=name: [next(iter(FILES[name]().values())).encode()],
        )
        for name in (*TOOLS, "via 3", "labelstudio csv")
    },
    "VOC": Reader("a.xml", parse_annotation, lambda: [XML]),
    "YAML": Reader("data.yaml", yolo_settings.read_settings, lambda: [YAML]),
    "TOML": Reader("a.toml", read_settings, lambda: [TOML]),
    "cache": Reader(
        "a.boxes",
        lambda path: decode(path.read_bytes()),
        lambda: [encode(Proposals(BOXES[0], (50, 60))), encode(Proposals(BOXES[1], (50, 60)))],
    ),
}
