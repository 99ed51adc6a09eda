"""Does a GPU compute what the CPU computes? All in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from frcnn_cli.checkpoints.weights import load_weights
from frcnn_cli.config import DetectConfig
from frcnn_cli.evaluation.detect_dataset import detect_all
from frcnn_cli.evaluation.evaluate import evaluate
from frcnn_cli.inference.detector import Detector
from frcnn_cli.ops import roi_pool_gpu
from frcnn_cli.ops.roi_pool import roi_pool
from frcnn_cli.runtime.paths import find_weights
from frcnn_cli.training.learner import Learner
from frcnn_cli.training.state import read_state, restore
from frcnn_cli.training.trainer import Trainer
from train_step import use_plain_convolutions

from .setting import Setting, threads

Check = dict[str, object]  # what was measured, its limit, and whether it is within


def within(value: float, limit: float, **more: object) -> Check:
    """A measured difference beside its limit."""
    return {"value": value, "limit": limit, "ok": bool(value <= limit), **more}


def relative(ours: Tensor, reference: Tensor) -> float:
    """The norm of the difference over the norm of the reference."""
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    return float((ours - reference).norm() / reference.norm().clamp(min=1e-30))


def _maps_and_rois(channels: int) -> tuple[Tensor, Tensor]:
    """Maps of two images, and RoIs, some of which reach over their edges."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(2, channels, 38, 57, generator=generator)
    corners = torch.rand(300, 2, 2, generator=generator).sort(dim=1).values
    boxes = (corners * torch.tensor([1000.0, 700.0]) - 30).reshape(300, 4)
    return maps, torch.cat([(torch.arange(300) % 2)[:, None].float(), boxes], dim=1)


def check_roi_pooling(setting: Setting) -> dict[str, Check]:
    """Forward equal, backward within 1e-5."""
    maps, rois = _maps_and_rois(64 if setting.tiny else 512)
    results, gradients = [], []
    for device in (torch.device("cpu"), setting.device):
        leaf = maps.detach().clone().to(device).requires_grad_()
        pooled = roi_pool(leaf, rois.to(device), (7, 7), 1 / 16)
        weight = torch.arange(pooled.numel(), device=device).view(pooled.shape) % 17 - 8.0
        torch.autograd.backward((pooled * weight).sum())
        assert leaf.grad is not None
        results.append(pooled.detach().cpu())
        gradients.append(leaf.grad.cpu())
    differing = float((results[0] != results[1]).float().mean())
    return {
        "RoI pooling, fraction of differing outputs": within(differing, 0.0),
        "RoI pooling, gradient": within(relative(gradients[1], gradients[0]), 1e-5),
    }


def check_detection_roi_pooling(setting: Setting) -> dict[str, Check]:
    """The kernel for detection, in bfloat16, against the CPU on the same numbers: equal."""
    if setting.device.type != "cuda" or not roi_pool_gpu.is_available(setting.device):
        return {"RoI pooling for detection": {"value": "needs a GPU and Triton", "ok": True}}
    maps, rois = _maps_and_rois(512)
    maps = maps.bfloat16().float()
    expected = roi_pool(maps, rois, (7, 7), 1 / 16).permute(0, 2, 3, 1).flatten(1, 2)
    cells = maps.to(setting.device).permute(0, 2, 3, 1).bfloat16().contiguous()
    found = roi_pool_gpu.roi_pool_bins(cells, rois.to(setting.device), 7, 1 / 16)
    differing = float((found.float().cpu() != expected).float().mean())
    return {"RoI pooling for detection, fraction of differing outputs": within(differing, 0.0)}


