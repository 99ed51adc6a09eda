from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from commands import run as command
from frcnn_cli.checkpoints.weights import load_weights, save_weights, stored_types
from frcnn_cli.compression import cost
from frcnn_cli.compression.compress import CompressResult, compress, default_target
from frcnn_cli.compression.distillation import STEPS
from frcnn_cli.config import COMPRESSION_RANK, CompressConfig
from frcnn_cli.data.voc import load_voc
from frcnn_cli.errors import ConfigError, FrcnnError, WeightsError
from frcnn_cli.inference.detector import Detector
from frcnn_cli.models.detectors import DETECTORS, build_network

RANK = CompressConfig(rank=8)


@pytest.fixture
def weights(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(  # a new process would not know the tiny backbone
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    path = tmp_path / "full.safetensors"
    save_weights(path, detector.network, detector.header)
    return path


def run(weights: Path, config: CompressConfig | None = RANK, **options: object) -> CompressResult:
    return compress(weights, config, device="cpu", workers=1, **options)


def test_without_a_file_to_write_nothing_is_written(weights: Path) -> None:
    before = list(weights.parent.iterdir())
    result = run(weights, calibrate=None)
    assert list(weights.parent.iterdir()) == before
    assert result.path is None
    assert result.report.method == "plain"
    assert result.report.divergence == {}
    assert result.header.ranks == {"fc6": 8, "fc7": 8}
    assert result.after.bytes < result.before.bytes
    assert result.after.head_flops < result.before.head_flops
    assert result.curve == result.curve_files == []


def test_the_file_holds_the_network_and_its_costs(weights: Path, tmp_path: Path) -> None:
    result = run(weights, out=str(tmp_path / "new" / "small.safetensors"))
    assert result.path is not None
    _, header = load_weights(result.path)
    compression = header.provenance["compression"]
    assert compression["before"] == asdict(result.before)
    assert compression["after"] == asdict(result.after)
    assert header.ranks == result.header.ranks


def test_calibration_on_photographs_and_progress(weights: Path, photographs: list[Path]) -> None:
    stages: dict[str, list[int]] = {}

    @contextmanager
    def progress(stage: str, total: int, unit: str) -> Iterator[Callable[[str], None]]:
        stages[stage] = [total, 0]

        def advance(note: str) -> None:
            stages[stage][1] += 1

        yield advance

    folder = str(photographs[0].parent)
    result = run(weights, calibrate=folder, images=3, progress=progress)
    assert stages == {"calibrating": [3, 3], "distilling": [STEPS, STEPS]}
    assert result.header.provenance["compression"]["calibration"] == f"3 images of {folder}"
    files = run(weights, calibrate=photographs)
    assert files.header.provenance["compression"]["calibration"] == "8 images of 8 files"


def test_calibration_is_in_one_view(weights: Path, photographs: list[Path]) -> None:
    network, header = load_weights(weights)
    expected = run(weights, calibrate=photographs[:3]).report.divergence
    save_weights(weights, network, replace(header, views=(header.scale // 2, header.scale)))
    assert run(weights, calibrate=photographs[:3]).report.divergence == expected


@pytest.mark.parametrize("half", [True, False])
def test_the_precision_of_the_weights_stays(weights, tmp_path, half) -> None:
    network, header = load_weights(weights)
    given, small = tmp_path / "given.safetensors", tmp_path / "small.safetensors"
    save_weights(given, network, header, half)
    result = run(given, calibrate=None, out=small)
    assert stored_types(small) == {"F16" if half else "F32"}
    assert result.after.parameters < result.before.parameters


def test_the_data_set_of_the_weights_calibrates_where_it_is_here(weights, voc_folder) -> None:
    assert run(weights).report.method == "plain"
    result = run(weights, data=voc_folder)
    assert result.header.provenance["compression"]["calibration"] == "4 images of voc train"


def test_the_curve_decides_where_a_drop_is_given(weights, voc_folder, tmp_path) -> None:
    images = load_voc(voc_folder, "voc", "val", ())
    messages: list[str] = []
    result = run(
        weights,
        CompressConfig(map_drop=99),
        curve=images,
        calibrate=None,
        out=tmp_path / "small.safetensors",
        on_message=messages.append,
    )
    smallest = min(result.curve[1:], key=lambda point: point.weights)
    assert result.report.ranks == smallest.ranks
    names = ["small-curve.csv", "small-curve.svg"]
    assert [path.name for path in result.curve_files] == names
    assert all(path.exists() for path in result.curve_files)
    assert messages == [f"curve: {path}" for path in result.curve_files]


@pytest.mark.parametrize(
    ("detector_name", "spec"),
    [("fast_rcnn", {"geometry": "caffe", "class_agnostic": True}), ("sppnet", {})],
)
def test_finetuning_is_a_training_of_the_same_detector(
    weights, voc_folder, tmp_path, monkeypatch, detector_name, spec
) -> None:
    monkeypatch.chdir(tmp_path)
    _, header = load_weights(weights)
    spec = replace(DETECTORS[detector_name], **spec)
    network = build_network(header.backbone, len(header.classes), spec)
    header = replace(
        header,
        detector=detector_name,
        region_operator=spec.region_operator,
        geometry=spec.geometry,
        class_agnostic=spec.class_agnostic,
    )
    save_weights(weights, network, header)
    result = run(weights, calibrate=f"voc:{voc_folder}", finetune=1, out="small.safetensors")
    settings = result.header.provenance["settings"]
    for name in ("geometry", "class_agnostic"):  # of the batches, and of the network
        assert settings[name] == getattr(result.header, name) == getattr(spec, name)
    resumed = command("train --resume runs/train/small --iterations 2")
    assert resumed.exit_code == 0, resumed.output
    _, header = load_weights(Path("runs/train/small/last.safetensors"))
    assert header.detector_spec == spec
    settings = {**settings, "iterations": 2}
    assert header.provenance["settings"] == settings


def test_a_run_that_finetunes_knows_its_proposals_and_its_classes(
    weights, voc_folder, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network, header = load_weights(weights)
    save_weights(weights, network, replace(header, classes=("sphere", *header.classes[1:])))
    options = {"calibrate": f"voc:{voc_folder}", "finetune": 1, "out": "small.safetensors"}
    with pytest.raises(ConfigError, match="has classes that the weights lack: ball"):
        run(weights, **options)
    save_weights(tmp_path / "svm.safetensors", network, replace(header, score_function="svm"))
    with pytest.raises(ConfigError, match="linear SVMs, which cannot be trained further"):
        run(tmp_path / "svm.safetensors", **options, progress=None)  # calibrates nothing
    result = run(weights, **options, renamed={"ball": "sphere"}, proposals="dense")
    assert result.header.classes == ("sphere", "box", "tile")
    resumed = command("train --resume runs/train/small --iterations 2")
    assert resumed.exit_code == 0, resumed.output
    _, header = load_weights(Path("runs/train/small/last.safetensors"))
    assert header.classes == ("sphere", "box", "tile")
    assert str(header.provenance["proposals"]).startswith("dense-")


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (CompressConfig(map_drop=1), {}, "--map-drop needs a data set"),
        (RANK, {"finetune": 3}, "--finetune needs a data set"),
        (RANK, {"finetune": 3, "calibrate": "voc2007"}, "--finetune needs a data set"),
        (
            RANK,
            {"finetune": 3, "calibrate": "voc2007", "keep_full": True, "out": "a.safetensors"},
            "--finetune and --keep-full exclude",
        ),
        (RANK, {"out": "a.txt"}, "a.txt is no name for weights"),
        (RANK, {"calibrate": "nofolder"}, "no such file or folder: nofolder"),
    ],
    ids=str,
)
def test_options_that_do_not_go_together(weights, config, options, message) -> None:
    with pytest.raises(Exception, match=message):
        run(weights, config, **options)


def test_full_weights_are_not_overwritten(weights: Path) -> None:
    with pytest.raises(ConfigError, match="holds the full weights"):
        run(weights, out=weights)


def test_a_place_that_cannot_be_written_is_told_before_anything_is_computed(
    weights, photographs, monkeypatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr("frcnn_cli.compression.compress.calibrate", calls.append)
    with pytest.raises(FrcnnError, match=r"cannot write .*Not a directory"):
        run(weights, calibrate=photographs, out=weights / "small.safetensors")
    assert not calls


def test_weights_are_checked_before_anything_is_opened(weights: Path) -> None:
    with pytest.raises(ConfigError, match="rank 0 is out of range"):
        run(weights, CompressConfig(rank=0), calibrate="nofolder")
    with pytest.raises(WeightsError, match="no layer would become smaller"):
        run(weights, CompressConfig(rank=30), calibrate="nofolder")
    with pytest.raises(ConfigError, match=f"rank {COMPRESSION_RANK} is out of range"):
        run(weights, None)  # the tiny layers have fewer inputs


def test_default_names() -> None:
    full = Path("a/full.safetensors")
    assert default_target(full, RANK) == Path("a/full-r8.safetensors")
    assert default_target(full, CompressConfig(energy=0.9)) == Path("a/full-small.safetensors")
