"""Subjects of the house rules: tracked files, documents, the command line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tracked(root: Path) -> tuple[Path, ...]:
    """Every tracked file that exists, relative to the root."""
    if not shutil.which("git") or not (root / ".git").exists():
        pytest.skip("not a git working tree")
    command = ["git", "-C", str(root), "ls-files", "-z"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(Path(name) for name in listed.split("\0") if name and (root / name).is_file())


@pytest.fixture(scope="session")
def documents(root: Path, tracked: tuple[Path, ...]) -> dict[Path, str]:
    """Tracked Markdown, by path."""
    return {path: (root / path).read_text(encoding="utf-8") for path in tracked if path.suffix == ".md"}
