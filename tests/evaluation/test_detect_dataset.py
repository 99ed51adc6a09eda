from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frcnn_cli.checkpoints.weights import IMAGE_SKETCH
from frcnn_cli.data.content import ContentSketch, file_hashes
from frcnn_cli.data.sources import as_source
from frcnn_cli.errors import ImageError
from frcnn_cli.evaluation.detect_dataset import (
    LOG_FOLDER,
    detect_all,
    detector_identity,
    log_path,
    training_overlap,
)
from frcnn_cli.evaluation.detection_log import Header
from frcnn_cli.inference import detector as pipeline
from frcnn_cli.inference.tiling import detect_tiled


def test_a_damaged_image_is_an_error(detector, dataset) -> None:
    dataset.paths[1].write_bytes(b"no image")
    with pytest.raises(ImageError):
        detect_all(detector, dataset)


def test_detections_in_tiles_are_those_of_detect(detector, dataset) -> None:
    plain = detect_all(detector, dataset, workers=1)
    tiled = detect_all(detector, dataset, tile=80)
    outcomes = list(detect_tiled(detector, map(as_source, dataset.paths), 80))
    for found, outcome in zip(tiled, outcomes, strict=True):
        np.testing.assert_array_equal(found.boxes, outcome.detections.boxes)
    assert any(len(a.boxes) != len(b.boxes) for a, b in zip(plain, tiled, strict=True))
    whole = detect_all(detector, dataset, tile=1000)  # every image is one tile
    for a, b in zip(plain, whole, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)
    dataset.paths[1].write_bytes(b"no image")
    with pytest.raises(ImageError):
        detect_all(detector, dataset, tile=80)


def test_tiles_are_made_by_as_many_threads(detector, dataset, monkeypatch) -> None:
    seen, prefetch = [], pipeline.prefetch

    def spy(function, items, workers):
        seen.append(workers)
        return prefetch(function, items, workers)

    monkeypatch.setattr(pipeline, "prefetch", spy)
    alone = detect_all(detector, dataset, workers=1, tile=80)
    assert set(seen) == {1}
    seen.clear()
    together = detect_all(detector, dataset, workers=3, tile=80)
    assert seen == [3] * (1 + len(dataset))  # for the images, and for the tiles of each
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_the_identity_of_a_detector(detector, tmp_path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"1")
    first = detector_identity(detector, weights)
    keys = ["weights", "sha256", "proposals", "settings", "device", "version"]
    assert list(first) == keys
    assert first["proposals"] == detector.proposals.method.digest
    detector.config = replace(detector.config, max_proposals=7)
    weights.write_bytes(b"2")
    second = detector_identity(detector, weights)
    assert [key for key in keys if first[key] != second[key]] == ["sha256", "settings"]


def test_the_default_log_is_named_after_what_it_depends_on(dataset) -> None:
    header = Header(dataset.classes, {"weights": "w"})
    path = log_path(replace(dataset, name="voc:x"), Path("some/w.safetensors"), header)
    assert path.parent == LOG_FOLDER
    assert path.name.startswith("voc-x-val-w-")
    assert path != log_path(dataset, Path("w.safetensors"), replace(header, classes=("a",)))


@pytest.mark.parametrize(
    ("trained_on", "name", "split", "known"),
    [
        ("voc2007 trainval, 14 images", "voc2007", "val", True),
        ("voc2007+voc2012 val, 14 images", "voc2007", "val", True),
        ("voc2007 train, 9 images", "voc2007", "val", False),
        ("voc2012 trainval, 14 images", "voc2007", "val", False),
        ("voc trainval, 14 images", "voc", "val", False),
        ("", "voc2007", "val", False),
    ],
)
def test_images_that_a_network_was_trained_on(
    detector, dataset, trained_on, name, split, known
) -> None:
    header = replace(detector.header, provenance={"data": trained_on})
    expected = f"{trained_on.partition(',')[0]}, which has these images" if known else None
    assert training_overlap(header, replace(dataset, name=name, split=split)) == expected


def test_images_are_known_by_their_content(detector, dataset) -> None:
    half = file_hashes(dataset.paths[: len(dataset) // 2])
    sketch = ContentSketch.of(half).to_json()
    other = replace(dataset, name="voc:elsewhere")
    count = len(set(half))
    for provenance in ({IMAGE_SKETCH: sketch}, {"trained_from": {IMAGE_SKETCH: sketch}}):
        header = replace(detector.header, provenance=provenance)
        assert training_overlap(header, other) == f"{count} of the {len(dataset)} images"
    strangers = ContentSketch.of(["0" * 12]).to_json()
    header = replace(detector.header, provenance={"data": "voc2007 val", IMAGE_SKETCH: strangers})
    assert training_overlap(header, replace(dataset, name="voc2007", split="val")) is None
