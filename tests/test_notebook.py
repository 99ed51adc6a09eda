"""The code cells of the notebook, run one after the other, without a Jupyter server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import frcnn_cli
from frcnn_cli.compression import cost

NOTEBOOK = Path(__file__).parent.parent / "examples" / "tour.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.slow
def test_every_cell_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("skimage")
    monkeypatch.chdir(tmp_path)
    # The cost is measured on fewer RoIs, and not in processes of its own: that takes half a minute.
    monkeypatch.setattr(cost, "ROIS", 100)
    monkeypatch.setattr(
        cost, "measure_weights", lambda path, device: cost.measure_here(path, device, 1)
    )
    names: dict[str, object] = {"__name__": "notebook"}
    for number, cell in enumerate(code_cells(), start=1):
        exec(compile(cell, f"cell {number} of {NOTEBOOK.name}", "exec"), names)
    cat, after = names["cat"], names["after"]
    assert isinstance(cat, frcnn_cli.Result)
    assert next(iter(cat)).label == "cat"
    assert isinstance(after, frcnn_cli.Result)
    assert after._repr_png_().startswith(b"\x89PNG")
    small, full = Path("small.safetensors").stat().st_size, Path("full.safetensors").stat().st_size
    assert small < full / 4
    shown = capsys.readouterr().out
    assert "boxes, the first one" in shown
    assert "<chelsea.jpg: 1 cat> <chelsea.jpg: 1 cat>" in shown


def test_no_outputs_are_stored() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
