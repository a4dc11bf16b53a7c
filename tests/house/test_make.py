"""The interpreter that ``make PYTHON=...`` chooses, and the table of ``make coverage``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def make(root: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=root, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "environment"),
    [(["PYTHON=python3.13"], ".venv-python3.13"), (["PYTHON=/opt/py313/bin/python3.13"], ".venv-python3.13"),
     (["PYTHON=python3.12", "VENV=.venv-other"], ".venv-other")],
)  # fmt: skip
def test_chosen_interpreter_has_an_environment_of_its_own(root: Path, variables: list[str], environment: str) -> None:
    done = make(root, "--dry-run", "test", *variables)
    assert f"{environment}/bin/python -m pytest" in done.stdout, done.stderr


def test_fitting_interpreter_makes_the_environment(root: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    done = make(root, python, f"PYTHON={sys.executable}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode == 0, done.stderr
    version = subprocess.run(
        [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=True
    )
    assert version.stdout.strip() == sys.version


@pytest.mark.parametrize("python", ["python3.10-is-absent", "/bin/false"])
def test_other_interpreter_is_refused_by_name(root: Path, tmp_path: Path, python: str) -> None:
    done = make(root, tmp_path / "venv" / "bin" / "python", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    assert f"{python} does not fit: needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_coverage_is_shown_by_package_and_by_module(root: Path, tmp_path: Path) -> None:
    def report(statements: int, covered: int, branches: int = 0, covered_branches: int = 0) -> dict[str, object]:
        return {
            "summary": {
                "num_statements": statements,
                "covered_lines": covered,
                "num_branches": branches,
                "covered_branches": covered_branches,
            }
        }

    path = tmp_path / "report.json"
    files = {"db/a.py": report(30, 15, 10, 5), "db/b/c.py": report(10, 10), "webapp/d.py": report(60, 59, 4, 3)}
    path.write_text(json.dumps({"files": files}))
    script = root / ".ci" / "coverage_table.py"
    done = subprocess.run([sys.executable, script, path], capture_output=True, text=True, check=True)
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["package", "statements", "lines", "branches"],
        ["db", "40", "62.5", "%", "50.0", "%"],
        ["webapp", "60", "98.3", "%", "75.0", "%"],
        ["all", "100", "84.0", "%", "57.1", "%"],
        [],
        ["most", "uncovered", "lines", "uncovered", "lines"],
        ["db/a.py", "15", "50.0", "%"],
        ["webapp/d.py", "1", "98.3", "%"],
    ]
