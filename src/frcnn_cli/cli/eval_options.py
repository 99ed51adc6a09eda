"""Which options of `frcnn eval` exclude each other, or would change nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import typer

from ..config import DetectConfig
from ..errors import ConfigError
from ..settings import flag_of
from .options import on_command_line, refuse

# Settings that `candidates_only` replaces, or that its selection over all images does not look at.
_NOT_OF_THE_PAPERS_CODE = (
    "nms_threshold", "vote_threshold", "max_detections", "class_limit", "soft_nms",
    "class_agnostic",
)  # fmt: skip
_OF_A_DETECTOR = (
    "proposals", "batch", "device", "jobs",
    *(flag_of(DetectConfig, each.name).replace("-", "_") for each in fields(DetectConfig)
      if each.name not in ("score_threshold", "classes")),
)  # fmt: skip


def check_options(
    ctx: typer.Context,
    files: Sequence[Path],
    *,
    detections: Path | None,
    metric: str | None,
    weights: str | None,
    save: Path | None,
    report: Path | None,
    tile: int | None,
    protocol: str,
    settings: DetectConfig,
    fail_under: float | None,
) -> None:
    """Raise a ConfigError where options exclude each other, or would change nothing.

    Args:
        ctx: of the command. files: of detections, which take the place of a detector; two are
            compared. detections: the value of --from.
    """
    if len(files) > 1 and (detections, save, report, fail_under) != (None,) * 4:
        raise ConfigError(
            "--compare excludes --from, --save, --report and --fail-under",
            "evaluate each file by itself for these",
        )
    if fail_under is not None and not fail_under <= 1:
        raise ConfigError(f"--fail-under {fail_under:g} is out of range", "65 % is 0.65")
    if len(files) > 1 and metric == "coco":
        raise ConfigError("--compare does not support --metric coco", "take voc07 or voc")
    if len(files) > 1:
        score = on_command_line(ctx, "score")
        refuse("for recall and precision, which --compare does not show", **score)
    else:
        refuse("for --compare", **on_command_line(ctx, "resamples"))
    if files:
        refuse(
            "for a detector, not for detections in files",
            weights=weights,
            save=save,
            tile=tile,
            protocol=None if protocol == "py-faster-rcnn" else protocol,
            **on_command_line(ctx, *_OF_A_DETECTOR),
        )
    if tile is not None and protocol != "py-faster-rcnn":
        raise ConfigError("--tile is for the protocol py-faster-rcnn", "leave out --protocol")
    chosen = [
        f"--{flag_of(DetectConfig, name)}"
        for name in _NOT_OF_THE_PAPERS_CODE
        if getattr(settings, name) != getattr(DetectConfig, name)
    ]
    if protocol == "fast-rcnn" and chosen:
        raise ConfigError(
            f"--protocol fast-rcnn excludes {', '.join(chosen)}: the paper's code has its own NMS",
            "leave out one of them; with both, these options are for py-faster-rcnn",
        )
    if protocol == "both" and save is not None:
        raise ConfigError("--save is one file, and --protocol both two", "leave out --save")
