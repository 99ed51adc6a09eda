from __future__ import annotations

import csv
from contextlib import contextmanager
from math import nan

import pytest
from PIL import Image

from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import DataError
from frcnn_cli.training.metrics import CLASSES_FILE, read_class_rows, write_class_row
from frcnn_cli.training.pictures import PREDICTIONS_FILE
from frcnn_cli.training.validation import (
    check_validation_images,
    describe_validation,
    make_validator,
)
from tiny_training import make_learner


def test_images_that_are_trained_on_too_are_counted(voc_folder, dataset) -> None:
    train, val = (load_voc(voc_folder, "voc", split, ()) for split in ("train", "val"))
    assert check_validation_images(val, dataset) == len(val)
    assert check_validation_images(val, train) == 0


def test_images_without_objects_cannot_validate(voc_folder, dataset) -> None:
    for path in (voc_folder / "Annotations").glob("*.xml"):
        path.write_text(path.read_text().replace("<difficult>0", "<difficult>1"))
    with pytest.raises(DataError, match="have no object"):
        check_validation_images(load_voc(voc_folder, "voc", "val", ()), dataset)


def test_every_image_is_reported_and_may_stop_the_validation(dataset, source, init) -> None:
    learner, seen = make_learner(dataset, source, init), []

    @contextmanager
    def progress(stage, total, unit):
        assert (stage, total, unit) == ("validating", 3, "images")
        yield lambda note: seen.append("image")

    validate = make_validator(learner, dataset.limited(3), threads=1, progress=progress)
    mean_ap = validate(learner.network, learner.header, lambda: seen.append("check"))
    assert 0 <= mean_ap <= 1
    assert seen == ["image", "check"] * 3

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        validate(learner.network, learner.header, stop)
    assert len(seen) == 7


def test_a_validation_leaves_the_classes_and_a_picture(dataset, source, init, tmp_path) -> None:
    learner = make_learner(dataset, source, init)
    validate = make_validator(learner, dataset.limited(3), threads=1, folder=tmp_path)
    mean_ap = validate(learner.network, learner.header, lambda: None)
    header, row = csv.reader((tmp_path / CLASSES_FILE).read_text().splitlines())
    assert header == ["iteration", *dataset.classes]
    values = [float(cell) for cell in row[1:] if cell]
    assert sum(values) / len(values) == pytest.approx(mean_ap, abs=1e-5)
    with Image.open(tmp_path / PREDICTIONS_FILE) as picture:
        assert picture.size == (3 * 408 + 8, 308 + 8)


def test_a_line_on_each_validation(dataset, source, init) -> None:
    learner, lines = make_learner(dataset, source, init), []
    validate = make_validator(learner, dataset.limited(3), threads=1, on_message=lines.append)
    mean_ap = validate(learner.network, learner.header, lambda: None)
    assert lines[0].startswith(f"iteration {learner.iteration}: mAP {mean_ap:.1%}; by class: ")


@pytest.mark.parametrize(
    ("ap", "line"),
    [
        ({"a": 0.5}, ""),
        ({"a": 0.5, "b": nan}, ""),
        ({"b": 0.75, "a": 0.25, "c": nan}, "; by class: a 25.0%, b 75.0%"),
        (
            {f"c{i}": (9 - i) / 10 for i in range(10)},
            "; lowest (all in validation_classes.csv): c9 0.0%, c8 10.0%, c7 20.0%, c6 30.0%",
        ),
    ],
)
def test_the_lowest_classes_come_first(ap, line) -> None:
    assert describe_validation(20, 0.5, ap) == f"iteration 20: mAP 50.0%{line}"


def test_rows_of_classes_are_repeated_after_a_resumption(tmp_path) -> None:
    for iteration, ap in ((10, 0.1), (20, 0.2), (30, 0.3), (20, nan)):
        write_class_row(tmp_path, iteration, {"a,b": ap, "c": 1.0})
    assert (tmp_path / CLASSES_FILE).read_text().splitlines() == [
        'iteration,"a,b",c',
        "10,0.1,1",
        "20,,1",
    ]
    rows = read_class_rows(tmp_path)
    assert rows[0] == (10, {"a,b": 0.1, "c": 1.0})
    assert rows[1][0] == 20
    assert str(rows[1][1]) == "{'a,b': nan, 'c': 1.0}"
    with (tmp_path / CLASSES_FILE).open("a") as file:
        file.write("30,0.")
    assert [at for at, _ in read_class_rows(tmp_path)] == [10, 20]
    write_class_row(tmp_path, 40, {"other": 0.5})
    assert read_class_rows(tmp_path) == [(40, {"other": 0.5})]
    assert read_class_rows(tmp_path / "nowhere") == []
