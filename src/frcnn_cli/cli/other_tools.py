"""Commands and options as other tools call them, and what they are called here."""

from __future__ import annotations

COMMANDS = {
    "predict": "frcnn detect",
    "infer": "frcnn detect",
    "inference": "frcnn detect",
    "val": "frcnn eval",
    "validate": "frcnn eval",
    "test": "frcnn eval",
    "evaluate": "frcnn eval",
    "export": "frcnn weights export",
    "convert": "frcnn weights import",
    "benchmark": "frcnn detect --profile",
    "prune": "frcnn compress",
    "check": "frcnn data check",
    "finetune": "frcnn train --weights",
    "resume": "frcnn train --resume",
}

_SIZE = "--scales is the shorter side of the images and --max-size limits the longer one"
OPTIONS = {
    "--epochs": "--iterations counts batches of --images-per-batch images; --dry-run shows epochs",
    "--max-iter": "--iterations",
    "--steps": "--iterations",
    "--imgsz": _SIZE,
    "--img": _SIZE,
    "--img-size": _SIZE,
    "--image-size": _SIZE,
    "--batch-size": "--images-per-batch when training, else --batch",
    "--batch": "--images-per-batch",
    "--conf": "--score",
    "--conf-thres": "--score",
    "--confidence": "--score",
    "--threshold": "--score",
    "--iou": "--nms",
    "--iou-thres": "--nms",
    "--max-det": "--top",
    "--agnostic-nms": "--class-agnostic",
    "--model": "--weights",
    "--checkpoint": "--weights",
    "--pretrained": "--init for ImageNet weights, --weights for a detector",
    "--source": "images are arguments: frcnn detect photo.jpg --out found",
    "--output": "--out",
    "--project": "--name, a folder in runs/train",
    "--save-txt": "--format yolo --out",
    "--save-json": "--format coco --out",
    "--workers": "--jobs",
    "--num-workers": "--jobs",
    "--learning-rate": "--lr",
    "--lr0": "--lr",
    "--optim": "--optimizer",
    "--cfg": "--config",
    "--dataset": "the data set is an argument: frcnn train photos",
}


def hint(option: str) -> str:
    """The hint for an option that there is not; empty where none is known."""
    known = OPTIONS.get(option, "")
    return f"; here: {known}" if known else ""
