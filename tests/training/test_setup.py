from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frcnn_cli.errors import ConfigError, DataError
from frcnn_cli.proposers.cache import ProposalSource
from frcnn_cli.proposers.method import Method
from frcnn_cli.structures import Proposals
from frcnn_cli.training import setup as training_setup
from frcnn_cli.training.setup import describe_run, detection_scale, pick_batch_workers
from tiny_training import CONFIG, RUNTIME, make_learner


@pytest.mark.parametrize(
    ("config", "runtime", "message"),
    [
        (CONFIG, replace(RUNTIME, precision="fp8"), "unknown precision"),
        (CONFIG, replace(RUNTIME, precision="fp16"), "fp16 is for"),
        (replace(CONFIG, train_from="conv9"), RUNTIME, "unknown layer"),
        (
            replace(CONFIG, train_from="conv1"),
            replace(RUNTIME, cache_features=True),
            "--cache-features needs",
        ),
        (CONFIG, replace(RUNTIME, cache_features=True, compiled=True), "exclude each other"),
    ],
)
def test_bad_settings_are_found_before_the_images_are_read(
    dataset, source, init, monkeypatch, config, runtime, message
) -> None:
    monkeypatch.setattr(
        training_setup, "compute_statistics", lambda *_, **__: pytest.fail("read the images")
    )
    with pytest.raises(ConfigError, match=message):
        make_learner(dataset, source, init, config, runtime)


def test_features_that_are_trained_cannot_be_cached(dataset, source, init) -> None:
    config, runtime = replace(CONFIG, train_from="conv1"), replace(RUNTIME, cache_features=True)
    with pytest.raises(ConfigError, match="not trained"):
        make_learner(dataset, source, init, config, runtime)


def test_proposals_that_miss_the_objects_stop_the_run(dataset, init, tmp_path) -> None:
    def corner(image):
        return Proposals(np.array([[0, 0, 3, 3]], np.float32), image.shape[:2])

    for name, hint in (("file", "order of columns"), ("corner", "annotations belong to other")):
        source = ProposalSource(Method(name, corner, {}), tmp_path / name)
        with pytest.raises(DataError, match="cover 0% of the objects") as error:
            make_learner(dataset, source, init)
        assert hint in error.value.hint


def test_objects_that_shrink_in_the_search_are_the_reason(dataset, init, tmp_path) -> None:
    def corner(image):
        return Proposals(np.array([[0, 0, 3, 3]], np.float32), image.shape[:2])

    def error_with(**settings: object) -> DataError:
        source = ProposalSource(Method("search", corner, settings), tmp_path / "cache")
        with pytest.raises(DataError) as error:
            make_learner(dataset, source, init)
        return error.value

    error = error_with(max_side=16, min_box_side=12)
    assert "the search scales images to 16 pixels, where 100% of the objects" in error.message
    assert "tiles" in error.hint
    assert "scales images" not in error_with(max_side=400, min_box_side=10).message


def test_the_description_of_a_run(dataset, source, init) -> None:
    lines = describe_run(make_learner(dataset, source, init))
    assert lines[0].startswith("voc trainval: 7 of 8 images usable, 11 objects: ball ")
    assert lines[1].startswith("images without an object that a box overlaps: 1, left out")
    assert lines[3].endswith("frozen; on cpu") or lines[3].endswith("frozen; on cpu in bfloat16")
    assert lines[4] == "6 iterations of 2 images and 32 RoIs: every image 1.7 times"

    lines = describe_run(make_learner(dataset, source, init, replace(CONFIG, bg_low=0.0)))
    assert "voc trainval: 8 of 8 images usable" in lines[0]
    assert lines[1].startswith("proposals cover")


def test_the_cpu_makes_batches_in_one_process_unless_told_otherwise() -> None:
    assert pick_batch_workers(replace(RUNTIME, workers=None), threads=16) == 1
    assert pick_batch_workers(replace(RUNTIME, workers=3), threads=16) == 3


@pytest.mark.parametrize(
    ("scales", "scale"), [((480,), 480), ((480, 576, 688), 576), ((60, 90, 120), 120)]
)
def test_detection_is_at_the_scale_nearest_to_the_papers(scales, scale) -> None:
    assert detection_scale(scales) == scale


def test_difficult_objects_are_trained_on_if_asked(dataset, source, init) -> None:
    difficult = sum(truth.difficult.sum() for truth in dataset.ground_truths())
    without = make_learner(dataset, source, init)
    learner = make_learner(dataset, source, init, replace(CONFIG, difficult=True))
    counts = [each.batches.statistics.object_counts.sum() for each in (without, learner)]
    assert counts[1] - counts[0] == difficult > 0
