"""Settings of every command: frozen dataclasses, each field with its unit and its source.

`paper` is Fast R-CNN (Girshick, ICCV 2015); `code` is its reference implementation. The command
line takes its defaults from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .errors import ConfigError, unknown_name

MAX_SIDE = 10_000  # pixels; of a network's input, in training settings and weights files


@dataclass(frozen=True)
class SelectiveSearchConfig:
    """Selective search (Uijlings et al. 2013). The values were chosen on VOC2007 `train`."""

    colour_spaces: tuple[str, ...] = ("hsv", "lab")
    scales: tuple[float, ...] = (60.0, 120.0, 240.0)  # k of the segmentation; also its minimum size
    similarities: tuple[str, ...] = ("CTSF", "TSF", "F", "CF")  # one grouping each
    sigma: float = 0.6  # smoothing, pixels
    min_box_side: int = 10  # pixels of the working image
    near_duplicate: float = 0.8  # IoU; above it with an earlier box, a box is a near duplicate
    duplicate_rank: float = 6.0  # a near duplicate's rank counts so many times
    max_boxes: int = 2550  # the best ones are kept; a cache entry is then just below 20 KiB
    max_side: int = 400  # the working image is at most this long, pixels
    seed: int = 3  # of the ranking; RNG_SEED in code


# `single` is one segmentation; `quality` gives more boxes that fit more closely, for more time.
SEARCH_MODES: dict[str, SelectiveSearchConfig] = {
    "single": SelectiveSearchConfig(colour_spaces=("lab",), scales=(60.0,)),
    "fast": SelectiveSearchConfig(),
    "quality": SelectiveSearchConfig(
        colour_spaces=("hsv", "lab", "rgi"),
        scales=(50.0, 100.0, 150.0, 300.0),
        similarities=("CTSF", "TSF", "F", "S"),
        sigma=1.0,
        min_box_side=12,
        max_boxes=20_000,
        max_side=500,
    ),
}


@dataclass(frozen=True)
class TrainConfig:
    """Training. The defaults are the recipe `paper`: the paper's, as the reference code has it."""

    backbone: str = "squeezenet1_1"
    iterations: int = 40_000  # paper 4.2 and code; 30k at lr and 10k at lr / 10
    images_per_batch: int = 2  # paper 2.3: N
    rois_per_batch: int = 128  # paper 2.3: R, over all images of a batch
    fg_fraction: float = 0.25  # paper 2.3
    fg_threshold: float = 0.5  # IoU; paper 2.3
    bg_low: float = 0.1  # IoU; paper 2.3: [0.1, 0.5) is background
    bg_high: float = 0.5
    max_proposals: int = 2000  # an image; paper 4.1: about 2,000, in code all there are
    # pixels of the shorter side, drawn for each image; paper 5.2. Of more than one, (480, 576, 688,
    # 864, 1200) with a max_size of 2000: multiscale.yml in code
    scales: tuple[int, ...] = (600,)
    max_size: int = 1000  # pixels of the longer side at most; paper 5.2
    train_from: str | None = None  # first layer that learns; None: the backbone's; paper 4.5
    # of fully connected layers that start from random, where it saves weights; None: full, as in
    # the paper, which factorises after training (3.1)
    rank: int | None = None
    dropout: float = 0.5  # share of fc6's and fc7's outputs that is dropped; code: train.prototxt
    loc_weight: float = 1.0  # lambda of equation 1; 0 trains classification only (paper 5.1)
    optimizer: str = "sgd"  # "sgd" (paper) or "adamw"
    lr: float = 0.001  # paper 2.3
    lr_schedule: str = "step"  # "step" (paper) or "cosine", both after the warm-up
    lr_steps: tuple[float, ...] = (0.75,)  # lr / 10 after these shares: 30k of 40k; paper 2.3
    warmup: float = 0.0  # share of the iterations; the paper has none
    momentum: float = 0.9  # paper 2.3
    clip_norm: float = 0.0  # largest norm of the gradient; 0: any. The paper does not clip
    weight_decay: float = 0.0005  # paper 2.3; on weights alone, decay_mult 0 for biases in code
    bias_lr: float = 2.0  # learning-rate factor of biases; paper 2.3
    backbone_lr: float = 1.0  # learning-rate factor of the convolutions; the paper has one rate
    seed: int = 3  # RNG_SEED in code


# What the weights that are shipped were trained with; docs/training.md says what was measured.
_MODERN = TrainConfig(
    iterations=6000,
    scales=(480,),
    max_size=800,
    optimizer="adamw",
    lr=2e-4,
    lr_schedule="cosine",
    warmup=0.05,
    weight_decay=0.01,
    dropout=0.0,
    bias_lr=1.0,
    backbone_lr=0.3,
)

FINETUNE_LR = 1e-4  # AdamW, for the factors of a compressed network; half of modern's

RECIPES: dict[str, TrainConfig] = {"paper": TrainConfig(), "modern": _MODERN}


# Iterations, and the shares of them after which the rate falls, where the paper has others for the
# data (sections 5.3 and 5.6; for COCO the step is the code's).
SCHEDULES: dict[str, tuple[int, tuple[float, ...]]] = {
    "voc2007+voc2012": (60_000, (0.5,)),
    "coco": (240_000, (5 / 6,)),
}


