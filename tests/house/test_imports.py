"""Imported names and attributes of modules exist, also in tests and benchmarks, which mypy does not check."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDERS = ("lungnode", "dicom_node", "inference", "webapp", "db", "training", "tests", "benchmarks")


@pytest.fixture(scope="module")
def trees(root: Path) -> dict[str, ast.Module]:
    """Every module by its dotted name."""
    trees = {}
    for folder in FOLDERS:
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            trees[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return trees


def names_of(tree: ast.Module) -> set[str]:
    """Names that a module defines, assigns or imports, at any level."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def imports_of(tree: ast.Module) -> Iterator[tuple[int, str, str, str]]:
    """Line, module, name and local name of each import of this project's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] in FOLDERS:
            for alias in node.names:
                yield node.lineno, str(node.module), alias.name, alias.asname or alias.name


def test_imported_names_exist(trees: dict[str, ast.Module]) -> None:
    names = {module: names_of(tree) for module, tree in trees.items()}
    missing = [
        f"{importer}:{line}: {module}.{name}"
        for importer, tree in trees.items()
        for line, module, name, _ in imports_of(tree)
        if f"{module}.{name}" not in trees and name not in names.get(module, ())
    ]
    assert not missing, "\n".join(missing)


def test_attributes_of_imported_modules_exist(trees: dict[str, ast.Module]) -> None:
    names = {module: {*names_of(tree), "__file__", "__doc__", "__name__"} for module, tree in trees.items()}
    missing = []
    for importer, tree in trees.items():
        modules = {
            local: f"{module}.{name}" for _, module, name, local in imports_of(tree) if f"{module}.{name}" in trees
        }
        missing += [
            f"{importer}:{node.lineno}: {modules[node.value.id]}.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in modules
            and node.attr not in names[modules[node.value.id]]
        ]
    assert not missing, "\n".join(missing)
