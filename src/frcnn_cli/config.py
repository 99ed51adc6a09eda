"""The settings of every command: frozen dataclasses, with a help text for every field.

The command line makes its options from these fields: name, type, default, help text and choices are
written only here. The comments give units and sources: `paper` is Fast R-CNN (Girshick, ICCV 2015),
with the number of a section, and `code` is its reference implementation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Literal

from .errors import ConfigError
from .settings import COUNT, FRACTION, Range, Rule, check, setting

# Pixels, of the input of a network; the convolutions of some backbones reduce smaller images to
# nothing, and images are padded to the least.
MIN_SIDE, MAX_SIDE = 32, 10_000

VAL_SHARE = 0.2  # of the images of data without splits that are kept for validation

Geometry = Literal["torch", "caffe"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PRECISIONS: tuple[Precision, ...] = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class SelectiveSearchConfig:
    """Selective search (Uijlings et al. 2013). The values were chosen on VOC2007 `train`.

    The fields are part of the key under which proposals are cached.
    """

    colour_spaces: tuple[str, ...] = ("hsv", "lab")
    scales: tuple[float, ...] = (60.0, 120.0, 240.0)  # k of the segmentation; also its minimum size
    similarities: tuple[str, ...] = ("CTSF", "TSF", "F", "CF")  # one grouping each
    sigma: float = 0.6  # standard deviation of the smoothing, pixels
    min_box_side: int = 10  # pixels of the working image
    near_duplicate: float = 0.8  # IoU with an earlier box above which a box is a near duplicate
    duplicate_rank: float = 6.0  # factor by which the rank of a near duplicate is multiplied
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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Training; the defaults are the recipe `paper`, the paper's as its reference code has it."""

    backbone: str = setting(
        "squeezenet1_1",
        "Convolutional network, or timm:NAME [default: squeezenet1_1, or that of --weights]",
    )
    detector: str = setting(
        "fast_rcnn",
        "Detector: fast_rcnn; or sppnet or rcnn, which have some other defaults "
        "[default: fast_rcnn, or that of --weights]",
    )
    # paper 2.3 and code: 30k at lr and 10k at lr / 10
    iterations: int = setting(40_000, "Batches to train on", COUNT)
    images_per_batch: int = setting(2, "Images in a batch", COUNT)  # paper 2.3: N
    # paper 2.3: R
    rois_per_batch: int = setting(128, "RoIs in a batch, over all its images", COUNT)
    # OHEM (Shrivastava et al. 2016); the paper has none
    mined_rois: int = setting(
        0,
        "RoIs that are scored in each batch; those of the largest loss are trained on. 0: as many "
        "as are trained on, chosen at random",
        Range(0),
    )
    # paper 2.3
    fg_fraction: float = setting(
        0.25,
        "Largest fraction of foreground among the RoIs of an image",
        Range(0, 1, low_open=True),
    )
    # paper 2.3
    fg_threshold: float = setting(
        0.5, "Least IoU of a foreground RoI with an object", Range(0, 1, low_open=True)
    )
    # paper 2.3: [0.1, 0.5) is background
    bg_low: float = setting(0.1, "Least IoU of a background RoI with an object", FRACTION)
    bg_high: float = setting(0.5, "IoU below which a RoI is background", FRACTION)
    # code: True; without them mAP is higher, paper 5.2: 68.1 against 66.9
    difficult: bool = setting(False, "Train on objects that are marked difficult too")
    # paper 3: about 2,000; code: all
    max_proposals: int = setting(2000, "Proposals used in each image", COUNT)
    # paper 5.2; the five scales of code are (480, 576, 688, 864, 1200), with a max_size of 2000
    scales: tuple[int, ...] = setting(
        (600,),
        "Shorter side of the images, pixels; of several (480,576,688) one is drawn for each image",
        COUNT,
    )
    # paper 5.2
    max_size: int = setting(1000, "Largest longer side of the images, pixels", Range(1, MAX_SIDE))
    # the fewer shapes there are, the less often a GPU's library chooses its algorithms anew
    pad_to: int = setting(
        1, "Pad the images of a batch to multiples of so many pixels", Range(1, 128)
    )
    # paper 4.5; None: `first_trained` of the backbone
    train_from: str | None = setting(
        None, "First layer that is trained: conv3_1, fc6, bbox_pred … [default: the backbone's]"
    )
    # None: full, as in the paper, which factorises after training (3.1)
    rank: int | None = setting(
        None, "Rank of the fully connected layers, from the start [default: full]", COUNT
    )
    # code: train.prototxt
    dropout: float = setting(
        0.5,
        "Probability that an output of a fully connected layer is dropped",
        Range(0, 1, high_open=True),
    )
    # lambda of equation 1; 0 for the classification-only networks of paper 5.1
    loc_weight: float = setting(
        1.0, "Weight of the box loss; 0: classification only", Range(0, 100)
    )
    # paper 5.4; R-CNN 2.3
    classifier: Literal["softmax", "svm"] = setting(
        "softmax", "What scores regions: the network's softmax, or linear SVMs trained afterwards"
    )
    # the code runs on Caffe
    geometry: Geometry = setting(
        "caffe",
        "Geometry of the network; caffe: boxes end with their last pixel, and max pooling rounds "
        "the number of cells up; torch: boxes end with the pixel after it, and pooling rounds down",
    )
    # paper 2.1: False
    class_agnostic: bool = setting(
        False, "Refine a box alike for every class, with four outputs instead of four a class"
    )
    # R-CNN, appendix C
    boxes: Literal["network", "ridge"] = setting(
        "network",
        "What refines boxes: the layer trained with the network, or ridge regression afterwards",
    )
    # SPPnet (He et al. 2014), section 4.1: 480,576,688,864,1200
    feature_scales: tuple[int, ...] = setting(
        (),
        "Shorter side of the images, pixels, for the features of --classifier svm and --boxes "
        "ridge; use the same with detect --scales [default: one of --scales]",
        Range(1, MAX_SIDE),
    )
    # paper 2.3 and equation 3; R-CNN and SPPnet have L2
    loc_loss: Literal["smooth_l1", "l2"] = setting("smooth_l1", "Loss of the boxes")
    # the paper has none
    class_weights: Literal["none", "balanced"] = setting(
        "none", "Weights of the classes in the classification loss; balanced: rare ones weigh more"
    )
    optimizer: Literal["sgd", "adamw"] = setting("sgd", "Optimiser")  # the paper's is SGD
    lr: float = setting(0.001, "Learning rate", Range(0, 10, True, True))  # paper 2.3
    # the paper's is "step"; either begins after the warm-up
    lr_schedule: Literal["step", "cosine"] = setting("step", "How the learning rate falls")
    # 30k of 40k; paper 2.3
    lr_steps: tuple[float, ...] = setting(
        (0.75,),
        "Fractions of the iterations after which the rate falls to a tenth",
        Range(0, 1, True, True),
    )
    # the paper has none
    warmup: float = setting(
        0.0, "Fraction of the iterations in which the rate rises", Range(0, 1, high_open=True)
    )
    momentum: float = setting(0.9, "Momentum of SGD", Range(0, 1, high_open=True))  # paper 2.3
    # the paper does not clip
    clip_norm: float = setting(
        0.0, "Norm to which larger gradients are clipped; 0: no clipping", Range(0, high_open=True)
    )
    # paper 2.3; not applied to biases, as in code (decay_mult 0)
    weight_decay: float = setting(0.0005, "Weight decay", Range(0, high_open=True))
    # paper 2.3
    bias_lr: float = setting(
        2.0, "Factor of the learning rate for biases", Range(0, high_open=True)
    )
    # the paper has one rate
    backbone_lr: float = setting(
        1.0, "Factor of the learning rate for the convolutions", Range(0, high_open=True)
    )
    # the paper has none
    ema: float = setting(
        0.0,
        "Decay of a moving average of the weights, such as 0.999, which is saved instead of them; "
        "0: no average",
        Range(0, 1, high_open=True),
    )
    seed: int = setting(3, "Seed of the random numbers", Range(0, 2**32 - 1))  # RNG_SEED in code

    @property
    def sampled_rois(self) -> int:
        """The RoIs that are sampled for a batch, over all its images."""
        return self.mined_rois or self.rois_per_batch

    @property
    def trained_loc_weight(self) -> float:
        """Weight of the box loss: 0 where ridge regression replaces the box layer afterwards."""
        return 0.0 if self.boxes == "ridge" else self.loc_weight

    def rules(self) -> Iterator[Rule]:
        """The rules that concern several settings."""
        yield (
            self.rois_per_batch >= self.images_per_batch,
            "rois_per_batch",
            "at least --images-per-batch, a RoI in each image",
        )
        yield (
            self.mined_rois == 0 or self.mined_rois >= self.rois_per_batch,
            "mined_rois",
            "0, or at least --rois-per-batch",
        )
        yield (
            bool(self.scales) and max(self.scales) <= self.max_size,
            "scales",
            "from 1 to --max-size",
        )
        yield (self.bg_low < self.bg_high, "bg_low", "less than --bg-high")
        yield (
            self.boxes == "network" or not self.class_agnostic,
            "boxes",
            "network: --class-agnostic has no regressors of classes",
        )
        yield (
            self.lr_schedule == "step" or self.lr_steps == TrainConfig.lr_steps,
            "lr_steps",
            "no steps: the rate of this recipe falls along a cosine",
        )


