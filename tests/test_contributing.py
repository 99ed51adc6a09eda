"""The recipes of CONTRIBUTING.md, run as they stand there, and what they add, used."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from commands import run
from frcnn_cli.checkpoints.weights import WeightsHeader, load_weights, save_weights
from frcnn_cli.data.registry import FORMATS, open_dataset
from frcnn_cli.inference.writers import WRITERS
from frcnn_cli.models import losses
from frcnn_cli.models.backbones import BACKBONES, CAFFE_PIXELS, backbone_spec
from frcnn_cli.models.detectors import DETECTORS, build_network
from frcnn_cli.models.region_network import SCORE_FUNCTIONS
from frcnn_cli.models.region_operators import REGION_OPERATORS
from frcnn_cli.proposers.registry import PROPOSERS
from frcnn_cli.structures import HeadOutput, RoiTargets
from synthetic import CLASSES
from tiny import NAME, add_tiny_backbone

ROOT = Path(__file__).parent.parent
RECIPES = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Recipes")[2]
REGISTRIES = (
    BACKBONES, DETECTORS, FORMATS, PROPOSERS, REGION_OPERATORS, SCORE_FUNCTIONS, WRITERS,
)  # fmt: skip
SMALL = "--recipe modern --iterations 2 --scales 160 --max-size 240 --limit 4 --split train --json"


@pytest.fixture(autouse=True)
def restored_registries() -> Iterator[None]:
    before = [dict(registry) for registry in REGISTRIES]
    yield
    for registry, rows in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(rows)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def block(title: str, language: str = "python") -> str:
    """The code block of a recipe."""
    section = RECIPES.partition(f"### {title}\n")[2].partition("\n### ")[0]
    (code,) = re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.DOTALL | re.M)
    return code


def follow(title: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Run the code block of a recipe as a module."""
    module = ModuleType("recipe")
    monkeypatch.setitem(sys.modules, "recipe", module)  # where dataclasses look up annotations
    exec(compile(block(title), f"CONTRIBUTING.md, {title}", "exec"), module.__dict__)
    return module


def random_weights(path: Path, backbone: str, detector: str = "fast_rcnn") -> Path:
    """A file of a detector with random weights."""
    torch.manual_seed(1)
    network = build_network(backbone, len(CLASSES), detector)
    torch.nn.init.normal_(network.cls_score.weight, std=0.5)
    spec = DETECTORS[detector]
    header = WeightsHeader(
        backbone=backbone,
        classes=CLASSES,
        pixels=CAFFE_PIXELS,
        scale=100,
        max_size=160,
        detector=detector,
        region_operator=spec.region_operator,
        score_function=spec.score_function,
    )
    save_weights(path, network, header)
    return path


def initial_weights(path: Path, backbone: str) -> Path:
    """A file of random weights for the convolutions of a backbone, as for --init."""
    torch.manual_seed(0)
    features = backbone_spec(backbone).features()
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return path


def answer(*arguments: object):
    """What a command prints as JSON."""
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_every_recipe_is_tested_here() -> None:
    titles = re.findall(r"^### (.+)$", RECIPES, flags=re.M)
    own = Path(__file__).read_text(encoding="utf-8")
    assert len(titles) == 6
    for title in titles:
        assert f'("{title}"' in own, title


