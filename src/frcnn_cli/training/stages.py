"""The stages of training one after the other (Fast R-CNN, section 1.1: "a multi-stage pipeline").

Fast R-CNN has one, `finetune`. R-CNN and SPPnet go on with the features of all regions on the disk,
linear SVMs, and box regressors. A stage that is done is not done again; one that was stopped goes
on, or begins again with the same result.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..checkpoints.weights import WeightsHeader, load_weights, save_weights
from ..config import DetectConfig, TrainConfig, TrainRuntimeConfig
from ..data.dataset import Dataset
from ..errors import ConfigError, DataError, FrcnnError
from ..inference.detector import Detector
from ..models.region_network import RegionNetwork
from ..proposers.cache import ProposalSource
from ..runtime.files import size_text, write_text
from ..runtime.paths import STAGE_FILES, WEIGHTS_FILE
from ..runtime.progress import Progress, silent
from ..runtime.safe_read import number, read_json
from .box_regressors import fold_box_regressors, train_box_regressors
from .interruption import InterruptedRun
from .metrics import COLUMNS, METRICS_FILE, read_rows
from .region_features import store_features
from .region_store import RegionStore, region_bytes
from .state import STATE_FILE
from .svm import MiningConfig, fold_svms, train_svms

REGIONS_FOLDER, STAGES_FILE = "regions", "stages.json"
FINETUNE, FEATURES, SVM_STAGE, BOXES = "finetune", "features", "svm", "boxes"


@dataclass(frozen=True)
class StageReport:
    """What a stage took."""

    name: str
    seconds: float  # over all attempts
    bytes: int  # of the files that it left


@dataclass(frozen=True, kw_only=True)
class StageInputs:
    """What the stages after fine-tuning work on."""

    folder: Path  # of the run
    config: TrainConfig
    dataset: Dataset  # the training images, with the classes of the network
    source: ProposalSource
    runtime: TrainRuntimeConfig
    threads: int  # that read images ahead
    progress: Progress = silent
    on_message: Callable[[str], None] = lambda message: None

    @property
    def finetuned(self) -> Path:
        """The weights that fine-tuning left."""
        return self.folder / WEIGHTS_FILE

    def store(self, width: int) -> RegionStore:
        """The features of the regions, as far as they are stored. width: U."""
        identity = {
            "weights": _digest(self.finetuned),
            "images": hashlib.sha256("\n".join(self.dataset.ids).encode(errors="surrogateescape"))
            .hexdigest(),
            "proposals": self.source.method.digest,
            "max_proposals": self.config.max_proposals,
            "scales": self.config.feature_scales,
        }  # fmt: skip
        return RegionStore(self.folder / REGIONS_FOLDER, width, identity)


def _features(inputs: StageInputs) -> Path:
    """Store the features of all regions.

    Raises:
        InterruptedRun: SIGINT or SIGTERM came; what was computed counts.
    """
    network, header = load_weights(inputs.finetuned)
    config, dataset = inputs.config, inputs.dataset
    detect = DetectConfig(
        max_proposals=config.max_proposals,
        precision=inputs.runtime.precision,
        scales=config.feature_scales,
    )
    store = inputs.store(network.cls_score.in_features)
    most = len(dataset) * config.max_proposals * region_bytes(store.width)
    inputs.on_message(f"the features of all regions take up to {size_text(most)} on the disk")
    detector = Detector(network, header, inputs.source, detect, inputs.runtime.device)
    left = len(dataset) - store.images
    with inputs.progress("storing features", left, "images") as advance:
        is_complete = store_features(
            detector,
            dataset,
            store,
            threads=inputs.threads,
            on_image=lambda: advance(size_text(store.bytes)),
        )
    if not is_complete:
        raise InterruptedRun(
            f"stopped after the features of {store.images} of {len(dataset)} images",
            f"continue with: frcnn train --resume {inputs.folder}",
        )
    return store.folder


def _svms(inputs: StageInputs) -> Path:
    """Train linear SVMs, and write weights whose classification layer they are."""
    network, header = load_weights(inputs.finetuned)
    mining = MiningConfig(seed=inputs.config.seed)
    store, truths = _complete_store(inputs, network), inputs.dataset.ground_truths()
    total = mining.passes * len(truths)
    with inputs.progress("mining negatives", total, "images") as advance:
        svms = train_svms(
            store,
            truths,
            len(header.classes),
            mining,
            ends_are_inside=network.ends_are_inside,
            on_image=advance,
        )
    fold_svms(network, svms)
    history = {**asdict(mining), "negatives": list(svms.negatives)}
    return _save(inputs, SVM_STAGE, network, header, history)


def _boxes(inputs: StageInputs) -> Path:
    """Train the box regressors, and write weights whose box layer they are."""
    earlier = inputs.folder / STAGE_FILES[SVM_STAGE]
    network, header = load_weights(
        earlier if SVM_STAGE in stages_of(inputs.config) else inputs.finetuned
    )
    store, truths = _complete_store(inputs, network), inputs.dataset.ground_truths()
    with inputs.progress("fitting boxes", len(header.classes), "classes") as advance:
        regressors = train_box_regressors(
            store,
            truths,
            len(header.classes),
            ends_are_inside=network.ends_are_inside,
            on_class=lambda: advance(""),
        )
    fold_box_regressors(network, regressors)
    return _save(inputs, BOXES, network, header, True)


# The stages after fine-tuning, in order: name -> function that returns what it wrote.
STAGES: dict[str, Callable[[StageInputs], Path]] = {
    FEATURES: _features,
    SVM_STAGE: _svms,
    BOXES: _boxes,
}


def stages_of(config: TrainConfig) -> tuple[str, ...]:
    """The names of the stages of a training, in order."""
    heads = [SVM_STAGE] * (config.classifier == "svm") + [BOXES] * (config.boxes == "ridge")
    return (FINETUNE, *([FEATURES] if heads else []), *heads)


def check_stage(config: TrainConfig, stage: str | None) -> None:
    """Check that a training has the stage that is asked for.

    Raises:
        ConfigError: it has not.
    """
    names = stages_of(config)
    if stage is not None and stage not in names:
        raise ConfigError(
            f"--stage {stage} is none of this training's, which are {', '.join(names)}",
            "add --classifier svm or --boxes ridge",
        )


def run_stages(inputs: StageInputs, only: str | None = None) -> tuple[Path, list[StageReport]]:
    """Run the stages that come after fine-tuning.

    Args:
        only: run this stage alone, even if it is done; None for all that are left.
    Returns:
        The weights after the last stage, and what every stage took, fine-tuning included.
    Raises:
        InterruptedRun: SIGINT or SIGTERM came; the run can be resumed.
        ConfigError: a stage before `only` is not done.
    """
    log, names = StageLog(inputs.folder), stages_of(inputs.config)
    done_with = _digest(inputs.finetuned)
    for name in names[1:]:
        is_done = log.is_done(name, done_with)
        if is_done and name != only:
            continue
        if only not in (None, name):
            if names.index(name) < names.index(only):
                raise ConfigError(f"the stage {name} comes before {only}", f"give --stage {name}")
            break
        begun = time.monotonic()
        try:
            written = STAGES[name](inputs)
        except InterruptedRun:
            log.add(name, time.monotonic() - begun)
            raise
        log.add(name, time.monotonic() - begun, done_with, _size(written))
    return _last_weights(inputs.folder, log, done_with), log.reports(inputs.folder, names)


class StageLog:
    """What the stages of a run took, in its folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STAGES_FILE
        self._entries: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(DataError):  # not written yet, or damaged
            entries = read_json(self._path, "remove the file")
            if isinstance(entries, dict) and all(map(_is_entry, entries.values())):
                self._entries = entries

    def is_done(self, name: str, done_with: str) -> bool:
        """Whether a stage has been done with fine-tuned weights of this digest."""
        return bool(self._entries.get(name, {}).get("done_with") == done_with)

    def add(self, name: str, seconds: float, done_with: str = "", size: int = 0) -> None:
        """Add an attempt at a stage; `done_with` is empty where it was stopped.

        Raises:
            FrcnnError: the file cannot be written.
        """
        earlier = self._entries.get(name, {})
        if not earlier.get("done_with"):  # else it is done again, and counts anew
            seconds += earlier.get("seconds", 0.0)
        self._entries[name] = {"seconds": seconds, "bytes": size, "done_with": done_with}
        write_text(self._path, json.dumps(self._entries, indent=2) + "\n")

    def reports(self, folder: Path, names: Sequence[str]) -> list[StageReport]:
        """What the stages took; fine-tuning from the metrics of its iterations."""
        files = (folder / WEIGHTS_FILE, folder / STATE_FILE)
        size = sum(path.stat().st_size for path in files if path.exists())
        finetune = StageReport(FINETUNE, finetune_seconds(folder), size)
        done = [name for name in names if name in self._entries]
        return [finetune] + [
            StageReport(name, self._entries[name]["seconds"], self._entries[name]["bytes"])
            for name in done
        ]


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and not any(
        math.isnan(number(value.get(key))) for key in ("seconds", "bytes")
    )


