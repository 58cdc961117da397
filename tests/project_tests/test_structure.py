"""The rules of the layout that the import linter does not hold (its contracts are in pyproject.toml)."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ["solvers", "sweeps", "surrogate", "studies"]
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
LONGEST_FUNCTION = 40
MODULES_IN_A_FOLDER = 12


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and length in lines, docstring left out, of every function in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = ast.get_docstring(node) is not None and len(node.body) > 1
            first = node.body[1] if documented else node.body[0]
            yield node.name, (node.end_lineno or first.lineno) - first.lineno + 1


def test_there_are_modules_to_check() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_functions_are_short_and_modules_say_what_they_are(path: Path) -> None:
    assert [name for name, lines in functions(path) if lines > LONGEST_FUNCTION] == []
    assert ast.get_docstring(ast.parse(path.read_text())) or not path.read_text().strip()


def test_folders_can_be_read_at_a_glance() -> None:
    counts = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): n for folder, n in counts.items() if n > MODULES_IN_A_FOLDER} == {}


def test_public_classes_have_names_of_their_own() -> None:
    trees = [ast.parse(path.read_text()) for path in MODULES]
    names = Counter(n.name for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef))
    assert [name for name, n in names.items() if n > 1 and not name.startswith("_")] == []


def test_integrators_know_no_physics() -> None:
    for path in (ROOT / "solvers" / "integrators").glob("*.py"):
        text = path.read_text()
        assert "cahn_hilliard" not in text
        assert "grain_growth" not in text
