"""Identifiers, docstrings, comments, documents and messages use the field's words (docs/glossary.md)."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("lungnode", "dicom_node", "inference", "webapp", "db", "training")
PACKAGES = (*PRODUCT, "frontend", "docker", "tests", "benchmarks")
BANNED = re.compile(r"(?i)(?<![a-z])(?:told|tells|strangers?|nobody(?:s)?|owes?|owing|whose turn|given.up)(?![a-z])")
"""House words, in identifiers and in all prose; an underscore separates words too."""
BANNED_TEXT = re.compile(r"(?i)(?<![a-z])(?:told|strangers?|owes?|given up)(?![a-z])")
"""In texts of the pages; those for patients may tell them something, and speak of nobody."""
QUESTION = re.compile(r"^(?:Whether|What|How|Where|Which|Who|Whose|When|Why)\b")
"""Openings of a docstring or comment that ask instead of saying what the thing is or does."""
VAGUE = frozenset(
    {"told", "found", "made", "kept", "wanted", "known", "seen", "whole", "place", "look", "turn", "alone", "beside"}
)
"""Names that do not say what they hold."""
TOKEN = re.compile(r"//[^\n]*|/\*.*?\*/|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|[\w$]+", re.DOTALL)
"""Comments, strings and words of TypeScript."""
HERE = Path(__file__).resolve()


@cache
def modules(package: str) -> tuple[tuple[str, ast.Module], ...]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return tuple(
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in paths
        if "node_modules" not in path.parts and path != HERE
    )


def names_of(tree: ast.Module) -> set[str]:
    """Names that a module defines or assigns."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.arg(arg=name) | ast.MatchAs(name=str(name)) | ast.ExceptHandler(name=str(name)):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def text_of(node: ast.AST) -> ast.Constant | None:
    """Return the text that is a statement by itself."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return node.value
    return None


def docstrings(tree: ast.Module) -> Iterator[str]:
    """Docstrings of a module, its classes, functions and attributes."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        is_owner = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for before, statement in zip([None, *body], body, strict=False):
            text = text_of(statement)
            if text and (isinstance(before, ast.Assign | ast.AnnAssign) or (before is None and is_owner)):
                yield str(text.value).strip()


def messages(tree: ast.Module) -> Iterator[str]:
    """Strings of a module that are not docstrings: texts of errors and commands, events of the log."""
    documented = {id(text) for node in ast.walk(tree) if (text := text_of(node))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.value


def comments(path: Path) -> Iterator[str]:
    with tokenize.open(path) as file:
        yield from (t.string for t in tokenize.generate_tokens(file.readline) if t.type == tokenize.COMMENT)


@cache
def typescript() -> tuple[tuple[str, str], ...]:
    """Every comment, string and word of the pages' modules, with its file."""
    return tuple(
        (path.relative_to(ROOT).as_posix(), token)
        for path in sorted((ROOT / "frontend" / "src").rglob("*.ts"))
        for token in TOKEN.findall(path.read_text(encoding="utf-8"))
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_identifiers_say_what_they_hold(package: str) -> None:
    offending = {
        f"{path}: {name}"
        for path, tree in modules(package)
        for name in names_of(tree)
        if BANNED.search(name) or name.strip("_").lower() in VAGUE
    }
    assert not offending, "\n".join(sorted(offending))


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_open_with_what_the_thing_is_or_does(package: str) -> None:
    offending = {
        f"{path}: {text.splitlines()[0]}"
        for path, tree in modules(package)
        for text in docstrings(tree)
        if text and (QUESTION.search(text) or BANNED.search(text))
    }
    assert not offending, "\n".join(sorted(offending))


@pytest.mark.parametrize("package", PACKAGES)
def test_comments_use_the_field_s_words(package: str) -> None:
    offending = [
        f"{path}: {comment}"
        for path, _ in modules(package)
        for comment in comments(ROOT / path)
        if BANNED.search(comment)
    ]
    assert not offending, "\n".join(offending)


@pytest.mark.parametrize("package", PRODUCT)
def test_messages_and_log_events_use_the_field_s_words(package: str) -> None:
    offending = [f"{path}: {text}" for path, tree in modules(package) for text in messages(tree) if BANNED.search(text)]
    assert not offending, "\n".join(offending)


def test_the_pages_modules_use_the_field_s_words() -> None:
    assert len(typescript()) > 10_000
    offending = []
    for path, token in typescript():
        if token.startswith(("//", "/*")):
            is_wrong = bool(BANNED.search(token) or QUESTION.search(token.strip("/* \n")))
        elif token[0] in "`\"'":
            is_wrong = bool(BANNED_TEXT.search(token))
        else:
            is_wrong = bool(BANNED.search(token)) or token in VAGUE
        if is_wrong:
            offending.append(f"{path}: {token}")
    assert not offending, "\n".join(offending)


@pytest.mark.parametrize("catalogue", ["webapp/translations/messages.pot"])
def test_texts_of_the_pages_use_the_field_s_words(catalogue: str, root: Path) -> None:
    text = (root / catalogue).read_text(encoding="utf-8")
    offending = [line for line in text.splitlines() if line.startswith(("msgid", '"')) and BANNED_TEXT.search(line)]
    assert not offending, "\n".join(offending)


def test_documents_use_the_field_s_words(documents: dict[Path, str]) -> None:
    offending = [
        f"{path}: {line}"
        for path, text in documents.items()
        if path.name != "CHANGELOG.md"  # it names what it renamed
        for line in text.splitlines()
        if BANNED.search(line)
    ]
    assert not offending, "\n".join(offending)