def test_add_a_backbone(folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("Add a backbone", monkeypatch)
    init = initial_weights(folder / "mininet.pth", "mininet")
    trained = answer("train", f"voc:{voc_folder}", "--backbone mininet --init", init, SMALL)
    network, header = load_weights(Path(trained["weights"]))
    assert header.backbone == "mininet"
    assert network.layer_names()[:3] == ["conv1", "conv2", "conv3"]
    size = 160
    maps = network.image_features(torch.zeros((1, 3, size, size)))
    spec = BACKBONES["mininet"]
    assert maps.shape == (1, spec.channels, size // spec.stride, size // spec.stride)


def test_add_a_detector(folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow("Add a detector", monkeypatch)
    init = add_tiny_backbone(monkeypatch, folder)
    options = f"--backbone {NAME} --detector context_rcnn"
    trained = answer("train", f"voc:{voc_folder}", options, "--init", init, SMALL)
    _, header = load_weights(Path(trained["weights"]))
    assert (header.region_operator, header.score_function) == ("context_max_pool", "cold_softmax")
    weights = random_weights(folder / "w.safetensors", NAME, "context_rcnn")
    image = next((voc_folder / "JPEGImages").iterdir())
    (found,) = answer("detect", image, "--weights", weights, "--score 0.2 --json")
    assert found["detections"]


def test_the_regions_of_the_added_detector_are_larger(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow("Add a detector", monkeypatch)
    add_tiny_backbone(monkeypatch, folder)
    context = REGION_OPERATORS["context_max_pool"](BACKBONES[NAME])
    plain = REGION_OPERATORS["roi_max_pool"](BACKBONES[NAME])
    maps = torch.randn((1, 16, 20, 20))
    rois = torch.tensor([[0.0, 100, 100, 200, 200], [0.0, 40, 60, 120, 100]])
    larger = torch.tensor([[0.0, 75, 75, 225, 225], [0.0, 20, 50, 140, 110]])
    expected = plain(maps, larger)
    assert torch.equal(context(maps, rois), expected)
    assert torch.equal(context.in_chunks(maps, 2, torch.float32)(rois), expected)
    exported = context.for_export(320)(maps, rois[:, 1:])
    assert torch.allclose(exported, expected)


def test_add_a_proposer(folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = follow("Add a proposer", monkeypatch)
    boxes = module._grid(np.zeros((60, 90, 3), np.uint8)).boxes
    assert len(boxes) == 36
    assert [0, 0, 90, 60] in boxes.tolist()
    out = folder / "boxes.json"
    pictures = voc_folder / "JPEGImages"
    result = run("propose", pictures, "--proposals grid --export", out)
    assert result.exit_code == 0, result.output
    images = json.loads(out.read_text())["images"]
    assert [len(each["boxes"]) for each in images] == [36] * 8


def test_add_a_data_set_format(
    folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow("Add a data-set format", monkeypatch)
    voc = open_dataset(f"voc:{voc_folder}", None, "trainval", (), print)
    with (folder / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "label", "x1", "y1", "x2", "y2"])
        for path, annotation in zip(voc.paths, voc.annotations, strict=True):
            for name, box in zip(annotation.names, annotation.boxes.tolist(), strict=True):
                rows.writerow([path.name, name, *box])
    name = f"table:{folder / 'boxes.csv'}"
    dataset = open_dataset(name, voc_folder / "JPEGImages", None, ("train",), print)
    assert dataset.classes == CLASSES
    assert dataset.ids == voc.ids
    for own, other in zip(dataset.ground_truths(), voc.ground_truths(), strict=True):
        assert np.array_equal(own.boxes, other.boxes)
        assert np.array_equal(own.labels, other.labels)
    init = add_tiny_backbone(monkeypatch, folder)
    small = SMALL.replace("--split train", "")
    data = ("--data", voc_folder / "JPEGImages")
    trained = answer("train", name, *data, f"--backbone {NAME} --init", init, small)
    assert load_weights(Path(trained["weights"]))[1].classes == CLASSES


def test_add_an_output_format(
    folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow("Add an output format", monkeypatch)
    add_tiny_backbone(monkeypatch, folder)
    weights = random_weights(folder / "w.safetensors", NAME)
    pictures = sorted((voc_folder / "JPEGImages").iterdir())
    result = run("detect", *pictures, "-w", weights, "--score 0.2 --out out --format tags")
    assert result.exit_code == 0, result.output
    files = sorted((folder / "out" / "tags").iterdir())
    assert [file.stem for file in files] == [picture.stem for picture in pictures]
    found = {label for file in files for label in file.read_text().split()}
    assert found
    assert found <= set(CLASSES)
    assert WRITERS["tags"]


def patched_losses(diff: str) -> ModuleType:
    """The module of losses with the lines of a diff replaced."""
    assert losses.__file__ is not None
    source = Path(losses.__file__).read_text(encoding="utf-8")
    lines = [line for line in diff.splitlines(keepends=True) if line[:3] not in ("---", "+++")]
    for hunk in re.split(r"^@@.*\n", "".join(lines), flags=re.M)[1:]:
        rows = hunk.splitlines(keepends=True)
        before = "".join(row[1:] for row in rows if row[0] != "+")
        after = "".join(row[1:] for row in rows if row[0] != "-")
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    module = ModuleType(losses.__name__)
    module.__package__ = losses.__package__
    exec(compile(source, "losses.py", "exec"), module.__dict__)
    return module


def test_add_a_loss_term(folder: Path, voc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from frcnn_cli.training import learner

    changed = patched_losses(block("Add a loss term", "diff")).fast_rcnn_loss
    logits = torch.randn((5, 4), generator=torch.Generator().manual_seed(0))
    output = HeadOutput(logits, torch.zeros((5, 4, 4)))
    targets = RoiTargets.of(torch.tensor([0, 1, 2, 3, 0]), torch.ones((5, 4)))
    plain, penalised = losses.fast_rcnn_loss(output, targets), changed(output, targets)
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert torch.allclose(penalised.cls, plain.cls - 0.1 * entropy)
    assert torch.equal(penalised.loc, plain.loc)

    init = add_tiny_backbone(monkeypatch, folder)
    arguments = ("train", f"voc:{voc_folder}", f"--backbone {NAME} --init", init, SMALL)
    first = answer(*arguments)
    monkeypatch.setattr(learner, "fast_rcnn_loss", changed)
    second = answer(*arguments)
    rows = [
        (Path(each["run"]) / "metrics.csv").read_text().splitlines() for each in (first, second)
    ]
    assert rows[0][0] == rows[1][0]
    assert rows[0][1] != rows[1][1]