def finetune_seconds(folder: Path) -> float:
    """The seconds of all iterations of a run, from its metrics."""
    column = COLUMNS.index("seconds")
    return sum(row[column] for row in read_rows(folder / METRICS_FILE))


def _last_weights(folder: Path, log: StageLog, done_with: str) -> Path:
    """The weights of the last stage that is done."""
    for name in (BOXES, SVM_STAGE):
        if log.is_done(name, done_with):
            return folder / STAGE_FILES[name]
    return folder / WEIGHTS_FILE


def _complete_store(inputs: StageInputs, network: RegionNetwork) -> RegionStore:
    """The stored features of all images.

    Raises:
        FrcnnError: some are missing.
    """
    store = inputs.store(network.cls_score.in_features)
    if store.images != len(inputs.dataset):
        raise FrcnnError(
            f"{store.folder} lacks features of {len(inputs.dataset) - store.images} images",
            f"frcnn train --resume {inputs.folder} --stage {FEATURES}",
        )
    return store


def _save(
    inputs: StageInputs, stage: str, network: RegionNetwork, header: WeightsHeader, history: object
) -> Path:
    path = inputs.folder / STAGE_FILES[stage]
    provenance = {**header.provenance, stage: history}
    header = replace(header, score_function=network.score_function, provenance=provenance)
    save_weights(path, network, header)
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    """The bytes of a file, or of the files in a folder."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(each.stat().st_size for each in files)
