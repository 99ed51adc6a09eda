from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frcnn_cli

README = Path(__file__).parent.parent / "README.md"


def test_the_snippet_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skimage = pytest.importorskip("skimage.data")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(skimage.chelsea()).save("photo.jpg", quality=95)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    found = names["result"]
    assert isinstance(found, frcnn_cli.Result)
    assert "cat" in [each.label for each in found]
    with Image.open("found.jpg") as picture:
        assert np.asarray(picture).shape == found.image.shape


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, frcnn_cli\n"
        "print([name for name in ('torch', 'numba', 'numpy', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_the_public_names_of_the_package() -> None:
    for name in frcnn_cli.__all__:
        assert getattr(frcnn_cli, name).__name__ == name
    with pytest.raises(AttributeError, match="nothing"):
        frcnn_cli.nothing  # noqa: B018
