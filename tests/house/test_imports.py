"""Imported names and attributes of modules exist, also in tests and benchmarks, which mypy does not check."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import pytest

FOLDERS = ("lungnode", "dicom_node", "inference", "webapp", "db", "training", "tests", "benchmarks")
OF_EVERY_MODULE = {"__file__", "__doc__", "__name__"}


@dataclass
class Names:
    """Names in one module.

    Attributes
    ----------
    bound
        All that it defines, assigns or imports, at any level.
    imports
        Line, module, name and local name of each import of this project's modules.
    attributes
        Line, local name and attribute of each ``name.attribute``.
    """

    bound: set[str] = field(default_factory=set)
    imports: list[tuple[int, str, str, str]] = field(default_factory=list)
    attributes: list[tuple[int, str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, tree: ast.Module) -> Names:
        names = cls()
        for node in ast.walk(tree):
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.bound.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    names.bound.add(name)
                case ast.Attribute(value=ast.Name(id=name), attr=attribute):
                    names.attributes.append((node.lineno, name, attribute))
                case ast.Import():
                    names.bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
                case ast.ImportFrom():
                    names._add_imports(node)
        return names

    def _add_imports(self, node: ast.ImportFrom) -> None:
        module = str(node.module)
        self.bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        if node.level == 0 and module.split(".", maxsplit=1)[0] in FOLDERS:
            self.imports += [(node.lineno, module, alias.name, alias.asname or alias.name) for alias in node.names]


@pytest.fixture(scope="module")
def modules(root: Path) -> dict[str, Names]:
    """Names of every module by its dotted name."""
    modules = {}
    for folder in FOLDERS:
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = Names.of(ast.parse(path.read_text("utf-8")))
    return modules


def test_imported_names_exist(modules: dict[str, Names]) -> None:
    missing = [
        f"{importer}:{line}: {module}.{name}"
        for importer, names in modules.items()
        for line, module, name, _ in names.imports
        if f"{module}.{name}" not in modules and (module not in modules or name not in modules[module].bound)
    ]
    assert not missing, "\n".join(missing)


def test_attributes_of_imported_modules_exist(modules: dict[str, Names]) -> None:
    missing = []
    for importer, names in modules.items():
        imported = {
            local: f"{module}.{name}" for _, module, name, local in names.imports if f"{module}.{name}" in modules
        }
        missing += [
            f"{importer}:{line}: {imported[name]}.{attribute}"
            for line, name, attribute in names.attributes
            if name in imported and attribute not in modules[imported[name]].bound | OF_EVERY_MODULE
        ]
    assert not missing, "\n".join(missing)
