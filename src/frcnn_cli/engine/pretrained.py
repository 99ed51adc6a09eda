"""ImageNet weights to start from."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..data.batching import PixelStatistics
from ..errors import ConfigError, WeightsError, reason
from ..models.backbones import CAFFE_MEAN, CAFFE_STD, TORCHVISION_MEAN, TORCHVISION_STD, backbone
from ..models.fast_rcnn import FastRCNN
from .checkpoint import initialise, load_state_dict

PIXELS = {
    "caffe": PixelStatistics(CAFFE_MEAN, CAFFE_STD),
    "torchvision": PixelStatistics(TORCHVISION_MEAN, TORCHVISION_STD),
}


def start_from_imagenet(
    model: FastRCNN, backbone_name: str, file: Path | None, pixels: str | None
) -> tuple[PixelStatistics, list[str], str]:
    """Fill a new network with ImageNet weights.

    Args:
        file: a state dict; None for torchvision's, downloaded.
        pixels: a key of PIXELS, the input that `file` expects; None for Caffe's, the convention of
            the weights that the paper started from.
    Returns:
        The pixel statistics of the weights, the fully connected layers that they filled, and a
        line that says so.
    Raises:
        WeightsError: no such weights, or they are another model's.
        ConfigError: `pixels` without `file`.
    """
    row = backbone(backbone_name)
    if file is None and pixels is not None:
        raise ConfigError("--pixels goes with --init", "torchvision's own weights need no --pixels")
    if file is not None:
        filled = initialise(model, load_state_dict(file), backbone_name)
        return PIXELS[pixels or "caffe"], filled, _told(file.name, model, filled)
    if row.torchvision is None:
        raise WeightsError(
            f"torchvision has no weights of {backbone_name}", "give a file with --init"
        )
    filled = initialise(model, _download(row.torchvision), backbone_name)
    return (
        PixelStatistics(row.pixel_mean, row.pixel_std),
        filled,
        _told(row.torchvision, model, filled),
    )


def _told(origin: str, model: FastRCNN, filled: list[str]) -> str:
    random = [name for name in model.fc_layers if name not in filled]
    return f"features {'and ' + ', '.join(filled) + ' ' if filled else ''}from {origin}" + (
        f"; {', '.join(random)} random" if random else ""
    )


def _download(origin: str) -> dict[str, Tensor]:
    from torch.hub import get_dir
    from torchvision.models import get_weight

    try:
        # a file that is there already is not hashed, hence weights_only
        state = get_weight(origin).get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except Exception as error:  # torch.load raises many kinds
        raise WeightsError(
            f"cannot download {origin}: {reason(error)}",
            f"remove what is damaged in {get_dir()}/checkpoints, or give a file with --init",
        ) from None
    return dict(state)
