"""Unit tests of the pages' modules (frontend/tests), run by Vitest: geometry, orders, reading rules, drafts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
INSTALLED = ROOT / "frontend" / "node_modules" / "vitest"


def test_modules_of_the_pages() -> None:
    if not INSTALLED.is_dir():
        pytest.skip("the frontend's packages are not installed (make assets)")
    done = subprocess.run(
        [sys.executable, "frontend/assets.py", "--test"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
