"""Private names of pynetdicom and DBOS that this project uses, so that an upgrade that moves one fails here first."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path

import pytest

PRIVATE = {
    "pynetdicom": {
        "dicom_node/client/peer.py": {"_config"},
        "dicom_node/client/scu_association.py": {
            "_create_socket", "_is_connected", "_is_paused", "_reactor_checkpoint", "_shutdown_socket",
        },
        "dicom_node/port/association.py": {
            "_accepted_cx", "_dul_ready", "_is_paused", "_kill", "_reactor_checkpoint", "_rejected_cx", "_run_reactor",
            "_serve_request", "_server", "_started_dul",
        },
        "dicom_node/port/listener.py": {"_handlers"},
        "dicom_node/port/negotiation_cache.py": {"_accepted_cx"},
        "dicom_node/port/upper_layer.py": {
            "_decode_pdu", "_end_time", "_idle_timer", "_kill_thread", "_process_recv_primitive", "_read_pdu_data",
            "_recv_pdu", "_shutdown_socket", "_start_time",
        },
        "lungnode/logs.py": {"_config"},
    },
    "dbos": {"dicom_node/jobs/workflow.py": {"_recover_pending_workflows"}},
}  # fmt: skip
"""By library and file."""
OWN = {"_dbos_config", "_ae", "_assoc", "_code", "_enqueue", "_is_cancelled", "_lock", "_results", "_running", "_send"}
"""Names of this project that happen to be private ones of a library as well."""
OWN_IN = {
    ("dicom_node/jobs/workflow.py", "_config"),
    ("lungnode/demo/pacs.py", "_server"),
    ("lungnode/commands/doctor_pacs.py", "_sources"),
}


@cache
def names_of(library: str) -> frozenset[str]:
    """Private names that the library's source defines or assigns."""
    spec = importlib.util.find_spec(library)
    assert spec is not None
    assert spec.origin is not None
    names = set()
    for path in Path(spec.origin).parent.rglob("*.py"):
        if {"tests", "apps"} & set(path.parts):
            continue
        names |= {path.stem}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return frozenset(name for name in names if name.startswith("_") and not name.startswith("__"))


def used_names(tree: ast.Module, library: str) -> set[str]:
    """Private names of the library that a module reads, assigns, overrides or imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library:
            names |= {alias.name for alias in node.names}
    return names & names_of(library)


def imports(tree: ast.Module, library: str) -> bool:
    return any(
        (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == library)
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == library for alias in node.names))
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("library", sorted(PRIVATE))
def test_private_names_are_those_that_are_listed(library: str, root: Path) -> None:
    used: dict[str, set[str]] = {}
    for package in ("lungnode", "dicom_node", "webapp", "db"):
        for path in sorted((root / package).rglob("*.py")):
            tree, name = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix()
            if imports(tree, library):
                names = {each for each in used_names(tree, library) - OWN if (name, each) not in OWN_IN}
                used |= {name: names} if names else {}
    assert used == PRIVATE[library]


@pytest.mark.parametrize("library", sorted(PRIVATE))
def test_the_library_has_every_private_name(library: str) -> None:
    listed = set().union(*PRIVATE[library].values())
    assert listed <= names_of(library), sorted(listed - names_of(library))


@pytest.mark.parametrize("library", sorted(PRIVATE))
def test_the_library_is_bounded(library: str, root: Path) -> None:
    project = (root / "pyproject.toml").read_text(encoding="utf-8")
    (line,) = (line for line in project.splitlines() if line.strip().startswith(f'"{library}>='))
    assert ",<" in line
