"""How the code is laid out: which way imports point, how long files are, and what library code never does."""

import ast
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "keras_crosscoop").rglob("*.py"), *(ROOT / "cli").rglob("*.py")])
LEAVES = {"errors", "labels", "images", "files", "layers", "losses", "metrics"}
# What each part may import of the others. A part is a module or package right below `keras_crosscoop`.
ALLOWED = {
    **dict.fromkeys(LEAVES, LEAVES),
    "data": LEAVES | {"data"},
    "models": LEAVES | {"models"},
    "config": {"errors"},
    "devices": set(),
    "runs": LEAVES | {"data", "models", "config"},
    "training": LEAVES | {"data", "models", "config", "runs", "training"},
    "evaluation": LEAVES | {"data", "models", "evaluation"},
    "__init__": LEAVES | {"data", "models", "runs"},
}
ABOVE_THE_LIBRARY = {"click", "rich", "crosscoop_tf"}
ONLY_WHERE_USED = {"keras_cv", "tensorflow_datasets"}


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "keras_crosscoop").parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> list[str]:
    """The dotted names that a file imports; what it takes from a package counts as a part of it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    names = imported(ast.parse(path.read_text()))
    assert not {name.split(".")[0] for name in names} & ONLY_WHERE_USED
    if (ROOT / "cli") in path.parents:
        return
    assert not {name.split(".")[0] for name in names} & ABOVE_THE_LIBRARY
    parts = {name.split(".")[1] for name in names if name.startswith("keras_crosscoop.")}
    assert parts <= ALLOWED[part_of(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_library_code_neither_asserts_nor_prints_nor_swallows(path):
    for node in ast.walk(ast.parse(path.read_text())):
        assert not isinstance(node, ast.Assert)
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None)
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", None) == "print")


def test_files_are_short():
    lengths = [len(path.read_text().splitlines()) for path in FILES]
    assert max(lengths) <= 400
    assert statistics.median(lengths) < 150


def test_every_package_is_installed():
    listed = (ROOT / "setup.cfg").read_text().split("packages =")[1].split("package_dir")[0].split()
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    assert {name for name in listed if name.startswith("keras")} == packages - {"cli"}
