"""Training, detection and compression on a make-believe GPU; see fake_cuda/fake_cuda.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_cuda.cases import BUDGETS, CASES
from fake_cuda.launch import launch, missing
from fake_cuda.mistakes import MISTAKES

MISSING = missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return launch()


@pytest.mark.parametrize("name", CASES)
def test_the_results_are_those_of_the_cpu(report, name) -> None:
    error = report["cases"][name]["error"]
    assert error is None, error


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize("what", ["waits", "kernels"])
def test_the_device_is_kept_busy(report, name, what) -> None:
    case, allowed = report["cases"][name], BUDGETS[name][what == "kernels"]
    assert case["error"] is None
    assert case["kernels"] > 0
    places = json.dumps(case["places"][what], indent=1)
    assert case[what] <= allowed, f"in {case['units']} steps or images: {places}"


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_caught(report, name) -> None:
    wrong, right = (report["mistakes"][name][each] for each in ("wrong", "right"))
    assert wrong["error"] is not None or wrong["waits"]
    assert right == {"error": None, "waits": 0}
