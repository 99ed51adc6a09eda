"""The average of trained weights.

Networks that were trained further from the same weights, with other draws of images and RoIs, err
differently; the average of their weights often errs less than each, at the cost of one network
(Izmailov et al. 2018; for detectors Zhang et al. 2020; Wortsman et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from ..errors import ConfigError, WeightsError
from .weights import WeightsHeader, load_weights, read_header, save_weights

_SOURCES = "averaged"  # key of the provenance


def average_weights(files: Sequence[Path], out: Path) -> None:
    """Write the mean of the weights in some files, in half precision.

    It is worth something only where the networks descend from one trained network.

    Args:
        files: two or more, of the same network and the same classes in the same order.
        out: the file to write; it has the provenance of the first one, with the names of all.
    Raises:
        ConfigError: fewer than two files.
        WeightsError: a file is no weights file, or is for another network.
    """
    if len(files) < 2:
        raise ConfigError("an average needs two weights files or more", "name them")
    network, header = load_weights(files[0])
    for file in files[1:]:
        _check_alike(files[0], header, file, read_header(file))
    mean = network.state_dict()
    for count, file in enumerate(files[1:], start=2):
        for name, tensor in load_weights(file)[0].state_dict().items():
            mean[name].lerp_(tensor, 1 / count)
    sources = [file.stem for file in files]
    header = replace(header, provenance={**header.provenance, _SOURCES: sources})
    save_weights(out, network, header, half=True)


def _check_alike(first: Path, header: WeightsHeader, file: Path, other: WeightsHeader) -> None:
    """Raise a WeightsError if a header says anything else on the network than the first one."""
    for each in fields(WeightsHeader):
        ours, theirs = getattr(header, each.name), getattr(other, each.name)
        if each.name != "provenance" and ours != theirs:
            raise WeightsError(
                f"{file} and {first} have another {each.name}: {theirs!s:.80} and {ours!s:.80}",
                "average networks that were trained from the same weights",
            )