@dataclass(frozen=True, kw_only=True)
class TrainRuntimeConfig:
    """How training runs; except for `patience` these change its result by rounding at most."""

    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    precision: Precision = setting(
        "auto",
        "Type of the network's arithmetic; auto is fp32 in recipe paper, else bf16 where that is "
        "faster",
    )
    # processes that make batches ahead of time; None: 1 on the CPU, all cores but 2 for a GPU
    workers: int | None = setting(None, "Processes that make batches", Range(0), flag="")
    checkpoint_minutes: float = setting(5.0, "Minutes between checkpoints", Range(0))
    eval_every: int = setting(
        0, "Iterations between validations; the best weights are kept [default: none]", Range(0)
    )
    patience: int = setting(
        0, "End after this many validations that are no better than the best; 0: never", Range(0)
    )
    compiled: bool = setting(False, "Compile the convolutions with torch.compile", flag="compile")
    # in the folder of the run
    cache_features: bool = setting(False, "Keep the features of frozen convolutions on disk")


SHOWN_SCORE = 0.5  # threshold for detections shown to people; evaluation needs lower scores too
LEAST_SCORE = 0.05  # for evaluation and the first of several views, before calibration


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """Detection; the thresholds and limits are those of py-faster-rcnn's test code, but for --nms
    and --vote, which gain mean average precision on VOC2007 val (docs/detection.md)."""

    # None: LEAST_SCORE
    score_threshold: float | None = setting(
        None, "Keep detections with a higher score", FRACTION, flag="score"
    )
    nms_threshold: float = setting(
        0.4,
        "IoU above which the weaker of two boxes of a class is dropped; in the paper 0.3",
        FRACTION,
        flag="nms",
    )
    max_detections: int = setting(
        100, "Largest number of detections in an image", COUNT, flag="top"
    )
    # code, test.py: 100; see `evaluation.protocol`
    class_limit: int | None = setting(
        None, "Largest number of boxes of a class before --nms [default: all]", COUNT, "class-top"
    )
    max_proposals: int = setting(2000, "Proposals used in each image", COUNT)  # paper 3
    classes: tuple[str, ...] = setting((), "Classes to detect: cat,dog [default: all]")
    # soft-NMS (Bodla et al. 2017)
    soft_nms: bool = setting(
        False, "Lower the score of a box above --nms by the overlap instead of dropping it"
    )
    class_agnostic: bool = setting(
        False, "Drop the weaker of two boxes whatever their classes are: one object, one class"
    )
    # box voting (Gidaris and Komodakis 2015); only with box_regression
    vote_threshold: float = setting(
        0.5,
        "Least IoU at which boxes of a class are averaged into the one that stays; 0: no "
        "averaging, as in the paper",
        FRACTION,
        flag="vote",
    )
    precision: Precision = setting(
        "fp32", "Type of the network's arithmetic; auto is bf16 where that is faster"
    )
    cascade: bool = setting(
        True,
        "With weights of compress --keep-full: let the low-rank head choose the proposals that "
        "the full head scores",
    )
    # paper 3; code: test.py
    scales: tuple[int, ...] = setting(
        (),
        "Shorter side of the images, pixels; of several (480,600) each proposal is pooled at the "
        "one that brings its area nearest to 224² pixels [default: the weights']",
        Range(1, MAX_SIDE),
    )
    # test-time augmentation: several scales and horizontal flips
    views: tuple[int, ...] = setting(
        (),
        "Look at the images several times, at these shorter sides (480,640), every second time "
        "mirrored, and average the outputs for each proposal [default: the weights', mostly one]",
        Range(1, MAX_SIDE),
    )
    max_size: int | None = setting(
        None,
        "Largest longer side of the images, pixels [default: the weights']",
        Range(1, MAX_SIDE),
    )
    # paper 5.1
    box_regression: bool = setting(True, "Refine the boxes; without it the proposals are the boxes")

    def rules(self) -> Iterator[Rule]:
        """The rule that concerns several settings."""
        yield not (self.scales and self.views), "views", "none with --scales"


