from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from frcnn_cli.compression.calibration import Calibration, calibrate
from frcnn_cli.data import images
from frcnn_cli.errors import DataError, WeightsError
from frcnn_cli.inference.detector import Detector


def run_calibration(detector: Detector, paths: list[Path]) -> Calibration:
    return calibrate(detector, paths, source="photographs", workers=1, on_image=lambda: None)


@torch.inference_mode()
def test_calibration_holds_moments_and_outputs_of_the_layers(detector, photographs) -> None:
    calibration = run_calibration(detector, photographs)
    assert calibration.images == len(photographs)
    # the second image is held out, then every fifth
    rows = {True: [], False: []}
    for index, path in enumerate(photographs):
        content = path.read_bytes()
        prepared = detector.preprocess(content, images.decode(content, str(path)))
        features, _ = detector.region_features(prepared)
        assert len(features) <= 512  # so all of them are taken
        rows[index == 1 or index % 5 == 4].append(features)
    layer, second = detector.network.fc_layers["fc6"], detector.network.fc_layers["fc7"]
    y = (torch.cat(rows[False]) @ layer.weight.T).detach().double()
    assert calibration.moments["fc6"].count == len(y)
    torch.testing.assert_close(calibration.moments["fc6"].mean, y.mean(0), rtol=1e-4, atol=1e-5)
    z = (y.float() + layer.bias).relu() @ second.weight.T
    torch.testing.assert_close(
        calibration.moments["fc7"].mean, z.detach().double().mean(0), rtol=1e-4, atol=1e-5
    )
    for kept, held_out in ((calibration.rois, False), (calibration.held_out, True)):
        assert len(kept) == sum(min(256, len(features)) for features in rows[held_out])
        first = layer(rows[held_out][0])
        chosen = torch.linspace(0, len(first) - 1, min(256, len(first))).long()
        expected = first[chosen].half()
        torch.testing.assert_close(kept[: len(expected)], expected, rtol=1e-2, atol=1e-3)


def test_unreadable_photographs_are_skipped(detector, photographs, tmp_path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    calibration = run_calibration(detector, [broken, *photographs[:3]])
    assert calibration.images == 3
    with pytest.raises(DataError, match="fewer than two images"):
        run_calibration(detector, [broken, photographs[0]])


def test_images_that_all_look_the_same_are_refused(detector, tmp_path) -> None:
    for index in range(4):
        Image.new("RGB", (120, 90), (90, 90, 90)).save(tmp_path / f"{index}.png")
    with pytest.raises(DataError, match="the images are blank or all alike"):
        run_calibration(detector, sorted(tmp_path.glob("*.png")))


def test_outputs_that_do_not_fit_float16_are_refused(detector, photographs) -> None:
    with torch.no_grad():
        detector.network.fc_layers["fc6"].weight.mul_(1e6)
    with pytest.raises(WeightsError, match="too large for float16"):
        run_calibration(detector, photographs)
