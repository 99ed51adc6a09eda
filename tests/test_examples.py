"""The programs in examples/, run on small images."""

from __future__ import annotations

import csv
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli import propose
from frcnn_cli.proposers.exchange.formats import read_boxes

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A small cat, and a file that is not an image."""
    data = pytest.importorskip("skimage.data")
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(data.chelsea()).save(folder / "000007.jpg", quality=95)
    (folder / "broken.jpg").write_bytes(b"not an image")
    return folder


def test_every_program_is_run_here() -> None:
    own = Path(__file__).read_text(encoding="utf-8")
    for program in EXAMPLES.glob("*.py"):
        assert f'"{program.name}"' in own, program


def test_photographs_are_named() -> None:
    pytest.importorskip("skimage")
    pytest.importorskip("matplotlib")
    paths = run_example("photographs.py").stdout.split()
    assert len(paths) == 3
    assert all(Path(path).is_file() for path in paths)


@pytest.mark.slow
def test_objects_are_counted(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts.csv"
    result = run_example("count_objects.py", photos, "--out", out)
    (row,) = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    assert row["image"] == "000007.jpg"
    assert int(row["cat"]) >= 1
    assert int(row["aeroplane"]) == 0
    assert "broken.jpg" in result.stderr


def test_boxes_for_weakly_supervised_detection(photos: Path, tmp_path: Path) -> None:
    (expected,) = [
        result.proposals.boxes for result in propose([photos / "000007.jpg"]) if result.proposals
    ]
    sides = expected[:, 2:] - expected[:, :2]
    expected = expected[(sides >= 20).all(axis=1)]

    mat, pkl = tmp_path / "boxes.mat", tmp_path / "boxes.pkl"
    assert "broken.jpg" in run_example("proposals_for_wsod.py", photos, "--out", mat).stderr
    run_example("proposals_for_wsod.py", photos, "--out", pkl)

    columns, none = read_boxes(mat).boxes  # (y1, x1, y2, x2) from 1, the last pixel included
    assert np.array_equal(columns[:, [1, 0, 3, 2]] - [1, 1, 0, 0], expected)
    assert len(none) == 0  # of broken.jpg, since these programs go by the order of the images
    content = pickle.loads(pkl.read_bytes())
    assert content["indexes"] == [7]
    assert np.array_equal(content["boxes"][0] + [0, 0, 1, 1], expected)
    assert (np.diff(content["scores"][0]) < 0).all()
