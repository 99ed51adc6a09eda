"""The examples of docs/api.md, run one after the other on tiny data."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frcnn_cli
from frcnn_cli.compression import cost
from synthetic import CLASSES, write_voc
from tiny import add_tiny_backbone

PAGE = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_voc(Path("mydata"), count=8, seed=7)
    Path("photos").mkdir()
    first = sorted(Path("mydata/JPEGImages").iterdir())[0]
    Image.open(first).save("photos/photo.jpg", quality=95)
    Path("photos/broken.jpg").write_bytes(b"not an image")
    add_tiny_backbone(monkeypatch, tmp_path).rename("squeezenet1_1.pth")
    # another process would not know the tiny backbone
    monkeypatch.setattr(
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )

    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.M)
    assert len(blocks) == 7
    for number, block in enumerate(blocks, start=1):
        small = "iterations=2, scales=(160,), max_size=240, backbone='tiny'"
        code = block.replace("iterations=2000", small).replace("rank=256", "rank=4")
        exec(compile(code, f"docs/api.md, example {number}", "exec"), names)

    with Image.open("found.jpg") as picture:
        assert np.asarray(picture).shape == np.asarray(Image.open("photos/photo.jpg")).shape
    printed = capsys.readouterr().out
    assert "broken.jpg" in printed
    assert set(names["evaluation"].ap_by_class) == set(CLASSES)
    assert names["compressed"].header.ranks == {"fc6": 4, "fc7": 4}


def test_the_page_names_everything_that_the_package_offers() -> None:
    for name in frcnn_cli.__all__:
        assert re.search(rf"`{name}`", PAGE), name
