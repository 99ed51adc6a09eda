from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.checkpoints.weights import save_weights
from frcnn_cli.config import DetectConfig
from frcnn_cli.errors import ConfigError, FrcnnError, ImageError
from frcnn_cli.inference.detector import Detector
from frcnn_cli.inference.result import Result
from frcnn_cli.structures import Detections
from tiny import CLASSES, tiny_detector


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Detector:
    return tiny_detector(monkeypatch, tmp_path)


def made(boxes=((1, 2, 11, 22), (3, 4, 5, 8)), labels=(2, 1), stem="000017") -> Result:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.875, 0.5, len(boxes), dtype=np.float32)
    found = Detections(
        boxes=boxes, scores=scores, labels=np.array(labels, np.int64), image_size=(30, 20)
    )
    image = np.full((30, 20, 3), 100, np.uint8)
    return Result(
        name=f"in/{stem}.jpg",
        stem=stem,
        image=image,
        detections=found,
        classes=CLASSES,
        proposals=7,
        seconds=0.5,
    )


def test_every_kind_of_picture_gives_the_same(detector, voc_folder) -> None:
    path = voc_folder / "JPEGImages" / "000001.jpg"
    picture = Image.open(path)
    pixels = np.asarray(picture)
    first = detector(path)
    assert len(first) > 3
    for kind in (str(path), picture, pixels, pixels[:, ::-1][:, ::-1]):
        again = detector(kind)
        np.testing.assert_array_equal(again.detections.boxes, first.detections.boxes)
        np.testing.assert_array_equal(again.detections.scores, first.detections.scores)
        np.testing.assert_array_equal(again.image, pixels)


def test_a_picture_in_memory_leaves_nothing_in_the_cache(detector) -> None:
    detector(np.zeros((40, 50, 3), np.uint8))
    assert not detector.proposals.folder.exists()


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 4)])
def test_arrays_of_grey_and_with_alpha(detector, shape) -> None:
    assert detector(np.zeros(shape, np.uint8)).image.shape == (40, 50, 3)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_arrays_that_are_not_images(detector, array) -> None:
    with pytest.raises(ImageError) as error:
        detector(array)
    assert "uint8 [height, width, 3]" in error.value.hint


def test_a_call_raises_what_a_run_reports(detector, tmp_path) -> None:
    with pytest.raises(ImageError, match="cannot read"):
        detector(tmp_path / "nothere.jpg")


def test_load_takes_a_path_and_defaults(detector, tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights(path, detector.network, detector.header)
    loaded = Detector.load(path)
    assert loaded.config == DetectConfig(score_threshold=0.5, precision="auto")
    assert loaded.device.type in ("cpu", "cuda")
    config = DetectConfig(score_threshold=0.1)
    assert Detector.load(str(path), config=config, device="cpu").config == config
    with pytest.raises(FrcnnError):
        Detector.load("squeezenet1_1-voc70")


def test_iteration_gives_names_scores_and_boxes() -> None:
    assert [tuple(each) for each in made()] == [
        ("box", 0.875, (1, 2, 11, 22)),
        ("ball", 0.5, (3, 4, 5, 8)),
    ]
    assert [each.label for each in made()] == ["box", "ball"]
    assert len(made()) == 2
    assert list(made((), ())) == []


def test_repr_lists_the_objects() -> None:
    assert repr(made(labels=(2, 2))) == "<in/000017.jpg: 2 box>"
    assert repr(made((), ())) == "<in/000017.jpg: nothing found>"


def test_coco_entries() -> None:
    named = {"image_id": 17, "file_name": "in/000017.jpg"}
    assert made().to_coco() == [
        named | {"category_id": 2, "category_name": "box", "bbox": [1, 2, 10, 20], "score": 0.875},
        named | {"category_id": 1, "category_name": "ball", "bbox": [3, 4, 2, 4], "score": 0.5},
    ]
    assert [each["image_id"] for each in made(stem="dog-1").to_coco()] == ["dog-1"] * 2
    assert [each["image_id"] for each in made().to_coco(5)] == [5, 5]
    assert made((), ()).to_coco() == []


def test_supervision() -> None:
    supervision = pytest.importorskip("supervision")
    for result in (made(), made((), ())):
        given = result.to_supervision()
        assert isinstance(given, supervision.Detections)
        np.testing.assert_array_equal(given.xyxy, result.detections.boxes)
        np.testing.assert_array_equal(given.confidence, result.detections.scores)
        assert [CLASSES[i] for i in given.class_id] == [each.label for each in result]
        assert list(given.data["class_name"]) == [each.label for each in result]


def test_without_supervision(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(ConfigError, match="not installed") as error:
        made().to_supervision()
    assert error.value.hint == "pip install supervision"


def test_a_notebook_shows_the_picture_with_boxes() -> None:
    with Image.open(io.BytesIO(made()._repr_png_())) as shown:
        assert shown.format == "PNG"
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(made().plot()))
        assert (np.asarray(shown) != 100).any()


def test_a_notebook_gets_no_huge_picture() -> None:
    found = Detections(
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        labels=np.zeros(0, np.int64),
        image_size=(10, 3000),
    )
    result = Result(
        name="a",
        stem="a",
        image=np.zeros((10, 3000, 3), np.uint8),
        detections=found,
        classes=CLASSES,
        proposals=0,
        seconds=0.0,
    )
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.size == (1200, 4)
