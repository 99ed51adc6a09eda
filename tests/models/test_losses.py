import math

import numpy as np
import pytest
import torch

import reference
from frcnn_cli.models.losses import distillation_loss, fast_rcnn_loss
from frcnn_cli.structures import HeadOutput, RoiTargets

CLASSES = 4


def random_case(labels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count = len(labels)
    logits = 2 * torch.randn(count, CLASSES + 1, generator=generator)
    deltas = 2 * torch.randn(count, CLASSES + 1, 4, generator=generator)
    targets = torch.randn(count, 4, generator=generator)
    output = HeadOutput(logits.requires_grad_(), deltas.requires_grad_())
    return output, RoiTargets.of(torch.tensor(labels, dtype=torch.int64), targets)


def one_foreground(difference):
    deltas = torch.zeros(1, 2, 4)
    deltas[0, 1] = torch.tensor(difference)
    output = HeadOutput(torch.zeros(1, 2), deltas)
    return fast_rcnn_loss(output, RoiTargets.of(torch.tensor([1]), torch.zeros(1, 4)))


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 2, 3, 4, 0, 0, 1], [1, 1, 4], [0, 0, 0], [0], [3], [], [0, 4] * 32],
)
def test_equals_the_formula(labels):
    for seed in range(3):
        output, targets = random_case(labels, seed)
        losses = fast_rcnn_loss(output, targets)
        cls, loc = reference.fast_rcnn_loss(
            output.class_logits.detach().double().numpy(),
            output.box_deltas.detach().double().numpy(),
            labels,
            targets.deltas.double().numpy(),
        )
        assert losses.cls.item() == pytest.approx(cls, rel=1e-5)
        assert losses.loc.item() == pytest.approx(loc, rel=1e-5)
        assert losses.total().item() == pytest.approx(cls + loc, rel=1e-5)


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ([0.0, 0.0, 0.0, 0.0], 0),
        ([0.5, 0.0, 0.0, 0.0], 0.125),
        ([0.0, -0.5, 0.0, 0.0], 0.125),
        ([0.0, 0.0, 1.0, 0.0], 0.5),
        ([0.0, 0.0, 0.0, -3.0], 2.5),
        ([0.5, -0.5, 1.0, 3.0], 3.25),
    ],
)
def test_smooth_l1_by_hand(difference, expected):
    losses = one_foreground(difference)
    assert losses.loc.item() == expected
    assert losses.cls.item() == pytest.approx(math.log(2))


def test_localisation_is_over_all_rois():
    deltas = torch.zeros(4, 2, 4)
    deltas[0, 1, 0] = 2.5
    output = HeadOutput(torch.zeros(4, 2), deltas)
    losses = fast_rcnn_loss(output, RoiTargets.of(torch.tensor([1, 0, 0, 0]), torch.zeros(4, 4)))
    assert losses.loc.item() == 0.5
    assert losses.cls.item() == pytest.approx(math.log(2))


def test_all_background_has_no_localisation():
    output, targets = random_case([0, 0, 0])
    losses = fast_rcnn_loss(output, targets)
    assert losses.loc.item() == 0
    losses.total().backward()
    assert output.box_deltas.grad.count_nonzero() == 0
    assert output.class_logits.grad.count_nonzero() == 15


def test_no_rois():
    output, targets = random_case([])
    losses = fast_rcnn_loss(output, targets)
    assert losses.cls.item() == losses.loc.item() == 0
    losses.total().backward()
    assert output.box_deltas.grad.shape == (0, CLASSES + 1, 4)


def test_only_the_true_class_of_foreground_gets_a_box_gradient():
    labels = [0, 3, 1, 0]
    output, targets = random_case(labels)
    fast_rcnn_loss(output, targets).total().backward()
    touched = output.box_deltas.grad.abs().sum(dim=2).nonzero().tolist()
    assert touched == [[1, 3], [2, 1]]
    difference = (output.box_deltas[1, 3] - targets.deltas[1]).detach()
    torch.testing.assert_close(output.box_deltas.grad[1, 3], difference.clamp(-1, 1) / len(labels))


