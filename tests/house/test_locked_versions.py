"""Locked versions, the bill of materials and the look-up of advisories (``make lock``, ``sbom``, ``audit``)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ADVISORY = {
    "id": "PYSEC-2014-8",
    "aliases": ["CVE-2014-1402"],
    "summary": "Jinja2 creates temporary files with predictable names",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.7.2"}]}],
        }
    ],
}
"""In the form of OSV's ``/v1/query`` (https://google.github.io/osv.dev/post-v1-query/)."""
NPM_ADVISORY = {
    "id": 1,
    "url": "https://github.com/advisories/GHSA-0000-0000-0000",
    "title": "An advisory of a test",
    "severity": "high",
    "vulnerable_versions": "*",
    "cwe": [],
    "cvss": {"score": 7.5, "vectorString": None},
}
"""In the form of npm's ``/-/npm/v1/security/advisories/bulk``."""


@pytest.fixture(scope="module")
def locked(root: Path) -> dict[str, Requirement]:
    lines = (root / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def test_each_dependency_is_locked_within_its_range(root: Path, locked: dict[str, Requirement]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    for declared in (Requirement(line) for lines in lists for line in lines):
        (pin,) = locked[canonicalize_name(declared.name)].specifier
        assert pin.operator == "=="
        assert declared.specifier.contains(pin.version, prereleases=True), f"run make lock: {declared} has {pin}"


def test_what_is_installed_is_what_is_locked(locked: dict[str, Requirement]) -> None:
    differing = {}
    for name, requirement in locked.items():
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = version(name)
        except PackageNotFoundError:  # of an extra that is not installed
            continue
        if not requirement.specifier.contains(installed.partition("+")[0], prereleases=True):
            differing[name] = installed
    assert not differing, "run make install-dev"


def test_makefile_and_image_install_the_locked_versions(root: Path) -> None:
    for name in ("Makefile", "docker/Dockerfile"):
        installing = re.findall(r"^.*(?:\$\(PIP\)|bin/pip) install (.*)$", (root / name).read_text(), re.MULTILINE)
        assert installing
        assert all(
            "-c $(CONSTRAINTS)" in line
            or "-c constraints.txt" in line
            or "torch" in line  # by its locked version, from an index that has nothing else
            or "$$needs" in line  # Node, to build the pages
            for line in installing
        ), installing


def test_bill_of_materials_lists_what_ships(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    subprocess.run([sys.executable, root / "docker" / "sbom.py", path], check=True)
    document = json.loads(path.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["component"]["name"] == "lungnode"
    components = {component["name"]: component for component in document["components"]}
    assert {"torch", "pydicom", "pynetdicom", "flask", "sqlalchemy", "numpy", "openvino"} <= set(components)
    assert not {"pytest", "mypy", "ruff", "playwright"} & set(components)
    assert all(component["purl"] == f"pkg:pypi/{name}@{version(name)}" for name, component in components.items())
    unlicensed = {name for name, component in components.items() if not component.get("licenses")}
    assert unlicensed <= {"cuda-toolkit"}, "look its licence up"
    root_ref = document["metadata"]["component"]["bom-ref"]
    (requires,) = [entry["dependsOn"] for entry in document["dependencies"] if entry["ref"] == root_ref]
    assert components["pydicom"]["bom-ref"] in requires


def test_bill_of_materials_of_the_pages_lists_what_is_bundled(root: Path) -> None:
    command: list[str | Path] = [sys.executable, root / "frontend" / "assets.py", "--npm"]
    command += ["sbom", "--package-lock-only", "--omit", "dev", "--sbom-format", "cyclonedx"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    names = {component["name"] for component in json.loads(done.stdout)["components"]}
    scoped = {
        f"{component.get('group', '')}/{component['name']}" for component in json.loads(done.stdout)["components"]
    }
    assert {"@cornerstonejs/core"} & (names | scoped)
    assert "vite" not in names


@pytest.mark.parametrize(
    ("requirement", "advisories", "status"),
    [("jinja2==2.4.1", [ADVISORY], 1), ("jinja2==2.4.1", [{**ADVISORY, "withdrawn": "2015-01-01T00:00:00Z"}], 0),
     ("jinja2==3.1.6", [], 0)],
    ids=["vulnerable", "withdrawn", "none"],
)  # fmt: skip
def test_audit_of_python_packages(
    tmp_path: Path, requirement: str, advisories: list[dict[str, Any]], status: int
) -> None:
    (tmp_path / "constraints.txt").write_text(requirement + "\n")
    command: list[str | Path] = [Path(sys.executable).parent / "pip-audit", "--progress-spinner", "off"]
    command += ["--disable-pip", "--no-deps"]
    with answering({"vulns": advisories} if advisories else {}) as url:
        command += ["-r", tmp_path / "constraints.txt", "-s", "osv", "--osv-url", url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("CVE-2014-1402" in done.stdout or "PYSEC-2014-8" in done.stdout) == bool(status)


@pytest.mark.parametrize(("advisories", "status"), [({"@cornerstonejs/core": [NPM_ADVISORY]}, 1), ({}, 0)])
def test_audit_of_the_pages_packages(root: Path, advisories: dict[str, Any], status: int) -> None:
    command: list[str | Path] = [sys.executable, root / "frontend" / "assets.py", "--npm"]
    command += ["audit", "--package-lock-only"]
    with answering(advisories) as url:
        done = subprocess.run([*command, "--registry", url], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("An advisory of a test" in done.stdout) == bool(status)


@contextmanager
def answering(document: object) -> Iterator[str]:
    """Run an advisory service on loopback that answers every question with ``document``; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            self.send_error(404)  # npm asks for every version of a vulnerable package

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
