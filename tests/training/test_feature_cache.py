from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from frcnn_cli.data.collate import collate, preprocess
from frcnn_cli.data.transforms import Normalizer
from frcnn_cli.errors import FrcnnError
from frcnn_cli.models.backbones import backbone_spec
from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.training.feature_cache import FeatureCache
from tiny_training import CONFIG, RUNTIME, make_trainer


@pytest.mark.parametrize("train_from", ["fc6", None])  # None: the second convolution
def test_cached_features_train_as_the_convolutions_would(
    dataset, source, init, tmp_path, train_from
) -> None:
    config = replace(CONFIG, train_from=train_from, images_per_batch=1, rois_per_batch=16)
    losses = []
    for cached in (False, True):
        runtime = replace(RUNTIME, cache_features=cached)
        trainer = make_trainer(
            dataset, source, init, tmp_path / f"cached-{cached}", config, runtime=runtime
        )
        losses.append([step.cls + step.loc for step in trainer.steps()])
    assert np.allclose(*losses, rtol=2e-3)  # kept in half precision
    entries = list((tmp_path / "cached-True" / "features").iterdir())
    assert len(entries) == 6
    for entry in entries[:3]:
        entry.write_bytes(b"damaged")
    again = make_trainer(dataset, source, init, tmp_path / "cached-True", config, runtime=runtime)
    assert [step.cls + step.loc for step in again.steps()] == losses[1]


def test_features_that_half_precision_cannot_hold_are_told(dataset, source, init, tmp_path) -> None:
    runtime = replace(RUNTIME, cache_features=True)
    trainer = make_trainer(dataset, source, init, tmp_path, runtime=runtime)
    with torch.no_grad():
        trainer.learner.network.features[0].weight.mul_(1e6)
    with pytest.raises(FrcnnError, match="too large for half precision") as error:
        list(trainer.steps())
    assert error.value.hint == "leave out --cache-features"
    assert not (tmp_path / "features").exists()


def entry(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


FORGED = {
    "shape": entry(np.zeros((1, 1, 1), np.float16)),
    "dimensions": entry(np.zeros(5, np.float16)),
    "type": entry(np.zeros((16, 8, 8), np.int64)),
    "text": entry(np.full((16, 8, 8), "a")),
    "bytes": entry(np.zeros((16, 8, 8), "V2")),
    "nan": entry(np.full((16, 8, 8), np.nan, np.float16)),
    "large": entry(np.zeros((16, 400, 400), np.float16)),
    "header": entry(np.zeros((16, 8, 8), np.float16)).replace(b"(16, 8, 8)", b"(16, 99999999, 8)"),
    "cut": entry(np.zeros((16, 8, 8), np.float16))[:-1],
    "pipe": b"",
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_features_are_computed_again(dataset, source, init, tmp_path, kind) -> None:
    config = replace(CONFIG, train_from="fc6", images_per_batch=1, rois_per_batch=16, iterations=2)
    runtime = replace(RUNTIME, cache_features=True)
    trainers = [
        make_trainer(dataset, source, init, tmp_path / name, config, runtime=runtime)
        for name in ("first", "second")
    ]
    first = [step.cls + step.loc for step in trainers[0].steps()]
    shutil.copytree(tmp_path / "first" / "features", tmp_path / "second" / "features")
    for path in (tmp_path / "second" / "features").iterdir():
        if kind == "pipe":
            path.unlink()
            os.mkfifo(path)
        else:
            path.write_bytes(FORGED[kind])
    assert [step.cls + step.loc for step in trainers[1].steps()] == first


@pytest.mark.parametrize("geometry", ["caffe", "torch"])
def test_features_of_a_large_image_are_kept(tmp_path, geometry) -> None:
    spec = replace(DETECTORS["fast_rcnn"], geometry=geometry)
    network = build_network("squeezenet1_1", 1, spec)
    network.freeze_before("fc6")
    normalize = Normalizer(backbone_spec("squeezenet1_1").pixels, torch.device("cpu"))
    cache = FeatureCache(tmp_path / "features", network, normalize)
    computed: list[object] = []
    cache.frozen.register_forward_hook(lambda *_: computed.append(1))
    box = np.array([[0, 0, 50, 50]], np.float32)
    batch = collate([preprocess(np.zeros((40, 1600, 3), np.uint8), box, 40, 1600)])
    first, second = (cache(batch, np.array([[0, 0]])) for _ in range(2))
    assert first.shape[3] > 95
    assert torch.equal(first, second)
    assert len(computed) == 1
