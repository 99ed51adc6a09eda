from __future__ import annotations

import torch

from frcnn_cli.training.target_normalization import denormalised, normalise_predictor
from tiny_training import make_trainer


def test_normalising_undoes_denormalising(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    deltas, layer = trainer.learner.batches.statistics.deltas, trainer.learner.network.bbox_pred
    torch.nn.init.normal_(layer.bias)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with denormalised(trainer.learner.network, deltas):
        assert not torch.allclose(layer.bias, before["bias"])
        normalise_predictor(trainer.learner.network, deltas)
        for key, value in layer.state_dict().items():
            torch.testing.assert_close(value, before[key], rtol=1e-5, atol=1e-7)


def test_afterwards_the_layer_has_the_same_bits(dataset, source, init, tmp_path) -> None:
    trainer = make_trainer(dataset, source, init, tmp_path / "run")
    network, deltas = trainer.learner.network, trainer.learner.batches.statistics.deltas
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with denormalised(network, deltas):
        pass
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key
