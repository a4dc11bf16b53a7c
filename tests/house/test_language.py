"""The words of names, first docstring lines and messages are the field's (docs/glossary.md)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("lungnode", "dicom_node", "inference", "webapp", "db", "training")
BANNED = re.compile(
    r"(?i)(?<![a-z])(?:told|tells|strangers?|nobody|owes?|owing|whose turn|given up)(?![a-z])|^What an? "
)
"""In first docstring lines, which say what the thing is or does."""
BANNED_TEXT = re.compile(r"(?i)(?<![a-z])(?:told|strangers?|owes?|given up)(?![a-z])")
"""In texts of the pages; those for patients may tell them something."""
BANNED_NAMES = frozenset({"told", "tells", "stranger", "strangers", "nobody", "owe", "owes"})
COLUMNS = frozenset({"reported_on"})
"""Columns of the database, which keep their names."""


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def names_of(tree: ast.Module) -> set[str]:
    """Names that a module defines or assigns."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def first_lines(tree: ast.Module) -> set[str]:
    """First lines of a module's docstrings."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        text.splitlines()[0] for node in ast.walk(tree) if isinstance(node, kinds) and (text := ast.get_docstring(node))
    }


def test_identifiers_use_the_field_s_words(root: Path) -> None:
    offending = {
        f"{path}: {name}"
        for path, tree in modules(root)
        for name in names_of(tree)
        if name not in COLUMNS and BANNED_NAMES & set(name.lower().split("_"))
    }
    assert not offending, "\n".join(sorted(offending))


def test_docstrings_open_with_what_the_thing_is_or_does(root: Path) -> None:
    offending = {f"{path}: {line}" for path, tree in modules(root) for line in first_lines(tree) if BANNED.search(line)}
    assert not offending, "\n".join(sorted(offending))


@pytest.mark.parametrize("catalogue", ["webapp/translations/messages.pot"])
def test_texts_of_the_pages_are_the_field_s(catalogue: str, root: Path) -> None:
    text = (root / catalogue).read_text(encoding="utf-8")
    offending = [line for line in text.splitlines() if line.startswith(("msgid", '"')) and BANNED_TEXT.search(line)]
    assert not offending, "\n".join(offending)
