from __future__ import annotations

import shlex
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from detection_sets import make_detections, make_truth
from frcnn_cli.cli.eval_tables import evaluation_json, show_comparison, show_evaluation
from frcnn_cli.evaluation.compare import Comparison
from frcnn_cli.evaluation.metrics import evaluate_detections
from frcnn_cli.models.score_calibration import ScoreCalibration

BOX, OTHER = (0, 0, 10, 10), (30, 0, 40, 10)
COUNT = 2000


class Images(SimpleNamespace):
    def __len__(self) -> int:
        return COUNT


DETECTED = SimpleNamespace(
    dataset=Images(name="balls", split="val"),
    seconds=1.0,
    file="d.jsonl",
    weights="my data/w.safetensors",
    full_images=0,
    new_images=0,
)


@pytest.fixture
def told(capsys):
    """What is told of detections with these scores of which some are right, as JSON and text."""

    def tell(scores, right, calibration=None):
        detections = [
            make_detections((BOX if good else OTHER, score, 1))
            for score, good in zip(scores, right, strict=True)
        ]
        result = evaluate_detections(detections, [make_truth((BOX, 1))] * COUNT, ["ball"])
        header = SimpleNamespace(calibration=calibration)
        answer = evaluation_json(result, DETECTED, header)
        show_evaluation(result, answer)
        return answer, capsys.readouterr().out

    return tell


def test_it_tells_how_scores_become_probabilities(told) -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.05, 0.99, COUNT).astype(np.float32)
    meaning = ScoreCalibration(slope=1.2, offset=-1.8)
    probabilities = meaning.calibrated(torch.from_numpy(scores)).numpy()
    right = generator.uniform(size=COUNT) < probabilities

    answer, text = told(scores, right)
    fitted = answer["calibration"]
    found = ScoreCalibration(slope=fitted["slope"], offset=fitted["offset"])
    assert (found.slope, found.offset) == pytest.approx((1.2, -1.8), abs=0.2)
    assert answer["calibration_error"] > 0.2
    assert fitted["error"] < 0.03
    (command,) = [line for line in text.splitlines() if line.startswith("  frcnn weights export")]
    numbers = f"{found.slope},{found.offset}"
    assert shlex.split(command)[3:] == [
        *("my data/w.safetensors", "--calibration", numbers, "--out", "w-calibrated.safetensors")
    ]

    # detections of weights with that calibration: nothing to tell, and the same numbers again
    calibrated = found.calibrated(torch.from_numpy(scores)).numpy()
    again, text = told(calibrated, right, found)
    assert again["map"] == answer["map"]
    assert again["calibration_error"] == pytest.approx(fitted["error"], abs=0.005)
    assert "calibration" not in text
    for key in ("slope", "offset"):
        assert again["calibration"][key] == pytest.approx(fitted[key], abs=0.05)


def test_numbers_that_no_file_may_have_are_not_told(told) -> None:
    scores = np.linspace(0.05, 0.95, COUNT).astype(np.float32)
    right = np.random.default_rng(0).uniform(size=COUNT) < 0.25 + scores / 2
    for slope, is_told in ((1.0, True), (0.01, False)):  # the product is the slope that is told
        answer, _ = told(scores, right, ScoreCalibration(slope=slope, offset=0.0))
        assert ("calibration" in answer) == is_told


def test_where_nothing_is_wrong_there_is_nothing_to_tell(told) -> None:
    answer, text = told([0.9] * COUNT, [True] * COUNT)
    assert "calibration" not in answer
    assert answer["calibration_error"] == pytest.approx(0.1)
    assert "calibration" not in text


def test_a_comparison_judges_no_class_without_objects(capsys) -> None:
    a, b = np.array([0.5, 0.5, np.nan, 0.5]), np.array([0.9, 0.5, np.nan, 0.7])
    low, high = np.array([0.3, -0.1, np.nan, 0.1]), np.array([0.5, 0.1, np.nan, 0.3])
    show_comparison(["cat", "dog", "cow"], Comparison(a=a, b=b, low=low, high=high), "")
    lines = capsys.readouterr().out.splitlines()
    verdicts = {line.split()[1]: line.split("│")[-2].strip() for line in lines if "│" in line}
    assert verdicts == {
        "cat": "B is better", "dog": "may be chance", "cow": "no objects", "mean": "B is better"
    }  # fmt: skip
