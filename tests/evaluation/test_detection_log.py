from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detection_sets import LOG_HEADER, equal, random_detections, write_log
from frcnn_cli.errors import DataError
from frcnn_cli.evaluation.detection_files import load_detections
from frcnn_cli.evaluation.detection_log import DetectionLog, read_header


def test_what_is_written_comes_back_to_the_last_bit(tmp_path: Path, dataset) -> None:
    path = tmp_path / "deep" / "d.jsonl"
    written = write_log(path, dataset)
    assert read_header(path) == LOG_HEADER
    assert all(map(equal, load_detections(path, dataset), written))
    with DetectionLog(path, LOG_HEADER) as log:
        assert [log.logged[image].file_size for image in dataset.ids] == [100] * 4
        assert all(
            equal(log.logged[i].detections, d) for i, d in zip(dataset.ids, written, strict=True)
        )
        assert log.logged[dataset.ids[0]].detections.scores.dtype == np.float32


def test_nothing_is_written_before_the_first_image(tmp_path: Path) -> None:
    with DetectionLog(tmp_path / "d.jsonl", LOG_HEADER):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_file_that_was_cut_off_is_resumed(tmp_path: Path, dataset, cut: int) -> None:
    path = tmp_path / "d.jsonl"
    written = write_log(path, dataset, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(DataError, match=r"d\.jsonl is cut off: 2 of 4 images are missing") as error:
        load_detections(path, dataset)
    assert "--limit 2" in error.value.hint
    assert len(load_detections(path, dataset, 2)) == 2
    with DetectionLog(path, LOG_HEADER) as log:
        assert list(log.logged) == list(dataset.ids[:2])
        for index in (2, 3):
            log.add(dataset.ids[index], 100, written[index])
    assert all(map(equal, load_detections(path, dataset), written))


def test_a_file_of_another_source_is_refused_and_unchanged(tmp_path: Path, dataset) -> None:
    path = tmp_path / "d.jsonl"
    write_log(path, dataset)
    before = path.read_bytes()
    for header in (
        replace(LOG_HEADER, classes=("a",)),
        replace(LOG_HEADER, source={"weights": "v"}),
    ):
        with pytest.raises(DataError, match="other weights, settings or images") as error:
            DetectionLog(path, header)
        assert "--save" in error.value.hint
    (tmp_path / "notes.txt").write_text("my notes\n")
    with pytest.raises(DataError, match="holds no detections of frcnn eval"):
        DetectionLog(tmp_path / "notes.txt", LOG_HEADER)
    assert path.read_bytes() == before
    assert (tmp_path / "notes.txt").read_text() == "my notes\n"


def test_an_empty_file_is_filled(tmp_path: Path, dataset) -> None:
    (tmp_path / "d.jsonl").touch()
    written = write_log(tmp_path / "d.jsonl", dataset)
    assert all(map(equal, load_detections(tmp_path / "d.jsonl", dataset), written))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = DetectionLog(tmp_path / "file" / "d.jsonl", LOG_HEADER)
    with pytest.raises(DataError, match="cannot write"):
        log.add("a", 1, random_detections(0))


@pytest.mark.parametrize(
    "classes", [["a\x1b[31m"], ["a", "a"], [5], [f"c{i}" for i in range(10001)]]
)
def test_classes_that_no_detector_has(tmp_path: Path, dataset, classes: list) -> None:
    path = tmp_path / "d.jsonl"
    write_log(path, dataset)
    header, _, rest = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(header), "classes": classes}) + "\n" + rest)
    assert read_header(path) is None
    with pytest.raises(DataError, match=r"d\.jsonl is not JSON"):
        load_detections(path, dataset)


def test_a_pipe_is_no_log(tmp_path: Path, dataset) -> None:
    os.mkfifo(tmp_path / "d.jsonl")
    with pytest.raises(DataError, match="a pipe or a device"):
        load_detections(tmp_path / "d.jsonl", dataset)
    with pytest.raises(DataError, match="a pipe or a device"):
        DetectionLog(tmp_path / "d.jsonl", LOG_HEADER)