def test_the_background_targets_do_not_matter():
    output, targets = random_case([0, 2])
    changed = targets.deltas.clone()
    changed[0] = 1e6
    other = fast_rcnn_loss(output, RoiTargets.of(targets.labels, changed))
    assert other.total().item() == fast_rcnn_loss(output, targets).total().item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_computed_in_float32(dtype):
    output, targets = random_case([0, 1, 2, 3])
    logits, deltas = output.class_logits.detach().to(dtype), output.box_deltas.detach().to(dtype)
    losses = fast_rcnn_loss(HeadOutput(logits, deltas), targets)
    same = fast_rcnn_loss(HeadOutput(logits.float(), deltas.float()), targets)
    assert losses.cls.dtype == losses.loc.dtype == torch.float32
    assert (losses.cls.item(), losses.loc.item()) == (same.cls.item(), same.loc.item())


def test_huge_logits_stay_finite():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]])
    output = HeadOutput(logits, torch.zeros(2, 2, 4))
    right = fast_rcnn_loss(output, RoiTargets.of(torch.tensor([0, 1]), torch.zeros(2, 4)))
    wrong = fast_rcnn_loss(output, RoiTargets.of(torch.tensor([1, 0]), torch.zeros(2, 4)))
    assert right.cls.item() == 0
    assert np.isclose(wrong.cls.item(), 2e4)


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("apart", [0.01, 0.3, 5.0])
def test_distillation_equals_the_formula(count, apart):
    output, _ = random_case([0] * count)
    noise, _ = random_case([0] * count, seed=1)
    teacher = HeadOutput(
        (output.class_logits + apart * noise.class_logits).detach(),
        (output.box_deltas + apart * noise.box_deltas).detach(),
    )
    losses = distillation_loss(output, teacher)
    pairs = (output.class_logits, output.box_deltas, teacher.class_logits, teacher.box_deltas)
    cls, loc = reference.distillation_loss(*(each.detach().double().numpy() for each in pairs))
    assert losses.cls.item() == pytest.approx(cls, rel=1e-4, abs=1e-7)
    assert losses.loc.item() == pytest.approx(loc, rel=1e-4, abs=1e-7)
    losses.total().backward()
    assert output.class_logits.grad.abs().sum() > 0
    assert not output.box_deltas.grad[:, 0].any()  # the background has no box


def test_equal_outputs_have_no_distillation_loss():
    output, _ = random_case([0, 1, 2])
    losses = distillation_loss(output, HeadOutput(output.class_logits, output.box_deltas))
    assert losses.total().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [0.3, 0.999, 1.0, 2.5])
def test_l2_is_half_the_square_and_smooth_l1_below_one(size: float) -> None:
    output = HeadOutput(torch.zeros(3, 2), torch.full((3, 2, 4), size))
    targets = RoiTargets.of(torch.tensor([1, 0, 1]), torch.zeros(3, 4))
    l2 = fast_rcnn_loss(output, targets, loc_loss="l2").loc.item()
    smooth = fast_rcnn_loss(output, targets).loc.item()
    assert l2 == pytest.approx(2 * 4 * size**2 / 2 / 3)  # two foreground RoIs of three
    assert (smooth == pytest.approx(l2)) == (size <= 1)


def test_weights_of_classes_multiply_the_losses_of_their_rois():
    labels = [0, 1, 2, 2, 4]
    output, targets = random_case(labels)
    weights = torch.tensor([1.0, 0.5, 3.0, 1.0, 10.0])
    log_p = output.class_logits.log_softmax(1)
    each = -log_p[range(len(labels)), labels] * weights[labels]
    losses = fast_rcnn_loss(output, targets, class_weights=weights)
    assert losses.cls.item() == pytest.approx(each.mean().item(), rel=1e-5)
    assert losses.loc.item() == fast_rcnn_loss(output, targets).loc.item()