COMPRESSION_RANK = 256  # of every layer, where no option gives a size


@dataclass(frozen=True, kw_only=True)
class CompressConfig:
    """How small the fully connected layers become; exactly one field is set."""

    # the option --rank gives either `rank` or `ranks`
    rank: int | None = setting(None, "Singular values kept in each layer", flag="")
    # by layer; paper 4.4: fc6 1024, fc7 256
    ranks: Mapping[str, int] | None = setting(None, "Singular values kept, by layer", flag="")
    energy: float | None = setting(
        None, "Fraction of each layer's energy to keep, 0 to 1", Range(0, 1, True, True)
    )
    params: float | None = setting(
        None,
        "Fraction of the weights to keep, 0 to 1; ranks are distributed over the layers",
        Range(0, 1, True, True),
    )
    speedup: float | None = setting(
        None, "Measured factor by which the layers become faster", Range(1, 1000, True, True)
    )
    map_drop: float | None = setting(
        None,
        "Largest loss of mAP on --curve's data, in points; gives the smallest network within it",
        Range(0, 100, True, True),
    )

    def __post_init__(self) -> None:
        names = [each.name for each in fields(self) if getattr(self, each.name) is not None]
        flags = [{"ranks": "rank"}.get(name, name.replace("_", "-")) for name in names]
        if len(names) > 1:
            raise ConfigError(f"--{flags[0]} and --{flags[1]} exclude each other", "give one")
        check(self)


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """The benchmark of R-CNN, SPPnet and Fast R-CNN."""

    backbone: str = setting("alexnet", "Convolutional network; alexnet and vgg16 are in the paper")
    images: int = setting(2, "Photographs, at most 4", Range(1, 4))
    repeats: int = setting(
        2, "Timed passes of each method over each photograph; the fastest counts", COUNT
    )
    max_proposals: int = setting(2000, "Proposals used in each image", COUNT)  # paper 3
    regions: int = setting(
        64, "Regions of an image that R-CNN is measured on; the rest is extrapolated", COUNT
    )
    precision: Precision = setting(
        "fp32", "Type of the networks' arithmetic, but for the rows with precision auto"
    )
    training: bool = setting(True, "Time a batch of training too")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
