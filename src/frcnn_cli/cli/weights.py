"""The command `frcnn weights`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import MAX_SIDE, DetectConfig, TrainConfig
from ..errors import ConfigError, FrcnnError
from ..runtime.paths import DEFAULT_WEIGHTS, WEIGHTS_SUFFIX, find_weights, home, weights_dirs
from ..settings import check
from .config_options import parse_list
from .console import dumps, stderr, stdout
from .options import Json

if TYPE_CHECKING:
    from ..models.score_calibration import ScoreCalibration

weights = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
DEFAULTS = TrainConfig()

Name = Annotated[str, typer.Argument(help="Name or path of a weights file.")]


@weights.callback()
def explain() -> None:
    """List, show, import and export weights files.

    Example: frcnn weights show vgg16-voc07
    """


@weights.command("list")
def list_weights(json: Json = False) -> None:
    """List the weights that can be given by name.

    Example: frcnn weights list
    """
    rows = _known()
    if json:
        print(dumps(rows))
        return
    for row in rows:
        about = "not a detector; weights for --init, or of another program"
        if row["backbone"] is not None:
            about = f"{row['backbone']}, {row['classes']} classes"
            about += f", rank {_ranks(row['ranks'])}" if row["ranks"] else ""
            about += f", trained on {row['data']}" if row["data"] else ""
        name = row["name"] + (" (the default)" if row["name"] == DEFAULT_WEIGHTS else "")
        stdout.print(f"{name}: {about}, {row['bytes'] / 1e6:.1f} MB", soft_wrap=True)
        stdout.print(f"  {row['path']}", soft_wrap=True)
    if not rows:
        stdout.print(f"no weights in {', '.join(map(str, weights_dirs()))}", soft_wrap=True)


def _known() -> list[dict[str, Any]]:
    """What --json lists of each file that can be given by name; None as `backbone`: no detector."""
    from ..checkpoints.weights import read_header
    from ..errors import WeightsError

    rows: dict[str, dict[str, Any]] = {}
    for folder in weights_dirs():
        for path in sorted(folder.glob(f"*{WEIGHTS_SUFFIX}")):
            if not path.is_file():  # also a link to what is not there
                continue
            row: dict[str, Any] = {"name": path.stem, "path": str(path)}
            row["bytes"] = path.stat().st_size
            try:
                header = read_header(path)
                row |= {"backbone": header.backbone, "classes": len(header.classes)}
                row |= {"ranks": header.ranks, "data": header.provenance.get("data")}
            except WeightsError:
                row["backbone"] = None
            rows.setdefault(path.stem, row)
    return list(rows.values())


def _ranks(ranks: dict[str, int]) -> str:
    return ", ".join(f"{layer} {rank}" for layer, rank in ranks.items())


@weights.command("show")
def show(name: Name, json: Json = False) -> None:
    """Show what a weights file holds and where it comes from.

    Example: frcnn weights show vgg16-voc07 --json
    """
    path = find_weights(name)
    from ..checkpoints.summary import describe

    about = describe(path)
    if json:
        print(dumps(about))
        return
    lines = _described(path, about)
    width = max(map(len, lines))
    for key, value in lines.items():
        stdout.print(f"{key:<{width}}  {value}", soft_wrap=True)


def _described(path: Path, about: dict[str, Any]) -> dict[str, str]:
    """The texts that are shown of a summary, by their labels."""
    parameters, flops = about["parameters"], about["flops"]
    low, high = about["input"]["short_side"], about["input"]["long_side"]
    slope_and_offset = ",".join(map(str, (about["calibration"] or {}).values()))
    return {
        "file": f"{path}, {about['bytes'] / 1e6:.1f} MB, {about['dtype']}",
        "sha256": about["sha256"],
        "detector": f"{about['detector']}, scores: {about['score_function']}"
        + (f", calibrated by {slope_and_offset}" if about["calibration"] else ""),
        "backbone": about["backbone"],
        "geometry": about["geometry"],
        "classes": f"{len(about['classes'])}: {', '.join(about['classes'])}",
        "input": f"short side {low} pixels, long side at most {high}",
        **({"views": ", ".join(map(str, views))} if (views := about["input"]["views"]) else {}),
        "pixels": f"RGB minus {about['input']['mean']}, over {about['input']['std']}",
        "ranks": _ranks(about["ranks"]) or "none: not compressed",
        **({"prefilter": _ranks(about["prefilter"])} if about["prefilter"] else {}),
        "parameters": f"{sum(parameters.values()):,}: "
        + ", ".join(f"{part} {count:,}" for part, count in parameters.items()),
        "FLOPs": f"convolutions {flops['features'] / 1e9:.1f} G for an image of "
        f"{low}×{min(low * 4 // 3, high)}, heads {flops['roi'] / 1e6:.2f} M for a RoI, "
        f"{2000 * flops['roi'] / 1e9:.1f} G for 2,000 RoIs",
        **_origin(about["provenance"]),
    }


def _origin(provenance: dict[str, Any]) -> dict[str, str]:
    """The origin of weights by its label, and that of the weights that they were made from."""
    from ..checkpoints.weights import IMAGE_SKETCH

    before = provenance.get("trained_from")
    levels = {"": provenance, "before: ": before if isinstance(before, dict) else {}}
    return {
        f"  {level}{key}": _short(value)
        for level, origin in levels.items()
        for key, value in origin.items()
        if value is not None and key not in (IMAGE_SKETCH, "trained_from")
    }


def _short(value: object) -> str:
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) < 300 else f"{text[:300]}… (--json has all of it)"


@weights.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A .caffemodel, .pth or .safetensors file.")],
    backbone: Annotated[
        str | None, typer.Option(help="Its backbone [default: the one that fits].")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="Its classes in order: cat,dog [default: VOC's 20].")
    ] = "",
    pixels: Annotated[
        str | None, typer.Option(help="Input it expects: caffe or torchvision [default: caffe].")
    ] = None,
    scale: Annotated[
        int, typer.Option(min=1, help="Shorter side of its input, pixels.")
    ] = DEFAULTS.scales[0],
    max_size: Annotated[
        int, typer.Option(min=1, help="Largest longer side of its input, pixels.")
    ] = DEFAULTS.max_size,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write [default: weights/NAME].")
    ] = None,
    json: Json = False,
) -> None:
    """Convert weights of another program.

    These are Girshick's .caffemodel files, or state dicts of torch.

    Example: frcnn weights import vgg16_fast_rcnn_iter_40000.caffemodel
    """
    target = out or home() / "weights" / f"{file.stem}{WEIGHTS_SUFFIX}"
    _check_target(target, WEIGHTS_SUFFIX, file)
    from ..checkpoints.convert import import_weights
    from ..checkpoints.pretrained import PIXELS
    from ..errors import unknown_name
    from ..models.backbones import backbone_spec

    if backbone is not None:
        backbone_spec(backbone)  # raises an error if there is none
    if pixels is not None and pixels not in PIXELS:
        raise unknown_name("pixels", pixels, PIXELS)
    _check_sides(scale, max_size)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise ConfigError("--classes has a name twice", "give each class once, in order")
    imported = import_weights(
        file,
        target,
        backbone_name=backbone,
        classes=names,
        pixels=pixels,
        scale=scale,
        max_size=max_size,
    )
    kind = "detector" if imported.header else "initial weights"
    if json:
        print(dumps({"path": str(target), "backbone": imported.backbone, "kind": kind}))
        return
    stdout.print(f"{kind} of {imported.backbone}: wrote {target}", soft_wrap=True)
    example = f"frcnn detect photo.jpg --weights {target}"
    if imported.header is None:
        example = f"frcnn train --backbone {imported.backbone} --init {target}"
        example += f" --pixels {pixels}" if pixels else ""
    stdout.print(f"  {example}", soft_wrap=True)


@weights.command("export")
def export(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write [default: NAME.onnx].")
    ] = None,
    scale: Annotated[
        int | None,
        typer.Option(
            help="Shorter side at which the copy detects, pixels [default: as now].",
            min=1,
            max=MAX_SIDE,
        ),
    ] = None,
    max_size: Annotated[
        int | None,
        typer.Option(help="Its largest longer side [default: as now].", min=1, max=MAX_SIDE),
    ] = None,
    views: Annotated[
        str | None,
        typer.Option(help='Its --views, or "" for one at --scale [default: as now].'),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Slope and offset of its scores, as frcnn eval tells them: 1.2,-1.8, or "
            '"" for the scores of the network [default: as now].'
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write an ONNX model, or a copy in half precision.

    The ending of --out decides. The .onnx model goes from (image, rois) to (probabilities, boxes);
    the .safetensors copy may detect at another scale or in several views, or give other scores.

    Example: frcnn weights export vgg16-voc07 --out detector.onnx
    """
    path = find_weights(name)
    target = out or Path(f"{path.stem}.onnx")
    if target.suffix == WEIGHTS_SUFFIX:
        _check_target(target, WEIGHTS_SUFFIX, path)
        _save_copy(path, target, scale, max_size, views, calibration)
    else:
        _check_target(target, ".onnx", path, f".onnx or {WEIGHTS_SUFFIX}")
        if scale or max_size or (views, calibration) != (None, None):
            raise ConfigError(
                "--scale, --max-size, --views and --calibration are for a copy",
                f"name a {WEIGHTS_SUFFIX} file with --out",
            )
        from ..checkpoints.onnx import export_onnx
        from ..checkpoints.weights import read_header

        export_onnx(path, target)
        if several := read_header(path).views:
            sides = ",".join(map(str, several))
            stderr.print(f"the model takes one view; those of the weights are {sides}")
    size = target.stat().st_size
    if json:
        print(dumps({"path": str(target), "bytes": size}))
    else:
        stdout.print(f"wrote {target}, {size / 1e6:.1f} MB", soft_wrap=True)