def recipe(name: str, data: str = "") -> TrainConfig:
    """The settings of a recipe.

    Args:
        data: what will be trained on; the paper's schedule depends on it (`SCHEDULES`).
    Raises:
        ConfigError: there is none of that name.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    settings = RECIPES[name]
    kind = "+".join(sorted(data.partition(":")[0].split("+")))
    if name == "paper" and kind in SCHEDULES:
        iterations, steps = SCHEDULES[kind]
        return replace(settings, iterations=iterations, lr_steps=steps)
    return settings


def check(config: TrainConfig) -> None:
    """Refuse settings that cannot be trained with.

    Raises:
        ConfigError: a value is out of range.
    """
    rules = [
        (config.iterations >= 1, "iterations", "at least 1"),
        (config.images_per_batch >= 1, "images-per-batch", "at least 1"),
        (
            config.rois_per_batch % max(config.images_per_batch, 1) == 0
            and config.fg_fraction * config.rois_per_batch >= config.images_per_batch,
            "rois-per-batch",
            "a multiple of --images-per-batch, four an image or more",
        ),
        (0 < config.lr < 10, "lr", "above 0 and below 10"),
        (0 <= config.dropout < 1, "dropout", "from 0, below 1"),
        (0 <= config.loc_weight <= 100, "loc-weight", "from 0 to 100"),
        (0 <= config.clip_norm < math.inf, "clip-norm", "0 or more"),
        (
            config.scales and all(1 <= scale <= config.max_size for scale in config.scales),
            "scales",
            "from 1 to --max-size",
        ),
        (config.max_size <= MAX_SIDE, "max-size", f"at most {MAX_SIDE}"),
        (0 <= config.seed < 2**32, "seed", "from 0 to 2**32 - 1"),
        (config.max_proposals >= 1, "max-proposals", "at least 1"),
        (all(0 < share < 1 for share in config.lr_steps), "lr-steps", "shares between 0 and 1"),
        (
            config.lr_schedule == "step" or config.lr_steps == TrainConfig().lr_steps,
            "lr-steps",
            "none: the rate of this recipe falls along a cosine",
        ),
        (config.rank is None or config.rank >= 1, "rank", "at least 1"),
    ]
    for fine, flag, wanted in rules:
        if not fine:
            raise ConfigError(f"--{flag} is out of range", f"expected {wanted}")


PRECISIONS = ("auto", "fp32", "bf16", "fp16")  # of the network in detection

SHOWN_SCORE = 0.5  # what people are shown; evaluation wants weaker detections too


@dataclass(frozen=True)
class DetectConfig:
    """Detection; the caps are those of py-faster-rcnn's test code."""

    score_threshold: float = 0.05  # softmax score; only higher ones are kept
    nms_threshold: float = 0.3  # IoU; suppress above it
    max_detections: int = 100  # an image
    max_proposals: int = 2000  # an image; paper 4.1
    classes: tuple[str, ...] = ()  # names of those to look for; all of them when empty
    soft_nms: bool = False  # lower the scores of boxes above nms_threshold instead
    # IoU from which on boxes of a class are averaged into the one that stays (box voting, Gidaris
    # and Komodakis 2015); 0: none, as in the paper; nor where proposals are the boxes
    vote_threshold: float = 0.5
    precision: str = "fp32"  # one of PRECISIONS
    cascade: bool = True  # where the weights carry both heads
    # shorter sides, pixels; each RoI is pooled where it is nearest to 224² pixels, code: test.py.
    # Empty: the weights' own
    scales: tuple[int, ...] = ()
    max_size: int | None = None  # pixels of the longer side at most; None: the weights' own
    box_regression: bool = True  # else the proposals themselves are the boxes (paper 5.1)


COMPRESSION_RANK = 256  # of every layer where nothing else is asked for


@dataclass(frozen=True)
class CompressConfig:
    """How small the fully connected layers become; exactly one of these is set."""

    rank: int | None = None  # singular values kept in each layer
    ranks: dict[str, int] | None = None  # by layer; paper 4.4: fc6 1024, fc7 256
    energy: float | None = None  # share of the squared singular values, or of the variance, kept
    params: float | None = None  # share of the weights of all fully connected layers, at most
    speedup: float | None = None  # of the fully connected layers, as measured here


def compression(
    rank: str | None,
    energy: float | None,
    params: float | None,
    speedup: float | None,
    map_drop: float | None,
) -> CompressConfig | None:
    """What the flags of `frcnn compress` ask for; None when that is a loss of mAP.

    Args:
        rank: "256", or "fc6=1024,fc7=256".
    Raises:
        ConfigError: not understood, out of range, or more than one wish.
    """
    wishes = {"rank": rank, "energy": energy, "params": params, "speedup": speedup}
    given = [name for name, value in {**wishes, "map-drop": map_drop}.items() if value is not None]
    if len(given) > 1:
        raise ConfigError(f"--{given[0]} and --{given[1]} exclude each other", "give one of them")
    for name, value, low, high in (
        ("energy", energy, 0, 1),
        ("params", params, 0, 1),
        ("speedup", speedup, 1, 1000),
        ("map-drop", map_drop, 0, 100),
    ):
        if value is not None and not low < value < high:
            raise ConfigError(
                f"--{name} {value:g} is out of range", f"expected more than {low}, below {high}"
            )
    if map_drop is not None:
        return None
    if energy is not None or params is not None or speedup is not None:
        return CompressConfig(energy=energy, params=params, speedup=speedup)
    text = str(COMPRESSION_RANK) if rank is None else rank
    pairs = [[each.strip() for each in part.partition("=")] for part in text.split(",")]
    numbers = [value if equals else name for name, equals, value in pairs]
    names = [name for name, equals, _ in pairs if equals and name]
    understood = all(number.isdecimal() and len(number) < 10 for number in numbers)
    if understood and numbers == [text.strip()]:
        return CompressConfig(rank=int(text))
    if not understood or len(set(names)) < len(pairs):
        raise ConfigError(f"--rank {text} is not understood", "expected 256, or fc6=1024,fc7=256")
    return CompressConfig(ranks=dict(zip(names, map(int, numbers), strict=True)))
