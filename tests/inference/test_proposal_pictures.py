from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frcnn_cli.errors import ConfigError, FrcnnError
from frcnn_cli.inference.proposal_pictures import ProposalPictures
from frcnn_cli.structures import GroundTruth, Proposals

PROPOSALS = Proposals(np.array([[2, 2, 30, 20], [0, 0, 40, 30]], np.float32), (30, 40))
TRUTH = GroundTruth(
    boxes=np.array([[3, 3, 29, 19]], np.float32),
    labels=np.array([1]),
    difficult=np.array([False]),
)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    for path in paths:
        path.parent.mkdir()
        Image.new("RGB", (40, 30), "gray").save(path)
    return paths


def test_equal_names_get_a_number(images: list[Path], tmp_path: Path) -> None:
    pictures = ProposalPictures(tmp_path / "out", images)
    for index in range(2):
        pictures.write(index, PROPOSALS, None)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["x-2.jpg", "x.jpg"]
    with Image.open(tmp_path / "out" / "x.jpg") as picture:
        assert picture.size == (40, 30)


def test_objects_are_drawn_in_a_second_picture_beside_it(
    images: list[Path], tmp_path: Path
) -> None:
    ProposalPictures(tmp_path / "out", images).write(0, PROPOSALS, TRUTH)
    with Image.open(tmp_path / "out" / "x.jpg") as picture:
        assert picture.width > 80


def test_an_image_is_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is one of the images"):
        ProposalPictures(tmp_path, [tmp_path / "x.jpg"])


def test_other_files_are_replaced_only_where_they_may_be(
    images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "x-2.jpg").write_text("a photograph of somebody's")
    with pytest.raises(FrcnnError, match=r"x-2\.jpg exists already") as error:
        ProposalPictures(tmp_path, images)
    assert error.value.hint == "choose another --show, or add --overwrite"
    ProposalPictures(tmp_path, images, overwrite=True).write(1, PROPOSALS, None)
    with Image.open(tmp_path / "x-2.jpg") as picture:
        assert picture.size == (40, 30)