def _save_copy(
    path: Path,
    target: Path,
    scale: int | None,
    max_size: int | None,
    views: str | None,
    calibration: str | None,
) -> None:
    """Write weights in half precision, with what the options of `frcnn weights export` change."""
    from ..checkpoints.weights import load_weights, save_weights

    network, header = load_weights(path)
    if scale and header.views and views is None:
        raise ConfigError(
            f"--scale {scale} would change nothing: {path.stem} detects in the views "
            f"{','.join(map(str, header.views))}",
            'add --views "" for one view at --scale',
        )
    header = replace(header, scale=scale or header.scale, max_size=max_size or header.max_size)
    if views is not None:
        chosen = DetectConfig(views=parse_list(views, "views", tuple[int, ...]))
        check(chosen)
        header = replace(header, views=chosen.views)
    if calibration is not None:
        header = replace(header, calibration=_parse_calibration(calibration))
    _check_sides(header.scale, header.max_size, header.views)
    save_weights(target, network, header, half=True)


def _parse_calibration(text: str) -> ScoreCalibration | None:
    """The numbers of --calibration; None where there are none."""
    from ..models.score_calibration import MAX_CALIBRATION, ScoreCalibration

    if not text:
        return None
    try:
        slope, offset = map(float, text.split(","))
        calibration = ScoreCalibration(slope=slope, offset=offset)
    except ValueError:
        calibration = None
    if calibration is None or not calibration.is_valid:
        least, most = 1 / MAX_CALIBRATION, MAX_CALIBRATION
        raise ConfigError(
            f"--calibration {text!r} is not a slope and an offset",
            f"expected two numbers, as 1.2,-1.8: a slope from {least:g} on, none beyond {most:g}",
        )
    return calibration


def _check_sides(scale: int, max_size: int, views: Sequence[int] = ()) -> None:
    """Raise a ConfigError for sides of the input that a weights file cannot have."""
    if max(views, default=0) > max_size:
        raise ConfigError(
            f"--views {','.join(map(str, views))} is out of range",
            f"expected at most {max_size}, the longer side; --max-size allows a longer one",
        )
    if not scale <= max_size <= MAX_SIDE:
        raise ConfigError(
            f"--scale {scale} and --max-size {max_size} are out of range",
            f"expected --scale <= --max-size <= {MAX_SIDE}",
        )


def _check_target(target: Path, suffix: str, source: Path, endings: str = "") -> None:
    """Check that a file can be written; `endings` are those that the command takes, if several."""
    if target.suffix != suffix:
        raise ConfigError(
            f"{target} has the wrong ending", f"expected a name that ends in {endings or suffix}"
        )
    if target.exists():
        problem = (
            "is the input itself" if target.resolve() == source.resolve() else "exists already"
        )
        raise FrcnnError(f"{target} {problem}", "name another file with --out")
