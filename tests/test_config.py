from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from frcnn_cli import recipes, settings
from frcnn_cli.config import LEAST_SCORE, DetectConfig, TrainConfig
from frcnn_cli.errors import ConfigError
from frcnn_cli.models.detectors import DETECTORS

PAPER = {
    "iterations": 40_000,
    "images_per_batch": 2,
    "rois_per_batch": 128,
    "mined_rois": 0,
    "fg_fraction": 0.25,
    "fg_threshold": 0.5,
    "bg_low": 0.1,
    "bg_high": 0.5,
    "max_proposals": 2000,
    "scales": (600,),
    "max_size": 1000,
    "optimizer": "sgd",
    "lr": 0.001,
    "lr_schedule": "step",
    "lr_steps": (0.75,),
    "clip_norm": 0.0,
    "dropout": 0.5,
    "loc_weight": 1.0,
    "warmup": 0.0,
    "momentum": 0.9,
    "weight_decay": 0.0005,
    "bias_lr": 2.0,
    "backbone_lr": 1.0,
    "rank": None,
    "classifier": "softmax",
    "boxes": "network",
    "geometry": "caffe",
    "class_agnostic": False,
    "feature_scales": (),
    "loc_loss": "smooth_l1",
    "difficult": False,
    "class_weights": "none",
    "ema": 0.0,
    "seed": 3,
}
NOT_IN_THE_PAPER = {
    "backbone",
    "detector",
    "pad_to",
    "train_from",
}  # the last is up to the backbone


@pytest.mark.parametrize(("field", "value"), PAPER.items())
def test_paper_recipe(field: str, value: object) -> None:
    assert getattr(recipes.recipe("paper"), field) == value


def test_paper_recipe_has_no_other_fields() -> None:
    assert asdict(recipes.recipe("paper")).keys() == PAPER.keys() | NOT_IN_THE_PAPER


def test_learning_rate_drops_after_thirty_thousand_iterations() -> None:
    paper = recipes.recipe("paper")
    assert paper.lr_steps[0] * paper.iterations == 30_000


@pytest.mark.parametrize(
    ("data", "iterations", "drops"),
    [
        ("voc2007", 40_000, [30_000]),
        ("voc2007+voc2012", 60_000, [30_000]),
        ("voc2012+voc2007", 60_000, [30_000]),
        ("coco:instances_train2014.json", 240_000, [200_000]),
    ],
)
def test_schedules_of_the_paper(data: str, iterations: int, drops: list[int]) -> None:
    paper = recipes.recipe("paper", data)
    assert paper.iterations == iterations
    assert [share * iterations for share in paper.lr_steps] == drops
    assert recipes.recipe("modern", data) == recipes.recipe("modern")


def test_paper_recipe_is_the_default() -> None:
    assert recipes.recipe("paper") == TrainConfig()


def test_sampling_of_the_modern_recipe_is_the_papers() -> None:
    modern, paper = recipes.recipe("modern"), recipes.recipe("paper")
    assert modern != paper
    for field in ("images_per_batch", "rois_per_batch", "fg_fraction", "fg_threshold"):
        assert getattr(modern, field) == getattr(paper, field)


@pytest.mark.parametrize("name", ["papr", "Modern", "x"])
def test_unknown_recipe(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown recipe '{name}'") as error:
        recipes.recipe(name)
    assert "paper, modern" in error.value.hint


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        recipes.recipe("paper").lr = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_is_sound(name: str) -> None:
    settings.check(recipes.recipe(name))


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"iterations": 0}, "iterations"),
        ({"iterations": -5}, "iterations"),
        ({"images_per_batch": 0}, "images-per-batch"),
        ({"rois_per_batch": 1}, "rois-per-batch"),
        ({"mined_rois": 127}, "mined-rois"),
        ({"images_per_batch": 4, "rois_per_batch": 3}, "rois-per-batch"),
        ({"lr": 0.0}, "lr"),
        ({"lr": -0.1}, "lr"),
        ({"lr": float("nan")}, "lr"),
        ({"scales": (0,)}, "scales"),
        ({"scales": (480, 601), "max_size": 600}, "scales"),
        ({"scales": ()}, "scales"),
        ({"loc_weight": -1.0}, "loc-weight"),
        ({"clip_norm": -1.0}, "clip-norm"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": 1.0}, "dropout"),
        ({"max_proposals": 0}, "max-proposals"),
    ],
)
def test_check_names_the_flag(changes: dict, flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"--{flag} .*is out of range") as error:
        settings.check(replace(TrainConfig(), **changes))
    assert error.value.hint.startswith("expected ")


@pytest.mark.parametrize(
    "changes",
    [
        {"iterations": 1},
        {"images_per_batch": 1},
        {"images_per_batch": 4, "rois_per_batch": 16},
        {"lr": 1e-9},
        {"scales": (1,)},
        {"scales": (700, 600), "max_size": 700},
        {"max_proposals": 1},
    ],
)
def test_check_takes_the_limits(changes: dict) -> None:
    settings.check(replace(TrainConfig(), **changes))


def test_detection_caps() -> None:
    """Those of the reference code, but for NMS and voting, and nothing else unless asked for."""
    detect = DetectConfig()
    assert detect.score_threshold is None
    assert LEAST_SCORE == 0.05
    assert detect.nms_threshold == 0.4  # the paper's is 0.3
    assert (detect.max_detections, detect.max_proposals) == (100, 2000)
    assert detect.classes == ()
    assert not detect.soft_nms
    assert detect.vote_threshold == 0.5  # not the paper's: 0 is


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("voc2007", "paper"),
        ("voc2007+voc2012", "paper"),
        ("coco:data/annotations/instances_train2017.json", "paper"),
        ("voc", "modern"),
        ("photos", "modern"),
        ("voc:VOC2007", "modern"),
        ("coco:mine.json", "modern"),
        ("voc2007+photos", "modern"),
    ],
)
def test_recipe_auto_is_the_papers_for_its_data(data: str, name: str) -> None:
    assert recipes.recipe("auto", data) == recipes.recipe(name, data)


@pytest.mark.parametrize(
    ("images", "iterations"),
    [(1, 500), (50, 500), (160, 1600), (600, 6000), (2500, 6000), (5000, 12_000), (10**6, 240_000)],
)
def test_recipe_auto_lasts_as_long_as_the_images_need(images: int, iterations: int) -> None:
    assert recipes.recipe("auto", "photos", images=images).iterations == iterations
    assert recipes.recipe("auto", "voc2007", images=images).iterations == 40_000
    assert recipes.recipe("modern", "photos", images=images) == recipes.recipe("modern")


def test_settings_of_a_detector_replace_the_recipes() -> None:
    assert recipes.DETECTOR_SETTINGS.keys() <= DETECTORS.keys()
    for name, own in recipes.DETECTOR_SETTINGS.items():
        expected = {**asdict(recipes.recipe("paper")), "detector": name, **own}
        assert asdict(recipes.recipe("paper", detector=name)) == expected
        settings.check(recipes.recipe("paper", detector=name))


def test_sppnet_trains_the_fully_connected_layers_alone() -> None:
    assert recipes.recipe("modern", detector="sppnet").train_from == "fc6"


def test_a_setting_has_at_most_so_many_values() -> None:
    settings.check(DetectConfig(scales=(60,) * settings.MAX_VALUES))
    with pytest.raises(ConfigError, match=r"60,… is out of range") as error:
        settings.check(DetectConfig(scales=(60,) * 4000))
    assert error.value.hint == "expected at most 20 values"
    assert len(error.value.message) < 120
