"""Imports run downwards: every room may import those named here, and nothing else."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import frcnn_cli

ROOT = Path(frcnn_cli.__file__).parent
BASE = {
    "structures",
    "config",
    "recipes",
    "settings",
    "errors",
    "__version__",
}  # which every room but ops may import
MAY_IMPORT: dict[str, set[str]] = {
    "ops": set(),
    "runtime": set(),
    "models": {"ops", "runtime"},
    "checkpoints": {"models", "ops", "runtime"},
    "data": {"ops", "runtime"},
    "proposers": {"data", "ops", "runtime"},
    "inference": {"proposers", "data", "checkpoints", "models", "ops", "runtime"},
    "evaluation": {"inference", "proposers", "data", "checkpoints", "models", "ops", "runtime"},
    "training": {
        "evaluation", "inference", "proposers", "data", "checkpoints", "models", "ops", "runtime",
    },
    "compression": {
        "training", "evaluation", "inference", "proposers", "data", "checkpoints", "models", "ops",
        "runtime",
    },
    "bench": {
        "training", "evaluation", "inference", "proposers", "data", "checkpoints", "models", "ops",
        "runtime",
    },
    "cli": {
        "bench", "compression", "training", "evaluation", "inference", "proposers", "data",
        "checkpoints", "models", "ops", "runtime",
    },
}  # fmt: skip
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
IN_ROOMS = [path for path in MODULES if len(path.parts) > 1]


def imported_rooms(path: Path) -> set[str]:
    """The rooms, or modules at the top, of frcnn_cli that a module imports, at any place in it."""
    found = set()
    package = ("frcnn_cli", *path.parts[:-1])
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = [*base, *(node.module or "").split(".")] if node.module else [*base]
            names = [".".join([*module, alias.name]) for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("frcnn_cli.")}
    return found


@pytest.mark.parametrize("path", IN_ROOMS, ids=str)
def test_imports_point_downwards(path: Path) -> None:
    room = path.parts[0]
    allowed = MAY_IMPORT[room] | {room} | (BASE if room != "ops" else set())
    assert imported_rooms(path) <= allowed


def test_every_room_has_a_rule() -> None:
    assert {path.parts[0] for path in IN_ROOMS} == set(MAY_IMPORT)


def test_the_rules_themselves_have_no_circle() -> None:
    order = list(MAY_IMPORT)
    for room, below in MAY_IMPORT.items():
        assert below <= set(order[: order.index(room)])


def test_sub_packages_are_looked_at() -> None:
    assert Path("proposers/selective_search/search.py") in IN_ROOMS
    assert imported_rooms(Path("proposers/selective_search/search.py")) >= {"config", "proposers"}


@pytest.mark.parametrize("name", ["config", "errors", "recipes", "settings", "structures"])
def test_the_base_needs_neither_torch_nor_any_room(name: str) -> None:
    tree = ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8"))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torch" in ast.dump(node) for node in top)
    assert imported_rooms(Path(f"{name}.py")) <= BASE


def test_tests_mirror_the_rooms() -> None:
    tests = Path(__file__).parent
    for path in tests.rglob("test_*.py"):
        folder = path.parent.relative_to(tests)
        assert (ROOT / folder).is_dir() or folder == Path("fuzz"), path
