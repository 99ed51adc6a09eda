from __future__ import annotations

import pytest
import torch

from frcnn_cli.training.transfer import has_new_classes, replace_classes
from tiny import CLASSES, tiny_detector


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("ball",), False), (("Tile", "box"), False), (("ball", "apple"), True), (("apple",), True)],
)
def test_new_classes(classes: tuple[str, ...], expected: bool) -> None:
    assert has_new_classes(classes, CLASSES) is expected


def test_known_classes_keep_their_outputs(monkeypatch, tmp_path) -> None:
    network = tiny_detector(monkeypatch, tmp_path).network
    torch.nn.init.normal_(network.bbox_pred.bias)
    h = torch.rand(7, network.cls_score.in_features)
    before = network.predict(h)
    assert replace_classes(network, CLASSES, ("apple", "Tile", "pear", "ball")) == ["apple", "pear"]
    after = network.predict(h)
    assert after.class_logits.shape == (7, 5)
    for new, old in ((0, 0), (2, 3), (4, 1)):  # background, tile, ball
        torch.testing.assert_close(after.class_logits[:, new], before.class_logits[:, old])
        torch.testing.assert_close(after.box_deltas[:, new], before.box_deltas[:, old])
    fresh = torch.cat([after.box_deltas[:, 1], after.box_deltas[:, 3]])
    assert 0 < fresh.abs().max() < 0.1  # a new class leaves the proposals where they are


def test_parameters_keep_their_order(monkeypatch, tmp_path) -> None:
    network = tiny_detector(monkeypatch, tmp_path).network
    names = [name for name, _ in network.named_parameters()]
    replace_classes(network, CLASSES, ("apple",))
    assert [name for name, _ in network.named_parameters()] == names
