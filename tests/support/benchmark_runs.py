"""Runs benchmarks as their users do."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def run_benchmark(name: str, *arguments: str) -> dict[str, object]:
    """Run one in a process of its own; gives its JSON."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    assert result["benchmark"] == name
    assert result["rows"]
    return result


def rows_of(result: dict[str, object]) -> list[dict[str, Any]]:
    """Rows of a result, as a list."""
    rows = result["rows"]
    assert isinstance(rows, list)
    return rows
