"""The network that a run starts with: from ImageNet weights, a detector or a training state."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..checkpoints.pretrained import (
    RANDOM,
    RANDOM_WEIGHTS,
    download_imagenet,
    file_in_package,
    start_from_imagenet,
)
from ..checkpoints.weights import WeightsHeader, load_weights
from ..config import TrainConfig
from ..data.dataset import match_classes
from ..errors import ConfigError, WeightsError, unknown_name
from ..models.backbones import BACKBONES
from ..models.detectors import DETECTORS, DetectorSpec, build_network
from ..models.low_rank import break_even_rank, random_pair
from ..models.region_network import SVM, RegionNetwork
from ..runtime.paths import known_weights
from ..structures import PixelStatistics
from .transfer import has_new_classes, replace_classes


@dataclass(frozen=True, kw_only=True)
class Initialisation:
    """The weights that a new run starts from: a detector's, else ImageNet weights of a backbone."""

    # a state dict; None: torchvision's, downloaded; checkpoints.pretrained.RANDOM: random weights
    imagenet_weights: Path | None = None
    pixels: str | None = None  # input that they expect: key of checkpoints.pretrained.PIXELS
    # a detector to train further, in place; it keeps its classes if it knows all those of the data,
    # else it gets the classes of the data
    detector: tuple[RegionNetwork, WeightsHeader] | None = None


@dataclass(frozen=True, kw_only=True)
class InitialNetwork:
    """A network before its first step, with the content of its weights file's header."""

    network: RegionNetwork
    detector: str  # its name
    detector_spec: DetectorSpec
    pixels: PixelStatistics
    description: str  # origin of the weights, for messages and the header
    ranks: Mapping[str, int] = field(default_factory=dict)  # of the layers that are of low rank
    history: Mapping[str, object] = field(default_factory=dict)  # provenance of earlier training
    random_head: bool = False  # fc6 has random weights
    random_backbone: bool = False  # the convolutions start from random too, so all of them train
    is_finished: bool = False  # bbox_pred predicts true deltas, as in a weights file


# backbone -> the detector that is included in the package
_INCLUDED = {
    name: f"{name}-voc07"
    for name in ("squeezenet1_1", "efficientnet_lite0", "efficientnet_lite2", "vgg16")
}


def included_detector(config: TrainConfig) -> str | None:
    """The included detector to start from where there are no ImageNet weights.

    Returns:
        Its name; None if they are installed or can be downloaded, or no detector of that kind is
        included.
    """
    name = _INCLUDED.get(config.backbone)
    is_usual = (
        config.detector == TrainConfig.detector
        and config.rank is None
        and not config.class_agnostic
    )
    if name not in known_weights() or not is_usual:
        return None
    spec = BACKBONES[config.backbone]
    try:
        if spec.imagenet_package is not None:
            file_in_package(spec.imagenet_package)
        else:
            download_imagenet(str(spec.imagenet_weights))
    except WeightsError:
        return name
    return None


def continue_from(
    weights: Path, config: TrainConfig, chosen: Collection[str]
) -> tuple[Initialisation, TrainConfig]:
    """Train a detector further, at its scale and longest side where no others are chosen.

    Args:
        weights: the detector's file.
        chosen: names of the fields of `config` that the user has set.
    Returns:
        The initialisation, and the settings for it.
    Raises:
        ConfigError: another backbone, detector, geometry or kind of boxes, or a rank, is chosen.
        WeightsError: see `load_weights`.
    """
    network, header = load_weights(weights)
    for name in ("backbone", "detector", "geometry"):
        if name in chosen and getattr(config, name) != getattr(header, name):
            raise ConfigError(f"the weights are of {getattr(header, name)}", f"leave out --{name}")
    if "class_agnostic" in chosen and config.class_agnostic != header.class_agnostic:
        how = "alike for every class" if header.class_agnostic else "for each class by itself"
        raise ConfigError(f"the weights refine boxes {how}", "leave out --class-agnostic")
    if config.rank is not None:
        raise ConfigError("--rank and --weights exclude each other", "frcnn compress lowers ranks")
    config = replace(
        config,
        backbone=header.backbone,
        detector=header.detector,
        class_agnostic=header.class_agnostic,
        geometry=header.geometry,
        scales=config.scales if "scales" in chosen else (header.scale,),
        max_size=config.max_size if "max_size" in chosen else header.max_size,
    )
    return Initialisation(detector=(network, header)), config


def classes_to_train(
    own: Sequence[str], initialisation: Initialisation, state: Mapping[str, Any] | None
) -> Sequence[str]:
    """The classes of the network: those of the run that is resumed, else those of the detector
    that is trained further if it knows all classes of the data, else those of the data.

    Args:
        own: the classes of the data set.
    """
    if state is not None:
        return list(state["classes"])
    if initialisation.detector is None:
        return own
    known = initialisation.detector[1].classes
    return own if has_new_classes(own, known) else known


def check_trainable(header: WeightsHeader) -> None:
    """Check that a detector can be trained further, whose loss is that of a softmax.

    Raises:
        ConfigError: its classes are SVMs.
    """
    if header.score_function == SVM:
        raise ConfigError(
            "the classes of these weights are linear SVMs, which cannot be trained further",
            "give the last.safetensors of their run, which is from before the SVMs",
        )


