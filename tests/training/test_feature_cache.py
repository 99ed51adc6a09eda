from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

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
