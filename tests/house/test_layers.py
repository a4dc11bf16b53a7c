"""Import rules between packages, and imports that stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGES = ("lungnode", "dicom_node", "inference", "webapp", "db", "training")


def test_layers_hold(root: Path) -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import webapp", ("torch", "torchvision", "pynetdicom", "highdicom")),
        ("import db.domain.studies, db.database", ("torch", "flask", "pydicom", "pydantic_settings")),
        ("import inference.types", ("flask", "sqlalchemy", "pydicom", "pynetdicom", "pydantic_settings")),
        ("import lungnode.cli", ("torch", "flask", "sqlalchemy", "pydicom", "pynetdicom", "numpy", "dbos")),
        ("import lungnode.settings.table, lungnode.logs", ("torch", "sqlalchemy", "pynetdicom", "numpy")),
        (
            "import inference.loading, dicom_node.jobs.analysis_process, lungnode.wiring.models",
            ("torch", "sqlalchemy", "flask", "scipy.stats", "scipy.optimize"),
        ),
        (
            "import lungnode.monitoring.watch_report, dicom_node.jobs.attempts",
            ("torch", "scipy", "inference.predictor"),
        ),
    ],
)
def test_a_fresh_interpreter_loads_nothing_heavy(statement: str, forbidden: tuple[str, ...], root: Path) -> None:
    code = f"{statement}\nimport sys\nprint(sorted(set({forbidden!r}) & set(sys.modules)))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_anything_of_ours_reads_no_environment(root: Path) -> None:
    code = (
        "import pkgutil, importlib, sys\n"
        f"for name in {PACKAGES!r}:\n"
        "    package = importlib.import_module(name)\n"
        "    for found in pkgutil.walk_packages(package.__path__, name + '.'):\n"
        "        if '.migrations' not in found.name and not found.name.endswith('__main__'):\n"
        "            importlib.import_module(found.name)\n"
        "print('imported')"
    )
    environment = {"PATH": "/usr/bin:/bin", "LUNGNODE_DICOM__PORT": "not a port", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("imported"), done.stderr


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "webapp"])
def test_package_files_hold_a_docstring_only(package: str, root: Path) -> None:
    for path in (root / package).rglob("__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert len(body) == 1, f"{path.relative_to(root)} holds more than a docstring"
        assert isinstance(body[0], ast.Expr)


def test_only_one_module_knows_the_job_library(root: Path) -> None:
    users = {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if "dbos" in _imported(path)
    }
    assert users <= {"dicom_node/jobs/workflow.py"}


def test_whoever_asks_for_the_tables_gets_all_of_them(root: Path) -> None:
    """The base knows only the tables that were loaded: it is for their modules, and one of all these loads each."""
    paths = [path for package in (*PACKAGES, "tests", "benchmarks") for path in (root / package).rglob("*.py")]
    with_tables = {path.relative_to(root).as_posix() for path in paths if "db.tables.base" in _named(path)}
    loaded = {
        f"{name.replace('.', '/')}.py"
        for name in _named(root / "db/tables/all.py")
        if name.startswith("db.tables.") and not name.startswith("db.tables.base")
    }
    assert with_tables == loaded | {"db/tables/all.py"}
    assert not [name for name in loaded if 'ForeignKey("' in (root / name).read_text(encoding="utf-8")]


def _imported(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _named(path)}


def _named(path: Path) -> set[str]:
    """All modules, and whatever is taken from them, that a module's imports name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