def initial_network(
    config: TrainConfig,
    classes: Sequence[str],
    initialisation: Initialisation,
    state: Mapping[str, Any] | None,
) -> InitialNetwork:
    """Build the network of a run, or take the detector's.

    Args:
        classes: K names, from `classes_to_train`.
        state: of the run that is resumed, whose weights are put in later; None for a new run.
    Raises:
        ConfigError: the settings do not fit the weights.
        WeightsError: the weights cannot be read, or are of another network.
    """
    if state is not None:
        return _from_state(config, len(classes), state)
    if initialisation.detector is not None:
        return _from_detector(config, *initialisation.detector, classes)
    return _from_imagenet(config, len(classes), initialisation)


def _new_network(config: TrainConfig, class_count: int) -> tuple[RegionNetwork, DetectorSpec]:
    """A network with random weights, and its parts."""
    if config.detector not in DETECTORS:
        raise unknown_name("detector", config.detector, DETECTORS)
    spec = replace(
        DETECTORS[config.detector],
        class_agnostic=config.class_agnostic,
        geometry=config.geometry,
    )
    return build_network(config.backbone, class_count, spec), spec


def _from_state(config: TrainConfig, class_count: int, state: Mapping[str, Any]) -> InitialNetwork:
    geometry = state.get("geometry", "torch")  # which earlier versions do not name
    if config.geometry != geometry:
        raise ConfigError(f"the run has --geometry {geometry}", f"add --geometry {geometry}")
    ranks = set(state["ranks"].values())
    if config.rank is not None and ranks != {config.rank}:
        known = f"rank {', '.join(map(str, sorted(ranks)))}" if ranks else "full rank"
        raise ConfigError(f"the run has layers of {known}", "leave out --rank")
    network, spec = _new_network(config, class_count)
    network.set_ranks(state["ranks"])
    mean, std = state["pixels"]
    return InitialNetwork(
        network=network,
        detector=config.detector,
        detector_spec=spec,
        pixels=PixelStatistics(tuple(mean), tuple(std)),
        description=str(state["provenance"]["init"]),
        ranks=state["ranks"],
        history=state["provenance"],
        random_backbone=str(state["provenance"]["init"]).startswith(RANDOM_WEIGHTS),
    )


def _from_detector(
    config: TrainConfig, network: RegionNetwork, header: WeightsHeader, classes: Sequence[str]
) -> InitialNetwork:
    """The network of a detector, with the classes of the data.

    Where it knows none of these, its fully connected layers are new too: made for other objects,
    and of low rank, they were worse than random ones, or no better (docs/training.md).
    """
    check_trainable(header)
    for name in ("geometry", "class_agnostic"):  # which the batches would have, but not the network
        if getattr(config, name) != getattr(header, name):
            raise ConfigError(
                f"the weights have {name}={getattr(header, name)!r}", "give the settings the same"
            )
    description = "a trained detector"
    trained_from = dict(header.provenance)
    compression = trained_from.pop("compression", None)
    if not match_classes(classes, header.classes).mapping:
        fresh, spec = _new_network(config, len(classes))
        fresh.features, fresh.feature_scale = network.features, network.feature_scale
        layers = ", ".join(fresh.fc_layers)
        return InitialNetwork(
            network=fresh,
            detector=header.detector,
            detector_spec=spec,
            pixels=header.pixels,
            description=f"the convolutions of {description}; new {layers} and outputs for "
            f"{', '.join(classes)}",
            history={"trained_from": trained_from},
            random_head=True,
        )
    if tuple(classes) != header.classes:
        new = replace_classes(network, header.classes, classes)
        kept = [name for name in classes if name not in new]
        description += f"; new outputs for {', '.join(new)}"
        description += f"; {', '.join(kept)} keep theirs" if kept else ""
    network.prefilter.clear()  # it is a copy of layers that are about to change
    return InitialNetwork(
        network=network,
        detector=header.detector,
        detector_spec=header.detector_spec,
        pixels=header.pixels,
        description=description,
        ranks=header.ranks,
        history={"compression": compression, "trained_from": trained_from},
        is_finished=True,
    )


def _from_imagenet(
    config: TrainConfig, class_count: int, initialisation: Initialisation
) -> InitialNetwork:
    network, spec = _new_network(config, class_count)
    pixels, filled, description = start_from_imagenet(
        network, initialisation.imagenet_weights, initialisation.pixels
    )
    ranks: dict[str, int] = {}
    if config.rank is not None:
        ranks = lower_ranks(network, config.rank, filled)
        description += f"; {', '.join(ranks)} of rank {config.rank}"
    return InitialNetwork(
        network=network,
        detector=config.detector,
        detector_spec=spec,
        pixels=pixels,
        description=description,
        ranks=ranks,
        random_head="fc6" not in filled,
        random_backbone=initialisation.imagenet_weights == RANDOM,
    )


def lower_ranks(network: RegionNetwork, rank: int, filled: Sequence[str]) -> dict[str, int]:
    """Replace fully connected layers with random ones of a rank, where that saves weights.

    Args:
        filled: the fully connected layers that have weights already.
    Returns:
        The rank of each layer that was replaced.
    Raises:
        ConfigError: a layer has weights already, or the rank saves nothing.
    """
    if filled:
        raise ConfigError(
            f"--rank is for layers with random initial weights; {', '.join(filled)} came with the "
            "initial weights",
            "train them at full rank, then use frcnn compress --finetune",
        )
    pairs = {
        name: random_pair(layer, rank)
        for name, layer in network.compressible_layers().items()
        if rank < break_even_rank(layer)
    }
    network.fc_layers.update(pairs)
    if not pairs:
        raise ConfigError(f"--rank {rank} saves nothing in any layer", "give a lower one")
    return dict.fromkeys(pairs, rank)