def check_step(setting: Setting) -> dict[str, Check]:
    """Logits within 1e-4 and gradients within 1e-3, of the first step without dropout.

    The reference are torch's own convolutions on the CPU. Ours round more there: by Winograd's
    algorithm, the gradient of VGG16 differs from torch's by 0.003.
    """
    scales = {} if setting.tiny else {"scales": (400,), "max_size": 667}
    logits, gradients = [], []
    for device in ("cpu", str(setting.device)):
        learner = setting.learner(device, "fp32", dropout=0.0, **scales)
        if device == "cpu":
            use_plain_convolutions(learner.network)
        output, _, losses = learner.forward(learner.batches(0))
        torch.autograd.backward(losses.total())
        logits.append(output.class_logits)
        gradients.append(
            {n: p.grad.cpu() for n, p in learner.network.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    errors = {name: relative(g, gradients[0][name]) for name, g in gradients[1].items()}
    worst = max(errors, key=lambda name: errors[name])
    whole = [torch.cat([g.flatten() for g in each.values()]) for each in gradients]
    return {
        f"{setting.backbone}, logits": within(relative(logits[1], logits[0]), 1e-4),
        f"{setting.backbone}, gradient": within(relative(whole[1], whole[0]), 1e-3),
        # that of an early bias is a sum of millions of numbers of both signs
        f"{setting.backbone}, gradient of a parameter": within(errors[worst], 2e-2, worst=worst),
    }


def losses_of(learner: Learner, count: int) -> list[float]:
    """The losses of the next iterations."""
    found = []
    for _ in range(count):
        metrics = learner.step(learner.batches(learner.iteration))
        found.append(metrics.cls + metrics.loc)
    return found


def check_losses(setting: Setting) -> dict[str, Check]:
    """Ten losses on the device against ten on the CPU."""
    found = [
        losses_of(setting.learner(device, "fp32", backbone=setting.light_backbone, dropout=0.0), 10)
        for device in ("cpu", str(setting.device))
    ]
    worst = max(abs(a - b) / a for a, b in zip(*found, strict=True))
    return {
        f"{setting.light_backbone}, ten losses": within(worst, 1e-3, cpu=found[0], device=found[1])
    }


def check_resume(setting: Setting) -> dict[str, Check]:
    """Five iterations, a checkpoint and five more against ten, with dropout."""

    def learner(**more: object) -> Learner:
        return setting.learner(
            str(setting.device), "auto", backbone=setting.light_backbone, iterations=10, **more
        )

    with TemporaryDirectory() as folder:
        whole = [m.cls + m.loc for m in Trainer(learner(), folder=Path(folder)).steps()]
    with TemporaryDirectory() as folder:
        first = learner()
        parts = losses_of(first, 5)
        Trainer(first, folder=Path(folder)).save()
        second = learner()
        restore(second, read_state(Path(folder)))
        parts += losses_of(second, 5)
    worst = max(abs(a - b) / a for a, b in zip(whole, parts, strict=True))
    # sums on a GPU have no fixed order, and bfloat16 rounds to 8 bits
    return {"resumed, ten losses": within(worst, 2e-2, whole=whole, parts=parts)}


def check_detections(setting: Setting) -> dict[str, Check]:
    """The detections of 50 images: the same, scores within 1e-3 and boxes within 0.1 pixels."""
    dataset = setting.dataset("val", 4 if setting.tiny else 50)
    found = []
    for device in ("cpu", str(setting.device)):
        network, header = load_weights(find_weights(setting.weights))
        config = DetectConfig(precision="fp32", score_threshold=0.1)
        detector = Detector(network, header, setting.source(), config, device)
        found.append(detect_all(detector, dataset, workers=threads()))
    lost, score, box, total = 0, 0.0, 0.0, 0
    for ours, theirs in zip(found[1], found[0], strict=True):
        total += len(theirs)
        if len(ours) != len(theirs) or (ours.labels != theirs.labels).any():
            lost += 1
            continue
        if len(ours):
            score = max(score, float(np.abs(ours.scores - theirs.scores).max()))
            box = max(box, float(np.abs(ours.boxes - theirs.boxes).max()))
    return {
        f"{len(dataset)} images, other detections": within(lost, 1, detections=total),
        f"{len(dataset)} images, scores": within(score, 1e-3),
        f"{len(dataset)} images, boxes in pixels": within(box, 0.5),
    }


def check_mean_ap(setting: Setting) -> dict[str, Check]:
    """The mAP of the weights on images of val; 52.0 of the first 500 on a CPU, as shipped."""
    results: dict[str, Check] = {}
    dataset = setting.dataset("val", setting.images)
    for precision in ("fp32", "auto"):
        network, header = load_weights(find_weights(setting.weights))
        config = DetectConfig(precision=precision)  # type: ignore[arg-type]
        detector = Detector(network, header, setting.source(), config, str(setting.device))
        mean_ap = evaluate(detector, dataset, metric="voc07").mean_ap
        name = f"mAP of {setting.weights}, {len(dataset)} images, {detector.dtype}"
        results[name] = {"value": 100 * mean_ap, "ok": True}
    return results


CHECKS: tuple[Callable[[Setting], dict[str, Check]], ...] = (
    check_roi_pooling,
    check_detection_roi_pooling,
    check_detections,
    check_step,
    check_losses,
    check_resume,
    check_mean_ap,
)
