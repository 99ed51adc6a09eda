from __future__ import annotations

import ast
from pathlib import Path

import pytest

import frcnn_cli

ROOT = Path(frcnn_cli.__file__).parent
EVERYWHERE = {"claims", "structures", "config", "errors", "paths", "__version__"}
MAY_IMPORT = {
    "cli": {"engine", "models", "data", "proposers", "evaluation", "ops", "cli"},
    "engine": {"models", "data", "proposers", "evaluation", "ops", "engine"},
    "models": {"ops", "models"},
    "data": {"ops", "data"},
    "proposers": {"ops", "proposers"},
    "evaluation": {"ops", "evaluation"},
    "ops": {"ops"},
}
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.glob("*/*.py"))


def imported_packages(path: Path) -> set[str]:
    """The parts of frcnn_cli that a module one folder down imports."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("frcnn_cli")}
        if isinstance(node, ast.ImportFrom):
            if node.level == 1:
                found.add(path.parts[0])
            elif node.level == 2:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found |= {name.split(".")[0] for name in names if name}
            elif node.module and node.module.startswith("frcnn_cli"):
                found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_point_downwards(path: Path) -> None:
    package = path.parts[0]
    allowed = MAY_IMPORT[package] | (EVERYWHERE if package != "ops" else set())
    assert imported_packages(path) <= allowed


def test_every_package_has_a_rule() -> None:
    assert {path.parts[0] for path in MODULES} == set(MAY_IMPORT)


def test_config_does_not_need_torch() -> None:
    for name in ("config", "errors", "paths", "structures"):
        tree = ast.parse((ROOT / f"{name}.py").read_text())
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("torch" in ast.dump(node) for node in top)
